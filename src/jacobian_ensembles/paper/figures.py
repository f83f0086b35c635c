"""Figures 1-3 in the paper's layout: MNIST above Fashion-MNIST, a column per ensemble method or per eps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from jacobian_ensembles.evaluation.summary import MODEL_KEYS, average_repetitions
from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    ENSEMBLES,
    eps_symbol,
    in_order,
    method_colours,
    short_number,
)
from jacobian_ensembles.paper.markup import mathtext
from jacobian_ensembles.paper.style import bar, drawing, is_outer, legend_above, panels, sample, shades

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ((), (4, 1.5), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1), (1, 2), (5, 1, 1, 1, 1, 1), (2, 2))


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


def interval_of(metrics: pd.DataFrame, confidence: float) -> str:
    """What the bars of a figure show, for its legend."""
    counts = metrics["repetitions"] if "repetitions" in metrics.columns else pd.Series([1])
    least, most = int(counts.min()), int(counts.max())
    if most == 1:
        return f"bars: {confidence:.0%} interval over test images"
    return (
        f"bars: {confidence:.0%} interval of the mean of {least if least == most else f'{least} to {most}'} trainings"
    )


@drawing()
def plot_against_lambda(
    metrics: pd.DataFrame, column: str, label: str, confidence: float, objective: str = "jacobian"
) -> Figure:
    """Accuracy against lambda: a row per dataset, a column per ensemble method, a line per M.

    Args:
        metrics: One row per model; ``repetitions`` says over how many trainings it is a mean.
        column: The accuracy to show, in [0, 1]; ``<stem>_low`` and ``<stem>_high`` are its interval.
        label: The vertical axis's label.
        confidence: Level of the intervals, for the legend.
        objective: What λ is the strength of.

    Returns:
        The figure, a legend above it. Bars of the same lambda stand side by side, centred on it.
    """
    datasets = in_order(metrics["dataset"], DATASET_TITLES)
    ensembles = in_order(metrics["ensemble"], ENSEMBLES)
    members = sorted(metrics["members"].unique())
    lambdas = sorted(metrics["lambda"].unique())
    markers, dashes = _style(members, _MARKERS), _style(members, _DASHES)
    colours = dict(zip(members, shades(len(members)), strict=True))
    shifts = {m: 2.2 * (i - (len(members) - 1) / 2) / 72 for i, m in enumerate(members)}  # inches
    stem = column.removesuffix("_accuracy")
    strength = "Regularisation strength λ" if objective == "jacobian" else f"Strength λ of '{objective}'"
    fig, axes = panels(datasets, ensembles, 1.75, sharex=True, sharey="row")
    entries: dict[str, Artist] = {}
    for (dataset, ensemble), ax in axes.items():
        here = metrics[(metrics["dataset"] == dataset) & (metrics["ensemble"] == ensemble)]
        for m in members:
            line = here[here["members"] == m].sort_values("lambda")
            y = 100 * line[column]
            spread = [y - 100 * line[f"{stem}_low"], 100 * line[f"{stem}_high"] - y]
            drawn = ax.errorbar(
                line["lambda"], y, yerr=spread, color=colours[m], marker=markers[m], markeredgecolor="white",
                markeredgewidth=0.4, elinewidth=0.8, label=f"M = {m}",
            )  # fmt: skip
            drawn.lines[0].set_dashes(dashes[m] or (None, None))
            entries.setdefault(f"M = {m}", drawn.lines[0])
            aside = ScaledTranslation(shifts[m], 0, fig.dpi_scale_trans)
            for artist in (drawn.lines[0], *drawn.lines[2]):
                artist.set_transform(ax.transData + aside)
        _lambda_axis(ax, lambdas)
        ax.grid(axis="y", color="0.92", linewidth=0.5)
        ax.set_axisbelow(True)
        first, last = is_outer(ax)
        if dataset == datasets[0]:
            ax.set_title(mathtext(ensemble.capitalize()))
        ax.set_xlabel(mathtext(strength) if last else "")
        ax.set_ylabel(f"{mathtext(DATASET_TITLES[dataset])}\n{label}" if first else "")
    legend_above(fig, {**entries, interval_of(metrics, confidence): bar()})
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
            place, shift, align = (x, here["y"].max()), (0, (4, 11)[i % 2]), "center" if i else "right"
        else:
            place, shift, align = (here["x"].max(), y), (4, -3), "left"
        ax.annotate(
            f"{lam:g}", place, xytext=shift, ha=align, textcoords="offset points", fontsize=7, color="0.15",
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
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


def _around(values: pd.Series, above: float) -> tuple[float, float]:
    """Limits of an axis: its values, with room for labels at its end."""
    width = float(values.max() - values.min()) or 1.0
    return values.min() - 0.1 * width, values.max() + above * width


@drawing()
def plot_tradeoff(metrics: pd.DataFrame, confidence: float) -> Figure:
    """Clean accuracy against robustness: a row per dataset, a column per eps, points labelled by lambda.

    Args:
        metrics: ``metrics.csv``, or its means over trainings, which are drawn with bars; they may leave a panel.
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
    )
    several = "repetitions" in metrics.columns and metrics["repetitions"].max() > 1
    colours, markers = method_colours(ensembles), _style(members, _MARKERS)
    fig, axes = panels(datasets, all_eps, 1.8, sharex=True, sharey="row")
    for (dataset, eps), ax in axes.items():
        here = shown[(shown["dataset"] == dataset) & (shown["eps"] == eps)]
        if several:
            ends = [[100 * abs(here[f"{s}_{end}"] - here[f"{s}_accuracy"]) for end in ("low", "high")]
                    for s in ("worst", "clean")]  # fmt: skip
            ax.errorbar(
                here["x"], here["y"], xerr=ends[0], yerr=ends[1], fmt="none", ecolor="0.6", elinewidth=0.4, alpha=0.6,
                zorder=0,
            )  # fmt: skip
        sns.scatterplot(
            here, x="x", y="y", hue="ensemble", hue_order=ensembles, palette=colours, style="members",
            style_order=members, markers=markers, s=14, linewidth=0.3, alpha=0.85, legend=False, ax=ax,
        )  # fmt: skip
        _label_lambdas(ax, here)
        # long intervals may leave the panel, so that the rest is large; above stand labels
        ax.set_xlim(_around(shown["x"], 0.15))
        ax.set_ylim(_around(shown.loc[shown["dataset"] == dataset, "y"], 0.3))
        first, last = is_outer(ax)
        ax.set_xlabel("Accuracy under\nworst UAP (%)" if last else "")
        ax.set_ylabel(f"{mathtext(DATASET_TITLES[dataset])}\nClean accuracy (%)" if first else "")
        if dataset == datasets[0]:
            ax.set_title(f"{eps_symbol(metrics)} = {short_number(eps)}")
    entries: dict[str, Artist] = {mathtext(e.capitalize()): sample(colours[e], "o", markersize=4) for e in ensembles}
    entries |= {f"M = {m}": sample("0.35", markers[m], markersize=4) for m in members}
    entries["numbers: λ"] = sample("none")
    if several:
        entries[interval_of(metrics, confidence)] = bar("+")
    legend_above(fig, entries)
    _separate_labels(fig)
    return fig


def clean_accuracy(tables: Mapping[str, pd.DataFrame], confidence: float, objective: str = "jacobian") -> Figure:
    """Figure 1: clean accuracy against lambda, means over trainings, from ``metrics``."""
    models = average_repetitions(tables["metrics"], confidence).drop_duplicates(MODEL_KEYS)
    return plot_against_lambda(models, "clean_accuracy", "Clean accuracy (%)", confidence, objective)


def robustness(
    tables: Mapping[str, pd.DataFrame], eps: float, confidence: float, objective: str = "jacobian"
) -> Figure:
    """Figure 2: accuracy under the worst perturbation at one eps against lambda, from ``metrics``."""
    metrics = average_repetitions(tables["metrics"], confidence)
    label = f"Under UAP, {eps_symbol(metrics)} = {short_number(eps)} (%)"
    return plot_against_lambda(metrics[metrics["eps"] == eps], "worst_accuracy", label, confidence, objective)


def tradeoff(tables: Mapping[str, pd.DataFrame], confidence: float) -> Figure:
    """Figure 3: clean accuracy against robustness per eps, from ``metrics``."""
    return plot_tradeoff(average_repetitions(tables["metrics"], confidence), confidence)
