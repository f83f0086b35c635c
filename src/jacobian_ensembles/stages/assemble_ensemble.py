"""Stage assemble_ensemble: stored learners stacked into one ensemble file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jacobian_ensembles.storage.files import ArtifactError
from jacobian_ensembles.storage.learners import load_learners, save_learners


def assemble_ensemble(learners: Sequence[str | Path], members: int, path: str | Path) -> None:
    """Stack stored learners into one ensemble file.

    Args:
        learners: Files of one learner each, in member order, or one file of M snapshots.
        members: M.
        path: The file to write.

    Raises:
        ArtifactError: If the files do not hold learners 0 to M - 1, or these were trained differently.
    """
    loaded = [load_learners(source) for source in learners]
    own = ("members", "learners", "validation_accuracy")
    specs = [{k: v for k, v in spec.items() if k not in own} for _, spec in loaded]
    for source, spec in zip(learners, specs, strict=True):
        if spec != specs[0]:
            raise ArtifactError(f"{source}: trained with {spec}, but {learners[0]} with {specs[0]}.")
    numbers = [number for _, spec in loaded for number in spec["learners"]]
    if numbers != [*range(members)]:
        raise ArtifactError(f"{path}: an ensemble of {members} was asked for, its files hold learners {numbers}.")
    arrays = {name: np.concatenate([part[name] for part, _ in loaded]) for name in loaded[0][0]}
    scores = [score for _, spec in loaded for score in spec["validation_accuracy"]]
    save_learners(path, arrays, {**specs[0], "learners": numbers, "validation_accuracy": scores})
