"""Stage tabulate_spread: the spread over trainings, apart from that over attack seeds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS, average_repetitions, weighted_accuracy
from jacobian_ensembles.paper.labels import DATASET_TITLES, _percent, model_name, run_note, to_markdown
from jacobian_ensembles.storage.files import write_text
from jacobian_ensembles.storage.tables import read_table


def tabulate_spread(
    metrics_path: str | Path,
    csv_path: str | Path,
    markdown_path: str | Path,
    clean_weight: float,
    confidence: float,
    run: str,
    banner: str,
) -> None:
    """Keep the two sources of spread apart: training repetitions, and attack seeds within one training.

    Args:
        metrics_path: ``metrics.csv`` of a run with several repetitions.
        csv_path: CSV to write, one row per model: means over repetitions, Student's t intervals and standard
            deviations over repetitions, and the mean standard deviation over attack seeds.
        markdown_path: The same for readers.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    metrics = read_table(metrics_path)
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
    write_text(csv_path, table.assign(run=run, banner=banner).to_csv(index=False, float_format="%.6g"))

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
    shown["SD over attack seeds"] = table["attack_seed_sd"].map(_percent)
    note = (
        f"{run_note(table, run, banner)} In %, with Student's t intervals ({confidence:.0%}) over training "
        "repetitions; the last column is the spread of accuracy over attack seeds within one training, a mean over eps."
    )
    write_text(markdown_path, f"{note}\n\n{to_markdown(shown)}")
