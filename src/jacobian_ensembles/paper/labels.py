"""How datasets, models and numbers are written in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.evaluation.summary import IDLE


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


def short_number(value: float) -> str:
    """A setting as printed: two decimals where they are exact, as many as it takes otherwise."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def percent(value: float) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


def to_markdown(table: pd.DataFrame) -> str:
    """A frame of strings as a Markdown table."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


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


def run_note(summary: pd.DataFrame, run: str, banner: str) -> str:
    """One line that says which run this is and how much it rests on."""
    seeds, images, eps = (int(summary[c].min()) for c in ("seeds", "images", "eps_values"))
    label = f"{banner}: run" if banner else "Run"
    worst = f"worst of {seeds} attack seeds" if seeds > 1 else "one attack seed"
    least, most = int(summary["repetitions"].min()), int(summary["repetitions"].max())
    if most > 1:
        worst = f"mean of {least if least == most else f'{least} to {most}'} trainings, {worst}"
    note = f"{label} '{run}', {worst}, {eps} eps value{'s' if eps > 1 else ''}, {images:,} test images."
    note += norm_note(summary)
    idle = int(summary[IDLE].sum()) if IDLE in summary else 0
    return f"{note} {idle:,} steps of the attack had no gradient: such accuracies are no robustness." if idle else note


def figure_note(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> str:
    """The line below a figure: which run it shows, and how much it rests on, as far as its tables say."""
    if "summary" in tables:
        return run_note(tables["summary"], run, banner)
    (table,) = tables.values()
    column, unit = ("seeds", "attack seeds") if "seeds" in table.columns else ("images", "test images")
    label = f"{banner}: run" if banner else "Run"
    return f"{label} '{run}', {int(table[column].max()):,} {unit}.{norm_note(table)}"


def model_name(row: Mapping[Any, Any]) -> str:
    """A model as a reader names it, such as ``voting M=3 λ=0.10``."""
    return f"{row['ensemble']} M={row['members']} λ={short_number(float(row['lambda']))}"
