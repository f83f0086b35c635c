"""What claims about lambda and about the best models compare: to effects and to what a run lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from jacobian_ensembles.paper.best_models import (
    OverLambda,
    Split,
    best_inside,
    best_of_kinds,
    choose_and_measure,
    whole_trainings,
)
from jacobian_ensembles.paper.claim_gains import UAP, WEIGHTED, Found, Sizes, datasets_of, lacking, needed_clean
from jacobian_ensembles.paper.effects import Effect, Evidence, effect_of, unmeasured
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES

#: The paper's values of lambda between 0 and 2, as far as it names them, and two more.
LAMBDAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def _absent(evidence: Evidence, lambdas: Iterable[float]) -> list[str]:
    missing = sorted(set(lambdas) - set(evidence.trainings["lambda"]))
    return [f"λ = {', '.join(f'{value:g}' for value in missing)}"] if missing else []


def loss_at_large_lambda(evidence: Evidence) -> Found:
    """What the largest lambda costs in clean accuracy."""
    largest = evidence.trainings["lambda"].max()
    if largest < 1 or not (evidence.trainings["lambda"] == 0).any():
        return [], ["λ = 0 beside one of at least 1"]
    effects = []
    for dataset in datasets_of(evidence):
        curve = OverLambda(evidence, dataset, "clean", (0.0, largest))
        effects.append(_step(evidence, dataset, DATASET_TITLES[dataset], 1.0, curve, largest, 0.0))
    return effects, lacking(effects, f"λ = 0 beside {largest:g}")


def _step(
    evidence: Evidence, dataset: str, part: str, needed: float, curve: OverLambda, start: float, end: float
) -> Effect:
    """How much higher accuracy is at the end than at the start."""
    if not {start, end} <= set(curve.lambdas):
        return unmeasured(dataset, part, needed * evidence.scale)
    difference = curve.difference(end, start)
    return effect_of(evidence, dataset, part, needed * evidence.scale, difference, curve.trainings)


def _best_range(
    evidence: Evidence,
    column: str,
    datasets: Sequence[str],
    needed: Sizes,
    inside: Sequence[float],
    outside: Sequence[float],
) -> Found:
    """Whether the best lambda lies in a range; judged only where all its values, and all others, were run."""
    lambdas = [*inside, *outside]
    effects = []
    for dataset in datasets:
        part, size = DATASET_TITLES[dataset], needed(dataset) * evidence.scale
        curve = OverLambda(evidence, dataset, column, lambdas)
        whole = set(curve.lambdas) == set(lambdas)
        effects.append(
            best_inside(evidence, dataset, part, size, curve, inside, outside)
            if whole
            else unmeasured(dataset, part, size)
        )
    shown = ", ".join(f"{value:g}" for value in sorted(lambdas))
    return effects, _absent(evidence, lambdas) or lacking(effects, f"λ = {shown}")


def small_lambda_helps(evidence: Evidence) -> Found:
    """Whether a small lambda is best in clean accuracy."""
    return _best_range(evidence, "clean", datasets_of(evidence), needed_clean, (0.01, 0.05, 0.1), (0.0,))


def fashion_peaks_below_half(evidence: Evidence) -> Found:
    """Whether the most robust lambda is below 0.5 on Fashion-MNIST."""
    inside, outside = (0.01, 0.05, 0.1, 0.2), (0.0, 0.5, 1.0, 2.0)
    return _best_range(evidence, "uap", ["fashion_mnist"], lambda _: UAP, inside, outside)


def large_lambda_is_detrimental_on_fashion(evidence: Evidence) -> Found:
    """Whether some smaller lambda is better than 2 on Fashion-MNIST."""
    return _best_range(evidence, "weighted", ["fashion_mnist"], lambda _: WEIGHTED, LAMBDAS[1:-1], (2.0,))


def monotone_on_mnist(evidence: Evidence) -> Found:
    """Every step in lambda on MNIST, and all of them together."""
    curve = OverLambda(evidence, "mnist", "uap")
    missing = _absent(evidence, LAMBDAS)
    lambdas = curve.lambdas
    if len(lambdas) < 2:
        return [], missing or ["MNIST at every λ"]
    steps = [(a, b, -UAP) for a, b in pairwise(lambdas) if len(lambdas) > 2] + [(lambdas[0], lambdas[-1], UAP)]
    effects = [_step(evidence, "mnist", f"MNIST λ {a:g} to {b:g}", needed, curve, a, b) for a, b, needed in steps]
    # it may fall at values that were not run, so without them nobody can tell that it does not
    return effects + [unmeasured("mnist", f"MNIST {lam}", -UAP * evidence.scale) for lam in missing], missing


def against_kinds(
    evidence: Evidence,
    chosen_by: str,
    column: str,
    needed: Sizes,
    kinds: Sequence[str],
    splits: Callable[[Evidence, str], list[Split]] = choose_and_measure,
) -> Found:
    """The best Jacobian ensemble against the best of other kinds, where all methods and lambdas were run."""
    effects = [
        best_of_kinds(
            evidence,
            dataset,
            f"{DATASET_TITLES[dataset]}, {kind}",
            needed(dataset) * evidence.scale,
            chosen_by,
            column,
            ("Jacobian ensemble", kind),
            splits(evidence, dataset),
        )
        for dataset in datasets_of(evidence)
        for kind in kinds
    ]
    methods = [name for name in ENSEMBLES if name not in set(evidence.trainings["ensemble"])]
    missing = _absent(evidence, LAMBDAS) + methods
    if missing:  # the best may be among what was not run
        effects = [effect.beside(effect.analysis) for effect in effects]
    elif len(evidence.repetitions) < 2:
        missing = ["more than one training: the best are chosen in some and measured in others"]
    return effects, missing or lacking(effects, "models of both kinds")


def against_kinds_beside(
    evidence: Evidence, chosen_by: str, column: str, needed: Sizes, kinds: Sequence[str]
) -> list[Effect]:
    """The best by all trainings, measured in the same ones: flattering, and without an interval."""

    def in_all(evidence: Evidence, dataset: str) -> list[Split]:
        every = whole_trainings(evidence, dataset)
        return [(every, every)]

    found, _ = against_kinds(evidence, chosen_by, column, needed, kinds, in_all)
    flattering = "best of all trainings, measured in the same"
    return [replace(effect, low=-math.inf, high=math.inf).beside(flattering) for effect in found]
