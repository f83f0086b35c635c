"""Stage train_learner: one learner, or all learners of an ensemble that are trained in one job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.extensions.references import resolve, short_name
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import Builder, parameter_arrays
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import StoredImages
from jacobian_ensembles.storage.learners import save_learners
from jacobian_ensembles.training.learner import train_learners
from jacobian_ensembles.training.objectives.objective import Objective
from jacobian_ensembles.training.objectives.registry import OBJECTIVES
from jacobian_ensembles.training.recipe import Recipe

Split = tuple[Tensor, Tensor]


def load_training(
    images: StoredImages, dataset: str, model: Mapping[str, Any], device: str
) -> tuple[Split, Split, Architecture, Builder]:
    """What a training starts from.

    Args:
        images: The stored dataset.
        dataset: Its name.
        model: ``architecture``, a name or reference; ``options``, its keyword arguments; ``normalize``.
        device: ``cpu`` or ``cuda``.

    Returns:
        The training and the validation split, on the device; the network, and what builds it.
    """
    target = prepare_device(device)
    train, validation = ((x.to(target), y.to(target)) for x, y in (images.split("train"), images.split("validation")))
    pixels, mean, std = train[0], 0.0, 1.0
    if model["normalize"]:
        card = CARDS.get(dataset)
        mean, std = (card.mean, card.std) if card else (round(pixels.mean().item(), 4), round(pixels.std().item(), 4))
    reference, shape = model["architecture"], tuple(pixels.shape[1:])
    network = Architecture(short_name(reference), shape, images.classes, model["options"], mean, std)
    return train, validation, network, resolve(reference, ARCHITECTURES)


def load_objective(goal: Mapping[str, Any] | None) -> Callable[[float], Objective]:
    """The function that makes the objective, given its strength.

    Args:
        goal: ``objective``, a name or reference, and its ``options``; None for Jacobian regularisation.

    Raises:
        ExtensionError: If a reference leads nowhere.
    """
    goal = goal or {"objective": "jacobian", "options": {}}
    return partial(resolve(goal["objective"], OBJECTIVES), **goal["options"])


def train_learner(
    images: StoredImages,
    path: str | Path,
    *,
    dataset: str,
    ensemble: str,
    lambda_jr: float,
    repetition: int,
    member: int | None = None,
    members: int | None = None,
    model: Mapping[str, Any],
    recipe: Recipe,
    goal: Mapping[str, Any] | None = None,
    seed: int,
    device: str = "cpu",
) -> None:
    """Train one learner, or all M of an ensemble that are trained in one job, and store them.

    Args:
        images: The stored dataset.
        path: The checkpoint to write.
        dataset: The dataset's name.
        ensemble: ``bagging``, ``snapshot``, ``voting``, or a reference to a method of your own.
        lambda_jr: Strength of the objective.
        repetition: Which training of this model; repetitions share no draw.
        member: Index of the learner, if learners are trained one by one.
        members: M, if all are snapshots of one run, or are trained side by side.
        model: See :func:`load_training`.
        recipe: How to train.
        goal: The objective: see :func:`load_objective`.
        seed: Base seed of the run.
        device: ``cpu`` or ``cuda``.

    Raises:
        DivergedError: See :func:`~jacobian_ensembles.training.learner.train_learners`; then nothing is stored.
        ExtensionError: If a reference leads nowhere.
    """
    method, name = resolve(ensemble, METHODS, Method), short_name(ensemble)
    train, validation, network, builder = load_training(images, dataset, model, device)
    last = () if members and not method.cyclic else ((members or 0) if member is None else member,)
    result = train_learners(
        train,
        validation,
        network,
        recipe,
        lambda_jr,
        identity=(seed, dataset, name, lambda_jr, repetition, *last),
        sample=method.sample,
        snapshots=members if method.cyclic else None,
        builder=builder,
        objective=load_objective(goal),
        together=None if method.cyclic else members,
    )
    spec = {"dataset": dataset, "ensemble": name, "lambda": lambda_jr, "architecture": network.record()}
    save_learners(path, parameter_arrays(result.nets), spec | {"validation_accuracy": result.validation_accuracy})
