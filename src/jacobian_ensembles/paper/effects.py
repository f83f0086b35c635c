"""What the paper's claims are about, as effects with intervals over trainings.

The unit is a training. All its random draws belong to one dataset, method, lambda and repetition, so these blocks are
independent of each other; within one, bagging and voting ensembles of different M share learners. An effect is
therefore first computed within such a block, or within all blocks that it compares, and what is left is independent.
Everything is on the same test images: intervals say what other trainings would change, not what other images would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.statistics import Estimate, mean_over_settings
from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS, weighted_accuracy

#: The four kinds of models that Table 1 compares, by whether they are ensembles and whether they are regularised.
KINDS = {
    "Jacobian ensemble": (True, True),
    "JR only": (False, True),
    "ensemble only": (True, False),
    "standard": (False, False),
}


@dataclass(frozen=True)
class Effect:
    """One comparison of a claim.

    Attributes:
        dataset: As in the configuration.
        part: What is compared, such as ``MNIST bagging``.
        needed: The smallest effect of interest, or the largest loss that does not count (negative).
        value: The effect, in points of accuracy or percent; NaN where it was not measured.
        low: Lower bound of its interval; -inf where it is not known.
        high: Upper bound; inf where it is not known.
        p_above: One-sided p value of the hypothesis that the effect is at most ``needed``; NaN where it is not known.
        p_below: One-sided p value of the hypothesis that it is at least ``needed``.
        trainings: The smallest number of trainings behind a setting.
        models: Which models or strengths were compared, or in how many settings they are better.
    """

    dataset: str
    part: str
    needed: float
    value: float
    low: float
    high: float
    p_above: float
    p_below: float
    trainings: int
    models: str = ""


def signed(value: float, needed: float) -> str:
    """An effect as printed: with its sign, and two decimals where small ones count."""
    return f"{value:+.{2 if abs(needed) < 1 else 1}f}"


def with_interval(value: float, low: float, high: float, needed: float) -> str:
    """An effect and, where it is known, its interval: ``+0.21 [+0.10, +0.32]``."""
    shown = signed(value, needed)
    return f"{shown} [{signed(low, needed)}, {signed(high, needed)}]" if math.isfinite(low) else shown


def trainings_of(metrics: pd.DataFrame, jacobian: pd.DataFrame | None, clean_weight: float) -> pd.DataFrame:
    """One row per training of a model: its accuracies in percent, and the logarithms of its Jacobian's moments.

    Args:
        metrics: ``metrics.csv``, a row per (model, repetition, eps).
        jacobian: ``jacobian.csv``; None where it was not measured.
        clean_weight: Weight of clean accuracy in weighted accuracy.

    Returns:
        The keys of a cell, and ``clean``, ``uap`` (mean over eps), ``weighted``; ``log_mean`` and ``log_variance``.
    """
    cells = metrics.groupby(CELL_KEYS, as_index=False).agg(
        clean=("clean_accuracy", "first"), uap=("worst_accuracy", "mean")
    )
    cells[["clean", "uap"]] *= 100
    cells["weighted"] = weighted_accuracy(cells["clean"], cells["uap"], clean_weight)
    if jacobian is None:
        return cells.assign(log_mean=np.nan, log_variance=np.nan)
    norms = jacobian[CELL_KEYS].copy()
    for moment in ("mean", "variance"):
        norms[f"log_{moment}"] = np.log(jacobian[f"ensemble_{moment}"].where(jacobian[f"ensemble_{moment}"] > 0))
    return cells.merge(norms, on=CELL_KEYS, how="left", validate="one_to_one")


def measured(
    dataset: str, part: str, needed: float, values: pd.Series, confidence: float, settings: Sequence[str]
) -> Effect:
    """The mean effect over settings.

    Args:
        dataset: See :class:`Effect`.
        part: See :class:`Effect`.
        needed: See :class:`Effect`.
        values: One per independent block, indexed by the block's keys, ``repetition`` among them.
        confidence: Level of the interval.
        settings: The keys that define a setting: its blocks differ in ``repetition`` alone.
    """
    keys = values.index.to_frame(index=False)
    names = list(map(tuple, keys[list(settings)].astype(str).to_numpy())) if len(settings) else [()] * len(keys)
    estimate = mean_over_settings(values.tolist(), names)
    counts = pd.Series(names).value_counts()
    return _effect(dataset, part, needed, estimate, confidence, int(counts.min()) if len(counts) else 0)


def _effect(dataset: str, part: str, needed: float, estimate: Estimate, confidence: float, trainings: int) -> Effect:
    level = (1 + confidence) / 2
    bounds = (estimate.lower(level), estimate.upper(level)) if not math.isnan(estimate.mean) else (-math.inf, math.inf)
    sides = estimate.p_above(needed), estimate.p_below(needed)
    return Effect(dataset, part, needed, estimate.mean, *bounds, *sides, trainings)


def gains_of_ensembles(trainings: pd.DataFrame, column: str) -> pd.Series:
    """The gain of M > 1 over M = 1, a mean over M: a value per dataset, method, lambda and repetition."""
    keys = [key for key in CELL_KEYS if key != "members"]
    wide = trainings.pivot_table(index=keys, columns="members", values=column, dropna=False)
    if 1 not in wide.columns:
        return pd.Series(dtype=float, index=wide.index[:0])
    return (wide.drop(columns=1).mean(axis=1) - wide[1]).dropna()


def over_lambda(trainings: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column per lambda, a row per dataset, method and repetition: the mean over those M that have every lambda."""
    keys = ["dataset", "ensemble", "members", "repetition"]
    wide = trainings.pivot_table(index=keys, columns="lambda", values=column, dropna=False)
    return wide.dropna().groupby(["dataset", "ensemble", "repetition"]).mean()


def best_inside(
    dataset: str,
    part: str,
    needed: float,
    wide: pd.DataFrame,
    inside: Sequence[float],
    outside: Sequence[float],
    confidence: float,
) -> Effect:
    """Whether some lambda of one set is better than every lambda of another, by the same margin.

    The search for the best of ``inside`` is corrected for (Bonferroni), and so, on the other side, is that for the
    best of ``outside``.

    Args:
        dataset: See :class:`Effect`.
        part: See :class:`Effect`.
        needed: See :class:`Effect`.
        wide: Of :func:`over_lambda`, for one dataset.
        inside: Values of lambda, among them the one that is claimed to be best.
        outside: The values it is compared with.
        confidence: Level of the interval.

    Returns:
        The difference of the two best means.
    """
    n_in, n_out = len(inside), len(outside)
    tail = (1 - confidence) / 2
    settings = wide.index.get_level_values("ensemble").tolist()
    pairs = {(i, o): mean_over_settings((wide[i] - wide[o]).tolist(), settings) for i in inside for o in outside}

    def worst(of: Callable[[Estimate], float], choose: Callable[..., float]) -> dict[float, float]:
        return {i: choose([of(pairs[i, o]) for o in outside]) for i in inside}

    low = max(worst(lambda pair: pair.lower(1 - tail / n_in), min).values())
    high = max(worst(lambda pair: pair.upper(1 - tail / n_out), min).values())
    above = min(1.0, n_in * float(np.min(list(worst(lambda pair: pair.p_above(needed), np.max).values()))))
    below = min(1.0, n_out * float(np.max(list(worst(lambda pair: pair.p_below(needed), np.min).values()))))
    if any(math.isnan(pair.error) for pair in pairs.values()):
        above = below = math.nan
    means = wide.groupby("ensemble").mean().mean()
    best, other = (float(means[list(values)].idxmax()) for values in (inside, outside))  # type: ignore[arg-type]
    count = min(settings.count(name) for name in set(settings)) if settings else 0
    difference = float(means[best] - means[other])
    models = f"λ = {best:g} against {other:g}"
    return Effect(dataset, part, needed, difference, low, high, above, below, count, models)


def best_of_kinds(
    trainings: pd.DataFrame, chosen_by: str, column: str, first: str, second: str
) -> tuple[pd.Series, str]:
    """The best model of one kind against the best of another, chosen on other trainings than it is measured on.

    The best of many is also the luckiest. So for each repetition the best models are chosen by the mean of all other
    repetitions, and compared in this one. With a single repetition both happen in it, which flatters the kind with
    more models: there is then one value, and no interval.

    Args:
        trainings: Of one dataset.
        chosen_by: The accuracy that makes a model the best.
        column: The accuracy to compare.
        first: A kind of :data:`KINDS`.
        second: Another.

    Returns:
        One difference per repetition, and the models that are best over all repetitions together; empty unless both
        kinds are there.
    """
    sizes = trainings.groupby("repetition").size()
    trainings = trainings[trainings["repetition"].isin(sizes.index[sizes == sizes.max()])]  # no half-computed ones
    wide = trainings.pivot_table(index=MODEL_KEYS[1:], columns="repetition", values=list({chosen_by, column})).dropna()
    ensemble = wide.index.get_level_values("members") > 1
    regularised = wide.index.get_level_values("lambda") > 0
    kinds = [(ensemble == KINDS[kind][0]) & (regularised == KINDS[kind][1]) for kind in (first, second)]
    if not all(kind.any() for kind in kinds):
        return pd.Series(dtype=float, index=pd.Index([], name="repetition")), ""
    scores, values = wide[chosen_by], wide[column]
    found = {}
    for repetition in scores.columns:
        others = scores.drop(columns=repetition) if scores.shape[1] > 1 else scores
        a, b = (others[kind].mean(axis=1).idxmax() for kind in kinds)
        found[repetition] = values.loc[a, repetition] - values.loc[b, repetition]
    best = [scores[kind].mean(axis=1).idxmax() for kind in kinds]
    names = " against ".join(f"{method} M={members} λ={lam:g}" for method, members, lam in best)
    return pd.Series(found).rename_axis("repetition"), names
