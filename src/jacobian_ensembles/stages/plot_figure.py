"""Stage plot_figure: one figure of the catalogue, as PDF and PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.paper.catalogue import COLUMNS, find
from jacobian_ensembles.paper.labels import figure_note
from jacobian_ensembles.storage.files import write_bytes
from jacobian_ensembles.storage.tables import read_table

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# no dates or version strings inside, so that equal numbers give equal files
_METADATA = {"pdf": {"CreationDate": None, "Producer": None, "Creator": None}, "png": {"Software": None}}


def save_figure(fig: Figure, pdf_path: str | Path, png_path: str | Path) -> None:
    """Write a figure as PDF and PNG (200 dpi), reproducibly and atomically, and close it."""
    for path, kind in ((pdf_path, "pdf"), (png_path, "png")):
        buffer = io.BytesIO()
        fig.savefig(buffer, format=kind, dpi=200, metadata=_METADATA[kind])
        write_bytes(path, buffer.getvalue())
    plt.close(fig)


def plot_figure(
    name: str,
    inputs: Mapping[str, str | Path],
    pdf_path: str | Path,
    png_path: str | Path,
    *,
    run: str,
    banner: str,
    settings: Mapping[str, Any],
) -> None:
    """Draw one figure of the catalogue, with a line below it that names the run.

    Args:
        name: The name of a figure of the catalogue.
        inputs: The tables it is drawn from, by name.
        pdf_path: PDF to write.
        png_path: PNG to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        settings: The settings that the catalogue says it needs.
    """
    tables = {source: read_table(path, COLUMNS.get(source, MODEL_KEYS)) for source, path in inputs.items()}
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        fig = resolve(find(name).function, {})(tables, **settings)
        sns.despine(fig)
        wrapped = textwrap.fill(figure_note(tables, run, banner), int(15 * fig.get_figwidth()))
        fig.supxlabel(wrapped, fontsize=8, color="crimson" if banner else "0.4")
        save_figure(fig, pdf_path, png_path)
