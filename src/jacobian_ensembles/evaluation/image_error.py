"""The error that other test images would make in a difference of clean accuracies: all models see the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS

_MODEL = [key for key in MODEL_KEYS if key != "dataset"]


def image_covariance(right: Iterable[tuple[Mapping[str, Any], np.ndarray]]) -> pd.DataFrame:
    """How the clean accuracies of models would vary together over other test images.

    Args:
        right: The cell of every training of every model, and whether it recognises each test image, (N,) bool.

    Returns:
        One row per model: its keys, and under the names ``0``, ``1``, ... the covariance with each model of the same
        dataset, in the order of the rows, of accuracies in points over N images; a model's trainings are averaged.
    """
    sums: dict[tuple[Any, ...], np.ndarray] = {}
    counts: dict[tuple[Any, ...], int] = {}
    for cell, bits in right:
        model = tuple(cell[key] for key in MODEL_KEYS)
        sums[model] = sums.get(model, 0) + bits.astype(np.float64)
        counts[model] = counts.get(model, 0) + 1
    tables = []
    for dataset in sorted({model[0] for model in sums}):
        models = sorted(model for model in sums if model[0] == dataset)
        shares = np.stack([100 * sums[model] / counts[model] for model in models])
        covariance = np.atleast_2d(np.cov(shares)) / shares.shape[1]
        keys = pd.DataFrame(models, columns=MODEL_KEYS)
        tables.append(keys.join(pd.DataFrame(covariance, columns=[str(i) for i in range(len(models))])))
    return pd.concat(tables, ignore_index=True)


def covariances(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """:func:`image_covariance` as a matrix per dataset, with (ensemble, members, lambda) as rows and columns."""
    found = {}
    for dataset, rows in table.groupby("dataset"):
        models = pd.MultiIndex.from_frame(rows[_MODEL])
        values = rows[[str(i) for i in range(len(rows))]].to_numpy()
        found[str(dataset)] = pd.DataFrame(values, index=models, columns=models)
    return found
