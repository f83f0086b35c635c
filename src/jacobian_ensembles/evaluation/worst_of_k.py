"""The expected worst case against the number of attack seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.evaluation.worst_case import expected_worst, worst_interval

#: The numbers of attack seeds at which the expected worst case is tabulated, where there are that many.
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)


def worst_of_k(records: Sequence[Mapping[str, Any]], confidence: float) -> pd.DataFrame:
    """Tabulate the expected worst case against the number of attack seeds.

    Args:
        records: Of :func:`~jacobian_ensembles.evaluation.worst_case.worst_case`, one per (model, eps).
        confidence: Share of draws between the percentiles.

    Returns:
        One row per (model, eps, count) with ``expected_worst`` and its percentiles.
    """
    rows = []
    for record in records:
        accuracies = record["accuracies"]
        for count in sorted({c for c in COUNTS if c <= len(accuracies)} | {len(accuracies)}):
            low, high = worst_interval(accuracies, count, confidence)
            rows.append(
                {key: record[key] for key in (*CELL_KEYS, "eps", "norm", "seeds") if key in record}
                | {"count": count, "expected_worst": expected_worst(accuracies, count), "low": low, "high": high}
            )
    return pd.DataFrame(rows).sort_values([*CELL_KEYS, "eps", "count"])
