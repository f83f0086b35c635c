"""Universal adversarial perturbations by iterated stochastic gradient descent (SGD-UAP). No torch until called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from jacobian_ensembles.attacks.attack import UniversalAttack
from jacobian_ensembles.config.settings import PositiveInt, Settings, number, whole

LossCap = Annotated[float, Field(gt=0)] | None
Loss = Literal["cross_entropy", "probability", "margin", "members"]
Norm = Literal["linf", "l2"]
StepSize = Annotated[float, Field(gt=0)]


class SgdOptions(Settings):
    """Options of :class:`SgdUap`.

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
    step: StepSize = 0.8
    step_rule: Literal["constant", "decay"] = "constant"
    momentum: Annotated[float, Field(ge=0, le=1), BeforeValidator(number)] = 0.0
    inner_batches: PositiveInt = 1
    loss: Loss = "cross_entropy"
    loss_cap: LossCap = 12.0
    target: Literal["none", "each", "class"] = "none"
    norm: Norm = "linf"
    clip: bool = False

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> SgdOptions:
        if self.inner_batches > self.batch_size:
            raise ValueError(
                f"inner_batches: got {self.inner_batches}, more parts than the batch has images; give at most "
                f"batch_size, {self.batch_size}"
            )
        return self


class SgdUap(SgdOptions, UniversalAttack):
    """The paper's attack: maximise sum_i L(x_i + delta) over ||delta||_inf <= eps.

    Each step moves every pixel by ``step * eps`` (shrinking linearly to zero under ``decay``) along
    the sign of a batch's mean loss gradient, then projects. Labels are the true ones; the last iterate is
    returned. A seed's perturbation does not depend on which other seeds are crafted with it, except that with targets
    its number matters.

    Under ``norm="l2"`` the bound is ||delta||_2 <= eps sqrt(D), and a step goes along the gradient. Under
    ``target="each"`` perturbation number k = ``first``, ``first`` + 1, ... minimises sum_i L(x_i + delta, k mod C) over
    all images; under ``target="class"`` it maximises the loss of the images of class k mod C alone.
    :func:`~jacobian_ensembles.attacks.targets.success_rates` tells how often that succeeded.

    The steps are those of :func:`~jacobian_ensembles.attacks.ascent.ascend`.

    References:
        Co et al.: Jacobian Ensembles, Section 2.1; Shafahi et al.: Universal Adversarial Training (2018).
    """

    @classmethod
    def said_by_a_run(cls) -> dict[str, str]:
        """All: the section ``attack`` has them."""
        return {name: name for name in cls.model_fields}

    @property
    def kind(self) -> str:
        """Without a step, ``noise``."""
        return "white box" if self.iterations else "noise"

    @property
    def steps(self) -> int:
        """As many as ``iterations``."""
        return self.iterations

    @property
    def family(self) -> tuple[str, ...]:
        """``sgd``, and the options other than ``iterations`` that differ from the defaults."""
        if not self.iterations:
            return ()
        default = type(self)()
        own = [name for name in type(self).model_fields if name != "iterations"]
        changed = [name for name in own if getattr(self, name) != getattr(default, name)]
        return "sgd", *(f"{name} {getattr(self, name)}" for name in changed)

    @property
    def takes_arrays(self) -> bool:
        """Yes; a class derived from it may do anything with them."""
        return type(self) is SgdUap

    def craft(
        self,
        model: Any,
        images: Any,
        labels: Any,
        eps: float,
        seeds: Sequence[int],
        *,
        first: int,
        side_by_side: int | None,
    ) -> Any:
        """See :class:`~jacobian_ensembles.attacks.attack.UniversalAttack`."""
        from jacobian_ensembles.attacks.ascent import ascend, in_parts
        from jacobian_ensembles.attacks.outcome import counting_steps
        from jacobian_ensembles.attacks.targets import target_classes
        from jacobian_ensembles.data.interop import on_gpu
        from jacobian_ensembles.models.evaluation_mode import evaluating

        targets = None if self.target == "none" else target_classes(model, images, first, len(seeds))
        if self.target == "class":
            side_by_side = 1  # perturbations of different classes are crafted on different numbers of images

        def part_of(part: slice) -> Any:
            aims = None if targets is None else targets[part]
            with evaluating(model), counting_steps() as steps:
                deltas = ascend(model, images, labels, eps, self, seeds[part], aims)
            steps.check(f"eps {eps:g}")
            return deltas

        return in_parts(part_of, len(seeds), on_gpu(images), side_by_side, f"eps {eps:g}")
