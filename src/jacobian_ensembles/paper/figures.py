"""Figures 1-3 in the paper's layout: MNIST above Fashion-MNIST, one colour per ensemble method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jacobian_ensembles.evaluation.summary import MODEL_KEYS, average_repetitions
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES, in_order, short_number

mpl.use("Agg")
_PALETTE = sns.color_palette("colorblind")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ((), (4, 1.5), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1), (1, 2), (5, 1, 1, 1, 1, 1), (2, 2))
_LAMBDA = "Jacobian regularisation strength λ"


def _colours(ensembles: Sequence[str]) -> dict[str, Any]:
    """A colour per ensemble method; the paper's three keep theirs in every figure."""
    return _style([*ENSEMBLES, *(name for name in ensembles if name not in ENSEMBLES)], _PALETTE)


def _style(values: Sequence[Any], styles: Sequence[Any]) -> dict[Any, Any]:
    return {value: styles[i % len(styles)] for i, value in enumerate(values)}


def _lambda_axis(ax: Axes, lambdas: list[float]) -> None:
    """A symmetric logarithmic axis, so that lambda = 0 has a place, ticked at the values that were run."""
    positive = [value for value in lambdas if value > 0]
    if not positive:
        return
    ax.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
    ax.xaxis.set_major_locator(FixedLocator(lambdas))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", labelrotation=45)


def plot_against_lambda(metrics: pd.DataFrame, column: str, label: str) -> Figure:
    """Accuracy against lambda: a row per dataset, a column per ensemble method, a line per M.

    Args:
        metrics: One row per model.
        column: The accuracy to show, in [0, 1]; ``<stem>_low`` and ``<stem>_high`` are its interval.
        label: The vertical axis's label.

    Returns:
        The figure.
    """
    datasets = in_order(metrics["dataset"], DATASET_TITLES)
    ensembles = in_order(metrics["ensemble"], ENSEMBLES)
    members = sorted(metrics["members"].unique())
    lambdas = sorted(metrics["lambda"].unique())
    markers, dashes = _style(members, _MARKERS), _style(members, _DASHES)
    stem = column.removesuffix("_accuracy")
    fig, axes = plt.subplots(
        len(datasets), len(ensembles), figsize=(3.1 * len(ensembles) + 0.6, 2.7 * len(datasets) + 0.6),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, dataset in enumerate(datasets):
        for col, ensemble in enumerate(ensembles):
            ax = axes[row, col]
            here = metrics[(metrics["dataset"] == dataset) & (metrics["ensemble"] == ensemble)]
            shades = sns.light_palette(_colours(ensembles)[ensemble], len(members) + 2)[2:]
            for shade, m in zip(shades, members, strict=True):
                line = here[here["members"] == m].sort_values("lambda")
                y = 100 * line[column]
                spread = [y - 100 * line[f"{stem}_low"], 100 * line[f"{stem}_high"] - y]
                ax.errorbar(
                    line["lambda"], y, yerr=spread, color=shade, marker=markers[m], markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5, elinewidth=0.8, capsize=1.5, linewidth=1.4,
                    dashes=dashes[m] or (None, None), label=f"M = {m}",
                )  # fmt: skip
            _lambda_axis(ax, lambdas)
            if row == 0:
                ax.set_title(ensemble.capitalize())
            if row == len(datasets) - 1:
                ax.set_xlabel(_LAMBDA)
            if col == 0:
                ax.set_ylabel(f"{DATASET_TITLES[dataset]}\n{label}")
            if row == 0:
                ax.legend(fontsize="small", frameon=False)
    return fig


def plot_tradeoff(metrics: pd.DataFrame) -> Figure:
    """Clean accuracy against robustness: a row per dataset, a column per eps, points labelled by lambda.

    Args:
        metrics: ``metrics.csv``.

    Returns:
        The figure.
    """
    datasets = in_order(metrics["dataset"], DATASET_TITLES)
    ensembles = in_order(metrics["ensemble"], ENSEMBLES)
    members, all_eps = sorted(metrics["members"].unique()), sorted(metrics["eps"].unique())
    shown = metrics.assign(
        x=100 * metrics["worst_accuracy"],
        y=100 * metrics["clean_accuracy"],
        Ensemble=metrics["ensemble"].str.capitalize(),
        M=metrics["members"],
    )
    fig, axes = plt.subplots(
        len(datasets), len(all_eps), figsize=(3.0 * len(all_eps) + 1.4, 3.0 * len(datasets) + 0.5),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, dataset in enumerate(datasets):
        for col, eps in enumerate(all_eps):
            ax = axes[row, col]
            here = shown[(shown["dataset"] == dataset) & (shown["eps"] == eps)]
            last = row == 0 and col == len(all_eps) - 1
            sns.scatterplot(
                here, x="x", y="y", hue="Ensemble", hue_order=[e.capitalize() for e in ensembles],
                palette={e.capitalize(): _colours(ensembles)[e] for e in ensembles},
                style="M", style_order=members, markers=_style(members, _MARKERS), s=34, alpha=0.85,
                legend="full" if last else False, ax=ax,
            )  # fmt: skip
            # one label per lambda, at its most central point: a label on each of them could not be read. Neighbours,
            # which may lie close to each other, have theirs on different sides.
            for i, (lam, points) in enumerate(here.groupby("lambda")):
                xy = points[["x", "y"]]
                central = xy.loc[(xy - xy.median()).pow(2).sum(axis=1).idxmin()]
                shift, side = (-5, "right") if i % 2 else (5, "left")
                ax.annotate(
                    f"λ = {lam:g}", tuple(central), xytext=(shift, -9), ha=side,
                    textcoords="offset points", fontsize=7.5, color="0.15",
                    path_effects=[withStroke(linewidth=1.8, foreground="white")],
                )  # fmt: skip
            ax.margins(x=0.1)  # room for labels
            ax.set_xlabel("Accuracy under worst UAP (%)" if row == len(datasets) - 1 else "")
            ax.set_ylabel(f"{DATASET_TITLES[dataset]}\nClean accuracy (%)" if col == 0 else "")
            if row == 0:
                ax.set_title(f"ε = {short_number(eps)}")
            if last:
                sns.move_legend(ax, "upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize="small")
    return fig


def clean_accuracy(tables: Mapping[str, pd.DataFrame], confidence: float) -> Figure:
    """Figure 1: clean accuracy against lambda, of the means over trainings, from ``metrics``."""
    models = average_repetitions(tables["metrics"], confidence).drop_duplicates(MODEL_KEYS)
    return plot_against_lambda(models, "clean_accuracy", "Clean accuracy (%)")


def robustness(tables: Mapping[str, pd.DataFrame], eps: float, confidence: float) -> Figure:
    """Figure 2: accuracy under the worst perturbation at one eps against lambda, from ``metrics``."""
    metrics = average_repetitions(tables["metrics"], confidence)
    label = f"Accuracy under UAP, ε = {short_number(eps)} (%)"
    return plot_against_lambda(metrics[metrics["eps"] == eps], "worst_accuracy", label)


def tradeoff(tables: Mapping[str, pd.DataFrame], confidence: float) -> Figure:
    """Figure 3: clean accuracy against robustness per eps, from ``metrics``."""
    return plot_tradeoff(average_repetitions(tables["metrics"], confidence))
