"""Stage aggregate_ablation: variants of the attack compared on the same models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.paper.ablation import ablation
from jacobian_ensembles.stages.outputs import write_rendered
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.tables import read_table


def aggregate_ablation(
    metrics_path: str | Path,
    records: Sequence[str | Path],
    variants: Sequence[str],
    csv_path: str | Path,
    markdown_path: str | Path,
) -> None:
    """Write :func:`~jacobian_ensembles.paper.ablation.ablation` as CSV and Markdown.

    Args:
        metrics_path: ``metrics.csv`` of the run.
        records: Worst-case records: all models and eps of the first variant, then of the second, and so on.
        variants: The variants' names, in that order.
        csv_path: CSV to write.
        markdown_path: Markdown to write.
    """
    each = len(records) // len(variants)
    rows = [read_record(path) | {"variant": variants[i // each]} for i, path in enumerate(records)]
    write_rendered(ablation(rows, read_table(metrics_path)), csv_path, markdown_path)
