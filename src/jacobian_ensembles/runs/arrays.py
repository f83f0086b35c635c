"""Joining what several shipped runs keep beside their tables: bits, perturbations, models."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jacobian_ensembles.storage.files import ArtifactError, load_tensors, save_tensors


def join_arrays(parts: Iterable[Path], target: Path) -> None:
    """Join what several shipped folders keep; a part may lack some of it.

    Args:
        parts: Folders with what :func:`~jacobian_ensembles.stages.keep_arrays.keep_arrays` wrote.
        target: The folder to write to.

    Raises:
        ArtifactError: If a file is damaged, or parts differ in their eps or their number of images.
    """
    parts = list(parts)
    for what in ("bits", "perturbations"):
        for name in sorted({path.name for part in parts for path in (part / what).glob("*.safetensors")}):
            found = [load_tensors(path, kind=what) for part in parts if (path := part / what / name).exists()]
            save_tensors(target / what / name, *_stacked(name, found))
    for path in sorted(path for part in parts for path in (part / "models").glob("*.safetensors")):
        (target / "models").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / "models" / path.name)


def _stacked(
    name: str, found: Sequence[tuple[dict[str, np.ndarray], Mapping[str, Any]]]
) -> tuple[dict[str, np.ndarray], str, dict[str, Any]]:
    """Several files' models in one, in the order of a run: tensors, kind and spec."""
    specs = [spec for _, spec in found]
    shared = [{k: v for k, v in spec.items() if k not in ("models", "seeds")} for spec in specs]
    for other in shared[1:]:
        if other != shared[0]:
            raise ArtifactError(f"{name}: a part keeps {other}, another {shared[0]}.")
    models = [row for spec in specs for row in spec["models"]]
    order = sorted(range(len(models)), key=models.__getitem__)
    tensors = {key: np.concatenate([tensors[key] for tensors, _ in found])[order] for key in found[0][0]}
    spec = {**shared[0], "models": [models[i] for i in order]}
    if "seeds" in specs[0]:
        seeds = [row for s in specs for row in s["seeds"]]
        spec["seeds"] = [seeds[i] for i in order]
    return tensors, "perturbations" if "seeds" in specs[0] else "bits", spec
