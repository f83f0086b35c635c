"""Stage compare_trials: all training trials in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.paper.trials import trials
from jacobian_ensembles.stages.outputs import write_rendered
from jacobian_ensembles.storage.files import read_json


def compare_trials(records: Sequence[str | Path], csv_path: str | Path, markdown_path: str | Path) -> None:
    """Compare training recipes by their accuracy on the validation split.

    Args:
        records: What stage train_trial wrote.
        csv_path: CSV to write, one row per (recipe, dataset, lambda).
        markdown_path: Markdown to write, a row per recipe and a column per (dataset, lambda).
    """
    write_rendered(trials(pd.DataFrame([read_json(path) for path in records])), csv_path, markdown_path)
