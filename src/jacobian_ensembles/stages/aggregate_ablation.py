"""Stage aggregate_ablation: variants of the attack compared on the same models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jacobian_ensembles.evaluation.records import metrics_of
from jacobian_ensembles.paper.ablation import ablation_rows
from jacobian_ensembles.storage.tables import read_table, write_table


def aggregate_ablation(
    records: Mapping[str, str | Path], path: str | Path, confidence: float, peers: Sequence[str] | None = None
) -> None:
    """Write :func:`~jacobian_ensembles.paper.ablation.ablation_rows`.

    Args:
        records: ``records_<variant>.csv`` by variant.
        path: CSV to write.
        confidence: Level of the intervals.
        peers: See :func:`~jacobian_ensembles.paper.ablation.ablation_rows`.
    """
    metrics = {variant: metrics_of(read_table(of_variant), confidence) for variant, of_variant in records.items()}
    write_table(path, ablation_rows(metrics, peers))
