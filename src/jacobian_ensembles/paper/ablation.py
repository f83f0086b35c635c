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
    in_order,
    model_name,
    norm_note,
    percent,
    short_number,
    to_markdown,
)
from jacobian_ensembles.paper.markup import markdown
from jacobian_ensembles.paper.published import PAPER_EPS, paper_models

_ACCURACIES = ["clean_accuracy", "worst_accuracy", "mean_accuracy", "best_accuracy"]
_MANY = 12  # models of one dataset that can be read side by side


def in_common(ablation: pd.DataFrame) -> pd.DataFrame:
    """The rows of the trainings and eps that every variant was tried on; all rows where there are none."""
    variants = ablation.groupby([*CELL_KEYS, "eps"])["variant"].transform("nunique")
    common = ablation[variants == ablation["variant"].nunique()]
    return common if len(common) else ablation


def ablation_means(ablation: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracies of every (variant, model) over eps and trainings.

    Args:
        ablation: What :func:`aggregate_ablation` wrote: one row per (variant, training of a model, eps).

    Returns:
        One row per (variant, model) in the order met: clean_accuracy; worst_accuracy, mean_accuracy and
        best_accuracy, of the attack seeds; and ``published``, the paper's mean accuracy under UAP, where Table 1 has
        the model and the eps are the paper's four.
    """
    keys = ["variant", *MODEL_KEYS]
    means = ablation.astype({"lambda": float}).groupby(keys, as_index=False, sort=False)[_ACCURACIES].mean()
    paper = paper_models()
    paper["published"] = paper["avg_uap"] / 100 if set(ablation["eps"]) == PAPER_EPS else np.nan
    return means.merge(paper[[*MODEL_KEYS, "published"]], on=MODEL_KEYS, how="left", validate="many_to_one")


def panels(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """What figures and tables show side by side: every model, or means where there are many.

    Args:
        table: Rows per (variant, model), of :func:`ablation_means` or ``ablation.csv`` itself.

    Returns:
        The dataset, a name and the rows of each panel, means over trainings: one per model; where a dataset has more
        than 12 models, one per lambda with means over methods and M, for which the paper has no number.
    """
    values = [name for name in (*_ACCURACIES, "published") if name in table.columns]
    along = [key for key in ("variant", "eps") if key in table.columns]
    many = table.drop_duplicates(MODEL_KEYS)["dataset"].value_counts().max() > _MANY
    found = []
    for dataset in in_order(table["dataset"], DATASET_TITLES):
        here = table[table["dataset"] == dataset]
        for key, rows in here.groupby("lambda") if many else here.groupby(MODEL_KEYS, sort=False):
            means = rows.groupby(along, as_index=False, sort=False)[values].mean()
            if many:
                name, means = f"λ={short_number(float(str(key)))}", means.assign(published=np.nan)
            else:
                name = model_name(rows.iloc[0].to_dict())
            found.append((dataset, name, means))
    return found


def _mean_if_complete(values: pd.Series[float]) -> float:
    return float(values.mean(skipna=False))


def means_of_lambdas(ablation: pd.DataFrame, *along: str) -> pd.DataFrame:
    """Average the accuracies of every variant over the models of each dataset and lambda.

    Args:
        ablation: ``ablation.csv``.
        along: Further columns to keep apart, such as ``eps``.

    Returns:
        One row per (variant, dataset, lambda), variants in the order met, with the accuracies of
        :func:`ablation_means`. ``published`` is missing where the paper lacks any of the models.
    """
    models = ablation_means(ablation)
    if along:
        models = ablation.groupby(["variant", *MODEL_KEYS, *along], as_index=False, sort=False)[_ACCURACIES].mean()
    values = [name for name in (*_ACCURACIES, "published") if name in models.columns]
    groups = models.groupby(["variant", "dataset", "lambda", *along], as_index=False, sort=False)
    return groups[values].agg(_mean_if_complete)


def ranking(ablation: pd.DataFrame, variants: Sequence[str] | None = None) -> list[str]:
    """Variants, the strongest first, by the mean over models (and eps) of the accuracy under the worst seed.

    Args:
        ablation: See :func:`ablation_means`.
        variants: Only these; None for all.
    """
    means = ablation_means(ablation).groupby("variant", sort=False)["worst_accuracy"].mean()
    return list(means.loc[list(variants or means.index)].sort_values(kind="stable").index)


def ablation_rows(
    records: Sequence[Mapping[str, Any]], metrics: pd.DataFrame, peers: Sequence[str] | None = None
) -> pd.DataFrame:
    """What every variant of the attack did to every model.

    Args:
        records: Worst-case records with their ``variant``, in the variants' order.
        metrics: ``metrics.csv`` of the run, for the models' clean accuracies.
        peers: The variants that attack what the first one attacks, within the same bound and with the same images to
            craft on: only these can be called the strongest. None for all.

    Returns:
        One row per (variant, training of a model, eps), with ``same_rules``, whether its variant is among ``peers``.
    """
    table = pd.DataFrame(records).drop(columns=["accuracies", "success_rates"], errors="ignore")
    known = metrics[[*CELL_KEYS, "eps", "clean_accuracy"]]
    table = table.merge(known, on=[*CELL_KEYS, "eps"], how="left", validate="many_to_one")
    leading = ["variant", *CELL_KEYS, "eps", "seeds", "worst_accuracy", "mean_accuracy", "std_accuracy"]
    peers = peers or list(dict.fromkeys(table["variant"]))
    table["same_rules"] = table["variant"].isin(peers)
    return table[leading + [c for c in table.columns if c not in leading]]


def attack_variants(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> RenderedTable:
    """Compare variants of the attack on the same models with the same attack seeds.

    Args:
        tables: ``ablation``, of :func:`ablation_rows`.
        run: The run's name.
        banner: The run's banner; empty for a full run.

    Returns:
        A row per (variant, model, eps). For readers, accuracy under the worst (and the mean) of the attack seeds,
        averaged over eps: the variants, the strongest first, with how they differ from the first one and what they
        cost; which is the strongest at the first one's cost; and a column for each of :func:`panels`, a table per
        dataset. Where there are many models, also how similarly the variants rank them.
    """
    whole = tables["ablation"]
    table = in_common(whole)
    eps = ", ".join(short_number(e) for e in sorted(set(table["eps"])))
    first = markdown(table["variant"].iloc[0])
    note = (
        f"Accuracy (in %) under the worst attack seed, and in brackets the seeds' mean; averaged over ε = {eps}. Lower "
        f"is stronger, and the strongest come first. Beside each: its change from {first} in points; in how many pairs "
        "of model and ε it is lower; its seeds per pair, and how many gradients of an image they take; and the mean "
        f"absolute difference from the paper's numbers.{norm_note(table)}"
    )
    text = f"{note}\n\n{_overall(table)}\n{_strongest(table)}\n"
    shown = panels(ablation_means(table))
    averaged = len(shown) < len(table.drop_duplicates(MODEL_KEYS))
    for dataset in in_order(table["dataset"], DATASET_TITLES):
        title = DATASET_TITLES[dataset] + (", means over methods and M" if averaged else "")
        columns = {name: rows for of, name, rows in shown if of == dataset}
        text += f"\n{markdown(title)}:\n\n{_side_by_side(columns, ranking(table))}"
        if averaged and len(set(table["variant"])) > 1:
            text += f"\n{_order_of_models(table[table['dataset'] == dataset])}\n"
    return RenderedTable(whole, text)


def _shown(worst: float, mean: float) -> str:
    return f"{100 * worst:.1f} ({100 * mean:.1f})"


def _cost(ablation: pd.DataFrame) -> pd.Series[float]:
    """Gradients of single images that each variant takes per (model, eps); NaN where they were not counted."""
    if "gradient_images" not in ablation:
        ablation = ablation.assign(gradient_images=np.nan)
    counted: pd.Series[float] = ablation.groupby("variant", sort=False)["gradient_images"].mean()
    return counted.replace(0, np.nan)


def _overall(ablation: pd.DataFrame) -> str:
    """A row per variant: means over all models and each dataset's, the change from the first variant, the cost."""
    means = ablation_means(ablation)
    means["distance"] = (means["worst_accuracy"] - means["published"]).abs()
    pairs = ablation.pivot_table("worst_accuracy", [*CELL_KEYS, "eps"], "variant", sort=False)
    first, cost = ablation["variant"].iloc[0], _cost(ablation)
    datasets = in_order(ablation["dataset"], DATASET_TITLES)
    rows = []
    for variant in ranking(ablation):
        here = means[means["variant"] == variant]
        row = {"variant": variant, "all": _shown(*here[["worst_accuracy", "mean_accuracy"]].mean())}
        for dataset in datasets if len(datasets) > 1 else ():
            of_dataset = here[here["dataset"] == dataset]
            row[DATASET_TITLES[dataset]] = _shown(*of_dataset[["worst_accuracy", "mean_accuracy"]].mean())
        change = pairs[variant] - pairs[first]
        row["change"] = "–" if variant == first else f"{100 * change.mean():+.1f}"
        row["lower in"] = "–" if variant == first else f"{int((change < 0).sum())} of {len(change)}"
        row["seeds"] = str(ablation.loc[ablation["variant"] == variant, "seeds"].max())
        row["gradients"] = "–" if np.isnan(cost[variant]) else f"{cost[variant]:,.0f}"
        if "success_rate" in ablation:
            row["reached"] = percent(ablation.loc[ablation["variant"] == variant, "success_rate"].mean())
        rows.append({**row, "from the paper": percent(here["distance"].mean())})
    reached = "reached: the share of other classes' images that pass for a seed's target class, mean of seeds.\n"
    return to_markdown(pd.DataFrame(rows)) + (f"\n{reached}" if "success_rate" in ablation else "")


def _strongest(ablation: pd.DataFrame) -> str:
    """Which variant is the strongest of those that cost no more than the first: overall, and for each dataset."""
    cost = _cost(ablation)
    peers = ablation.loc[ablation["same_rules"], "variant"].unique() if "same_rules" in ablation else cost.index
    first = cost.index[0]
    if np.isnan(cost[first]):
        return "What each costs was not counted, so none is called the strongest."
    # where the cost was not counted, it may be anything
    cheap = [v for v in peers if v == first or cost[v] <= 1.01 * cost[first]]
    parts = {"overall": ablation}
    if len(datasets := in_order(ablation["dataset"], DATASET_TITLES)) > 1:
        parts |= {f"on {DATASET_TITLES[d]}": ablation[ablation["dataset"] == d] for d in datasets}
    best = [f"{ranking(part, cheap)[0]} {where}" for where, part in parts.items()]
    return markdown(f"Strongest at the cost of {first}, under the same rules: {', '.join(best)}.")


def _side_by_side(columns: Mapping[str, pd.DataFrame], order: Sequence[str]) -> str:
    """A column per panel of one dataset, a row per variant, and one for the paper."""
    wide = pd.DataFrame(index=pd.Index(order, name="variant"))
    for name, rows in columns.items():
        pairs = rows.set_index("variant")[["worst_accuracy", "mean_accuracy"]]
        wide[name] = [_shown(*pairs.loc[variant]) for variant in order]
    published = pd.Series({name: rows["published"].iloc[0] for name, rows in columns.items()})
    if published.notna().any():
        wide.loc["the paper, worst of 50"] = published.map(percent)
    return to_markdown(wide.rename_axis("variant").reset_index())


def _order_of_models(ablation: pd.DataFrame) -> str:
    """How similarly the variants rank the models of one dataset: overall, and among those of the same lambda."""
    first, *others = dict.fromkeys(ablation["variant"])
    wide = ablation.pivot_table("worst_accuracy", MODEL_KEYS, "variant")
    parts = []
    for variant in others:
        overall = wide[first].corr(wide[variant], method="spearman")
        within = [rows[first].corr(rows[variant], method="spearman") for _, rows in wide.groupby("lambda")]
        parts.append(f"{variant} {overall:+.2f}, within one λ {np.nanmean(within):+.2f}")
    told = f"Rank correlation of the models' accuracies (means over ε) with those under {first}: {'; '.join(parts)}."
    return markdown(told)
