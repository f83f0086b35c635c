"""Stored tables: CSV files with a list of checksums beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.storage.checksums import verify_checksum
from jacobian_ensembles.storage.files import ArtifactError, write_text


def read_table(path: str | Path, needs: Sequence[str] = (), words: bool = False) -> pd.DataFrame:
    """Read a table, such as ``metrics.csv``.

    Args:
        path: The CSV file.
        needs: Columns that it must have.
        words: Whether texts such as "NA" are words, and only an empty cell is missing.

    Raises:
        ArtifactError: If the file is missing, altered or not CSV, or lacks a column.
    """
    verify_checksum(path)
    try:
        table = pd.read_csv(path, keep_default_na=not words, na_values=[""])
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read as CSV ({error}). Delete it to have it made again.") from error
    if missing := [name for name in needs if name not in table.columns]:
        raise ArtifactError(f"{path}: no column {', '.join(missing)}. Delete it to have it made again.")
    return table


def write_table(path: str | Path, table: pd.DataFrame, float_format: str | None = "%.6g") -> None:
    """Write a table as CSV, atomically."""
    write_text(path, table.to_csv(index=False, float_format=float_format))
