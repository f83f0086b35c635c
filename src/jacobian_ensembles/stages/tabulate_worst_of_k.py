"""Stage tabulate_worst_of_k: the expected worst case against the number of attack seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.evaluation.worst_of_k import worst_of_k
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.tables import write_table


def tabulate_worst_of_k(records: Sequence[str | Path], csv_path: str | Path, confidence: float) -> None:
    """Write :func:`~jacobian_ensembles.evaluation.worst_of_k.worst_of_k` as CSV.

    Args:
        records: What stage select_worst_uap wrote, one per (model, eps).
        csv_path: CSV to write.
        confidence: Share of draws between the percentiles.
    """
    write_table(csv_path, worst_of_k([read_record(path) for path in records], confidence))
