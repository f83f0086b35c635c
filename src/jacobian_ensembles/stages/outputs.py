"""What several stages write: a table in its formats."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.paper.labels import RenderedTable
from jacobian_ensembles.storage.files import write_text
from jacobian_ensembles.storage.tables import write_table


def write_rendered(
    table: RenderedTable, csv_path: str | Path, markdown_path: str | Path, latex_path: str | Path | None = None
) -> None:
    """Write a table in its formats, atomically."""
    write_table(csv_path, table.frame, table.float_format)
    write_text(markdown_path, table.markdown)
    if latex_path is not None and table.latex is not None:
        write_text(latex_path, table.latex)
