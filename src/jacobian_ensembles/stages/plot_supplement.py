"""Stage plot_supplement: one further figure."""

from __future__ import annotations

import textwrap
from pathlib import Path

import seaborn as sns

from jacobian_ensembles.paper.further_figures import SUPPLEMENT
from jacobian_ensembles.stages.plot_figure import save_figure
from jacobian_ensembles.storage.tables import read_table


def plot_supplement(
    name: str, table_path: str | Path, pdf_path: str | Path, png_path: str | Path, run: str, banner: str
) -> None:
    """Draw one supplementary figure.

    Args:
        name: A key of :data:`SUPPLEMENT`.
        table_path: The CSV it is drawn from.
        pdf_path: PDF to write.
        png_path: PNG to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        table = read_table(table_path)
        fig = SUPPLEMENT[name](table)
        sns.despine(fig)
        counts = {"theory": ("images", "test images"), "ablation": ("seeds", "attack seeds")}
        column, unit = counts.get(name, ("seeds", "attack seeds"))
        note = f"{f'{banner}: run' if banner else 'Run'} '{run}', {int(table[column].min()):,} {unit}."
        wrapped = textwrap.fill(note, int(15 * fig.get_figwidth()))
        fig.supxlabel(wrapped, fontsize=8, color="crimson" if banner else "0.4")
        save_figure(fig, pdf_path, png_path)
