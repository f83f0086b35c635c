"""How far a number depends on the attack's variant, on the number of attack seeds and on the training. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.artifacts import write_text
from jacobian_ensembles.checksums import read_record
from jacobian_ensembles.metrics import (
    CELL_KEYS,
    MODEL_KEYS,
    average_repetitions,
    read_table,
    weighted_accuracy,
)
from jacobian_ensembles.tables import DATASET_TITLES, paper_models, run_note, short_number, to_markdown

#: The numbers of attack seeds at which the expected worst case is tabulated, where there are as many seeds.
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
#: The radii of the paper's perturbations.
PAPER_EPS = {0.10, 0.15, 0.20, 0.25}


def expected_worst(accuracies: Sequence[float], count: int) -> float:
    """The expected lowest accuracy among ``count`` of the attack seeds at hand, drawn without replacement.

    Of the K accuracies in ascending order, the i-th (from 0) is the lowest of a draw when the other count - 1 are
    among the K - 1 - i above it: C(K-1-i, count-1) of the C(K, count) draws.

    Args:
        accuracies: (K,), one per attack seed.
        count: In [1, K].

    Returns:
        The expectation, exact.

    Raises:
        ValueError: If ``count`` is not in [1, K].
    """
    ordered = np.sort(np.asarray(accuracies, float))
    size = len(ordered)
    if not 1 <= count <= size:
        raise ValueError(f"count must lie in [1, {size}], the number of attack seeds. Got {count}.")
    total = comb(size, count)
    weights = np.array([comb(size - 1 - i, count - 1) / total for i in range(size)])
    return float(weights @ ordered)


def worst_interval(
    accuracies: Sequence[float], count: int, confidence: float, seed: int = 0, draws: int = 2000
) -> tuple[float, float]:
    """Where the lowest accuracy among ``count`` attack seeds falls, by the bootstrap over the seeds at hand.

    Args:
        accuracies: (K,), one per attack seed.
        count: How many seeds are drawn, with replacement.
        confidence: Share of draws between the bounds.
        seed: Of the draws.
        draws: How many.

    Returns:
        The lower and the upper percentile.
    """
    rng = np.random.default_rng(seed)
    lowest = rng.choice(np.asarray(accuracies, float), (draws, count)).min(axis=1)
    low, high = np.quantile(lowest, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def tabulate_worst_of_k(records: Sequence[str | Path], csv_path: str | Path, confidence: float) -> None:
    """Tabulate the expected worst case against the number of attack seeds.

    Args:
        records: What :func:`~jacobian_ensembles.metrics.select_worst_uap` wrote, one per (model, eps).
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


def model_name(row: Mapping[Any, Any]) -> str:
    """A model as a reader names it, such as ``voting M=3 λ=0.10``."""
    return f"{row['ensemble']} M={row['members']} λ={short_number(float(row['lambda']))}"


def ablation_means(ablation: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracies of every (variant, model) over eps.

    Args:
        ablation: What :func:`aggregate_ablation` wrote: one row per (variant, model, eps).

    Returns:
        One row per (variant, model) in the order met: clean_accuracy; worst_accuracy, mean_accuracy and
        best_accuracy, of the attack seeds; and ``published``, the paper's mean accuracy under UAP, where Table 1 has
        the model and eps are the paper's four.
    """
    accuracies = ["clean_accuracy", "worst_accuracy", "mean_accuracy", "best_accuracy"]
    keys = ["variant", *MODEL_KEYS]
    means = ablation.groupby(keys, as_index=False, sort=False)[accuracies].mean()
    paper = paper_models()
    paper["published"] = paper["avg_uap"] / 100 if set(ablation["eps"]) == PAPER_EPS else np.nan
    return means.merge(paper[[*MODEL_KEYS, "published"]], on=MODEL_KEYS, how="left", validate="many_to_one")


def aggregate_ablation(
    metrics_path: str | Path,
    records: Sequence[str | Path],
    variants: Sequence[str],
    csv_path: str | Path,
    markdown_path: str | Path,
) -> None:
    """Compare variants of the attack on the same models with the same attack seeds.

    Args:
        metrics_path: ``metrics.csv`` of the run, for the models' clean accuracies.
        records: Worst-case records: all models and eps of the first variant, then of the second, and so on.
        variants: The variants' names, in that order.
        csv_path: CSV to write: one row per (variant, model, eps).
        markdown_path: Markdown to write: accuracy under the worst (and the mean) of the attack seeds, averaged over
            eps: a row per variant, a column per model, their mean, and the mean distance from the paper's numbers.
    """
    each = len(records) // len(variants)
    rows = [read_record(path) | {"variant": variants[i // each]} for i, path in enumerate(records)]
    table = pd.DataFrame(rows).drop(columns="accuracies")
    known = read_table(metrics_path)[[*CELL_KEYS, "eps", "clean_accuracy"]]
    table = table.merge(known, on=[*CELL_KEYS, "eps"], how="left", validate="many_to_one")
    leading = ["variant", *CELL_KEYS, "eps", "seeds", "worst_accuracy", "mean_accuracy", "std_accuracy"]
    table = table[leading + [c for c in table.columns if c not in leading]]
    write_text(csv_path, table.to_csv(index=False, float_format="%.6g"))

    means = ablation_means(table)
    means["model"] = [f"{DATASET_TITLES[r['dataset']]} {model_name(r)}" for r in means.to_dict("records")]
    pairs = zip(means["worst_accuracy"], means["mean_accuracy"], strict=True)
    means["shown"] = [f"{100 * worst:.1f} ({100 * mean:.1f})" for worst, mean in pairs]
    means["distance"] = (means["worst_accuracy"] - means["published"]).abs()
    order = list(dict.fromkeys(means["model"]))
    wide = means.pivot_table("shown", "variant", "model", aggfunc="first", sort=False)[order]
    sums = means.groupby("variant", sort=False)[["worst_accuracy", "mean_accuracy", "distance"]].mean()
    wide["all"] = [f"{100 * worst:.1f} ({100 * mean:.1f})" for worst, mean, _ in sums.to_numpy()]
    wide["from the paper"] = sums["distance"].map(_percent)
    first = means.drop_duplicates("model").set_index("model")["published"].map(_percent)
    paper = pd.DataFrame([{**first, "all": "–", "from the paper": "–"}], index=["*the paper, worst of 50*"])
    seeds, eps = int(table["seeds"].min()), ", ".join(short_number(e) for e in sorted(set(table["eps"])))
    note = (
        f"Accuracy (in %) under the worst of {seeds} attack seeds, and in brackets their mean; averaged over "
        f"ε = {eps}. Lower is stronger. The last column is the mean absolute difference from the paper's numbers."
    )
    shown = pd.concat([wide, paper]).rename_axis("variant").reset_index()
    write_text(markdown_path, f"{note}\n\n{to_markdown(shown)}")


def _percent(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


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
