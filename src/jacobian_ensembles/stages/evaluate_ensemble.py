"""Stage evaluate_ensemble: an ensemble's predictions on the clean test set."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.evaluation.accuracy import predictions
from jacobian_ensembles.experiment.devices import prepare_device
from jacobian_ensembles.stages.inputs import load_ensemble, load_split
from jacobian_ensembles.storage.predictions import save_clean


def evaluate_to_file(
    ensemble_path: str | Path,
    data_path: str | Path,
    path: str | Path,
    *,
    cell: dict[str, str | int | float],
    validation_images: int,
    test_images: int | None = None,
    architecture: str = "lenet",
    method: str | None = None,
    device: str = "cpu",
) -> None:
    """Store an ensemble's predictions on the clean test set.

    Args:
        ensemble_path: The assembled ensemble.
        data_path: The stored dataset.
        path: The file to write.
        cell: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition`` of the model.
        validation_images: Size of the validation split.
        test_images: Use so many test images only; None for all.
        architecture: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        method: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    images, labels = load_split(data_path, "test", validation_images, test_images)
    model = load_ensemble(ensemble_path, int(cell["members"]), architecture, method).to(target)
    save_clean(path, predictions(model, images.to(target)).numpy(), labels.numpy(), cell)
