"""Stage train_trial: a training recipe tried on one learner, judged on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jacobian_ensembles.stages.inputs import StoredImages
from jacobian_ensembles.stages.train_learner import load_task
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.training.learner import DivergedError
from jacobian_ensembles.training.members import train_learner
from jacobian_ensembles.training.recipe import Recipe


def train_trial(
    images: StoredImages,
    path: str | Path,
    *,
    trial: str,
    dataset: str,
    lambda_jr: float,
    model: Mapping[str, Any],
    recipe: Recipe,
    goal: Mapping[str, Any],
    seed: int,
    device: str = "cpu",
) -> None:
    """Try a training recipe on one learner, and record how it does on the validation split; the test set is not read.

    Args:
        images: The stored dataset.
        path: The JSON record to write: validation accuracy and final loss, or how the learner diverged.
        trial: The recipe's name.
        dataset: The dataset's name.
        lambda_jr: Strength of the objective.
        model: See :func:`~jacobian_ensembles.stages.train_learner.load_task`.
        recipe: How to train.
        goal: The objective: see :func:`~jacobian_ensembles.stages.train_learner.load_task`.
        seed: Base seed of the run.
        device: ``cpu`` or ``cuda``.
    """
    task = load_task(images, dataset, lambda_jr, model, recipe, goal, device)
    record = {"trial": trial, "dataset": dataset, "lambda": lambda_jr, "epochs": recipe.epochs, "seed": seed}
    record |= {"images": len(task.validation[1]), "validation_accuracy": None, "loss": None, "diverged": None}
    try:
        # the draws of voting's first learner, whatever the recipe: trials differ in nothing else
        result = train_learner(task, (seed, dataset, "voting", lambda_jr, 0, 0))
        record |= {"validation_accuracy": result.validation_accuracy[0], "loss": result.history[-1]["loss"]}
    except DivergedError as error:
        record["diverged"] = str(error)
    write_record(path, record)
