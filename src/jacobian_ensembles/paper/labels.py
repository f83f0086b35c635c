"""How datasets, models and numbers are written in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.evaluation.summary import IDLE
from jacobian_ensembles.paper.markup import markdown

#: The colour of each ensemble method, wherever it is drawn: the paper's three, then a user's own.
METHOD_COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#56b4e9")


class _Titles(dict[Any, str]):
    def __missing__(self, name: Any) -> str:
        return str(name)  # a user's dataset has the same name as in paths


#: The paper's ensemble methods, in its order.
ENSEMBLES = tuple(METHODS)
#: What tables and figures call each dataset.
DATASET_TITLES = _Titles({name: card.title for name, card in CARDS.items()})
GROUP_TITLES = {
    "best": "",
    "jr_only": "JR only",
    "ensemble_only": "Ensemble only",
    "standard": "Standard",
}


@dataclass(frozen=True)
class RenderedTable:
    """A table in the forms it is written in.

    Attributes:
        frame: For CSV, in fractions where it holds accuracies.
        markdown: For readers, in percent.
        latex: A ``table`` environment, where the table has one.
        float_format: Of the CSV.
    """

    frame: pd.DataFrame
    markdown: str
    latex: str | None = None
    float_format: str | None = "%.6g"


def in_order(values: Iterable[str], known: Iterable[str]) -> list[str]:
    """The distinct values: those known first, in the order of ``known``, then a user's own in alphabetical order."""
    present, known = set(values), list(known)
    return [name for name in known if name in present] + sorted(present - set(known))


def method_colours(ensembles: Iterable[str]) -> dict[str, str]:
    """A colour per ensemble method; the paper's three keep theirs in every figure."""
    names = [*ENSEMBLES, *in_order(set(ensembles) - set(ENSEMBLES), ())]
    return {name: METHOD_COLOURS[i % len(METHOD_COLOURS)] for i, name in enumerate(names)}


def short_number(value: float) -> str:
    """A setting as printed: two decimals where they are exact, as many as it takes otherwise."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def percent(value: float) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


def markdown_table(table: pd.DataFrame) -> str:
    """A frame of Markdown as a Markdown table."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def to_markdown(table: pd.DataFrame) -> str:
    """A frame of plain text as a Markdown table."""
    return markdown_table(table.astype(str).map(markdown).rename(columns=lambda name: markdown(str(name))))


def norm_note(table: pd.DataFrame) -> str:
    """A sentence, with a leading space, that says what eps bounds where that is not the largest change of a pixel.

    Args:
        table: With a column ``norm``, empty for ``linf``, if any row has another; with ``variant``, which of them.
    """
    if "norm" not in table or not (other := table["norm"].eq("l2")).any():
        return ""
    names = [] if other.all() or "variant" not in table else list(dict.fromkeys(table.loc[other, "variant"]))
    whose = f" of {', '.join(names)}" if names else ""
    return f" ε{whose} bounds the root mean squared change of the pixels (L2)."


def eps_symbol(table: pd.DataFrame) -> str:
    """How a figure writes eps: ``ε``, and what it bounds where that is not the largest change of a pixel."""
    return "ε (L2)" if norm_note(table) else "ε"


def run_label(run: str, banner: str) -> str:
    """A run with its banner, at the start of a sentence."""
    return f"{banner}: run '{run}'" if banner else f"Run '{run}'"


def markdown_note(summary: pd.DataFrame, run: str, banner: str) -> str:
    """:func:`run_note` for Markdown."""
    return markdown(run_note(summary, run, banner))


def run_note(summary: pd.DataFrame, run: str, banner: str) -> str:
    """One line that says which run this is and how much it rests on."""
    seeds, images, eps = (int(summary[c].min()) for c in ("seeds", "images", "eps_values"))
    worst = f"worst of {seeds} attack seeds" if seeds > 1 else "one attack seed"
    least, most = int(summary["repetitions"].min()), int(summary["repetitions"].max())
    if most > 1:
        worst = f"mean of {least if least == most else f'{least} to {most}'} trainings, {worst}"
    note = f"{run_label(run, banner)}, {worst}, {eps} eps value{'s' if eps > 1 else ''}, {images:,} test images."
    note += norm_note(summary)
    idle = int(summary[IDLE].sum()) if IDLE in summary else 0
    return f"{note} {idle:,} steps of the attack had no gradient: such accuracies are no robustness." if idle else note


def mark_of(banner: str) -> str:
    """The few words of a banner that stand in a figure, such as QUICK RUN; the whole stands in its caption."""
    first = banner.partition(",")[0].strip()
    if not banner or (first.isupper() and len(first) <= 30):
        return first
    return "not the paper's whole experiment"


def figure_note(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> str:
    """The end of a figure's caption: which run it shows, and how much it rests on, as far as its tables say."""
    if "summary" in tables:
        return run_note(tables["summary"], run, banner)
    (table,) = tables.values()
    column, unit = ("seeds", "attack seeds") if "seeds" in table.columns else ("images", "test images")
    return f"{run_label(run, banner)}, {int(table[column].max()):,} {unit}.{norm_note(table)}"


def model_name(row: Mapping[Any, Any]) -> str:
    """A model as a reader names it, such as ``voting M=3 λ=0.10``."""
    return f"{row['ensemble']} M={row['members']} λ={short_number(float(row['lambda']))}"
