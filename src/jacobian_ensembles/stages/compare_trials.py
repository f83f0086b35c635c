"""Stage compare_trials: all training trials in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.storage.files import read_json
from jacobian_ensembles.storage.tables import write_table


def compare_trials(records: Sequence[str | Path], path: str | Path) -> None:
    """Gather training recipes with their accuracy on the validation split.

    Args:
        records: What stage train_trial wrote.
        path: CSV to write, one row per (recipe, dataset, lambda).
    """
    write_table(path, pd.DataFrame([read_json(record) for record in records]), float_format=None)
