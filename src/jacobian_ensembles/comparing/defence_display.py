"""A comparison of runs for readers: the figure, the table, and what a reader must know first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from jacobian_ensembles.comparing.defences import ComparedRun, common_ground, comparable
from jacobian_ensembles.evaluation.summary import CERTIFIED, MODEL_KEYS
from jacobian_ensembles.paper.further_figures import plot_bands
from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    METHOD_COLOURS,
    RenderedTable,
    in_order,
    percent,
    short_number,
    to_markdown,
)
from jacobian_ensembles.paper.markup import markdown, mathtext
from jacobian_ensembles.paper.style import bar, drawing, is_outer, legend_above, panels


def notes(runs: Sequence[ComparedRun]) -> list[str]:
    """What a reader must know before comparing: what the runs share, and what they do not."""
    common = common_ground(runs)
    eps = ", ".join(short_number(e) for e in common.eps)
    lines = [f"Mean over ε = {eps}, each under the worst of {common.seeds} attack seed{'s'[: common.seeds > 1]}."]
    if common.variants:
        lines.append(f"Every attack: also the worst of {', '.join(common.variants)}.")
    first = runs[0]
    banners = dict.fromkeys(run.banner for run in runs)
    for banner in filter(None, banners):
        names = "All runs" if len(banners) == 1 else ", ".join(run.name for run in runs if run.banner == banner)
        lines.append(f"{names}: {banner}.")
    for run in runs:
        keys = sorted(k for k in {*first.attack, *run.attack} if first.attack.get(k) != run.attack.get(k))
        if keys:
            lines.append(
                f"{run.name} was attacked otherwise than {first.name} ({', '.join(keys)}): do not compare them."
            )
        if (images := int(run.records["images"].min())) != int(first.records["images"].min()):
            lines.append(
                f"{run.name} was tested on {images:,} images, {first.name} on {first.records['images'].min():,}."
            )
    return lines


@drawing()
def plot(runs: Sequence[ComparedRun], table: pd.DataFrame) -> Figure:
    """Clean accuracy against robustness, a panel per dataset and M, a curve over strengths per run and method.

    Args:
        runs: In the order of the legend.
        table: Of :func:`~jacobian_ensembles.comparing.defences.compare`.

    Returns:
        The figure; bars are the intervals of both accuracies.
    """
    datasets, sizes = in_order(table["dataset"], DATASET_TITLES), sorted(table["members"].unique())
    methods = sorted(table["ensemble"].unique())
    colours = {run.name: METHOD_COLOURS[i % len(METHOD_COLOURS)] for i, run in enumerate(runs)}
    fig, axes = panels(datasets, sizes, 2.0, sharey="row")
    entries: dict[str, Artist] = {}
    for (dataset, members), ax in axes.items():
        here = table[(table["dataset"] == dataset) & (table["members"] == members)]
        for (run, method), line in here.sort_values("lambda").groupby(["run", "ensemble"], sort=False):
            label = mathtext(run if len(methods) == 1 else f"{run}, {method}")
            x, y = 100 * line["mean_uap_accuracy"], 100 * line["clean_accuracy"]
            drawn = ax.errorbar(
                x, y,
                xerr=[x - 100 * line["mean_uap_low"], 100 * line["mean_uap_high"] - x],
                yerr=[y - 100 * line["clean_low"], 100 * line["clean_high"] - y],
                color=colours[run], marker="osD^v<>"[methods.index(method) % 7], elinewidth=0.5,
                label=label,
            )  # fmt: skip
            entries[label] = drawn.lines[0]
        first, last = is_outer(ax)
        ax.set_title(f"{mathtext(DATASET_TITLES[dataset])}, M = {members}")
        ax.set_xlabel("Accuracy under worst UAP, mean over ε (%)" if last else "")
        ax.set_ylabel("Clean accuracy (%)" if first else "")
    legend_above(fig, {**entries, "intervals": bar("+")})
    return fig


def plot_certified(runs: Sequence[ComparedRun], best: pd.DataFrame, confidence: float) -> Figure | None:
    """The bands between certificate and attack of each run's best strength.

    Args:
        runs: In the order of the legend.
        best: Of :func:`~jacobian_ensembles.comparing.defences.best_of_each`.
        confidence: Level of the intervals of :func:`~jacobian_ensembles.comparing.defences.comparable`, not drawn.

    Returns:
        See :func:`~jacobian_ensembles.paper.further_figures.plot_bands`; None where no run has certificates.
    """
    common, bands, colours = common_ground(runs), [], {}
    for i, run in enumerate(runs):
        metrics = comparable(run, common, confidence, every_attack=False)
        if CERTIFIED in metrics:
            metrics = metrics.merge(best.loc[best["run"] == run.name, MODEL_KEYS])
            bands.append(metrics.assign(band=run.name))
            colours[run.name] = METHOD_COLOURS[i % len(METHOD_COLOURS)]
    return plot_bands(pd.concat(bands), colours) if bands else None


def best_shown(runs: Sequence[ComparedRun], best: pd.DataFrame) -> pd.DataFrame:
    """:func:`~jacobian_ensembles.comparing.defences.best_of_each` for readers, as plain text.

    Args:
        runs: As compared.
        best: Of :func:`~jacobian_ensembles.comparing.defences.best_of_each`.
    """
    shown = pd.DataFrame(
        {
            "Dataset": best["dataset"].map(DATASET_TITLES),
            "Ensemble": best["ensemble"] + " M=" + best["members"].astype(str),
            "Run": best["run"],
            "Objective": best["objective"],
            "Strength": best["lambda"].map(short_number),
            "Clean": best["clean_accuracy"].map(percent),
            "Avg. UAP": best["mean_uap_accuracy"].map(percent),
            "Weighted": best["weighted_accuracy"].map(percent),
            "Every attack": best["every_attack_accuracy"].map(percent),
            f"Weighted minus {runs[0].name}": [_points(row) for row in best.to_dict("records")],
            "Verdict": best["verdict"].replace("", "–"),
            "Training": best["cost"].map(lambda c: "–" if pd.isna(c) else f"{c:.1f}×"),
        }
    )
    if "transfer_accuracy" in best:
        carried = best["transfer_accuracy"].map(lambda a: "–" if pd.isna(a) else percent(a))
        shown.insert([*shown.columns].index("Every attack") + 1, "Others' UAPs", carried)
    if f"mean_{CERTIFIED}" in best:
        proved = best[f"mean_{CERTIFIED}"].map(lambda a: "–" if pd.isna(a) else percent(a))
        shown.insert([*shown.columns].index("Avg. UAP"), "Certified", proved)
    if not common_ground(runs).variants:
        shown = shown.drop(columns="Every attack")
    return shown


def best_table(runs: Sequence[ComparedRun], best: pd.DataFrame) -> RenderedTable:
    """:func:`best_shown` as files: CSV and Markdown.

    Args:
        runs: As compared.
        best: Of :func:`~jacobian_ensembles.comparing.defences.best_of_each`.
    """
    note = " Certified: no perturbation leaves less." if f"mean_{CERTIFIED}" in best else ""
    if "transfer_accuracy" in best:
        note += " Others' UAPs: under the worst perturbation that was crafted for another run's model of this table."
    text = (
        "For each run the strength with the highest weighted accuracy on the test images (in %). Training: the time of "
        f"one learner over plain training's.{note}\n"
    )
    told = "\n".join(map(markdown, notes(runs)))
    return RenderedTable(best, f"{text}{told}\n\n{to_markdown(best_shown(runs, best))}")


def _points(row: Mapping[Any, Any]) -> str:
    """A difference in points, with its interval where there is one."""
    if pd.isna(row["difference"]):
        return "–"
    text = f"{100 * row['difference']:+.1f}"
    if pd.isna(row["difference_low"]):
        return text
    return f"{text} [{100 * row['difference_low']:+.1f}, {100 * row['difference_high']:+.1f}]"
