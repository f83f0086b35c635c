"""Stage tabulate_worst_of_k: the expected worst case against the number of attack seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.evaluation.worst_case import expected_worst, worst_interval
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import write_text

#: The numbers of attack seeds at which the expected worst case is tabulated, where there are as many seeds.
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)


def tabulate_worst_of_k(records: Sequence[str | Path], csv_path: str | Path, confidence: float) -> None:
    """Tabulate the expected worst case against the number of attack seeds.

    Args:
        records: What :func:`~jacobian_ensembles.stages.select_worst_uap.select_worst_uap` wrote, one per (model, eps).
        csv_path: CSV to write: one row per (model, eps, count) with ``expected_worst`` and its percentiles.
        confidence: Share of draws between the percentiles.
    """
    rows = []
    for record in map(read_record, records):
        accuracies = record["accuracies"]
        for count in sorted({c for c in COUNTS if c <= len(accuracies)} | {len(accuracies)}):
            low, high = worst_interval(accuracies, count, confidence)
            rows.append(
                {key: record[key] for key in (*CELL_KEYS, "eps", "seeds")}
                | {"count": count, "expected_worst": expected_worst(accuracies, count), "low": low, "high": high}
            )
    table = pd.DataFrame(rows).sort_values([*CELL_KEYS, "eps", "count"])
    write_text(csv_path, table.to_csv(index=False, float_format="%.6g"))
