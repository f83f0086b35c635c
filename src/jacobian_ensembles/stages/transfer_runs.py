"""Part of stage compare_runs: the best models of finished runs under one another's perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from jacobian_ensembles.comparing.defences import FAMILY, ComparedRun, common_ground
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.robustness.evidence import transfer_matrix
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.stages.inputs import StoredImages, load_ensemble


def transfer_between(folders: Sequence[str | Path], runs: Sequence[ComparedRun], best: pd.DataFrame) -> pd.DataFrame:
    """Try the worst perturbation of every run's best model on the best models of the others.

    A training meets the others' perturbations of the same repetition.

    Args:
        folders: Folders of runs with their models and perturbations, finished or shipped.
        runs: What was read from them, in the same order.
        best: The table of :func:`~jacobian_ensembles.comparing.defences.best_of_each`.

    Returns:
        One row per (dataset, ensemble, M, repetition, eps, source, target): the ``accuracy`` in [0, 1] of run
        ``target``'s best model on the test images, perturbed by what was crafted for run ``source``'s.

    Raises:
        ArtifactError: If a run does not keep its models, or a file is damaged.
    """
    eps = common_ground(runs).eps
    opened = {run.name: Run.open(folder) for folder, run in zip(folders, runs, strict=True)}
    rows = []
    for family, models in best.groupby(FAMILY, sort=False):
        model = dict(zip(FAMILY, family, strict=True))
        strengths = dict(zip(models["run"], models["lambda"], strict=True))
        trainings = [
            _repetitions(run.records, {**model, "lambda": strengths[run.name]}) for run in runs if run.name in strengths
        ]
        for repetition in sorted(set.intersection(*trainings)):
            cells = {
                name: Cell.model_validate({**model, "lambda": strength, "repetition": repetition})
                for name, strength in strengths.items()
            }
            loaded = {name: _model(opened[name], cell) for name, cell in cells.items()}
            first, cell = next(iter(cells.items()))
            images, labels = _images(opened[first], cell).split("test")
            clip = bool(opened[first].settings["clip"])
            for radius in eps:
                found = {name: opened[name].perturbation(cell, radius) for name, cell in cells.items()}
                deltas = {name: torch.from_numpy(delta.copy()) for name, delta in found.items()}
                matrix = transfer_matrix(loaded, deltas, images, labels, clip)
                rows += [
                    {**model, "repetition": repetition, "eps": radius}
                    | {"source": source, "target": target, "accuracy": matrix.loc[source, target]}
                    for source in deltas
                    for target in loaded
                ]
    return pd.DataFrame(rows)


def _repetitions(records: pd.DataFrame, model: Mapping[str, Any]) -> set[int]:
    """Which trainings of a model a run has."""
    return {*records[(records[[*model]] == pd.Series(model)).all(axis=1)]["repetition"]}


def _model(run: Run, cell: Cell) -> Ensemble:
    architecture = run.config.get("model", {}).get("architecture", "lenet")
    return load_ensemble(run.model(cell), cell.members, architecture, run.reference(cell.ensemble))


def _images(run: Run, cell: Cell) -> StoredImages:
    data = run.config.get("data", {})
    chosen = {name: data[name] for name in ("validation_images", "train_images", "test_images") if name in data}
    return StoredImages(run.dataset(cell.dataset), **{"validation_images": 5_000, **chosen}, dataset=cell.dataset)
