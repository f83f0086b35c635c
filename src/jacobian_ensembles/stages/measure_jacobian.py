"""Stage measure_jacobian: exact Jacobian norms of one ensemble and its learners."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.evaluation.jacobian_norms import jacobian_statistics
from jacobian_ensembles.experiment.devices import prepare_device
from jacobian_ensembles.stages.inputs import load_ensemble, load_split
from jacobian_ensembles.storage.files import save_tensors


def measure_to_file(
    ensemble_path: str | Path,
    data_path: str | Path,
    path: str | Path,
    *,
    cell: dict[str, str | int | float],
    images: int,
    validation_images: int,
    architecture: str = "lenet",
    method: str | None = None,
    device: str = "cpu",
) -> None:
    """Store :func:`jacobian_statistics` of one ensemble on a fixed random choice of test images.

    Args:
        ensemble_path: The assembled ensemble.
        data_path: The stored dataset.
        path: The file to write.
        cell: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition`` of the model.
        images: How many test images.
        validation_images: Size of the validation split.
        architecture: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        method: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, _ = load_split(data_path, "test", validation_images, images)
    model = load_ensemble(ensemble_path, int(cell["members"]), architecture, method).to(target)
    statistics = jacobian_statistics(list(model.members), x.to(target))
    save_tensors(path, {name: value.cpu().numpy() for name, value in statistics.items()}, kind="jacobian", spec=cell)
