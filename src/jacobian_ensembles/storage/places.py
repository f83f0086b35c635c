"""What a result's path says it is. A file of another model, seed or dataset that took its place is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAME, _NUMBER = r"[^\W\d]\w*", r"\d+\.\d+"
_FILE = r"(learner(?P<learner>\d+)|seeds(?P<first_seed>\d+)-(?P<last_seed>\d+)|\w+)\.(safetensors|json)"
#: The ends of paths that spell something, as :class:`~jacobian_ensembles.runs.layout.Layout` has them.
_PLACES = [
    re.compile(
        rf"/(ablation/(?P<variant>[^/]+)/)?(?P<dataset>{_NAME})/(?P<ensemble>{_NAME})(/M(?P<members>\d+))?"
        rf"/lambda(?P<lambda>{_NUMBER})/rep(?P<repetition>\d+)(/eps(?P<eps>{_NUMBER}))?/{_FILE}$"
    ),
    re.compile(
        rf"/models/(?P<model>\w+)_M(?P<members>\d+)_lambda(?P<lambda>{_NUMBER})_rep(?P<repetition>\d+)\.safetensors$"
    ),
    re.compile(rf"/transfer/(?P<dataset>{_NAME})/eps(?P<eps>{_NUMBER})/transfer\.json$"),
    re.compile(rf"/trials/(?P<trial>[^/]+)/(?P<dataset>{_NAME})/lambda(?P<lambda>{_NUMBER})/trial\.json$"),
    re.compile(rf"/(bits|perturbations)/(?P<dataset>{_NAME})\.safetensors$"),
]


def spelled(path: str | Path) -> dict[str, str]:
    """What the path of a result spells, by the keys of a file's spec; empty for a path that spells nothing.

    ``model`` is dataset and method, ``learner`` the number of the only learner in the file.
    """
    for place in _PLACES:
        if found := place.search(Path(path).absolute().as_posix()):
            return {key: text for key, text in found.groupdict().items() if text is not None}
    return {}


def misplaced(path: str | Path, spec: Mapping[str, Any]) -> str | None:
    """How a file is not what its path spells.

    Args:
        path: Where it lies; anything goes for a path that spells nothing.
        spec: What it says it is. What it does not say (files of earlier versions lack some keys) is not compared, but
            for the variant of the attack, which the run's own attack does not have.

    Returns:
        What differs, in words; None if nothing does.
    """
    says = spelled(path)
    if not says:
        return None
    own = {key: str(value) for key, value in spec.items()}
    own |= {"model": "{dataset}_{ensemble}".format(**spec)} if {"dataset", "ensemble"} <= spec.keys() else {}
    own |= {"learner": ", ".join(map(str, spec["learners"]))} if "learners" in spec else {}
    odd = [key for key in says if key in own and not _same(says[key], own[key])]
    if says.get("variant") != own.get("variant"):
        odd.append("variant")
    return ", ".join(f"{key} {own.get(key, 'none')} (here: {says.get(key, 'none')})" for key in odd) or None


def _same(text: str, value: str) -> bool:
    try:
        return float(text) == float(value)
    except ValueError:
        return text == value
