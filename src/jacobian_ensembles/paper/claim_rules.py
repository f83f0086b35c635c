"""The paper's claims, and the rule by which each is judged.

The rules were fixed on 25 November 2026, before any result of several trainings of the whole grid existed. (Results
of one training at five values of lambda were known.) An effect is 1 point of accuracy under attack or of weighted
accuracy; for clean accuracy, 0.1 points on MNIST and 0.5 on Fashion-MNIST, about a tenth and a twentieth of a standard
network's errors. C1, C8, C10 and C11 ask for another size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.paper.effects import (
    Effect,
    best_inside,
    best_of_kinds,
    gains_of_ensembles,
    measured,
    over_lambda,
)
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES, in_order

#: The paper's values of lambda between 0 and 2, as far as it names them, and two more.
LAMBDAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_PAPERS = ("mnist", "fashion_mnist")
_CLEAN = {"mnist": 0.1}
_UAP = _WEIGHTED = 1.0


def _needed_clean(dataset: str) -> float:
    return _CLEAN.get(dataset, 0.5)


@dataclass(frozen=True)
class Rule:
    """A claim of the paper and how it is judged.

    Attributes:
        claim: Its number.
        place: Where the paper says it.
        statement: What it says.
        test: What is compared, and what is needed.
        effects: Maps trainings (:func:`~jacobian_ensembles.paper.effects.trainings_of`) and the confidence level to
            the effects compared, and what the run lacks.
        most: Whether the claim is about most parts only (more than half); otherwise it is about all.
        unit: Of the effects: ``points`` or ``%``.
    """

    claim: str
    place: str
    statement: str
    test: str
    effects: Callable[[pd.DataFrame, float], tuple[list[Effect], list[str]]]
    most: bool = False
    unit: str = "points"


Found = tuple[list[Effect], list[str]]


def _unmeasured(dataset: str, part: str, needed: float) -> Effect:
    return Effect(dataset, part, needed, np.nan, -np.inf, np.inf, np.nan, np.nan, 0)


def _datasets(trainings: pd.DataFrame) -> list[str]:
    """The run's datasets, and the paper's other one where the run has one of the paper's two."""
    here = set(trainings["dataset"])
    return in_order(here | set(_PAPERS) if here & set(_PAPERS) else here, DATASET_TITLES)


def _lacking(effects: Sequence[Effect], what: str) -> list[str]:
    parts = [effect.part for effect in effects if np.isnan(effect.value)]
    return [what if len(parts) == len(effects) else f"{what} ({', '.join(parts)})"] if parts else []


def _absent(trainings: pd.DataFrame, lambdas: Iterable[float]) -> list[str]:
    missing = sorted(set(lambdas) - set(trainings["lambda"]))
    return [f"λ = {', '.join(f'{value:g}' for value in missing)}"] if missing else []


def _of(values: pd.Series, **keys: str) -> pd.Series:
    for key, value in keys.items():
        values = values[values.index.get_level_values(key) == value]
    return values


def _better_in(trainings: pd.DataFrame, column: str, **keys: str) -> str:
    """In how many of the settings (method, lambda, M > 1) the mean over trainings is above that of M = 1."""
    for key, value in keys.items():
        trainings = trainings[trainings[key] == value]
    settings = [key for key in CELL_KEYS if key not in ("members", "repetition")]
    wide = trainings.pivot_table(index=settings, columns="members", values=column, dropna=False)
    change = wide.drop(columns=1).sub(wide[1], axis=0).to_numpy()
    return f"better in {np.sum(change > 0)} of {np.sum(~np.isnan(change))} settings"


def _gains(trainings: pd.DataFrame, level: float, column: str, needed: Callable[[str], float], by: str = "") -> Found:
    """The mean gain of M > 1 over M = 1, by dataset and perhaps method."""
    gains = gains_of_ensembles(trainings, column)
    effects = []
    for dataset in _datasets(trainings):
        for method in in_order(set(trainings["ensemble"]), ENSEMBLES) if by else [""]:
            chosen = {"dataset": dataset} | ({"ensemble": method} if method else {})
            values = _of(gains, **chosen)
            part = f"{DATASET_TITLES[dataset]} {method}".rstrip()
            effect = measured(dataset, part, needed(dataset), values, level, ["ensemble", "lambda"])
            effects.append(replace(effect, models=_better_in(trainings, column, **chosen)) if len(values) else effect)
    return effects, _lacking(effects, "M = 1 beside M > 1")


def _loss_at_large_lambda(trainings: pd.DataFrame, level: float) -> Found:
    largest = trainings["lambda"].max()
    ends = trainings[trainings["lambda"].isin([0.0, largest])]
    if largest < 1 or not (trainings["lambda"] == 0).any():
        return [], ["λ = 0 beside one of at least 1"]
    wide = over_lambda(ends, "clean")
    loss = wide[0.0] - wide[largest]
    effects = [
        measured(d, DATASET_TITLES[d], 1.0, _of(loss, dataset=d), level, ["ensemble"]) for d in _datasets(trainings)
    ]
    return effects, _lacking(effects, f"λ = 0 beside {largest:g}")


def _best_range(
    trainings: pd.DataFrame,
    level: float,
    column: str,
    datasets: Sequence[str],
    needed: Callable[[str], float],
    inside: Sequence[float],
    outside: Sequence[float],
) -> Found:
    """Whether the best lambda lies in a range; judged only where all its values, and all others, were run."""
    lambdas = [*inside, *outside]
    wanted = trainings[trainings["lambda"].isin(lambdas)]
    effects, missing = [], _absent(trainings, lambdas)
    for dataset in datasets:
        here = wanted[wanted["dataset"] == dataset]
        wide = over_lambda(here, column)
        if len(wide) and set(map(float, wide.columns)) == set(lambdas):
            effects.append(best_inside(dataset, DATASET_TITLES[dataset], needed(dataset), wide, inside, outside, level))
        else:
            effects.append(_unmeasured(dataset, DATASET_TITLES[dataset], needed(dataset)))
    return effects, missing or _lacking(effects, f"λ = {', '.join(f'{value:g}' for value in sorted(lambdas))}")


def _small_lambda_helps(trainings: pd.DataFrame, level: float) -> Found:
    small = (0.01, 0.05, 0.1)
    return _best_range(trainings, level, "clean", _datasets(trainings), _needed_clean, small, (0.0,))


def _fashion_peaks_below_half(trainings: pd.DataFrame, level: float) -> Found:
    inside, outside = (0.01, 0.05, 0.1, 0.2), (0.0, 0.5, 1.0, 2.0)
    return _best_range(trainings, level, "uap", ["fashion_mnist"], lambda _: _UAP, inside, outside)


def _large_lambda_is_detrimental_on_fashion(trainings: pd.DataFrame, level: float) -> Found:
    smaller = LAMBDAS[1:-1]
    return _best_range(trainings, level, "weighted", ["fashion_mnist"], lambda _: _WEIGHTED, smaller, (2.0,))


def _monotone_on_mnist(trainings: pd.DataFrame, level: float) -> Found:
    wide = over_lambda(trainings[trainings["dataset"] == "mnist"], "uap")
    missing = _absent(trainings, LAMBDAS)
    if len(wide) == 0 or wide.shape[1] < 2:
        return [], missing or ["MNIST at every λ"]
    lambdas = sorted(wide.columns)
    steps = [(a, b, -_UAP) for a, b in pairwise(lambdas) if len(lambdas) > 2] + [(lambdas[0], lambdas[-1], _UAP)]
    effects = [
        measured("mnist", f"MNIST λ {a:g} to {b:g}", needed, wide[b] - wide[a], level, ["ensemble"])
        for a, b, needed in steps
    ]
    # it may fall at values that were not run, so without them nobody can tell that it does not
    return effects + [_unmeasured("mnist", f"MNIST {lam}", -_UAP) for lam in missing], missing


def _against_kinds(
    trainings: pd.DataFrame,
    level: float,
    chosen_by: str,
    column: str,
    needed: Callable[[str], float],
    kinds: Sequence[str],
) -> Found:
    """The best Jacobian ensemble against the best of other kinds, where all methods and lambdas were run."""
    effects = []
    for dataset in _datasets(trainings):
        here = trainings[trainings["dataset"] == dataset]
        for kind in kinds:
            values, models = best_of_kinds(here, chosen_by, column, "Jacobian ensemble", kind)
            effect = measured(dataset, f"{DATASET_TITLES[dataset]}, {kind}", needed(dataset), values, level, [])
            effects.append(replace(effect, models=models))
    methods = [name for name in ENSEMBLES if name not in set(trainings["ensemble"])]
    missing = _absent(trainings, LAMBDAS) + methods
    if missing:  # the best may be among what was not run
        effects = [replace(effect, p_above=np.nan, p_below=np.nan) for effect in effects]
    return effects, missing or _lacking(effects, "models of both kinds")


def _norms_fall(trainings: pd.DataFrame, level: float) -> Found:
    """How far the moments of the Jacobian's norm lie below those of M = 1, in percent (geometric mean)."""
    effects = []
    for dataset in _datasets(trainings):
        for column, symbol in (("log_mean", "E"), ("log_variance", "Var")):
            gains = _of(gains_of_ensembles(trainings, column), dataset=dataset)
            part = f"{DATASET_TITLES[dataset]} {symbol}"
            effect = measured(dataset, part, -np.log1p(-0.1), -gains, level, ["ensemble", "lambda"])
            values = {name: -100 * np.expm1(-getattr(effect, name)) for name in ("needed", "value", "low", "high")}
            effects.append(replace(effect, **values))
    return effects, _lacking(effects, "Jacobian norms at M = 1 beside M > 1")


def _gains_grow_with_lambda(trainings: pd.DataFrame, level: float) -> Found:
    """The gain of ensembles at lambda > 0, a mean over lambda, minus that at lambda = 0 of the same repetition."""
    effects = []
    block = ["dataset", "ensemble", "repetition"]
    for dataset in _datasets(trainings):
        for column, title, needed in (("clean", "clean", _needed_clean(dataset)), ("uap", "under attack", _UAP)):
            gains = _of(gains_of_ensembles(trainings, column), dataset=dataset)
            regularised = gains.index.get_level_values("lambda") > 0
            mean, plain = (gains[chosen].groupby(block).mean() for chosen in (regularised, ~regularised))
            change = (mean - plain).dropna()
            part = f"{DATASET_TITLES[dataset]} {title}"
            effects.append(measured(dataset, part, needed, change, level, ["ensemble"]))
    return effects, _lacking(effects, "M = 1 beside M > 1, at λ = 0 and above")


_METHODS = "The mean gain of M > 1 over M = 1 of the same dataset, method, λ and training, over M and λ"
_HELD_OUT = "the best by the other trainings, measured in this one"

#: Every claim, in the order of the report.
RULES = (
    Rule(
        "C1", "4.2, Clean Accuracy; Figure 1", "A large λ damages clean accuracy.",
        "The loss at the largest λ (at least 1) against λ = 0, on each dataset, over methods and M; needs 1 point.",
        _loss_at_large_lambda,
    ),
    Rule(
        "C2", "4.2, Clean Accuracy; Figure 1",
        "A little regularisation, 0 < λ ≤ 0.1, gives better clean accuracy than none.",
        "The best of λ = 0.01, 0.05 and 0.1 against 0, on each dataset, over methods and M; needs 0.1 points on MNIST "
        "and 0.5 on Fashion-MNIST, and all these λ.",
        _small_lambda_helps,
    ),
    Rule(
        "C3", "4.2, Clean Accuracy; Figure 1", "M > 1 beats M = 1 in clean accuracy across settings.",
        f"{_METHODS}; needs 0.1 points on MNIST and 0.5 on Fashion-MNIST, with every method.",
        lambda t, level: _gains(t, level, "clean", _needed_clean, by="ensemble"),
    ),
    Rule(
        "C4", "4.2, Model Robustness; Figure 2", "M > 1 beats M = 1 in robustness in most settings.",
        f"{_METHODS}; needs 1 point in more than half of the pairs of dataset and method.",
        lambda t, level: _gains(t, level, "uap", lambda _: _UAP, by="ensemble"),
        most=True,
    ),
    Rule(
        "C5", "4.2, Model Robustness; Figure 2", "On MNIST robustness grows monotonically with λ.",
        "Every step from one λ to the next, over methods and M: none may lose 1 point, and all together must gain it.",
        _monotone_on_mnist,
    ),
    Rule(
        "C6", "4.2, Model Robustness; Figure 2", "On Fashion-MNIST the best robustness lies at 0 < λ < 0.5.",
        "The best of λ = 0.01, 0.05, 0.1 and 0.2 against the best of 0, 0.5, 1 and 2, over methods and M; needs 1 "
        "point, and all these λ.",
        _fashion_peaks_below_half,
    ),
    Rule(
        "C7", "4.3; Table 1; 5", "Jacobian ensembles have the best weighted accuracy.",
        f"The best Jacobian ensemble against the best model of each other kind ({_HELD_OUT}); needs 1 point of each, "
        "and all methods and λ.",
        lambda t, level: _against_kinds(
            t, level, "weighted", "weighted", lambda _: _WEIGHTED, ["JR only", "ensemble only", "standard"]
        ),
    ),
    Rule(
        "C8", "3, Theorem 3.1; 5", "Expectation and variance of ‖J_F‖² fall with M.",
        "How far M > 1 is below M = 1 of the same dataset, method, λ and training (geometric mean over M and λ; exact "
        "norms over test images); needs 10 %.",
        _norms_fall, unit="%",
    ),
    Rule(
        "C9", "4.2, end", "The advantages of ensembles are more pronounced with Jacobian regularisation.",
        "The gain of M > 1 over M = 1 at λ > 0 (mean over λ) less that at λ = 0; needs 1 point under attack, and clean "
        "0.1 on MNIST and 0.5 on Fashion-MNIST.",
        _gains_grow_with_lambda,
    ),
    Rule(
        "C10", "4.3; Table 1",
        "The best Jacobian ensembles have a clear advantage in average UAP accuracy over ensembles without "
        "regularisation.",
        f"Average UAP accuracy of the best by weighted accuracy ({_HELD_OUT}); needs 5 points, and all "
        "methods and λ.",
        lambda t, level: _against_kinds(t, level, "weighted", "uap", lambda _: 5.0, ["ensemble only"]),
    ),
    Rule(
        "C11", "4.3; Table 1; abstract",
        "The best Jacobian ensembles keep very close clean accuracy to that of standard models and plain ensembles.",
        f"Clean accuracy of the best by weighted accuracy ({_HELD_OUT}); at most 1 point may be "
        "lost; needs all methods and λ.",
        lambda t, level: _against_kinds(t, level, "weighted", "clean", lambda _: -1.0, ["ensemble only", "standard"]),
    ),
    Rule(
        "C12", "4.2, Clean Accuracy; Figure 1", "Jacobian ensembles have the best clean accuracy.",
        f"The best Jacobian ensemble by clean accuracy against the best of each other kind ({_HELD_OUT}); needs 0.1 "
        "points on MNIST and 0.5 on Fashion-MNIST of each, and all methods and λ.",
        lambda t, level: _against_kinds(
            t, level, "clean", "clean", _needed_clean, ["JR only", "ensemble only", "standard"]
        ),
    ),
    Rule(
        "C13", "4.3, end", "Ensembles give a noticeably large boost in weighted accuracy on both datasets.",
        f"{_METHODS}, on each dataset; needs 1 point.",
        lambda t, level: _gains(t, level, "weighted", lambda _: _WEIGHTED),
    ),
    Rule(
        "C14", "4.3, end", "On Fashion-MNIST a large λ is detrimental to weighted accuracy.",
        "The best of λ = 0.01 to 1 against 2, over methods and M; needs 1 point, and all these λ.",
        _large_lambda_is_detrimental_on_fashion,
    ),
)  # fmt: skip
