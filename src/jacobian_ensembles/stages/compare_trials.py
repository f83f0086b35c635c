"""Stage compare_trials: all training trials in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.records import once
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.tables import write_table


def compare_trials(records: Sequence[str | Path], path: str | Path) -> None:
    """Gather training recipes with their accuracy on the validation split.

    Args:
        records: What stage train_trial wrote.
        path: CSV to write, one row per (recipe, dataset, lambda).

    Raises:
        ArtifactError: If a record is damaged or another's.
        ValueError: If one is there twice.
    """
    table = pd.DataFrame([read_record(record) for record in records])
    once(table, ["trial", "dataset", "lambda"])
    write_table(path, table, float_format=None)
