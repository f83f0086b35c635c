"""Stored tables: CSV files with a list of checksums beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.storage.checksums import verify_checksum
from jacobian_ensembles.storage.files import ArtifactError, write_text


def read_table(path: str | Path, columns: Sequence[str] = MODEL_KEYS) -> pd.DataFrame:
    """Read a table, such as ``metrics.csv``.

    Args:
        path: A CSV file.
        columns: Those it must have: in a table of models, what names a model.

    Raises:
        ArtifactError: If the file is missing, altered, not CSV, or lacks one of the columns.
    """
    verify_checksum(path)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read as CSV ({error}). Delete it to have it made again.") from error
    missing = [key for key in columns if key not in table.columns]
    if missing:
        raise ArtifactError(f"{path}: no column {', '.join(missing)}. Delete it to have it made again.")
    return table


def write_table(path: str | Path, table: pd.DataFrame, float_format: str | None = "%.6g") -> None:
    """Write a table as CSV, atomically."""
    write_text(path, table.to_csv(index=False, float_format=float_format))
