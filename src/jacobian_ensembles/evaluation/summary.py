"""From accuracies to the summary of a model. NumPy and pandas only."""

from __future__ import annotations

from typing import TypeVar

import pandas as pd

from jacobian_ensembles.evaluation.statistics import student_interval

MODEL_KEYS = ["dataset", "ensemble", "members", "lambda"]
CELL_KEYS = [*MODEL_KEYS, "repetition"]
#: What no perturbation can take, where it was proved; and the attack's steps that had no finite gradient other than
#: zero. Older tables lack these columns.
CERTIFIED = "certified_accuracy"
IDLE = "steps_without_gradient"
_T = TypeVar("_T", float, "pd.Series[float]")


def weighted_accuracy(clean: _T, uap: _T, clean_weight: float = 0.5) -> _T:
    """Weighted accuracy: ``clean_weight * clean + (1 - clean_weight) * uap`` (the paper: equal weights)."""
    return clean_weight * clean + (1 - clean_weight) * uap


def average_repetitions(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Average every accuracy over the training repetitions of a model.

    Args:
        table: Rows with the cell's keys and, possibly, ``eps``.
        confidence: Level of the intervals.

    Returns:
        One row per model (and eps), without ``repetition``: means, and the number of ``repetitions``. Where there
        are several, ``<stem>_low`` and ``<stem>_high`` of each ``<stem>_accuracy`` are Student's t interval over
        repetitions, clipped to [0, 1], and ``<stem>_sd`` their standard deviation; for a single training the intervals
        stay as they are, over test images.
    """
    keys = [*MODEL_KEYS, "eps"] if "eps" in table.columns else MODEL_KEYS
    stems = [c.removesuffix("_accuracy") for c in table.columns if c.endswith("_accuracy")]
    rows = []
    for _, group in table.groupby(keys):
        row = group.iloc[0].drop("repetition").to_dict() | {"repetitions": len(group)}
        for stem in stems if len(group) > 1 else ():
            values = group[f"{stem}_accuracy"]
            low, high = student_interval(values.tolist(), confidence)
            row |= {f"{stem}_accuracy": values.mean(), f"{stem}_low": max(low, 0.0), f"{stem}_high": min(high, 1.0)}
            row |= {f"{stem}_sd": values.std(ddof=1)}
        if IDLE in row:
            row[IDLE] = group[IDLE].sum()
        rows.append(row)
    return pd.DataFrame(rows)


def summarize(metrics: pd.DataFrame, clean_weight: float, confidence: float) -> pd.DataFrame:
    """One row per model: clean accuracy, mean over eps of the worst-case accuracy, weighted accuracy.

    Args:
        metrics: The table of :func:`aggregate_metrics`.
        clean_weight: Weight of clean accuracy.
        confidence: Level of the intervals over repetitions.

    Returns:
        A frame with ``clean_accuracy``, ``mean_uap_accuracy`` and ``weighted_accuracy`` of every model, averaged
        over its repetitions (see :func:`average_repetitions`), ``mean_certified_accuracy`` where there is a bound,
        and the number of eps values, attack seeds and
        test images behind them, and the attack's ``steps_without_gradient``. The intervals of a single training are
        over test images: Wilson's for clean accuracy; for the means, the means of their parts' bounds, as if the parts
        erred on the same images (so if anything too wide).
    """
    cells = metrics.groupby(CELL_KEYS, as_index=False).agg(
        clean_accuracy=("clean_accuracy", "first"),
        clean_low=("clean_low", "first"),
        clean_high=("clean_high", "first"),
        mean_uap_accuracy=("worst_accuracy", "mean"),
        mean_uap_low=("worst_low", "mean"),
        mean_uap_high=("worst_high", "mean"),
        eps_values=("eps", "count"),
        seeds=("seeds", "min"),
        images=("images", "min"),
    )
    if CERTIFIED in metrics.columns:
        cells[f"mean_{CERTIFIED}"] = metrics.groupby(CELL_KEYS)[CERTIFIED].mean().to_numpy()
    if "norm" in metrics.columns:  # what eps bounds, where that is not the largest change of a pixel
        cells["norm"] = metrics.groupby(CELL_KEYS)["norm"].first().to_numpy()
    if IDLE in metrics.columns:
        cells[IDLE] = metrics.groupby(CELL_KEYS)[IDLE].sum().to_numpy()
    for value in ("accuracy", "low", "high"):
        clean, uap = cells[f"clean_{value}"], cells[f"mean_uap_{value}"]
        cells[f"weighted_{value}"] = weighted_accuracy(clean, uap, clean_weight)
    return average_repetitions(cells, confidence)
