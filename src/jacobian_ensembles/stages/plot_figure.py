"""Stage plot_figure: one figure of the paper."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from jacobian_ensembles.evaluation.summary import average_repetitions
from jacobian_ensembles.paper.figures import FIGURES
from jacobian_ensembles.paper.labels import run_note
from jacobian_ensembles.storage.files import write_bytes
from jacobian_ensembles.storage.tables import read_table

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
    metrics_path: str | Path,
    summary_path: str | Path,
    pdf_path: str | Path,
    png_path: str | Path,
    eps: float,
    confidence: float,
    run: str,
    banner: str,
) -> None:
    """Draw one figure of the paper, of the means over training repetitions.

    Args:
        name: A key of :data:`FIGURES`.
        metrics_path: ``metrics.csv``.
        summary_path: ``summary.csv``.
        pdf_path: PDF to write.
        png_path: PNG to write.
        eps: The eps of Figure 2.
        confidence: Level of the intervals over repetitions.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        fig = FIGURES[name](average_repetitions(read_table(metrics_path), confidence), eps)
        sns.despine(fig)
        note = run_note(read_table(summary_path), run, banner)
        wrapped = textwrap.fill(note, int(15 * fig.get_figwidth()))
        fig.supxlabel(wrapped, fontsize=8, color="crimson" if banner else "0.4")
        save_figure(fig, pdf_path, png_path)
