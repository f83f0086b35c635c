"""Stage aggregate_stress: every attack of a run in one table, with the flags that they raise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS, IDLE
from jacobian_ensembles.robustness.evidence import (
    attack_row,
    clean_row,
    largest_class,
    single_rows,
    stress_table,
    transfer_row,
)
from jacobian_ensembles.robustness.flags import flagged
from jacobian_ensembles.robustness.toolbox import NAMES
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.perturbations import load_clean
from jacobian_ensembles.storage.tables import write_table

Paths = Sequence[str | Path]
Rows = dict[tuple[Any, ...], list[dict[str, Any]]]


def _key(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(spec[key] for key in CELL_KEYS)


def _without_gradient(record: Mapping[str, Any]) -> float:
    """The share of an attack's steps without a usable gradient; where their number was not counted, all or none."""
    idle, steps = int(record.get(IDLE, 0)), int(record.get("steps", 0))
    return idle / steps if steps else float(idle > 0)


def aggregate_stress(
    clean: Paths,
    records: Paths,
    transfers: Paths,
    singles: Paths,
    names: Sequence[str],
    attacks: Mapping[str, Mapping[str, Any]],
    path: str | Path,
    transfer_path: str | Path,
) -> None:
    """Gather every model's accuracy under every attack of a run.

    Args:
        clean: Clean predictions of every model.
        records: Worst-case records of every attack, eps and model.
        transfers: What stage measure_transfer wrote, per dataset and eps.
        singles: What stage attack_images wrote, per model and eps.
        names: The attack of each of ``records``.
        attacks: ``kind``, ``steps`` and ``family`` of each attack: see :mod:`~jacobian_ensembles.robustness.flags`.
        path: CSV to write: the table of :func:`~jacobian_ensembles.robustness.flags.flagged` of every model.
        transfer_path: CSV to write: whose perturbations were tried on which model.
    """
    rows: Rows = {}
    chance = {}
    for predicted, labels, spec in map(load_clean, clean):
        rows[_key(spec)] = [clean_row(float((predicted == labels).mean()), len(labels))]
        chance[_key(spec)] = largest_class(labels)
    for record, name in zip(map(read_record, records), names, strict=True):
        known = attacks[name]
        hindered = _without_gradient(record)
        rows[_key(record)].append(
            attack_row(name, eps=record["eps"], record=record, without_gradient=hindered, **known)
        )
    transferred = []
    for record in map(read_record, transfers):
        same = {"eps": record["eps"], "images": record["images"]}
        others: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
        for row in record["rows"]:
            transferred.append({**row, **same})
            if not row["own"]:
                others[_key(row)][row["source"]] = row["accuracy"]
        for key, found in others.items():
            rows[key].append(transfer_row(record["eps"], found, record["images"]))
    for record in map(read_record, singles):
        found = {name: record["accuracies"][name] for name in NAMES}  # a record sorts its keys
        rows[_key(record)] += single_rows(record["eps"], found, record["iterations"], record["images"])
    tables = {key: flagged(stress_table(of_model), chance[key]) for key, of_model in rows.items()}
    parts = [table.assign(**dict(zip(CELL_KEYS, key, strict=True))) for key, table in tables.items()]
    whole = pd.concat(parts)
    whole = whole[[*CELL_KEYS, *(column for column in whole.columns if column not in CELL_KEYS)]]
    columns = [*CELL_KEYS, "eps", "source", "attack", "own", "accuracy", "images"]
    transfer = pd.DataFrame(transferred, columns=columns)
    write_table(path, whole)
    write_table(transfer_path, transfer)
