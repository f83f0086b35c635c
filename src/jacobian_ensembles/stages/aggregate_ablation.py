"""Stage aggregate_ablation: variants of the attack compared on the same models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.paper.ablation import ablation_rows
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.tables import read_table, write_table


def aggregate_ablation(
    metrics_path: str | Path,
    records: Sequence[str | Path],
    variants: Sequence[str],
    path: str | Path,
    peers: Sequence[str] | None = None,
) -> None:
    """Write :func:`~jacobian_ensembles.paper.ablation.ablation_rows`.

    Args:
        metrics_path: ``metrics.csv`` of the run.
        records: Worst-case records: all models and eps of the first variant, then of the second, and so on.
        variants: The variants' names, in that order.
        path: CSV to write.
        peers: See :func:`~jacobian_ensembles.paper.ablation.ablation_rows`.
    """
    each = len(records) // len(variants)
    rows = [read_record(record) | {"variant": variants[i // each]} for i, record in enumerate(records)]
    write_table(path, ablation_rows(rows, read_table(metrics_path), peers))
