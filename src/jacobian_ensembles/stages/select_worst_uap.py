"""Stage select_worst_uap: the worst of all attack seeds of one model and eps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jacobian_ensembles.evaluation.worst_case import worst_case
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.perturbations import RATES, load_uaps, save_worst_uap


def select_worst_uap(
    blocks: Sequence[str | Path], record_path: str | Path, uap_path: str | Path, confidence: float
) -> None:
    """Choose the worst of all attack seeds, the one with the lowest test accuracy, and keep the whole record.

    Args:
        blocks: What stage craft_uaps wrote, in seed order.
        record_path: JSON record to write: see :func:`~jacobian_ensembles.evaluation.worst_case.worst_case`.
        uap_path: Where to store the chosen perturbation and its bits.
        confidence: Level of the Wilson interval.
    """
    deltas, bits, spec = load_uaps(blocks)
    found = worst_case(bits, confidence)
    worst = found["worst_seed"]
    rates = {RATES: spec.pop(RATES)} if RATES in spec else {}
    save_worst_uap(uap_path, deltas[worst], bits[worst], {**spec, "seed": worst})
    if rates:
        rates["success_rate"] = float(np.mean(rates[RATES]))
    write_record(record_path, {**spec, **found, **rates})
