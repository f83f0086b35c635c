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
        records: Worst-case records, those of each variant together.
        variants: The variant of each record, by name.
        path: CSV to write.
        peers: See :func:`~jacobian_ensembles.paper.ablation.ablation_rows`.
    """
    rows = [read_record(record) | {"variant": variant} for record, variant in zip(records, variants, strict=True)]
    write_table(path, ablation_rows(rows, read_table(metrics_path), peers))
