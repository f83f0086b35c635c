"""Training an ensemble in memory, as the workflow trains its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from jacobian_ensembles.config.training import Training
from jacobian_ensembles.data.splits import validation_indices
from jacobian_ensembles.data.tensors import check_images, check_training_labels
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.extensions.references import resolve, short_name
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import Builder
from jacobian_ensembles.models.evaluation_mode import own_modes
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.training.learner import Task
from jacobian_ensembles.training.members import train_members
from jacobian_ensembles.training.objectives.objective import Objective
from jacobian_ensembles.training.objectives.registry import OBJECTIVES
from jacobian_ensembles.training.recipe import Recipe


@own_modes()
def train_ensemble(
    images: Tensor,
    labels: Tensor,
    ensemble: str | Method = "voting",
    members: int = 3,
    lambda_jr: float = 0.0,
    *,
    architecture: str | Builder = "lenet",
    options: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    objective: str | Callable[..., Objective] = "jacobian",
    objective_options: Mapping[str, Any] | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> Ensemble:
    """Train an ensemble in memory, as the workflow trains its own.

    Args:
        images: (N, channels, height, width), float in [0, 1], on the device to train on.
        labels: (N,) integers in [0, C).
        ensemble: ``bagging``, ``snapshot``, ``voting``, a reference, or a
            :class:`~jacobian_ensembles.ensembles.methods.Method`.
        members: M.
        lambda_jr: Strength of the objective, >= 0; for Jacobian regularisation, lambda of Eq. 1.
        architecture: ``lenet``, a reference, or a builder: called as ``builder(shape, classes, **options)``, it returns
            a module from (B, *shape) in [0, 1] to logits (B, C).
        options: Keyword arguments of the architecture; for a LeNet, ``activation`` and ``dropout``.
        recipe: Optimiser, learning rate, batch size, epochs (for a cyclic method, those of the whole run); None for the
            defaults of ``config.yaml``.
        objective: What to minimise: one of :data:`~jacobian_ensembles.training.objectives.registry.OBJECTIVES`, a
            reference, or a subclass of :class:`~jacobian_ensembles.training.objectives.objective.Objective`.
        objective_options: Keyword arguments of the objective.
        validation: Images and labels on which each learner must beat chance; None holds out a stratified tenth of the
            training images, at most 5,000.
        seed: Base seed of every random draw.

    Returns:
        The ensemble, for evaluation, with gradients switched off.

    Raises:
        DivergedError: If a learner does no better than chance.
        ValueError: If images are not in [0, 1], labels do not number the classes from 0, shapes do not match, lambda is
            negative, the network does not return C scores, or snapshots do not divide the epochs.
    """
    images, labels = check_images(images, labels)
    if members < 1:
        raise ValueError(f"members must be a whole number from 1 on. Got {members}.")
    classes = check_training_labels(labels)
    if validation is not None:
        validation = check_images(*validation)
        if validation[0].shape[1:] != images.shape[1:] or int(validation[1].max()) >= classes:
            raise ValueError(
                f"validation must be like training: images {tuple(images.shape[1:])}, labels below {classes}. "
                f"Got images {tuple(validation[0].shape[1:])}, labels up to {int(validation[1].max())}."
            )
    else:
        held_out = torch.from_numpy(validation_indices(labels.cpu().numpy(), min(5000, len(labels) // 10), "data"))
        held_out = held_out.to(labels.device)
        kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        kept[held_out] = False
        validation, (images, labels) = (images[held_out], labels[held_out]), (images[kept], labels[kept])
    method = resolve(ensemble, METHODS, Method) if isinstance(ensemble, str) else ensemble
    recipe = recipe or Training().recipe(method.cyclic)
    name = short_name(ensemble) if isinstance(ensemble, str) else "own"
    builder: Builder = resolve(architecture, ARCHITECTURES) if isinstance(architecture, str) else architecture
    network = Architecture(
        architecture if architecture in ARCHITECTURES else "own", tuple(images.shape[1:]), classes, options or {}
    )
    task = Task(
        (images, labels),
        validation,
        network,
        recipe,
        lambda_jr,
        resolve(objective, OBJECTIVES) if isinstance(objective, str) else objective,
        objective_options or {},
        method.sample,
        builder,
    )
    trained = train_members(task, method.cyclic, (seed, "data", name, lambda_jr, 0), members)
    return Ensemble(trained.nets, method.average)
