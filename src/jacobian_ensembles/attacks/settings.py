"""The options of the built-in attacks. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from jacobian_ensembles.config.settings import PositiveInt, Settings, number, whole

_Cap = Annotated[float, Field(gt=0)] | None
_Loss = Literal["cross_entropy", "probability", "margin", "members"]
_Norm = Literal["linf", "l2"]
_Step = Annotated[float, Field(gt=0)]


class SgdSettings(Settings):
    """Options of iterated stochastic gradient steps (:mod:`~jacobian_ensembles.attacks.sgd_uap`).

    Attributes:
        iterations: Steps; 0 returns the start; a random one is the baseline for judging an attack.
        batch_size: Images per step.
        init: ``zero``, ``uniform`` in [-eps, eps], or ``sign``: each pixel -eps or eps.
        step: Step size in units of eps, along the sign of the gradient, or the gradient itself under ``l2``.
        step_rule: ``constant``, or ``decay``: linearly to zero.
        momentum: Weight, in [0, 1], of the earlier gradients that a step adds to its own, each scaled to mean size one;
            0 for none (Dong et al.: Boosting Adversarial Attacks with Momentum, CVPR 2018, Eq. 6).
        inner_batches: Parts a batch is split into. Trial steps follow the parts' gradients one after another; the real
            step then goes from where the first began, along their sum. 1 for no trial steps (Liu et al.: Enhancing
            Generalization of Universal Adversarial Perturbation through Gradient Aggregation, ICCV 2023; there, parts
            are drawn at random).
        loss: What is ascended, one of :data:`~jacobian_ensembles.attacks.losses.LOSSES`: the ``cross_entropy``; the
            ``probability`` of any class but the true one; the sigmoid of the ``margin``; or the cross-entropies of
            an ensemble's ``members``.
        loss_cap: Cap of each image's cross-entropy, in nats; None for no cap. The bounded losses, ``probability`` and
            ``margin``, and attacks with a target class need none and have none.
        target: ``none``: images are to leave their true class for any other. ``each``: perturbation k makes images pass
            for class k mod C. ``class``: perturbation k is crafted on, and meant for, images of class k mod C only.
        norm: What eps bounds: ``linf``, the largest change of a pixel; or ``l2``, the root of the mean squared change,
            so that the L2 radius is eps times the square root of the number of pixels D.
        clip: Clip x + delta to [0, 1].
    """

    iterations: Annotated[int, Field(ge=0), BeforeValidator(whole)] = 100
    batch_size: PositiveInt = 200
    init: Literal["zero", "uniform", "sign"] = "zero"
    step: _Step = 0.8
    step_rule: Literal["constant", "decay"] = "constant"
    momentum: Annotated[float, Field(ge=0, le=1), BeforeValidator(number)] = 0.0
    inner_batches: PositiveInt = 1
    loss: _Loss = "cross_entropy"
    loss_cap: _Cap = 12.0
    target: Literal["none", "each", "class"] = "none"
    norm: _Norm = "linf"
    clip: bool = False

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> SgdSettings:
        if self.inner_batches > self.batch_size:
            raise ValueError(
                f"inner_batches: got {self.inner_batches}, more parts than the batch has images; give at most "
                f"batch_size, {self.batch_size}"
            )
        return self


class StagedSettings(Settings):
    """Options of many short starts, the best of which are continued (:mod:`~jacobian_ensembles.attacks.staged`).

    Attributes:
        budget: The cost of one perturbation, in one-seed attacks: ``budget * iterations`` steps in all.
        iterations: Steps of such an attack.
        batch_size: Images per step.
        starts: Short attacks of the first round, from random starts; None for twice ``budget``, or as many as the steps
            allow.
        rounds: Rounds of successive halving, all with the same total of steps; one perturbation is left for the last.
        targeted: The share of the starts that make images pass for one class, a different one each until all classes
            are used; when continued, they drop that aim.
        step: Step size in units of eps, at the start of each round; within it, it decays linearly to zero.
        shrink: Factor by which the step changes from round to round.
        loss: See :class:`SgdSettings`.
        loss_cap: See :class:`SgdSettings`.
        norm: See :class:`SgdSettings`.
        clip: Clip x + delta to [0, 1].
    """

    budget: PositiveInt = 50
    iterations: PositiveInt = 100
    batch_size: PositiveInt = 200
    starts: PositiveInt | None = None
    rounds: Annotated[int, Field(ge=2), BeforeValidator(whole)] = 4
    targeted: Annotated[float, Field(ge=0, le=1), BeforeValidator(number)] = 0.2
    step: _Step = 0.8
    shrink: Annotated[float, Field(gt=0, le=1), BeforeValidator(number)] = 1.0
    loss: _Loss = "margin"
    loss_cap: _Cap = 12.0
    norm: _Norm = "linf"
    clip: bool = False

    @property
    def plan(self) -> list[tuple[int, int]]:
        """For each round, how many perturbations it continues, and for how many steps each.

        The numbers fall geometrically from ``starts`` to one. Each round has an equal share of the steps; the last also
        gets the remainder.
        """
        steps = self.budget * self.iterations
        starts = self.starts or max(1, min(2 * self.budget, steps // self.rounds))
        counts = [round(starts ** (1 - r / (self.rounds - 1))) for r in range(self.rounds)]
        plan = [(count, steps // self.rounds // count) for count in counts[:-1]]
        return [*plan, (1, steps - sum(count * length for count, length in plan))]

    @model_validator(mode="after")
    def _steps_for_every_start(self) -> StagedSettings:
        if not all(length for _, length in self.plan):
            raise ValueError(
                f"starts: got {self.starts or 1}, more than {self.budget} x {self.iterations} steps in {self.rounds} "
                "rounds suffice for; give fewer, or a larger budget"
            )
        return self


class SquareSettings(Settings):
    """Options of the random search over squares (:mod:`~jacobian_ensembles.attacks.square`).

    Attributes:
        queries: How many perturbations are tried, one after another; the model scores ``queries * batch_size`` images
            per attack seed.
        batch_size: Images that each perturbation is tried on, the same ones throughout an attack seed.
        share: Share of the image that the first square covers, in (0, 1]; later ones are smaller.
        clip: Clip x + delta to [0, 1]. In a run, the value of the section ``attack``.
    """

    queries: PositiveInt = 1000
    batch_size: PositiveInt = 500
    share: Annotated[float, Field(gt=0, le=1), BeforeValidator(number)] = 0.8
    clip: bool = False
