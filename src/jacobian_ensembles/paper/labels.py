"""How datasets, models and numbers are called in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


class _Titles(dict[Any, str]):
    def __missing__(self, name: Any) -> str:
        return str(name)  # a user's dataset is called as it is in paths


DATASET_TITLES = _Titles(mnist="MNIST", fashion_mnist="Fashion-MNIST")
GROUP_TITLES = {
    "best": "",
    "jr_only": "JR only",
    "ensemble_only": "Ensemble only",
    "standard": "Standard",
}


def in_order(values: Iterable[str], known: Iterable[str]) -> list[str]:
    """The distinct values: those known first, in the order of ``known``, then a user's own in alphabetical order."""
    present, known = set(values), list(known)
    return [name for name in known if name in present] + sorted(present - set(known))


def short_number(value: float) -> str:
    """A setting as printed: two decimals where they say it exactly, as many as it takes otherwise."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def _percent(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


def to_markdown(table: pd.DataFrame) -> str:
    """A frame of strings as a Markdown table."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def run_note(summary: pd.DataFrame, run: str, banner: str) -> str:
    """One line that says which run this is and how much it rests on."""
    seeds, images, eps = (int(summary[c].min()) for c in ("seeds", "images", "eps_values"))
    label = f"{banner}: run" if banner else "Run"
    worst = f"worst of {seeds} attack seeds" if seeds > 1 else "one attack seed"
    least, most = int(summary["repetitions"].min()), int(summary["repetitions"].max())
    if most > 1:
        worst = f"mean of {least if least == most else f'{least} to {most}'} trainings, {worst}"
    return f"{label} '{run}', {worst}, {eps} eps value{'s' if eps > 1 else ''}, {images:,} test images."


def model_name(row: Mapping[Any, Any]) -> str:
    """A model as a reader names it, such as ``voting M=3 λ=0.10``."""
    return f"{row['ensemble']} M={row['members']} λ={short_number(float(row['lambda']))}"
