"""Stage write_table: Table 1."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.paper.labels import run_note, to_markdown
from jacobian_ensembles.paper.table1 import _display, select_table1, table1_latex
from jacobian_ensembles.storage.files import write_text
from jacobian_ensembles.storage.tables import read_table


def write_table1(
    summary_path: str | Path,
    latex_path: str | Path,
    csv_path: str | Path,
    markdown_path: str | Path,
    run: str,
    banner: str,
) -> None:
    """Write Table 1 in three forms.

    Args:
        summary_path: ``summary.csv``.
        latex_path: LaTeX to write.
        csv_path: CSV to write (fractions, not percent).
        markdown_path: Markdown to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    summary = read_table(summary_path)
    table = select_table1(summary)
    note = run_note(summary, run, banner)
    write_text(latex_path, table1_latex(table, note))
    write_text(csv_path, table.assign(run=run, banner=banner).to_csv(index=False, float_format="%.6g"))
    write_text(markdown_path, f"Table 1: weighted accuracy (in %). {note}\n\n{to_markdown(_display(table))}")
