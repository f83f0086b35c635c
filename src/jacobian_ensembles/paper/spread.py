"""The spread over trainings, apart from that over attack seeds."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS, average_repetitions, weighted_accuracy
from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    RenderedTable,
    markdown_note,
    model_name,
    percent,
    to_markdown,
)


def spread_over_trainings(metrics: pd.DataFrame, clean_weight: float, confidence: float) -> pd.DataFrame:
    """Keep the two sources of spread apart: trainings of a model, and attack seeds within one training.

    Args:
        metrics: ``metrics.csv`` of a run with several repetitions.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.

    Returns:
        One row per model: means over repetitions, Student's t intervals and standard deviations over repetitions, and
        the mean standard deviation over attack seeds.
    """
    cells = metrics.groupby(CELL_KEYS, as_index=False).agg(
        clean_accuracy=("clean_accuracy", "first"),
        mean_uap_accuracy=("worst_accuracy", "mean"),
        attack_seed_sd=("std_accuracy", "mean"),
        eps_values=("eps", "count"),
        seeds=("seeds", "min"),
        images=("images", "min"),
    )
    cells["weighted_accuracy"] = weighted_accuracy(cells["clean_accuracy"], cells["mean_uap_accuracy"], clean_weight)
    table = average_repetitions(cells, confidence)
    table["attack_seed_sd"] = cells.groupby(MODEL_KEYS, as_index=False)["attack_seed_sd"].mean()["attack_seed_sd"]
    return table


def spread(
    tables: Mapping[str, pd.DataFrame], run: str, banner: str, clean_weight: float, confidence: float
) -> RenderedTable:
    """:func:`spread_over_trainings` for readers.

    Args:
        tables: ``metrics``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
    """
    table = spread_over_trainings(tables["metrics"], clean_weight, confidence)
    shown = pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "Model": [model_name(row) for row in table.to_dict("records")],
            "Trainings": table["repetitions"],
        }
    )
    for stem, title in (("clean", "Clean"), ("mean_uap", "Avg. UAP"), ("weighted", "Weighted")):
        several = f"{stem}_low" in table.columns and f"{stem}_sd" in table.columns
        shown[title] = [
            f"{100 * row[f'{stem}_accuracy']:.1f}"
            + (f" [{100 * row[f'{stem}_low']:.1f}, {100 * row[f'{stem}_high']:.1f}]" if several else "")
            for row in table.to_dict("records")
        ]
    shown["SD over attack seeds"] = table["attack_seed_sd"].map(percent)
    note = (
        f"{markdown_note(table, run, banner)} In %, with Student's t intervals ({confidence:.0%}) over training "
        "repetitions; the last column is the spread of accuracy over attack seeds within one training, a mean over eps."
    )
    return RenderedTable(table, f"{note}\n\n{to_markdown(shown)}")
