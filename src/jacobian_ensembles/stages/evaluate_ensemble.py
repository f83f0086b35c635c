"""Stage evaluate_ensemble: an ensemble's predictions on the clean test set."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.evaluation.accuracy import predictions
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.perturbations import save_clean


def evaluate_ensemble(
    ensemble: StoredEnsemble, images: StoredImages, path: str | Path, *, cell: Cell, device: str = "cpu"
) -> None:
    """Store an ensemble's predictions on the clean test set.

    Args:
        ensemble: The assembled ensemble.
        images: The stored dataset.
        path: The file to write.
        cell: The model.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, y = images.split("test")
    model = ensemble.load().to(target)
    x, y = admit(model, x.to(target), y.to(target))
    save_clean(path, predictions(model, x).numpy(), y.cpu().numpy(), cell.record)
