"""Training recipes compared by their accuracy on the validation split."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from jacobian_ensembles.paper.labels import DATASET_TITLES, RenderedTable, short_number, to_markdown


def trials(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> RenderedTable:
    """The trials of a run, a row per recipe and a column per (dataset, lambda).

    Args:
        tables: ``trials``, one row per trial: ``trial``, ``dataset``, ``lambda``, ``validation_accuracy`` (missing
            where the learner diverged) and ``images``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    table = tables["trials"]
    trials = table.copy()
    trials["shown"] = trials["validation_accuracy"].map(lambda v: "diverged" if pd.isna(v) else f"{100 * v:.2f}")
    trials["setting"] = trials["dataset"].map(DATASET_TITLES) + " λ=" + trials["lambda"].map(short_number)
    order = list(dict.fromkeys(trials["setting"]))
    wide = trials.pivot_table("shown", "trial", "setting", aggfunc="first", sort=False)[order].reset_index()
    images = int(trials["images"].min())
    label = f"{banner}: run" if banner else "Run"
    note = f"{label} '{run}'. Accuracy (in %) of one learner on {images:,} validation images; no test image was read."
    return RenderedTable(table, f"{note}\n\n{to_markdown(wide)}", float_format=None)
