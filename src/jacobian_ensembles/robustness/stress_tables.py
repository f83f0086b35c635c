"""Is the robustness real? The tables and the heat map of every attack of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    RenderedTable,
    in_order,
    model_name,
    percent,
    run_label,
    short_number,
    to_markdown,
)
from jacobian_ensembles.paper.markup import markdown, mathtext
from jacobian_ensembles.paper.style import PAGE, drawing
from jacobian_ensembles.robustness.flags import CLEAN, HINDERED, LARGE_EPS, RULES, SINGLE, WHITE_BOX, flags_of

_CELLS = 26  # columns side by side that leave room for two digits each


def _models(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each model, by what readers call it, in the order met."""
    return {
        f"{DATASET_TITLES[key[0]]} {model_name(dict(zip(MODEL_KEYS, key, strict=True)))}": rows
        for key, rows in table.groupby(MODEL_KEYS, sort=False)
    }


def rules() -> dict[str, str]:
    """What each flag means, by its name."""
    said = {name: (rule.__doc__ or "").splitlines()[0] for name, rule in RULES.items()}
    values = {"LARGE_EPS": LARGE_EPS, "HINDERED": HINDERED}
    return {name: re.sub(r":data:`(\w+)`", lambda m: f"{values[m[1]]:g}", text) for name, text in said.items()}


def flags_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per model: its clean accuracy, its flags, and which rows of the table raise them.

    Args:
        table: ``stress.csv``.

    Returns:
        Strings for readers: ``model``, ``clean``, ``flags`` and ``raised by``.
    """
    table = table.assign(flags=table["flags"].fillna(""))
    shown = []
    for name, rows in _models(table).items():
        raised = [
            f"{row['attack']} at ε = {short_number(row['eps'])}" + (f" ({row['source']})" if row["source"] else "")
            for row in rows.fillna({"source": ""}).to_dict("records")
            if row["flags"]
        ]
        clean = rows.loc[rows["kind"] == CLEAN, "worst_accuracy"].iloc[0]
        named = "; ".join(flags_of(rows)) or "none"
        shown.append({"model": name, "clean": percent(clean), "flags": named, "raised by": "; ".join(raised) or "–"})
    return pd.DataFrame(shown)


def accuracy_table(table: pd.DataFrame, eps: float) -> pd.DataFrame:
    """One row per model: what every attack leaves at an eps, in percent.

    Args:
        table: ``stress.csv``.
        eps: One of its eps.

    Returns:
        Strings for readers: a column per attack, for its worst seed; ``each image's worst``: the share of images that
        are right under every seed of an attack, for the gradient-based attack that leaves the fewest. An asterisk marks
        a row that raises a flag.
    """
    here = table[(table["eps"] == eps) | (table["kind"] == CLEAN)]
    attacks = [name for name in dict.fromkeys(here["attack"]) if name != CLEAN]
    shown = []
    for name, rows in _models(here).items():
        row = {"model": name}
        raised = rows["flags"].fillna("")
        values = [percent(a) + ("*" if f else "") for a, f in zip(rows["worst_accuracy"], raised, strict=True)]
        found = dict(zip(rows["attack"], values, strict=True))
        row |= {attack: found.get(attack, "–") for attack in (CLEAN, *attacks)}
        white = rows.loc[rows["kind"] == WHITE_BOX, "per_image_worst_accuracy"]
        shown.append(row | {"each image's worst": percent(white.min())})
    return pd.DataFrame(shown)


def transfer_table(transfer: pd.DataFrame, dataset: str, eps: float) -> pd.DataFrame:
    """Accuracy of every model of a dataset under the perturbation of each: (S, T), in [0, 1].

    Args:
        transfer: ``transfer.csv``.
        dataset: Its name.
        eps: One of the table's eps.

    Returns:
        A row per source, a column per model; on the diagonal a model's own perturbation.
    """
    here = transfer[(transfer["dataset"] == dataset) & (transfer["eps"] == eps)]
    here = here.assign(target=[model_name(row) for row in here.to_dict("records")])
    wide = here.pivot_table("accuracy", "source", "target", sort=False)
    targets = list(dict.fromkeys(here["target"]))
    return wide.loc[[*targets, *(source for source in wide.index if source not in targets)], targets]


def stress(tables: Mapping[str, pd.DataFrame], run: str, banner: str, clip: bool) -> RenderedTable:
    """Every attack on every model of a run, and the flags that they raise.

    Args:
        tables: ``stress`` and ``transfer``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clip: Whether perturbed images were clipped to [0, 1].

    Returns:
        The table ``stress``; for readers, the flags of each model and their rules, accuracy at each eps under every
        attack, and the transfer matrices.
    """
    table, transfer = tables["stress"], tables["transfer"]
    parts = [
        f"{markdown(run_label(run, banner))}, {int(table['images'].max()):,} test images; x + δ is "
        f"{'clipped to [0, 1]' if clip else 'not clipped'}, for every attack. Accuracies in %, the worst seed's.",
        to_markdown(flags_table(table)),
        "A flag is raised by a rule that was fixed before (`robustness/flags.py`):\n\n"
        + "\n".join(f"- **{name}**: {rule}" for name, rule in rules().items()),
    ]
    for eps in sorted(set(table.loc[table["eps"] > 0, "eps"])):
        parts += [f"At ε = {short_number(eps)} (\\* raises a flag):", to_markdown(accuracy_table(table, eps))]
    single = table[table["kind"] == SINGLE]
    if len(single):
        images, steps = int(single["images"].max()), int(single["steps"].max())
        lacking = "" if single["worst_accuracy"].notna().any() else "; it was not installed, so they are missing"
        attacks = markdown(" and ".join(dict.fromkeys(single["attack"])))
        parts.append(
            f"{attacks} attack {images:,} images one by one, in {steps} steps, by the "
            f"adversarial-robustness-toolbox{lacking}."
        )
    for dataset in in_order(transfer["dataset"], DATASET_TITLES):
        for eps in sorted(set(transfer.loc[transfer["dataset"] == dataset, "eps"])):
            wide = transfer_table(transfer, dataset, eps)
            shown = wide.map(percent).rename_axis("crafted on").reset_index()
            title = f"{DATASET_TITLES[dataset]} at ε = {short_number(eps)}: a row per perturbation, a column per model."
            parts += [markdown(title), to_markdown(shown)]
    return RenderedTable(table, "\n\n".join(part.rstrip() for part in parts) + "\n")


@drawing()
def plot_transfer(transfer: pd.DataFrame) -> Figure:
    """Heat maps of accuracy under the perturbations of other models, a panel per dataset and eps.

    Args:
        transfer: ``transfer.csv``.

    Returns:
        The figure: a row per perturbation, a column per model, its own on the diagonal.
    """
    datasets = in_order(transfer["dataset"], DATASET_TITLES)
    radii = sorted(set(transfer["eps"]))
    panels = {(d, e): transfer_table(transfer, d, e) for d in datasets for e in radii}
    rows, columns = (max(wide.shape[axis] for wide in panels.values()) for axis in (0, 1))
    across = len(radii) if columns * len(radii) <= _CELLS else 1
    lines = len(panels) // across
    fig = Figure(figsize=(PAGE, (0.15 * rows + 1.3) * lines), layout="constrained")
    grid = fig.subplots(lines, across, sharex="row", sharey="row", squeeze=False)
    for ax, ((dataset, eps), wide) in zip(grid.flat, panels.items(), strict=True):
        sns.heatmap(
            100 * wide, vmin=0, vmax=100, annot=columns * across <= _CELLS, fmt=".0f", cmap="viridis", cbar=False,
            xticklabels=[mathtext(name) for name in wide.columns], yticklabels=[mathtext(name) for name in wide.index],
            ax=ax, annot_kws={"fontsize": 7},
        )  # fmt: skip
        for i, source in enumerate(wide.index):
            if source in wide.columns:
                place = (list(wide.columns).index(source), i)
                ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="crimson", lw=0.9))
        ax.set_title(f"{mathtext(DATASET_TITLES[dataset])}, ε = {short_number(eps)}")
        ax.set(xlabel="evaluated on", ylabel="crafted on" if ax in grid[:, 0] else "")
        ax.tick_params(length=0)
    return fig


def transfer(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """:func:`plot_transfer`, as the catalogue calls it."""
    return plot_transfer(tables["transfer"])
