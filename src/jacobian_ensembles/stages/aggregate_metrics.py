"""Stage aggregate_metrics: the records of a run in the two tables that everything downstream reads."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.evaluation.records import ATTACKED, metrics_of
from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.storage.checksums import write_checksums
from jacobian_ensembles.storage.tables import read_table, write_table


def aggregate_metrics(
    records_path: str | Path,
    metrics_path: str | Path,
    summary_path: str | Path,
    clean_weight: float,
    confidence: float,
) -> None:
    """Derive the two tables everything downstream reads, and write ``SHA256SUMS`` of both beside them.

    Args:
        records_path: ``records.csv``.
        metrics_path: CSV to write in the same folder, one row per (model, repetition, eps).
        summary_path: CSV to write in the same folder, one row per model: clean, mean UAP and weighted accuracy.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
    """
    metrics = metrics_of(read_table(records_path, ATTACKED), confidence)
    write_table(metrics_path, metrics)
    write_table(summary_path, summarize(metrics, clean_weight, confidence))
    write_checksums([metrics_path, summary_path])
