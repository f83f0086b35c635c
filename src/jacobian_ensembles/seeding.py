"""The seed of a random draw, derived from what it is for."""

from __future__ import annotations

import hashlib
import json


def derive_seed(role: str, *identity: str | int | float) -> int:
    """Derive the seed of one purpose, independent of every other purpose.

    Equal arguments give the same seed on every machine; any difference gives an unrelated one. A learner's
    draws therefore do not depend on which other learners or attack seeds exist.

    Args:
        role: What is drawn: ``init``, ``order``, ``bootstrap``, ``dropout``, ``projections``, ...
        *identity: Whose draw it is: base seed, dataset, ensemble, lambda, member, ...

    Returns:
        An integer in [0, 2**63), fit for ``torch.Generator.manual_seed``.
    """
    text = json.dumps([role, *identity])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
