"""Figures beyond the paper's: its theorem against trained nets, attack variants, and the worst of K attack seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.ablation import in_common, means_of_lambdas, ranking
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES, in_order, short_number
from jacobian_ensembles.paper.markup import mathtext
from jacobian_ensembles.paper.style import bar, drawing, is_outer, legend_above, panels, sample, shades
from jacobian_ensembles.paper.theory import correlated_ratio

_INNER = 0.8  # the share of models inside a bar


@drawing()
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
    colours = dict(zip(lambdas, shades(len(lambdas)), strict=True))
    moments = {"mean": "E", "variance": "Var"}
    fig, axes = panels([(d, m) for d in datasets for m in moments], ensembles, 1.35, sharex=True, sharey=True)
    for ((dataset, moment), ensemble), ax in axes.items():
        here = table[(table["dataset"] == dataset) & (table["ensemble"] == ensemble)]
        for lam, line in here.groupby("lambda"):
            line = line.sort_values("members")
            measured = line[f"ensemble_{moment}"] / line[f"learner_{moment}"]
            bound = line[f"lower_{moment}"] / line[f"upper_{moment}"]
            correlated = [correlated_ratio(row, moment) for row in line.to_dict("records")]
            ax.plot(line["members"], measured, "o-", color=colours[lam])
            ax.plot(line["members"], bound, "--", color=colours[lam], linewidth=0.7)
            ax.plot(line["members"], correlated, ":", color=colours[lam])
        ax.set_xticks(sorted(table["members"].unique()))
        ax.set_ylim(0, 1.05)
        first, last = is_outer(ax)
        if (dataset, moment) == (datasets[0], "mean"):
            ax.set_title(mathtext(ensemble.capitalize()))
        ax.set_xlabel("Learners M" if last else "")
        symbol = rf"$\mathrm{{{moments[moment]}}}$"
        ratio = rf"{symbol}$\,\Vert J_F\Vert^2\;/\;${symbol}$\,\Vert J_i\Vert^2$"
        ax.set_ylabel(f"{mathtext(DATASET_TITLES[dataset])}\n{ratio}" if first else "")
    entries: dict[str, Artist] = {f"λ = {lam:g}": sample(colours[lam], "o", "-") for lam in lambdas}
    entries["theorem: independent learners"] = sample("black", "", "--", linewidth=0.7)
    entries["as correlated as measured"] = sample("black", "", ":")
    legend_above(fig, entries)
    return fig


@drawing()
def plot_ablation(ablation: pd.DataFrame) -> Figure:
    """Accuracy under every variant of the attack, averaged over eps, trainings, methods and M.

    Args:
        ablation: ``ablation.csv``.

    Returns:
        A panel per dataset: a row per variant, the strongest (see
        :func:`~jacobian_ensembles.paper.ablation.ranking`) at the top, below the rows of clean accuracy and of the
        paper's number, where it has every model; a colour per lambda. A dot is the worst seed, a tick the seeds' mean,
        and a line reaches to the best.
    """
    ablation = in_common(ablation)
    means = means_of_lambdas(ablation)
    datasets, lambdas = in_order(means["dataset"], DATASET_TITLES), sorted(means["lambda"].unique())
    first = means[means["variant"] == means["variant"].iloc[0]]  # clean accuracy and the paper's number are the same
    rows = ["no attack", *(["the paper"] if first["published"].notna().any() else []), *ranking(ablation)]
    offsets = 0.6 * (np.arange(len(lambdas)) / max(len(lambdas) - 1, 1) - 0.5) if len(lambdas) > 1 else np.zeros(1)
    place = {name: i for i, name in enumerate(rows)}
    fig, axes = panels(
        [None], datasets, max(0.16, 0.06 * len(lambdas)) * len(rows) + 0.5, sharex=True, sharey=True
    )  # fmt: skip
    for (_, dataset), ax in axes.items():
        for lam, colour, offset in zip(lambdas, shades(len(lambdas)), offsets, strict=True):
            here = means[(means["dataset"] == dataset) & (means["lambda"] == lam)]
            y = here["variant"].map(place) + offset
            ax.hlines(y, 100 * here["worst_accuracy"], 100 * here["best_accuracy"], color=colour, linewidth=0.8)
            ax.plot(100 * here["worst_accuracy"], y, "o", color=colour, markersize=3)
            ax.plot(100 * here["mean_accuracy"], y, "|", color=colour, markersize=4)
            once = first[(first["dataset"] == dataset) & (first["lambda"] == lam)]
            ax.plot(
                100 * once["clean_accuracy"], 0 * once["clean_accuracy"] + offset, "D", color=colour, markersize=2.6
            )
            if "the paper" in place:
                ax.plot(100 * once["published"], 0 * once["published"] + 1 + offset, "x", color=colour)
        ax.set_yticks(range(len(rows)), [mathtext(name) for name in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        for y in range(1, len(rows), 2):
            ax.axhspan(y - 0.5, y + 0.5, color="0.96", zorder=-1)
        ax.set_title(mathtext(DATASET_TITLES[dataset]))
        ax.set_xlabel(f"Accuracy (%), mean over\nε = {', '.join(map(short_number, sorted(set(ablation['eps']))))}")
    entries: dict[str, Artist] = {
        f"λ = {lam:g}": sample(colour, "o") for lam, colour in zip(lambdas, shades(len(lambdas)), strict=True)
    }
    entries["worst seed"] = sample("0.35", "o")
    entries["mean of seeds"] = sample("0.35", "|")
    entries["to the best seed"] = sample("0.35", "", "-", linewidth=0.8)
    legend_above(fig, entries)
    return fig


@drawing()
def plot_budget(ablation: pd.DataFrame) -> Figure:
    """Accuracy under every variant of the attack against eps, averaged over trainings, methods and M.

    An attack that works brings accuracy down to chance as eps grows, is stronger with more steps, and far stronger than
    noise.

    Args:
        ablation: ``ablation.csv``.

    Returns:
        A row of panels per dataset, for the smallest and the largest lambda: a line per variant for the worst of its
        seeds, from clean accuracy at eps = 0, and a band up to the best of them. If there are more than six variants,
        only the first, the strongest and the weakest are named; the others are grey.
    """
    means = means_of_lambdas(ablation, "eps")
    variants = list(dict.fromkeys(ablation["variant"]))
    order = ranking(in_common(ablation))
    named = variants if len(variants) <= 6 else list(dict.fromkeys([variants[0], order[0], order[-1]]))
    styles = dict(zip(named, shades(len(named)), strict=True))
    datasets, ends = in_order(means["dataset"], DATASET_TITLES), ["min", "max"]
    fig, axes = panels(datasets, ends[: means["lambda"].nunique()], 1.6, sharex=True, sharey=True)
    for (dataset, end), ax in axes.items():
        of_dataset = means.loc[means["dataset"] == dataset, "lambda"]
        lam = of_dataset.agg(end)
        ax.set_visible(end == "min" or lam > of_dataset.min())
        panel = means[(means["dataset"] == dataset) & (means["lambda"] == lam)]
        for variant in variants:
            line = panel[panel["variant"] == variant].sort_values("eps")
            if line.empty:
                continue
            clean = line["clean_accuracy"].iloc[0]
            eps = [0.0, *line["eps"]]
            worst, best = (100 * np.array([clean, *line[f"{end}_accuracy"]]) for end in ("worst", "best"))
            if variant not in styles:
                ax.plot(eps, worst, color="0.75", linewidth=0.6, zorder=1)
                continue
            ax.plot(eps, worst, "o-", color=styles[variant], markersize=3)
            ax.fill_between(eps, worst, best, color=styles[variant], alpha=0.2, lw=0)
        first, last = is_outer(ax)
        ax.set_title(f"{mathtext(DATASET_TITLES[dataset])}, λ = {lam:g}")
        ax.set_ylim(0, 102)
        ax.set_xlabel("ε" if last else "")
        ax.set_ylabel("Accuracy (%)" if first else "")
    entries: dict[str, Artist] = {
        mathtext(name): sample(colour, "o", "-", markersize=3) for name, colour in styles.items()
    }
    if len(named) < len(variants):
        entries["others"] = sample("0.75", "", "-", linewidth=0.6)
    entries["band: from the worst seed to the best"] = Patch(color="0.8")
    legend_above(fig, entries)
    return fig


@drawing()
def plot_worst_of_k(table: pd.DataFrame) -> Figure:
    """How the expected worst case falls as attack seeds are added, a panel per dataset.

    Args:
        table: ``worst_of_k.csv``.

    Returns:
        The figure: a line per eps, the mean over models and trainings; bars hold the middle 80% of them.
    """
    datasets, all_eps = in_order(table["dataset"], DATASET_TITLES), sorted(table["eps"].unique())
    keys = [*MODEL_KEYS, "repetition", "eps"]
    one = table[table["count"].eq(1)].set_index(keys)["expected_worst"].rename("one")
    falls = table.join(one, on=keys).assign(fall=lambda t: 100 * (t["expected_worst"] - t["one"]))
    counts = sorted(table["count"].unique())
    fig, axes = panels([None], datasets, 1.8, sharex=True, sharey=True)
    for (_, dataset), ax in axes.items():
        ax.set_xscale("log")
        for i, (eps, colour) in enumerate(zip(all_eps, shades(len(all_eps)), strict=True)):
            here = falls[(falls["dataset"] == dataset) & (falls["eps"] == eps)].groupby("count")["fall"]
            mean, low, high = here.mean(), *(here.quantile((1 + sign * _INNER) / 2) for sign in (-1, 1))
            line = ax.plot(mean.index, mean, "o-", color=colour)
            bars = ax.vlines(mean.index, low, high, color=colour, linewidth=0.8)
            aside = ScaledTranslation(2.6 * (i - (len(all_eps) - 1) / 2) / 72, 0, fig.dpi_scale_trans)
            for artist in (*line, bars):
                artist.set_transform(ax.transData + aside)
        ax.set_xticks(counts, [str(c) for c in counts])
        ax.minorticks_off()
        ax.set_title(mathtext(DATASET_TITLES[dataset]))
        ax.set_xlabel("Attack seeds K")
        ax.set_ylabel("Worst of K, change\nfrom one seed (points)" if is_outer(ax)[0] else "")
    entries: dict[str, Artist] = {
        f"ε = {short_number(eps)}": sample(colour, "o", "-")
        for eps, colour in zip(all_eps, shades(len(all_eps)), strict=True)
    }
    entries[f"bars: the middle {_INNER:.0%} of models"] = bar()
    legend_above(fig, entries)
    return fig


def plot_certified(metrics: pd.DataFrame) -> Figure:
    """:func:`plot_bands` of a run's ``metrics.csv``, a band per lambda."""
    lambdas = sorted(metrics["lambda"].unique())
    colours = {f"λ = {lam:g}": colour for lam, colour in zip(lambdas, shades(len(lambdas)), strict=True)}
    return plot_bands(metrics.assign(band=[f"λ = {lam:g}" for lam in metrics["lambda"]]), colours)


@drawing()
def plot_bands(metrics: pd.DataFrame, colours: Mapping[str, Any]) -> Figure:
    """The band between certified accuracy and that under the worst perturbation, against eps.

    Args:
        metrics: Rows of ``metrics.csv``, with ``certified_accuracy``, and the ``band`` that each belongs to.
        colours: Of every band.

    Returns:
        A row of panels per dataset, a column per M: means over methods and trainings, in percent. Nothing is shaded
        where nothing is certified.
    """
    datasets, edges = in_order(metrics["dataset"], DATASET_TITLES), ["certified_accuracy", "worst_accuracy"]
    fig, axes = panels(datasets, sorted(metrics["members"].unique()), 1.8, sharex=True, sharey=True)
    for (dataset, members), ax in axes.items():
        here = metrics[(metrics["dataset"] == dataset) & (metrics["members"] == members)]
        for band, colour in colours.items():
            low, high = (100 * here[here["band"] == band].groupby("eps")[edge].mean() for edge in edges)
            ax.fill_between(low.index, low, high, where=low > 0, color=colour, alpha=0.2, linewidth=0)
            ax.plot(low.index, low, "v-", color=colour)
            ax.plot(high.index, high, "o-", color=colour)
        first, last = is_outer(ax)
        ax.set_title(f"{mathtext(DATASET_TITLES[dataset])}, M = {members}")
        ax.set_ylim(-3, 103)
        ax.set_xlabel("ε" if last else "")
        ax.set_ylabel("Accuracy (%)" if first else "")
    entries: dict[str, Artist] = {mathtext(band): sample(colour, "o", "-") for band, colour in colours.items()}
    entries["worst perturbation found"] = sample("black", "o", "-")
    entries["certified: no perturbation leaves less"] = sample("black", "v", "-")
    legend_above(fig, entries)
    return fig


def certified(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """:func:`plot_certified` of a run's ``metrics``."""
    return plot_certified(tables["metrics"])


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
