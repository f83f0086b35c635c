"""Stage measure_image_error: how models' clean accuracies would vary together over other test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jacobian_ensembles.evaluation.image_error import image_covariance
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.storage.files import load_tensors
from jacobian_ensembles.storage.perturbations import load_clean, refuse_twice
from jacobian_ensembles.storage.tables import write_table


def measure_image_error(clean_files: Sequence[str | Path], csv_path: str | Path) -> None:
    """Write :func:`~jacobian_ensembles.evaluation.image_error.image_covariance` of a run's models.

    Args:
        clean_files: Clean predictions, one file per training of a model.
        csv_path: CSV to write.
    """
    loaded = (load_clean(path) for path in clean_files)
    write_table(csv_path, image_covariance((spec, predicted == labels) for predicted, labels, spec in loaded), "%.4g")


def image_error_of_bits(bits_files: Sequence[str | Path], csv_path: str | Path) -> None:
    """The same from the bits that a run keeps.

    Args:
        bits_files: One file per dataset.
        csv_path: CSV to write.
    """

    def right() -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        for path in bits_files:
            tensors, spec = load_tensors(path, kind="bits")
            rows = np.unpackbits(tensors["clean"], axis=1, count=spec["images"])
            refuse_twice(path, spec["models"])
            for (ensemble, members, strength, repetition), row in zip(spec["models"], rows, strict=True):
                yield dict(zip(CELL_KEYS, (spec["dataset"], ensemble, members, strength, repetition), strict=True)), row

    write_table(csv_path, image_covariance(right()), "%.4g")
