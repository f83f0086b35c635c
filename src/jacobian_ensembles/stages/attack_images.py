"""Stage attack_images: one model's accuracy on test images that are attacked one by one."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.robustness.single_image import accuracy_one_by_one
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.checksums import write_record


def attack_images(
    ensemble: StoredEnsemble,
    images: StoredImages,
    path: str | Path,
    *,
    cell: Cell,
    eps: float,
    iterations: int,
    clip: bool,
    device: str = "cpu",
) -> None:
    """Store the accuracy under each attack of :func:`~jacobian_ensembles.robustness.single_image.accuracy_one_by_one`.

    Args:
        ensemble: The assembled ensemble.
        images: The stored dataset, with the number of test images to attack.
        path: The JSON record to write; accuracies are null where the toolbox is not installed.
        cell: The model.
        eps: Radius, in (0, 1].
        iterations: Steps of each attack.
        clip: Clip perturbed images to [0, 1].
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, y = images.split("test")
    model = ensemble.load().to(target)
    found = accuracy_one_by_one(model, x.to(target), y.to(target), eps, iterations, clip)
    write_record(path, {**cell.record, "eps": eps, "images": len(y), "iterations": iterations, "accuracies": found})
