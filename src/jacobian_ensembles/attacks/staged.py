"""A stronger universal attack at a stated cost: many short starts, of which the best on crafting images are continued.

The plain attack's perturbations differ greatly in harm from seed to seed. So the steps of ``budget`` plain attacks are
spent by successive halving: short attacks from many random starts, a share of them towards a class; then the most
harmful are continued, fewer and for longer in every round, until one is left. They are judged on images of the crafting
set that no step uses. Only the perturbation chosen in this way is returned: test images choose nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.outcome import counting_steps
from jacobian_ensembles.attacks.settings import SgdSettings, StagedSettings
from jacobian_ensembles.attacks.sgd_uap import admit_attack, ascend, in_parts
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.evaluation_mode import evaluating

log = logging.getLogger(__name__)
#: Crafting images that perturbations are judged on, and that no step uses: their share, and their largest number.
JUDGES_SHARE, JUDGES = 0.2, 2_000


@torch.no_grad()
def staged(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Sequence[int],
    first: int = 0,
    side_by_side: int | None = None,
    **options: Any,
) -> Tensor:
    """Craft one universal perturbation per seed, each chosen from many starts.

    Args:
        model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C).
        images: (N, ...), in [0, 1], on the model's device. A fifth of them, at most 2,000, are for judging only.
        labels: (N,).
        eps: Radius, in (0, 1].
        seeds: K generator seeds, one per perturbation; each costs the whole budget.
        first: Not used: every perturbation draws its own classes for its targeted starts.
        side_by_side: See :func:`~jacobian_ensembles.attacks.sgd_uap.in_parts`.
        **options: Fields of :class:`~jacobian_ensembles.attacks.settings.StagedSettings`.

    Returns:
        (K, ...), each within eps.

    Raises:
        ValueError: If there are fewer than five images; see also
            :func:`~jacobian_ensembles.attacks.crafting.craft_uaps`.

    References:
        Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization (AISTATS 2016),
        Algorithm 1, for successive halving.
    """
    images, labels = admit_attack(model, images, labels, eps, seeds)
    settings = StagedSettings(**options)
    if len(labels) < 1 / JUDGES_SHARE:
        raise ValueError(f"staged needs {1 / JUDGES_SHARE:.0f} images or more, some to judge by. Got {len(labels)}.")
    found = []
    for seed in seeds:
        with evaluating(model), counting_steps() as steps:
            found.append(_halve(model, images, labels, eps, settings, seed, side_by_side))
        steps.check(f"eps {eps:g}")
    return torch.stack(found)


def _halve(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    settings: StagedSettings,
    seed: int,
    side_by_side: int | None,
) -> Tensor:
    """One perturbation, (...), by successive halving."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=rng).to(labels.device)
    judges = min(JUDGES, int(JUDGES_SHARE * len(labels)))
    (judge_x, x), (judge_y, y) = ((given[order[:judges]], given[order[judges:]]) for given in (images, labels))
    common = settings.model_dump(include={"batch_size", "loss", "loss_cap", "norm", "clip"})

    def climb(r: int, count: int, length: int, start: Tensor | None = None, aims: Tensor | None = None) -> Tensor:
        """Perturbations of round r, (count, ...)."""
        how = SgdSettings(
            iterations=length, step=settings.step * settings.shrink**r, step_rule="decay", init="uniform", **common
        )
        own = torch.randint(2**62, (count,), generator=rng).tolist()

        def craft(part: slice) -> Tensor:
            targets, begin = (None if given is None else given[part] for given in (aims, start))
            return ascend(model, x, y, eps, how, own[part], targets, begin)

        return in_parts(craft, count, x.device, side_by_side, f"eps {eps:g}, round {r + 1} of {settings.rounds}")

    (count, length), *later = settings.plan
    aimed = round(settings.targeted * count)
    classes = scores(model, x[:16]).shape[1]
    aims = torch.randperm(classes, generator=rng).repeat(-(-aimed // classes))[:aimed].to(labels.device)
    parts = [climb(0, count - aimed, length)] if aimed < count else []
    deltas = torch.cat([*parts, climb(0, aimed, length, aims=aims)] if aimed else parts)
    for r, (count, length) in enumerate(later, 1):
        right = correct(model, judge_x, judge_y, deltas, settings.clip).sum(1)
        best = right.argsort(stable=True)[:count]
        share = 100 * int(right[best[0]]) / judges
        log.info("eps %g: %d of %d go on; the best leaves %.1f%% of the judging images", eps, count, len(right), share)
        deltas = climb(r, count, length, deltas[best.to(deltas.device)])
    return deltas[0]
