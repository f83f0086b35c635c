"""Figures beyond the paper's: its theorem against trained nets, attack variants, and the worst of K attack seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.ablation import ablation_means, in_common, panels, ranking
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES, in_order, short_number
from jacobian_ensembles.paper.theory import correlated_ratio


def plot_theory(jacobian: pd.DataFrame) -> Figure:
    """Mean and variance of ||J_F||_F^2 against M, each relative to the ensemble's own learners.

    Args:
        jacobian: ``jacobian.csv``.

    Returns:
        A figure with two rows per dataset, a column per ensemble method, a line per lambda; the theorem's lower
        bound, with mu and sigma estimated from the learners, is dashed. The dotted line is the same for learners as
        correlated as these were measured to be.
    """
    keys = [*MODEL_KEYS]
    numeric = [c for c in jacobian.columns if c not in (*keys, "repetition")]
    table = jacobian.groupby(keys, as_index=False)[numeric].mean()
    datasets = in_order(table["dataset"], DATASET_TITLES)
    ensembles = in_order(table["ensemble"], ENSEMBLES)
    lambdas = sorted(table["lambda"].unique())
    colours = dict(zip(lambdas, sns.color_palette("viridis", len(lambdas)), strict=True))
    moments = (("mean", "E"), ("variance", "Var"))
    fig, axes = plt.subplots(
        2 * len(datasets), len(ensembles), figsize=(3.1 * len(ensembles) + 1.2, 4.4 * len(datasets) + 0.6),
        sharex=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, (dataset, (moment, symbol)) in enumerate((d, m) for d in datasets for m in moments):
        for col, ensemble in enumerate(ensembles):
            ax = axes[row, col]
            here = table[(table["dataset"] == dataset) & (table["ensemble"] == ensemble)]
            for lam, line in here.groupby("lambda"):
                line = line.sort_values("members")
                measured = line[f"ensemble_{moment}"] / line[f"learner_{moment}"]
                bound = line[f"lower_{moment}"] / line[f"upper_{moment}"]
                correlated = [correlated_ratio(row, moment) for row in line.to_dict("records")]
                ax.plot(line["members"], measured, "o-", color=colours[lam], markersize=4)
                ax.plot(line["members"], bound, "--", color=colours[lam], linewidth=0.8)
                ax.plot(line["members"], correlated, ":", color=colours[lam], linewidth=1.2)
            ax.set_xticks(sorted(table["members"].unique()))
            ax.set_ylim(0, 1.05)
            if row == 0:
                ax.set_title(ensemble.capitalize())
            if row == len(axes) - 1:
                ax.set_xlabel("Learners M")
            if col == 0:
                ax.set_ylabel(f"{DATASET_TITLES[dataset]}\n{symbol} ‖J_F‖² / {symbol} ‖J_i‖²")
    last = axes[0, -1]  # its legend is for all panels
    for lam in lambdas:
        last.plot([], [], "o-", color=colours[lam], markersize=4, label=f"λ = {lam:g}")
    last.plot([], [], "k--", linewidth=0.8, label="theorem: independent\nlearners")
    last.plot([], [], "k:", linewidth=1.2, label="as correlated as\nmeasured")
    last.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize="small")
    return fig


def plot_ablation(ablation: pd.DataFrame) -> Figure:
    """Accuracy under every variant of the attack, averaged over eps and trainings: the seeds' mean and worst.

    There is a panel for each of :func:`~jacobian_ensembles.paper.ablation.panels`. The strongest variant is at the top:
    see :func:`~jacobian_ensembles.paper.ablation.ranking`.

    Args:
        ablation: ``ablation.csv``.

    Returns:
        The figure; where the paper has the model, its number is a dashed line.
    """
    ablation = in_common(ablation)
    shown = panels(ablation_means(ablation))
    variants = ranking(ablation)
    columns = min(3, len(shown)) if len(shown) <= 6 else min(8, -(-len(shown) // 2))
    rows, width = -(-len(shown) // columns), 2.9 if columns <= 3 else 2.1
    fig, axes = plt.subplots(
        rows, columns, figsize=(width * columns + 1.4, (0.21 * len(variants) + 0.9) * rows + 0.4),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    places = {variant: -i for i, variant in enumerate(variants)}
    eps = ", ".join(short_number(e) for e in sorted(set(ablation["eps"])))
    for ax, (dataset, name, panel) in zip(axes.flat, shown, strict=False):
        y = panel["variant"].map(places)
        ax.hlines(y, 100 * panel["worst_accuracy"], 100 * panel["best_accuracy"], color="0.75", linewidth=3)
        ax.plot(100 * panel["mean_accuracy"], y, "|", color="0.3", markersize=8, label="mean of seeds")
        ax.plot(100 * panel["worst_accuracy"], y, "o", color="crimson", markersize=4.5, label="worst seed")
        ax.axvline(100 * panel["clean_accuracy"].iloc[0], color="0.6", linewidth=0.8, linestyle=":", label="clean")
        published = 100 * panel["published"].iloc[0]  # at the paper's four eps only
        if not np.isnan(published):
            ax.axvline(published, color="royalblue", linewidth=0.9, linestyle="--", label="paper")
        ax.set_yticks(list(places.values()), variants)
        ax.set_title(f"{DATASET_TITLES[dataset]}\n{name}", fontsize="medium")
        ax.set_xlabel("Accuracy (%)", fontsize="small")
    fig.suptitle(f"Mean over ε = {eps}", fontsize="medium")
    drawn = {label: artist for ax in axes.flat for artist, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes[0, columns - 1].legend(
        drawn.values(), drawn, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize="small"
    )
    return fig


def plot_budget(ablation: pd.DataFrame) -> Figure:
    """Accuracy under every variant of the attack against eps, averaged over trainings.

    There is a panel for each of :func:`~jacobian_ensembles.paper.ablation.panels`. An attack that works brings accuracy
    down to chance as eps grows, is stronger with more steps, and far stronger than noise.

    Args:
        ablation: ``ablation.csv``.

    Returns:
        The figure: a line per variant for the worst of its seeds, from clean accuracy at eps = 0, and a band up to the
        best of them. If there are more than six variants, only the first, the strongest and the weakest are named; the
        others are grey.
    """
    shown = panels(ablation)
    variants = list(dict.fromkeys(ablation["variant"]))
    order = ranking(in_common(ablation))
    named = variants if len(variants) <= 6 else list(dict.fromkeys([variants[0], order[0], order[-1]]))
    styles = dict(zip(named, sns.color_palette("viridis", len(named)), strict=True))
    columns = min(3, len(shown)) if len(shown) <= 12 else 8
    rows = -(-len(shown) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(2.9 * columns + 1.4, 2.6 * rows + 0.4), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    for ax, (dataset, name, panel) in zip(axes.flat, shown, strict=False):
        clean = panel["clean_accuracy"].iloc[0]
        for variant in variants:
            line = panel[panel["variant"] == variant].sort_values("eps")
            eps, worst, best = ([0.0, *line["eps"]], [clean, *line["worst_accuracy"]], [clean, *line["best_accuracy"]])
            if variant not in styles:
                ax.plot(eps, 100 * np.array(worst), color="0.7", linewidth=0.7, zorder=1)
                continue
            ax.plot(eps, 100 * np.array(worst), "o-", color=styles[variant], markersize=3.5, label=variant)
            ax.fill_between(eps, 100 * np.array(worst), 100 * np.array(best), color=styles[variant], alpha=0.2, lw=0)
        ax.set_title(f"{DATASET_TITLES[dataset]}\n{name}", fontsize="medium")
        ax.set_ylim(0, 102)
        ax.set_xlabel("ε")
        ax.tick_params(labelbottom=True)  # there may be no panel below to carry them
    for ax in axes[:, 0]:
        ax.set_ylabel("Accuracy, worst seed (%)")
    if len(named) < len(variants):
        axes[0, columns - 1].plot([], [], color="0.7", linewidth=0.7, label="others")
    axes[0, columns - 1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize="small")
    return fig


def plot_worst_of_k(table: pd.DataFrame) -> Figure:
    """How the expected worst case falls as attack seeds are added, a panel per dataset and eps.

    Args:
        table: ``worst_of_k.csv``.

    Returns:
        The figure: a line per model in grey, their mean in black.
    """
    datasets = in_order(table["dataset"], DATASET_TITLES)
    all_eps = sorted(table["eps"].unique())
    fig, axes = plt.subplots(
        len(datasets), len(all_eps), figsize=(2.7 * len(all_eps) + 0.8, 2.5 * len(datasets) + 0.5),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, dataset in enumerate(datasets):
        for col, eps in enumerate(all_eps):
            ax = axes[row, col]
            here = table[(table["dataset"] == dataset) & (table["eps"] == eps)]
            first = here["count"].eq(1)
            keys = [*MODEL_KEYS, "repetition"]
            one = here[first].set_index(keys)["expected_worst"].rename("one")
            here = here.join(one, on=keys).assign(fall=lambda t: 100 * (t["expected_worst"] - t["one"]))
            for _, line in here.groupby(keys):
                ax.plot(line["count"], line["fall"], color="0.75", linewidth=0.8)
            mean = here.groupby("count")["fall"].mean()
            ax.plot(mean.index, mean, "ko-", markersize=3.5)
            ax.set_xscale("log")
            counts = np.array(sorted(here["count"].unique()))
            ax.set_xticks(counts, [str(c) for c in counts])
            ax.minorticks_off()
            if row == 0:
                ax.set_title(f"ε = {short_number(eps)}")
            if row == len(datasets) - 1:
                ax.set_xlabel("Attack seeds K")
            if col == 0:
                ax.set_ylabel(f"{DATASET_TITLES[dataset]}\nWorst of K, change\nfrom one seed (points)")
    return fig


def theory(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """:func:`plot_theory` of a run's ``jacobian``."""
    return plot_theory(tables["jacobian"])


def ablation(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """:func:`plot_ablation` of a run's ``ablation``."""
    return plot_ablation(tables["ablation"])


def budget(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """:func:`plot_budget` of a run's ``ablation``."""
    return plot_budget(tables["ablation"])


def worst_of_k(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """:func:`plot_worst_of_k` of a run's ``worst_of_k``."""
    return plot_worst_of_k(tables["worst_of_k"])
