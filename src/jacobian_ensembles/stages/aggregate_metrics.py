"""Stage aggregate_metrics: all records of a run in the two tables that everything downstream reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.evaluation.summary import CELL_KEYS, summarize
from jacobian_ensembles.storage.checksums import read_record, write_checksums
from jacobian_ensembles.storage.files import ArtifactError, write_text
from jacobian_ensembles.storage.perturbations import RATES, load_clean


def clean_record(path: str | Path, confidence: float) -> dict[str, Any]:
    """Clean accuracy of one model, with its Wilson interval and the model's cell."""
    predicted, labels, spec = load_clean(path)
    right = predicted == labels
    low, high = wilson_interval(int(right.sum()), len(right), confidence)
    return {
        **spec,
        "images": len(right),
        "clean_accuracy": float(right.mean()),
        "clean_low": low,
        "clean_high": high,
    }


def aggregate_metrics(
    clean_files: Sequence[str | Path],
    worst_files: Sequence[str | Path],
    metrics_path: str | Path,
    summary_path: str | Path,
    clean_weight: float,
    confidence: float,
) -> None:
    """Gather all records into the two tables everything downstream reads, and ``SHA256SUMS`` beside them.

    Args:
        clean_files: Clean predictions, one file per model.
        worst_files: Worst-case records, one file per (model, eps).
        metrics_path: CSV to write, one row per (model, repetition, eps).
        summary_path: CSV to write in the same folder, one row per model: clean, mean UAP and weighted accuracy.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.

    Raises:
        ArtifactError: If the models of the two lists differ.
    """
    clean = pd.DataFrame([clean_record(path, confidence) for path in clean_files])
    worst = pd.DataFrame([read_record(path) for path in worst_files])
    worst = worst.drop(columns=["accuracies", RATES], errors="ignore")
    metrics = worst.merge(
        clean.drop(columns="images"), on=CELL_KEYS, how="outer", validate="many_to_one", indicator="origin"
    )
    odd = metrics.loc[metrics.pop("origin") != "both", CELL_KEYS]
    if len(odd):
        raise ArtifactError(f"Models with clean predictions but no attack, or the reverse:\n{odd.to_string()}")
    order = [*CELL_KEYS, "eps"]
    leading = [*order, "seeds", "images", "worst_accuracy", "worst_low", "worst_high", "worst_seed"]
    metrics = metrics[leading + [c for c in metrics.columns if c not in leading]].sort_values(order)
    summary = summarize(metrics, clean_weight, confidence)
    for path, table in ((metrics_path, metrics), (summary_path, summary)):
        write_text(path, table.to_csv(index=False, float_format="%.6g"))
    write_checksums([metrics_path, summary_path])
