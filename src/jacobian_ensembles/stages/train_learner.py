"""Stage train_learner: one learner, or all learners of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.extensions.references import resolve, short_name
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import parameter_arrays
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import StoredImages
from jacobian_ensembles.storage.learners import save_learners
from jacobian_ensembles.training.learner import Task
from jacobian_ensembles.training.members import train_learner as train_one
from jacobian_ensembles.training.members import train_members
from jacobian_ensembles.training.objectives.registry import OBJECTIVES
from jacobian_ensembles.training.recipe import Recipe


def load_task(
    images: StoredImages,
    dataset: str,
    lambda_jr: float,
    model: Mapping[str, Any],
    recipe: Recipe,
    goal: Mapping[str, Any],
    device: str,
    method: Method | None = None,
) -> Task:
    """What a training starts from.

    Args:
        images: The stored dataset.
        dataset: Its name.
        lambda_jr: Strength of the objective.
        model: ``architecture``, a name or reference; ``options``, its keyword arguments; ``normalize``.
        recipe: How to train.
        goal: ``objective``, a name or reference, and its ``options``.
        device: ``cpu`` or ``cuda``.
        method: The ensemble method, which may sample the training images; None for all.

    Raises:
        ExtensionError: If a reference leads nowhere.
    """
    target = prepare_device(device)
    train, validation = ((x.to(target), y.to(target)) for x, y in (images.split("train"), images.split("validation")))
    pixels, mean, std = train[0], 0.0, 1.0
    if model["normalize"]:
        card = CARDS.get(dataset)
        mean, std = (card.mean, card.std) if card else (round(pixels.mean().item(), 4), round(pixels.std().item(), 4))
    reference, shape = model["architecture"], tuple(pixels.shape[1:])
    return Task(
        train,
        validation,
        Architecture(short_name(reference), shape, images.classes, model["options"], mean, std),
        recipe,
        lambda_jr,
        resolve(goal["objective"], OBJECTIVES),
        goal["options"],
        method.sample if method else None,
        resolve(reference, ARCHITECTURES),
    )


def train_learner(
    images: StoredImages,
    path: str | Path,
    *,
    dataset: str,
    ensemble: str,
    lambda_jr: float,
    repetition: int,
    member: int | None = None,
    members: int = 1,
    model: Mapping[str, Any],
    recipe: Recipe,
    goal: Mapping[str, Any],
    seed: int,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Train one learner, or all M of an ensemble, and store them.

    Args:
        images: The stored dataset.
        path: The checkpoint to write.
        dataset: The dataset's name.
        ensemble: ``bagging``, ``snapshot``, ``voting``, or a reference to a method of your own.
        lambda_jr: Strength of the objective.
        repetition: Which training of this model; repetitions share no draw.
        member: Index of the learner to train; None for all ``members``.
        members: M.
        model: See :func:`load_task`.
        recipe: How to train.
        goal: The objective: see :func:`load_task`.
        seed: Base seed of the run.
        device: ``cpu`` or ``cuda``.

    Returns:
        One record per epoch: ``epoch``, ``loss`` and ``seconds``; of each learner in turn if nothing couples them.

    Raises:
        DivergedError: See :func:`~jacobian_ensembles.training.members.train_members`; then nothing is stored.
        ExtensionError: If a reference leads nowhere.
    """
    method, name = resolve(ensemble, METHODS, Method), short_name(ensemble)
    task = load_task(images, dataset, lambda_jr, model, recipe, goal, device, method)
    identity = (seed, dataset, name, lambda_jr, repetition)
    if member is None:
        result = train_members(task, method.cyclic, identity, members)
    else:
        result = train_one(task, (*identity, member))
    spec = {"dataset": dataset, "data": images.checksum, "ensemble": name, "lambda": lambda_jr}
    spec |= {"repetition": repetition, "learners": [*range(members)] if member is None else [member]}
    spec |= {"architecture": task.architecture.record(), "validation_accuracy": result.validation_accuracy}
    save_learners(path, parameter_arrays(result.nets), spec)
    return result.history
