"""Stage evaluate_ensemble: predictions on the clean test set, and Jacobian norms of an ensemble and its learners."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.data.interop import to_numpy
from jacobian_ensembles.evaluation.accuracy import predictions
from jacobian_ensembles.evaluation.jacobian_norms import jacobian_statistics
from jacobian_ensembles.models.compiled import admit
from jacobian_ensembles.stages.inputs import Placed, StoredEnsemble, StoredImages
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.perturbations import save_clean


def evaluate_ensemble(
    ensemble: StoredEnsemble,
    images: StoredImages,
    clean: str | Path,
    *,
    cell: Cell,
    measured: StoredImages | None = None,
    jacobian: str | Path | None = None,
    device: str = "cpu",
) -> None:
    """Store an ensemble's predictions on the clean test set, and statistics of its Jacobians on a part of it.

    Args:
        ensemble: The assembled ensemble.
        images: The stored dataset.
        clean: The file to write predictions to.
        cell: The model.
        measured: The stored dataset, with ``test_images`` as the number to measure Jacobians on, a fixed random choice;
            None to measure none.
        jacobian: The file to write :func:`~jacobian_ensembles.evaluation.jacobian_norms.jacobian_statistics` to.
        device: ``cpu`` or ``cuda``.
    """
    (x, y), (part,) = images.arrays("test"), (measured or images).last("test")
    place = Placed(ensemble, device)
    x, y = admit(place.model, *place.bring(x, y, stored=True))
    save_clean(clean, to_numpy(predictions(place.model, x)), to_numpy(y), cell.record)
    if measured is None or jacobian is None:
        return
    x, y = admit(place.model, *place.bring(*part))
    statistics = jacobian_statistics(list(place.model.members), x, y)
    save_tensors(jacobian, {name: to_numpy(t) for name, t in statistics.items()}, kind="jacobian", spec=cell.record)
