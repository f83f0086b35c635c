"""Figures 1-3 in the paper's layout: MNIST above Fashion-MNIST, a column per ensemble method or per eps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

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


def _shades(count: int) -> list[tuple[float, float, float]]:
    """Colours from dark to light that can be told apart in grey, and by the colour-blind."""
    return [mpl.colormaps["viridis"](0.85 * i / max(count - 1, 1))[:3] for i in range(count)]


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


def _interval_of(metrics: pd.DataFrame, confidence: float) -> str:
    """What the bars of a figure show, for its legend."""
    counts = metrics["repetitions"] if "repetitions" in metrics.columns else pd.Series([1])
    least, most = int(counts.min()), int(counts.max())
    if most == 1:
        return f"bars: {confidence:.0%}\nover test images"
    return f"mean and {confidence:.0%}\nover {least if least == most else f'{least} to {most}'}\ntrainings"


def plot_against_lambda(metrics: pd.DataFrame, column: str, label: str, confidence: float) -> Figure:
    """Accuracy against lambda: a row per dataset, a column per ensemble method, a line per M.

    Args:
        metrics: One row per model; ``repetitions`` says over how many trainings it is a mean.
        column: The accuracy to show, in [0, 1]; ``<stem>_low`` and ``<stem>_high`` are its interval.
        label: The vertical axis's label.
        confidence: Level of the intervals, for the legend.

    Returns:
        The figure. Bars of the same lambda stand side by side, centred on it.
    """
    datasets = in_order(metrics["dataset"], DATASET_TITLES)
    ensembles = in_order(metrics["ensemble"], ENSEMBLES)
    members = sorted(metrics["members"].unique())
    lambdas = sorted(metrics["lambda"].unique())
    markers, dashes = _style(members, _MARKERS), _style(members, _DASHES)
    colours = dict(zip(members, _shades(len(members)), strict=True))
    shifts = {m: 2.6 * (i - (len(members) - 1) / 2) / 72 for i, m in enumerate(members)}  # inches
    stem = column.removesuffix("_accuracy")
    fig, axes = plt.subplots(
        len(datasets), len(ensembles), figsize=(3.3 * len(ensembles) + 1.4, 3.0 * len(datasets) + 0.6),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, dataset in enumerate(datasets):
        for col, ensemble in enumerate(ensembles):
            ax = axes[row, col]
            here = metrics[(metrics["dataset"] == dataset) & (metrics["ensemble"] == ensemble)]
            for m in members:
                line = here[here["members"] == m].sort_values("lambda")
                y = 100 * line[column]
                spread = [y - 100 * line[f"{stem}_low"], 100 * line[f"{stem}_high"] - y]
                drawn = ax.errorbar(
                    line["lambda"], y, yerr=spread, color=colours[m], marker=markers[m], markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5, elinewidth=0.9, linewidth=1.3, label=f"M = {m}",
                )  # fmt: skip
                drawn.lines[0].set_dashes(dashes[m] or (None, None))
                aside = ScaledTranslation(shifts[m], 0, fig.dpi_scale_trans)
                for artist in (drawn.lines[0], *drawn.lines[2]):
                    artist.set_transform(ax.transData + aside)
            _lambda_axis(ax, lambdas)
            ax.grid(axis="y", color="0.92", linewidth=0.7)
            ax.set_axisbelow(True)
            if row == 0:
                ax.set_title(ensemble.capitalize())
            if row == len(datasets) - 1:
                ax.set_xlabel(_LAMBDA)
            if col == 0:
                ax.set_ylabel(f"{DATASET_TITLES[dataset]}\n{label}")
    axes[0, -1].legend(
        loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small", frameon=False, handlelength=3.2,
        title=_interval_of(metrics, confidence), title_fontsize="small", alignment="left",
    )  # fmt: skip
    return fig


def _label_lambdas(ax: Axes, points: pd.DataFrame) -> None:
    """One label per lambda, as one on each of its points would be unreadable.

    The paths of models over lambda bend down to the right. Labels stand outside the bend: above the points where the
    path of the medians runs level, in two alternating rows, and to their right elsewhere.

    Args:
        ax: Where the points are.
        points: Columns ``x``, ``y`` and ``lambda``.
    """
    medians = points.groupby("lambda")[["x", "y"]].median()
    path = (medians / (points[["x", "y"]].max() - points[["x", "y"]].min()).replace(0, 1)).to_numpy()
    slopes = np.abs(np.gradient(path, axis=0)) if len(path) > 1 else np.zeros_like(path)
    for i, (lam, here) in enumerate(points.groupby("lambda")):
        x, y = medians.to_numpy()[i]
        if slopes[i, 0] > 2 * slopes[i, 1]:
            place, shift, align = (x, here["y"].max()), (0, (6, 14)[i % 2]), "center" if i else "right"
        else:
            place, shift, align = (here["x"].max(), y), (6, -3), "left"
        ax.annotate(
            f"λ = {lam:g}", place, xytext=shift, ha=align, textcoords="offset points", fontsize=7.5, color="0.15",
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip


def _separate_labels(fig: Figure) -> None:
    """Move labels of lambda that overlap others: up if they stand above the points, down if they stand beside them."""
    fig.draw_without_rendering()  # their places are not known before
    for ax in fig.axes:
        placed: list[Bbox] = []
        for text in ax.texts:
            if isinstance(text, Annotation):
                x, y = text.xyann
                step = 1 if y > 0 else -1
                while text.get_window_extent().count_overlaps(placed):
                    y += step
                    text.xyann = (x, y)
                placed.append(text.get_window_extent())


def plot_tradeoff(metrics: pd.DataFrame, confidence: float) -> Figure:
    """Clean accuracy against robustness: a row per dataset, a column per eps, points labelled by lambda.

    Args:
        metrics: ``metrics.csv``, or its means over trainings, which are drawn with bars.
        confidence: Level of the intervals, for the legend.

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
    several = "repetitions" in metrics.columns and metrics["repetitions"].max() > 1
    fig, axes = plt.subplots(
        len(datasets), len(all_eps), figsize=(3.0 * len(all_eps) + 1.4, 3.0 * len(datasets) + 0.5),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, dataset in enumerate(datasets):
        for col, eps in enumerate(all_eps):
            ax = axes[row, col]
            here = shown[(shown["dataset"] == dataset) & (shown["eps"] == eps)]
            last = row == 0 and col == len(all_eps) - 1
            if several:
                ends = [[100 * abs(here[f"{s}_{end}"] - here[f"{s}_accuracy"]) for end in ("low", "high")]
                        for s in ("worst", "clean")]  # fmt: skip
                ax.errorbar(
                    here["x"], here["y"], xerr=ends[0], yerr=ends[1], fmt="none", ecolor="0.6", elinewidth=0.5,
                    alpha=0.6, zorder=0,
                )  # fmt: skip
            sns.scatterplot(
                here, x="x", y="y", hue="Ensemble", hue_order=[e.capitalize() for e in ensembles],
                palette={e.capitalize(): _colours(ensembles)[e] for e in ensembles},
                style="M", style_order=members, markers=_style(members, _MARKERS), s=34, alpha=0.85,
                legend="full" if last else False, ax=ax,
            )  # fmt: skip
            _label_lambdas(ax, here)
            ax.margins(x=0.14, y=0.12)  # room for labels
            ax.set_xlabel("Accuracy under worst UAP (%)" if row == len(datasets) - 1 else "")
            ax.set_ylabel(f"{DATASET_TITLES[dataset]}\nClean accuracy (%)" if col == 0 else "")
            if row == 0:
                ax.set_title(f"ε = {short_number(eps)}")
            if last:
                sns.move_legend(ax, "upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize="small")
                if several:
                    ax.get_legend().set_title(_interval_of(metrics, confidence), {"size": "small"})
    _separate_labels(fig)
    return fig


def clean_accuracy(tables: Mapping[str, pd.DataFrame], confidence: float) -> Figure:
    """Figure 1: clean accuracy against lambda, means over trainings, from ``metrics``."""
    models = average_repetitions(tables["metrics"], confidence).drop_duplicates(MODEL_KEYS)
    return plot_against_lambda(models, "clean_accuracy", "Clean accuracy (%)", confidence)


def robustness(tables: Mapping[str, pd.DataFrame], eps: float, confidence: float) -> Figure:
    """Figure 2: accuracy under the worst perturbation at one eps against lambda, from ``metrics``."""
    metrics = average_repetitions(tables["metrics"], confidence)
    label = f"Accuracy under UAP, ε = {short_number(eps)} (%)"
    return plot_against_lambda(metrics[metrics["eps"] == eps], "worst_accuracy", label, confidence)


def tradeoff(tables: Mapping[str, pd.DataFrame], confidence: float) -> Figure:
    """Figure 3: clean accuracy against robustness per eps, from ``metrics``."""
    return plot_tradeoff(average_repetitions(tables["metrics"], confidence), confidence)
