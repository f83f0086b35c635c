"""Whether a model's robustness is real: every attack of this package on one model, and the flags they raise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import Tensor, nn

from jacobian_ensembles.attacks.attack import UniversalAttack
from jacobian_ensembles.attacks.outcome import NoGradientError, Steps, counting_steps
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.attacks.square import Square
from jacobian_ensembles.attacks.staged import Staged
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.evaluation.worst_case import counted, over_seeds
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes
from jacobian_ensembles.robustness.evidence import (
    attack_row,
    clean_row,
    largest_class,
    single_rows,
    stress_table,
    transfer_row,
)
from jacobian_ensembles.robustness.flags import flagged
from jacobian_ensembles.robustness.single_image import accuracy_one_by_one
from jacobian_ensembles.robustness.toolbox import TOOLBOX, toolbox_version


@dataclass(frozen=True)
class _Plan:
    """One attack of the test."""

    name: str
    attack: UniversalAttack
    family: str = ""


def _plans(seeds: int, iterations: int, queries: int, clip: bool) -> list[_Plan]:
    plans = [_Plan("noise", SgdUap(iterations=0, init="sign", clip=clip))]
    for steps in sorted({1, iterations // 10, iterations, 3 * iterations}):
        plans.append(_Plan(f"{steps}-step{'s' if steps > 1 else ''}", SgdUap(iterations=steps, clip=clip), "steps"))
    return [
        *plans,
        _Plan("margin-decay", SgdUap(iterations=iterations, loss="margin", step_rule="decay", clip=clip)),
        _Plan("staged", Staged(budget=seeds, iterations=iterations, clip=clip)),
        _Plan("square", Square(queries=queries, clip=clip)),
    ]


def _craft(
    attack: UniversalAttack, model: nn.Module, images: Tensor, labels: Tensor, eps: float, seeds: Sequence[int]
) -> tuple[Tensor, Steps]:
    """The perturbations (K, ...) of an attack, and its steps; zeros if it had no gradient at all."""
    with counting_steps() as steps:
        try:
            deltas = attack(model, images, labels, eps, seeds)
        except NoGradientError:
            if steps.idle < steps.total:  # one seed had none, others had
                raise
            deltas = images.new_zeros((len(seeds), *images.shape[1:]))
    return deltas, steps


@own_modes()
def stress(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    test: tuple[Tensor, Tensor] | None = None,
    eps: Sequence[float] = (0.05, 0.1, 0.2, 0.5),
    seeds: int = 3,
    iterations: int = 100,
    queries: int = 500,
    others: Mapping[str, nn.Module] | None = None,
    single_images: int = 200,
    single_iterations: int = 40,
    clip: bool = False,
) -> pd.DataFrame:
    """Test whether a model's robustness is real: stronger, weaker and blind attacks on it, and the flags they raise.

    At each eps: random signs of size eps; the attack of ``config.yaml`` with 1 step and with a tenth, all and three
    times ``iterations``; the same with the sigmoid of the margin as its loss and a decaying step; ``staged``, which
    spends the steps of all ``seeds`` on one perturbation; random search over squares, which sees scores only; the worst
    perturbations of other models; and PGD and APGD of the adversarial-robustness-toolbox on images one by one, where it
    is installed (``pip install 'jacobian-ensembles[stress]'``).

    Args:
        model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C).
        images: (N, channels, height, width), in [0, 1], on the model's device: perturbations are crafted on them.
        labels: (N,).
        test: Images and labels that accuracies are measured on; None keeps every second one of ``images`` for that, and
            crafts on the rest.
        eps: Radii, in (0, 1]. At 0.5 or more, accuracy must fall to chance.
        seeds: Attack seeds, per attack and eps.
        iterations: Steps of the attack.
        queries: Perturbations that the search over squares tries.
        others: Other models for the same images, by name: their worst perturbations are tried on this one.
        single_images: How many test images, from the first, to attack one by one; 0 for none.
        single_iterations: Steps of these attacks.
        clip: Clip perturbed images to [0, 1], for every attack.

    Returns:
        A row per attack and eps with :data:`~jacobian_ensembles.robustness.evidence.COLUMNS` and ``flags``, whose rules
        are those of :mod:`~jacobian_ensembles.robustness.flags`. Accuracies are in [0, 1]; NaN, with the flag
        ``not run``, where the toolbox is missing. :func:`~jacobian_ensembles.robustness.flags.flags_of` lists the flags
        of a table.

    Raises:
        ValueError: If images, labels and scores do not fit together, or a number is out of range.
    """
    if test is None:
        test, (images, labels) = (images[1::2], labels[1::2]), (images[::2], labels[::2])
    images, labels = admit(model, images, labels)
    x, y = admit(model, *test)
    if seeds < 1 or iterations < 10 or queries < 1:
        raise ValueError(
            f"seeds and queries must be at least 1, iterations at least 10. Got {seeds}, {queries} and {iterations}."
        )

    def bits(delta: Tensor) -> Tensor:
        with evaluating(model):
            found: Tensor = correct(model, x, y, delta.to(x), clip)
        return found

    if single_images and toolbox_version() is None:
        warnings.warn(
            f"Images are not attacked one by one: {TOOLBOX} is not installed. Install it with "
            "pip install 'jacobian-ensembles[stress]', or pass single_images=0.",
            stacklevel=2,
        )
    accuracy = float(bits(x.new_zeros((1, *x.shape[1:]))).double().mean())
    rows = [clean_row(accuracy, len(y))]
    plans = _plans(seeds, iterations, queries, clip)
    for radius in eps:
        for plan in plans:
            attack = plan.attack
            numbers = range(1 if isinstance(attack, Staged) else seeds)
            deltas, steps = _craft(attack, model, images, labels, radius, numbers)
            record = counted(bits(deltas).numpy())
            record |= over_seeds(record["accuracies"])
            share = steps.idle / steps.total if steps.total else 0.0
            rows.append(attack_row(plan.name, attack.kind, radius, record, attack.steps or None, plan.family, share))
        found = {}
        plain = next(plan.attack for plan in plans if plan.attack.steps == iterations and plan.family)
        for name, other in (others or {}).items():
            deltas, _ = _craft(plain, other, images, labels, radius, range(seeds))
            with evaluating(other):
                worst = int(correct(other, x, y, deltas.to(x), clip).sum(1).argmin())
            found[name] = float(bits(deltas[worst : worst + 1]).double().mean())
        if found:
            rows.append(transfer_row(radius, found, len(y)))
        if single_images:
            few, of = x[:single_images], y[:single_images]
            single = accuracy_one_by_one(model, few, of, radius, single_iterations, clip)
            rows += single_rows(radius, single, single_iterations, len(of))
    return flagged(stress_table(rows), largest_class(y.cpu().numpy()))
