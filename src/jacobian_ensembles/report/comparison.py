"""One self-contained HTML page of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import jinja2
import pandas as pd

from jacobian_ensembles.report.gallery import data_uri


def render_comparison(
    names: Sequence[str], notes: Sequence[str], table: pd.DataFrame, figures: Mapping[str, bytes]
) -> str:
    """Render the page of a comparison.

    Args:
        names: The runs.
        notes: What a reader must know first.
        table: Plain text.
        figures: ``tradeoff.png``; with certificates, ``certified.png``.

    Returns:
        HTML that needs no network and no other file.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = files("jacobian_ensembles.report").joinpath("comparison.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        names=names,
        notes=notes,
        header=list(table.columns),
        rows=table.to_numpy().tolist(),
        figures={name: data_uri(content, "image/png") for name, content in figures.items() if name.endswith("png")},
    )
