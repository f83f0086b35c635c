"""The built-in objectives by name, and their options. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from jacobian_ensembles.config.settings import PositiveInt, Settings

_HERE = "jacobian_ensembles.training.objectives"
#: Where each built-in objective is found. One of your own is a subclass of
#: :class:`~jacobian_ensembles.training.objectives.objective.Objective`, made as ``YourClass(strength, **options)``.
OBJECTIVES = {
    "jacobian": f"{_HERE}.jacobian:Jacobian",
    "input_gradient": f"{_HERE}.input_gradient:InputGradient",
    "noise": f"{_HERE}.noise:Noise",
    "universal": f"{_HERE}.universal:Universal",
    "adversarial": f"{_HERE}.adversarial:Adversarial",
    "decorrelated": f"{_HERE}.decorrelated:Decorrelated",
}
#: Those whose learners are trained together, as their classes say: a plan must know this without torch.
TOGETHER = frozenset({"decorrelated"})


class UniversalOptions(Settings):
    """Options of ``universal``.

    Attributes:
        step: How far the perturbation moves in a step, in units of eps.
        jacobian: Strength of additional Jacobian regularisation (Eq. 1), at the perturbed images.
    """

    step: Annotated[float, Field(gt=0, le=2)] = 1.0
    jacobian: Annotated[float, Field(ge=0)] = 0.0


class AdversarialOptions(Settings):
    """Options of ``adversarial``.

    Attributes:
        steps: Steps of projected gradient ascent, for every batch.
        step: How far each goes, in units of eps; None for 2.5 / steps, so that together they reach any corner.
    """

    steps: PositiveInt = 3
    step: Annotated[float, Field(gt=0, le=2)] | None = None


class DecorrelatedOptions(Settings):
    """Options of ``decorrelated``.

    Attributes:
        jacobian: Weight of each learner's Jacobian penalty (Eq. 1), in units of the strength.
        correlation: Weight of the mean squared cosine, in units of the strength.
        of: What the cosine compares: the ``jacobian``, randomly projected, or the gradients of the ``loss``.
    """

    jacobian: Annotated[float, Field(ge=0)] = 1.0
    correlation: Annotated[float, Field(ge=0)] = 1.0
    of: Literal["jacobian", "loss"] = "jacobian"


#: The options of each built-in objective that has any.
OPTIONS: dict[str, type[Settings]] = {
    "universal": UniversalOptions,
    "adversarial": AdversarialOptions,
    "decorrelated": DecorrelatedOptions,
}
