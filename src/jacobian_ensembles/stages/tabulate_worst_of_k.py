"""Stage tabulate_worst_of_k: the expected worst case against the number of attack seeds."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.evaluation.records import worst_of_k
from jacobian_ensembles.storage.tables import read_table, write_table


def tabulate_worst_of_k(records_path: str | Path, csv_path: str | Path, confidence: float) -> None:
    """Write :func:`~jacobian_ensembles.evaluation.records.worst_of_k` as CSV.

    Args:
        records_path: ``records.csv``.
        csv_path: CSV to write.
        confidence: Share of draws between the percentiles.
    """
    write_table(csv_path, worst_of_k(read_table(records_path), confidence))
