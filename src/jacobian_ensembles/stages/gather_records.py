"""Stage gather_records: what an attack counted on every model of a run, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.evaluation.records import records_table
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import ArtifactError
from jacobian_ensembles.storage.perturbations import load_clean
from jacobian_ensembles.storage.tables import write_table


def gather_records(clean_files: Sequence[str | Path], worst_files: Sequence[str | Path], path: str | Path) -> None:
    """Write :func:`~jacobian_ensembles.evaluation.records.records_table` of an attack.

    Args:
        clean_files: Clean predictions, one file per training of a model.
        worst_files: What stage select_worst_uap wrote, one per (training, eps).
        path: CSV to write, in full precision.

    Raises:
        ArtifactError: If the models of the two lists differ, or one is there twice.
    """
    clean = {}
    for predicted, labels, spec in map(load_clean, clean_files):
        cell = tuple(spec[key] for key in CELL_KEYS)
        if cell in clean:
            raise ArtifactError(f"Two files with clean predictions of {' '.join(map(str, cell))}.")
        clean[cell] = float((predicted == labels).mean())
    try:
        table = records_table([read_record(path) for path in worst_files], clean)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    write_table(path, table, float_format=None)
