"""Stage plot_figure: one figure of the catalogue, as PDF and PNG, and its caption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.paper.catalogue import COLUMNS, find
from jacobian_ensembles.paper.labels import figure_note, mark_of
from jacobian_ensembles.paper.style import add_mark, drawing, picture
from jacobian_ensembles.stages.own_figures import own_figure
from jacobian_ensembles.storage.files import write_bytes, write_text
from jacobian_ensembles.storage.tables import read_table


def plot_figure(
    name: str,
    inputs: Mapping[str, str | Path],
    pdf_path: str | Path,
    png_path: str | Path,
    caption_path: str | Path | None = None,
    *,
    run: str,
    banner: str,
    settings: Mapping[str, Any],
    origin: str = "",
    own: str = "",
) -> None:
    """Draw one figure of the catalogue, and write its caption, which names the run and the commit that drew it.

    Args:
        name: The name of a figure of the catalogue.
        inputs: The tables it is drawn from, by name.
        pdf_path: PDF to write.
        png_path: PNG to write.
        caption_path: Text to write, if wanted: the caption, with the whole banner; the figure has few words of it.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        settings: The settings that the catalogue says it needs.
        origin: The commit that draws it; empty where there is none.
        own: What draws it, where it is no figure of the catalogue: see :func:`~.own_figures.own_figure`.
    """
    tables = {source: read_table(path, COLUMNS.get(source, MODEL_KEYS)) for source, path in inputs.items()}
    item = own_figure(own) if own else find(name)
    mpl.use("Agg")  # for a user's figure that is made by pyplot
    with drawing():
        fig = resolve(item.function, {})(tables, **settings)
        add_mark(fig, mark_of(banner))
        write_bytes(pdf_path, picture(fig, "pdf"))
        write_bytes(png_path, picture(fig, "png"))
    plt.close(fig)
    if caption_path is not None:
        drawn = f" Drawn at commit {origin}." if origin else ""
        write_text(caption_path, f"{item.caption} {figure_note(tables, run, banner)}{drawn}\n")
