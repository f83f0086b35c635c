"""Stage write_table: one table of the catalogue, as CSV, Markdown and perhaps LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.paper.catalogue import COLUMNS, find
from jacobian_ensembles.stages.outputs import write_rendered
from jacobian_ensembles.storage.tables import read_table


def write_table(
    name: str,
    inputs: Mapping[str, str | Path],
    csv_path: str | Path,
    markdown_path: str | Path,
    latex_path: str | Path | None = None,
    *,
    run: str,
    banner: str,
    settings: Mapping[str, Any],
    origin: str = "",
) -> None:
    """Write one table of the catalogue.

    Args:
        name: The name of a table of the catalogue.
        inputs: The tables it is made from, by name.
        csv_path: CSV to write, with columns that name the run.
        markdown_path: Markdown to write.
        latex_path: LaTeX to write, if the table has it.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        settings: The settings that the catalogue says it needs.
        origin: The commit that writes it, named below it in Markdown and LaTeX; empty where there is none.
    """
    tables = {source: read_table(path, COLUMNS.get(source, MODEL_KEYS)) for source, path in inputs.items()}
    table = resolve(find(name).function, {})(tables, run, banner, **settings)
    table = replace(table, frame=table.frame.assign(run=run, banner=banner))
    if origin:
        markdown = f"{table.markdown.rstrip()}\n\n*Written at commit {origin}.*\n"
        latex = f"{table.latex}% written at commit {origin}\n" if table.latex else table.latex
        table = replace(table, markdown=markdown, latex=latex)
    write_rendered(table, csv_path, markdown_path, latex_path)
