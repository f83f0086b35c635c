"""Part of stage compare_runs: the best models of finished runs under one another's perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from jacobian_ensembles.comparing.defences import FAMILY, ComparedRun, common_ground
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.robustness.evidence import transfer_matrix
from jacobian_ensembles.runs.layout import Layout, cell_wildcards, number_token
from jacobian_ensembles.stages.inputs import StoredImages, load_ensemble
from jacobian_ensembles.storage.files import ArtifactError, read_json
from jacobian_ensembles.storage.perturbations import load_worst_uap


def transfer_between(folders: Sequence[str | Path], runs: Sequence[ComparedRun], best: pd.DataFrame) -> pd.DataFrame:
    """Try the worst perturbation of every run's best model on the best models of the others.

    A training meets the others' perturbations of the same repetition.

    Args:
        folders: Folders of finished runs, ``results/<run>``, with their models.
        runs: What was read from them, in the same order.
        best: The table of :func:`~jacobian_ensembles.comparing.defences.best_of_each`.

    Returns:
        One row per (dataset, ensemble, M, repetition, eps, source, target): the ``accuracy`` in [0, 1] of run
        ``target``'s best model on the test images, perturbed by what was crafted for run ``source``'s.

    Raises:
        ArtifactError: If a folder has no models, as is the case for shipped runs, or a file is damaged.
    """
    eps = common_ground(runs).eps
    finished = {run.name: _Finished(Path(folder).resolve()) for folder, run in zip(folders, runs, strict=True)}
    rows = []
    for family, models in best.groupby(FAMILY, sort=False):
        model = dict(zip(FAMILY, family, strict=True))
        strengths = dict(zip(models["run"], models["lambda"], strict=True))
        trainings = [
            _repetitions(run.metrics, {**model, "lambda": strengths[run.name]}) for run in runs if run.name in strengths
        ]
        for repetition in sorted(set.intersection(*trainings)):
            cells = {
                name: Cell.model_validate({**model, "lambda": strength, "repetition": repetition})
                for name, strength in strengths.items()
            }
            loaded = {name: finished[name].model(cell) for name, cell in cells.items()}
            first, cell = next(iter(cells.items()))
            stored, clip = finished[first].images(cell)
            images, labels = stored.split("test")
            for radius in eps:
                deltas = {name: finished[name].delta(cell, radius) for name, cell in cells.items()}
                matrix = transfer_matrix(loaded, deltas, images, labels, clip)
                rows += [
                    {**model, "repetition": repetition, "eps": radius}
                    | {"source": source, "target": target, "accuracy": matrix.loc[source, target]}
                    for source in deltas
                    for target in loaded
                ]
    return pd.DataFrame(rows)


def _repetitions(metrics: pd.DataFrame, model: Mapping[str, Any]) -> set[int]:
    """Which trainings of a model a run has."""
    return {*metrics[(metrics[[*model]] == pd.Series(model)).all(axis=1)]["repetition"]}


class _Finished:
    """A finished run's folder.

    Args:
        folder: ``results/<run>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(str(folder.parent), folder.name)

    def model(self, cell: Cell) -> Ensemble:
        path = Path(self.layout.ensemble.format(**cell_wildcards(cell)))
        if not path.exists():
            raise ArtifactError(f"{path} is missing. Transfer needs the models of finished runs, not shipped ones.")
        used = self._settings(cell)["extensions"]
        return load_ensemble(path, cell.members, used["architecture"], used["method"])

    def delta(self, cell: Cell, eps: float) -> Tensor:
        path = self.layout.worst_uap.format(**cell_wildcards(cell), eps=number_token(eps))
        return torch.from_numpy(load_worst_uap(path)["delta"])

    def images(self, cell: Cell) -> tuple[StoredImages, bool]:
        """The dataset of a model, and whether perturbed images are clipped."""
        at, settings = cell_wildcards(cell), self._settings(cell)
        own = Path(self.layout.own_dataset.format(**at))
        path = own if own.exists() else self.layout.dataset.format(**at)
        return StoredImages(path, **settings["data"]), settings["attack"]["clip"]

    def _settings(self, cell: Cell) -> Mapping[str, Any]:
        """The recorded settings of the first attack on a model."""
        at = cell_wildcards(cell)
        attacks = Path(self.layout.uaps.format(**at, eps=0, first=0, last=0)).parents[1]
        found = sorted(attacks.glob("*/*.provenance.json"))
        if not found:
            raise ArtifactError(f"{attacks}: no record of an attack. Run the workflow again.")
        settings: Mapping[str, Any] = read_json(found[0])["settings"]
        return settings
