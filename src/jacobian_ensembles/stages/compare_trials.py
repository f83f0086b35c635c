"""Stage compare_trials: all training trials in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.paper.labels import DATASET_TITLES, short_number, to_markdown
from jacobian_ensembles.storage.files import read_json, write_text


def write_trials(records: Sequence[str | Path], csv_path: str | Path, markdown_path: str | Path) -> None:
    """Compare training recipes by their accuracy on the validation split.

    Args:
        records: What :func:`~jacobian_ensembles.stages.train_trial.trial_to_file` wrote.
        csv_path: CSV to write, one row per (recipe, dataset, lambda).
        markdown_path: Markdown to write, a row per recipe and a column per (dataset, lambda).
    """
    trials = pd.DataFrame([read_json(path) for path in records])
    write_text(csv_path, trials.to_csv(index=False))
    trials["shown"] = trials["validation_accuracy"].map(lambda v: "diverged" if pd.isna(v) else f"{100 * v:.2f}")
    trials["setting"] = trials["dataset"].map(DATASET_TITLES) + " λ=" + trials["lambda"].map(short_number)
    order = list(dict.fromkeys(trials["setting"]))
    wide = trials.pivot_table("shown", "trial", "setting", aggfunc="first", sort=False)[order].reset_index()
    images = int(trials["images"].min())
    note = f"Accuracy (in %) of one learner on {images:,} validation images; no test image was read."
    write_text(markdown_path, f"{note}\n\n{to_markdown(wide)}")
