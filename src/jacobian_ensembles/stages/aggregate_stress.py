"""Stage aggregate_stress: every attack of a run in one table, with the flags that they raise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.evaluation.records import ATTACKED, metrics_of, once
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
from jacobian_ensembles.storage.tables import read_table, write_table

Paths = Sequence[str | Path]
Rows = dict[tuple[Any, ...], list[dict[str, Any]]]


def _key(spec: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(spec[key] for key in CELL_KEYS)


def _without_gradient(row: Mapping[Any, Any]) -> float:
    """The share of an attack's steps without a usable gradient; where their number was not counted, all or none."""
    idle, steps = int(row.get(IDLE, 0)), int(row.get("steps", 0))
    return idle / steps if steps else float(idle > 0)


def aggregate_stress(
    clean: Paths,
    records: Mapping[str, str | Path],
    transfers: Paths,
    singles: Paths,
    attacks: Mapping[str, Mapping[str, Any]],
    path: str | Path,
    transfer_path: str | Path,
) -> None:
    """Gather every model's accuracy under every attack of a run.

    Args:
        clean: Clean predictions of the models to show, one training of each.
        records: The records of every attack, by its name.
        transfers: What stage measure_transfer wrote, per dataset and eps.
        singles: What stage attack_images wrote, per model and eps.
        attacks: ``kind``, ``steps`` and ``family`` of each attack: see :mod:`~jacobian_ensembles.robustness.flags`.
        path: CSV to write: the table of :func:`~jacobian_ensembles.robustness.flags.flagged` of every model.
        transfer_path: CSV to write: whose perturbations were tried on which model.
    """
    rows: Rows = {}
    chance = {}
    for predicted, labels, spec in map(load_clean, clean):
        rows[_key(spec)] = [clean_row(float((predicted == labels).mean()), len(labels))]
        chance[_key(spec)] = largest_class(labels)
    for name, known in attacks.items():
        metrics = metrics_of(read_table(records[name], ATTACKED)).sort_values("eps", kind="stable")
        for row in metrics.to_dict("records"):
            if _key(row) in rows:  # another training of the same model is not shown
                hindered = _without_gradient(row)
                rows[_key(row)].append(attack_row(name, eps=row["eps"], record=row, without_gradient=hindered, **known))
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
    seen = set()
    for record in map(read_record, singles):
        if (at := (*_key(record), record["eps"])) in seen:
            raise ValueError(f"Two records of images attacked one by one of {' '.join(map(str, at))}.")
        seen.add(at)
        found = {name: record["accuracies"][name] for name in NAMES}  # a record sorts its keys
        rows[_key(record)] += single_rows(record["eps"], found, record["iterations"], record["images"])
    tables = {key: flagged(stress_table(of_model), chance[key]) for key, of_model in rows.items()}
    parts = [table.assign(**dict(zip(CELL_KEYS, key, strict=True))) for key, table in tables.items()]
    whole = pd.concat(parts)
    whole = whole[[*CELL_KEYS, *(column for column in whole.columns if column not in CELL_KEYS)]]
    columns = [*CELL_KEYS, "eps", "source", "attack", "own", "accuracy", "images"]
    transfer = pd.DataFrame(transferred, columns=columns)
    if len(transfer):
        once(transfer, [*CELL_KEYS, "eps", "source"])
    write_table(path, whole)
    write_table(transfer_path, transfer)
