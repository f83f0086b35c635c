"""Stage gather_records: what an attack counted on every model of a run, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jacobian_ensembles.evaluation.records import ATTACKED, records_table
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import ArtifactError
from jacobian_ensembles.storage.perturbations import load_clean
from jacobian_ensembles.storage.tables import write_table


def gather_records(
    clean_files: Sequence[str | Path],
    worst_files: Sequence[str | Path],
    path: str | Path,
    certified_files: Sequence[str | Path] = (),
) -> None:
    """Write :func:`~jacobian_ensembles.evaluation.records.records_table` of an attack.

    Args:
        clean_files: Clean predictions, one file per training of a model.
        worst_files: What stage select_worst_uap wrote, one per (training, eps).
        path: CSV to write, in full precision.
        certified_files: What stage certify_ensemble wrote, one per training of a model; none for no bounds.

    Raises:
        ArtifactError: If the models of the two lists differ, or one is there twice.
    """
    clean = {}
    for predicted, labels, spec in map(load_clean, clean_files):
        cell = tuple(spec[key] for key in CELL_KEYS)
        if cell in clean:
            raise ArtifactError(f"Two files with clean predictions of {' '.join(map(str, cell))}.")
        clean[cell] = float((predicted == labels).mean())
    proved: dict[tuple[Any, ...], dict[str, float]] = {}
    for record in map(read_record, certified_files):
        at = zip(record["eps"], record["certified_accuracies"], strict=True)
        proved |= {(*(record[key] for key in CELL_KEYS), eps): {"certified_accuracy": rate} for eps, rate in at}
    attacks = [read_record(path) for path in worst_files]
    if certified_files:
        attacks = [attack | _of(attack, proved) for attack in attacks]
    try:
        table = records_table(attacks, clean)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    write_table(path, table, float_format=None)


def _of(attack: Mapping[str, Any], proved: Mapping[tuple[Any, ...], dict[str, float]]) -> dict[str, float]:
    key = tuple(attack[name] for name in ATTACKED)
    if key not in proved:
        raise ArtifactError(f"There are no bounds of {' '.join(map(str, key))}.")
    return proved[key]
