"""How a learner is trained: part of a :class:`~jacobian_ensembles.training.learner.Task`. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from jacobian_ensembles.config.settings import Number, PositiveInt, Settings


class Recipe(Settings):
    """How a learner is trained.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        learning_rate: At the start.
        schedule: ``cosine`` (annealed to zero, per iteration) or ``constant``; a cyclic run restarts a cosine in any
            case.
        momentum: Of sgd; adam ignores it.
        weight_decay: L2 penalty of the optimiser.
        batch_size: Images per step.
        epochs: Passes over the training images, of a learner or of a whole cyclic run.
        projections: P, random projections per image that estimate the norm of the Jacobian.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[Number, Field(gt=0)] = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    batch_size: PositiveInt = 100
    epochs: PositiveInt = 8
    projections: PositiveInt = 1
