"""Variants of the attack on the same models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS
from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    RenderedTable,
    model_name,
    percent,
    short_number,
    to_markdown,
)
from jacobian_ensembles.paper.published import PAPER_EPS, paper_models


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


def ablation_rows(records: Sequence[Mapping[str, Any]], metrics: pd.DataFrame) -> pd.DataFrame:
    """What every variant of the attack did to every model.

    Args:
        records: Worst-case records with their ``variant``, in the variants' order.
        metrics: ``metrics.csv`` of the run, for the models' clean accuracies.

    Returns:
        One row per (variant, training of a model, eps).
    """
    table = pd.DataFrame(records).drop(columns="accuracies")
    known = metrics[[*CELL_KEYS, "eps", "clean_accuracy"]]
    table = table.merge(known, on=[*CELL_KEYS, "eps"], how="left", validate="many_to_one")
    leading = ["variant", *CELL_KEYS, "eps", "seeds", "worst_accuracy", "mean_accuracy", "std_accuracy"]
    return table[leading + [c for c in table.columns if c not in leading]]


def attack_variants(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> RenderedTable:
    """Compare variants of the attack on the same models with the same attack seeds.

    Args:
        tables: ``ablation``, of :func:`ablation_rows`.
        run: The run's name.
        banner: Of runs that are not the paper's.

    Returns:
        A row per (variant, model, eps); for readers, accuracy under the worst (and the mean) of the attack seeds,
        averaged over eps: a row per variant, a column per model, their mean, and the mean distance from the paper's
        numbers.
    """
    table = tables["ablation"]
    means = ablation_means(table)
    means["model"] = [f"{DATASET_TITLES[r['dataset']]} {model_name(r)}" for r in means.to_dict("records")]
    pairs = zip(means["worst_accuracy"], means["mean_accuracy"], strict=True)
    means["shown"] = [f"{100 * worst:.1f} ({100 * mean:.1f})" for worst, mean in pairs]
    means["distance"] = (means["worst_accuracy"] - means["published"]).abs()
    order = list(dict.fromkeys(means["model"]))
    wide = means.pivot_table("shown", "variant", "model", aggfunc="first", sort=False)[order]
    sums = means.groupby("variant", sort=False)[["worst_accuracy", "mean_accuracy", "distance"]].mean()
    wide["all"] = [f"{100 * worst:.1f} ({100 * mean:.1f})" for worst, mean, _ in sums.to_numpy()]
    wide["from the paper"] = sums["distance"].map(percent)
    first = means.drop_duplicates("model").set_index("model")["published"].map(percent)
    paper = pd.DataFrame([{**first, "all": "–", "from the paper": "–"}], index=["*the paper, worst of 50*"])
    seeds, eps = int(table["seeds"].min()), ", ".join(short_number(e) for e in sorted(set(table["eps"])))
    note = (
        f"Accuracy (in %) under the worst of {seeds} attack seeds, and in brackets their mean; averaged over "
        f"ε = {eps}. Lower is stronger. The last column is the mean absolute difference from the paper's numbers."
    )
    shown = pd.concat([wide, paper]).rename_axis("variant").reset_index()
    return RenderedTable(table, f"{note}\n\n{to_markdown(shown)}")
