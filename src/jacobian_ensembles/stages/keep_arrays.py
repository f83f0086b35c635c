"""Stage keep_arrays: what a run keeps that its tables do not hold: bits of every answer, worst perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.perturbations import load_clean, load_worst_uap, pack_bits


def keep_arrays(what: str, clean: Sequence[str | Path], uaps: Sequence[str | Path], path: str | Path) -> None:
    """Keep the bits or the worst perturbations of R trainings on one dataset, under E eps.

    Args:
        what: ``bits``: ``clean`` (R, N/8) and ``worst`` (R, E, N/8), one bit per test image: whether it is classified
            correctly. ``perturbations``: ``delta`` (R, E, ...).
        clean: Clean predictions of the R trainings, in order; not needed for perturbations.
        uaps: The R * E worst perturbations: all eps of the first training, and so on.
        path: The file to write; its spec lists the trainings and the eps.
    """
    found = [load_worst_uap(uap) for uap in uaps]
    models = list(dict.fromkeys(tuple(uap[key] for key in CELL_KEYS) for uap in found))
    eps = list(dict.fromkeys(uap["eps"] for uap in found))
    spec: dict[str, Any] = {"dataset": models[0][0], "models": [list(model[1:]) for model in models], "eps": eps}
    shape = (len(models), len(eps))
    if what == "bits":
        right = np.stack([predicted == labels for predicted, labels, _ in map(load_clean, clean)])
        worst = pack_bits(np.stack([uap["correct"] for uap in found]))
        tensors = {"clean": pack_bits(right), "worst": worst.reshape(*shape, -1)}
        save_tensors(path, tensors, "bits", {**spec, "images": right.shape[1]})
    else:
        deltas = np.stack([uap["delta"] for uap in found])
        seeds = np.reshape([uap["seed"] for uap in found], shape).tolist()
        delta = deltas.reshape(*shape, *deltas.shape[1:])
        save_tensors(path, {"delta": delta}, "perturbations", {**spec, "seeds": seeds})
