"""Stage certify_ensemble: lower bounds on one ensemble's accuracy under any perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.robustness.certificates import certify
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.checksums import write_record


def certify_ensemble(
    ensemble: StoredEnsemble,
    images: StoredImages,
    path: str | Path,
    *,
    cell: Cell,
    eps: Sequence[float],
    clip: bool,
    device: str = "cpu",
) -> None:
    """Store the share of test images that :func:`~jacobian_ensembles.robustness.certificates.certify` proves.

    Args:
        ensemble: The assembled ensemble.
        images: The stored dataset.
        path: The JSON record to write.
        cell: The model.
        eps: E radii, in (0, 1].
        clip: Whether the attack clips perturbed images to [0, 1].
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, y = images.split("test")
    found = certify(ensemble.load().to(target), x.to(target), y.to(target), eps, clip)
    rates = {"eps": list(eps), "certified_accuracies": found.accuracies.tolist()}
    write_record(path, {**cell.record, **rates, "images": len(y), "clip": clip})
