"""A stronger universal attack at a stated cost: many short starts, of which the best on crafting images are continued.

The plain attack's perturbations differ greatly in harm from seed to seed. So the steps of ``budget`` plain attacks are
spent by successive halving: short attacks from many random starts, a share of them towards a class; then the most
harmful are continued, fewer and for longer in every round, until one is left. They are judged on images of the crafting
set that no step uses. Only the perturbation chosen in this way is returned: test images choose nothing.

No torch until it is called.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from jacobian_ensembles.attacks.attack import UniversalAttack
from jacobian_ensembles.attacks.sgd_uap import Loss, LossCap, Norm, SgdUap, StepSize
from jacobian_ensembles.config.settings import PositiveInt, number, whole

log = logging.getLogger(__name__)
#: Crafting images that perturbations are judged on, and that no step uses: their share, and their largest number.
JUDGES_SHARE, JUDGES = 0.2, 2_000


class Staged(UniversalAttack):
    """Many short starts, of which the best on crafting images are continued.

    A fifth of the crafting images, at most 2,000, are for judging only. Each perturbation costs the whole budget, and
    draws its own classes for its targeted starts.

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
        loss: See :class:`~jacobian_ensembles.attacks.sgd_uap.SgdOptions`.
        loss_cap: See :class:`~jacobian_ensembles.attacks.sgd_uap.SgdOptions`.
        norm: See :class:`~jacobian_ensembles.attacks.sgd_uap.SgdOptions`.
        clip: Clip x + delta to [0, 1].

    References:
        Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization (AISTATS 2016),
        Algorithm 1, for successive halving.
    """

    budget: PositiveInt = 50
    iterations: PositiveInt = 100
    batch_size: PositiveInt = 200
    starts: PositiveInt | None = None
    rounds: Annotated[int, Field(ge=2), BeforeValidator(whole)] = 4
    targeted: Annotated[float, Field(ge=0, le=1), BeforeValidator(number)] = 0.2
    step: StepSize = 0.8
    shrink: Annotated[float, Field(gt=0, le=1), BeforeValidator(number)] = 1.0
    loss: Loss = "margin"
    loss_cap: LossCap = 12.0
    norm: Norm = "linf"
    clip: bool = False

    @classmethod
    def said_by_a_run(cls) -> dict[str, str]:
        """Also the cost of a seed, and the seeds, whose steps one perturbation spends."""
        return super().said_by_a_run() | {"budget": "seeds", "iterations": "iterations", "batch_size": "batch_size"}

    @property
    def steps(self) -> int:
        """Those of the whole budget."""
        return self.budget * self.iterations

    @property
    def plan(self) -> list[tuple[int, int]]:
        """For each round, how many perturbations it continues, and for how many steps each.

        The numbers fall geometrically from ``starts`` to one. Each round has an equal share of the steps; the last also
        gets the remainder.
        """
        steps = self.steps
        starts = self.starts or max(1, min(2 * self.budget, steps // self.rounds))
        counts = [round(starts ** (1 - r / (self.rounds - 1))) for r in range(self.rounds)]
        plan = [(count, steps // self.rounds // count) for count in counts[:-1]]
        return [*plan, (1, steps - sum(count * length for count, length in plan))]

    @model_validator(mode="after")
    def _steps_for_every_start(self) -> Staged:
        if not all(length for _, length in self.plan):
            raise ValueError(
                f"starts: got {self.starts or 1}, more than {self.budget} x {self.iterations} steps in {self.rounds} "
                "rounds suffice for; give fewer, or a larger budget"
            )
        return self

    @property
    def takes_arrays(self) -> bool:
        """Yes; a class derived from it may do anything with them."""
        return type(self) is Staged

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
        """See :class:`~jacobian_ensembles.attacks.attack.UniversalAttack`; five images or more are needed."""
        from jacobian_ensembles.attacks.outcome import counting_steps
        from jacobian_ensembles.data.interop import stack
        from jacobian_ensembles.models.evaluation_mode import evaluating, without_gradients

        if len(labels) < 1 / JUDGES_SHARE:
            least = round(1 / JUDGES_SHARE)
            raise ValueError(f"staged needs {least} images or more, some to judge by. Got {len(labels)}.")
        found = []
        for seed in seeds:
            with without_gradients(), evaluating(model), counting_steps() as steps:
                found.append(self._halve(model, images, labels, eps, seed, side_by_side))
            steps.check(f"eps {eps:g}")
        return stack(found)

    def _halve(self, model: Any, images: Any, labels: Any, eps: float, seed: int, side_by_side: int | None) -> Any:
        """One perturbation, (...), by successive halving."""
        import numpy as np

        from jacobian_ensembles.attacks.ascent import ascend, in_parts
        from jacobian_ensembles.attacks.draws import Draws
        from jacobian_ensembles.data.interop import concatenate, on_gpu, to_numpy
        from jacobian_ensembles.evaluation.accuracy import correct
        from jacobian_ensembles.models.compiled import classes_of

        rng = Draws(seed)
        order = rng.permutation(len(labels))
        judges = min(JUDGES, int(JUDGES_SHARE * len(labels)))
        (judge_x, x), (judge_y, y) = ((given[order[:judges]], given[order[judges:]]) for given in (images, labels))
        common = self.model_dump(include={"batch_size", "loss", "loss_cap", "norm", "clip"})

        def climb(r: int, count: int, length: int, start: Any = None, aims: Any = None) -> Any:
            """Perturbations of round r, (count, ...)."""
            how = SgdUap(
                iterations=length, step=self.step * self.shrink**r, step_rule="decay", init="uniform", **common
            )
            own = rng.seeds(count)

            def craft(part: slice) -> Any:
                targets, begin = (None if given is None else given[part] for given in (aims, start))
                return ascend(model, x, y, eps, how, own[part], targets, begin)

            return in_parts(craft, count, on_gpu(x), side_by_side, f"eps {eps:g}, round {r + 1} of {self.rounds}")

        (count, length), *later = self.plan
        aimed = round(self.targeted * count)
        aims = np.resize(rng.permutation(classes_of(model, x)), aimed)
        parts = [climb(0, count - aimed, length)] if aimed < count else []
        deltas = concatenate([*parts, climb(0, aimed, length, aims=aims)] if aimed else parts)
        for r, (count, length) in enumerate(later, 1):
            right = to_numpy(correct(model, judge_x, judge_y, deltas, self.clip)).sum(1)
            best = right.argsort(kind="stable")[:count]
            log.info(
                "eps %g: %d of %d go on; the best leaves %.1f%% of the judging images",
                eps, count, len(right), 100 * int(right[best[0]]) / judges,
            )  # fmt: skip
            deltas = climb(r, count, length, deltas[best])
        return deltas[0]
