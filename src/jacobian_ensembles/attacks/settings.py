"""The options of the built-in attack. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from jacobian_ensembles.settings import PositiveInt, Settings, number, whole


class SgdSettings(Settings):
    """Options of iterated stochastic gradient steps (:mod:`~jacobian_ensembles.attacks.sgd_uap`).

    Attributes:
        iterations: Steps; with 0 the start is returned: random noise, by which an attack is to be judged.
        batch_size: Images per step.
        init: ``zero``, ``uniform`` in [-eps, eps], or ``sign``: each pixel -eps or eps.
        step: Step size in units of eps, along the sign of the gradient, or the gradient itself under ``l2``.
        step_rule: ``constant``, or ``decay``: linearly to zero.
        momentum: How much of the earlier gradients, each scaled to mean size one, a step adds to its own, in [0, 1];
            0 for none (Dong et al.: Boosting Adversarial Attacks with Momentum, CVPR 2018, Eq. 6).
        inner_batches: Parts of a batch that are stepped along one after another, before the step along the sum of their
            gradients from where the first began; 1 for none of this (Liu et al.: Enhancing Generalization of Universal
            Adversarial Perturbation through Gradient Aggregation, ICCV 2023; there, parts are drawn at random).
        loss: What is ascended, of :data:`~jacobian_ensembles.attacks.losses.LOSSES`: the ``cross_entropy``; the
            ``probability`` of another class than the true one; the sigmoid of the ``margin``; or the cross-entropies of
            an ensemble's ``members``.
        loss_cap: Cap of each image's cross-entropy, in nats; None for none. The bounded losses, ``probability`` and
            ``margin``, and attacks with a target class need none and have none.
        target: ``none``: the true class is left for any other. ``each``: perturbation k makes images pass for class
            k mod C. ``class``: perturbation k is for images of class k mod C only, crafted on them.
        norm: What eps bounds: ``linf``, the largest change of a pixel; or ``l2``, the root of the mean squared change,
            so that the L2 radius is eps times the square root of the number of pixels D.
        clip: Clip x + delta to [0, 1].
    """

    iterations: Annotated[int, Field(ge=0), BeforeValidator(whole)] = 100
    batch_size: PositiveInt = 200
    init: Literal["zero", "uniform", "sign"] = "zero"
    step: Annotated[float, Field(gt=0)] = 0.8
    step_rule: Literal["constant", "decay"] = "constant"
    momentum: Annotated[float, Field(ge=0, le=1), BeforeValidator(number)] = 0.0
    inner_batches: PositiveInt = 1
    loss: Literal["cross_entropy", "probability", "margin", "members"] = "cross_entropy"
    loss_cap: Annotated[float, Field(gt=0)] | None = 12.0
    target: Literal["none", "each", "class"] = "none"
    norm: Literal["linf", "l2"] = "linf"
    clip: bool = False

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> SgdSettings:
        if self.inner_batches > self.batch_size:
            raise ValueError(
                f"inner_batches: got {self.inner_batches}; a batch of {self.batch_size} has no so many parts"
            )
        return self
