"""Stage attack_members: the learners of one training, each evaluated and attacked as a model of M = 1."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.evaluation.records import once
from jacobian_ensembles.evaluation.worst_case import counted, over_seeds
from jacobian_ensembles.stages.craft_uaps import craft_uaps
from jacobian_ensembles.stages.evaluate_ensemble import evaluate_ensemble
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.checksums import read_record, write_record
from jacobian_ensembles.storage.perturbations import load_clean, load_uaps
from jacobian_ensembles.storage.tables import write_table


def attack_members(
    learners: Sequence[StoredEnsemble],
    images: StoredImages,
    path: str | Path,
    *,
    cell: Cell,
    eps: Sequence[float],
    seeds: int,
    attack: Mapping[str, Any],
    seed: int,
    device: str = "cpu",
) -> None:
    """Evaluate and attack every learner of a training by itself.

    Args:
        learners: In the order of members; the first is the model of M = 1.
        images: The stored dataset.
        path: The JSON record to write: a row per member and eps.
        cell: The model of M = 1. All members meet the attack seeds that it meets.
        eps: Radii, in (0, 1].
        seeds: Attack seeds per member and eps.
        attack: See :func:`~jacobian_ensembles.stages.craft_uaps.craft_uaps`.
        seed: Base seed of the run.
        device: ``cpu`` or ``cuda``.
    """
    rows = []
    single = {key: value for key, value in cell.record.items() if key != "members"}
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        for member, learner in enumerate(learners):
            clean = Path(folder) / f"{member}.safetensors"
            evaluate_ensemble(learner, images, clean, cell=cell, device=device)
            predicted, labels, _ = load_clean(clean)
            accuracy = float((predicted == labels).mean())
            for size in eps:
                uaps = Path(folder) / f"{member}-{size}.safetensors"
                craft_uaps(
                    learner, images, uaps, cell=cell, eps=size, first=0, last=seeds - 1, attack=attack, seed=seed,
                    device=device,
                )  # fmt: skip
                accuracies = counted(load_uaps([uaps])[1])["accuracies"]
                found = over_seeds(accuracies)
                rows.append(
                    {"member": member, "eps": size, "seeds": seeds, "clean_accuracy": accuracy}
                    | {key: found[key] for key in ("worst_accuracy", "mean_accuracy")}
                    | {"accuracies": accuracies}
                )
    write_record(path, {**single, "members": rows})


def gather_members(records: Sequence[str | Path], csv_path: str | Path) -> None:
    """Gather what :func:`attack_members` wrote.

    Args:
        records: One per training.
        csv_path: CSV to write: a row per (training, member, eps).
    """
    rows = []
    for path in records:
        record = read_record(path)
        members = record.pop("members")
        rows += [record | {key: value for key, value in row.items() if key != "accuracies"} for row in members]
    keys = ["dataset", "ensemble", "lambda", "repetition", "member", "eps"]
    table = pd.DataFrame(rows)
    once(table, keys, every=["member", "eps"])
    write_table(csv_path, table[[*keys, *(c for c in table.columns if c not in keys)]].sort_values(keys))
