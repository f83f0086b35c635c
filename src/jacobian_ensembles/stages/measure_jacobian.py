"""Stage measure_jacobian: exact Jacobian norms of one ensemble and its learners."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.evaluation.jacobian_norms import jacobian_statistics
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.files import save_tensors


def measure_jacobian(
    ensemble: StoredEnsemble, images: StoredImages, path: str | Path, *, cell: Cell, device: str = "cpu"
) -> None:
    """Store the statistics of one ensemble's Jacobians on a fixed random choice of test images.

    Args:
        ensemble: The assembled ensemble.
        images: The stored dataset, with ``test_images`` as the number to measure on.
        path: The file to write.
        cell: The model.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, y = images.split("test")
    model = ensemble.load().to(target)
    x, _ = admit(model, x.to(target), y.to(target))
    statistics = {name: t.cpu().numpy() for name, t in jacobian_statistics(list(model.members), x).items()}
    save_tensors(path, statistics, kind="jacobian", spec=cell.record)
