"""Intervals and tests: for a proportion, a mean over a few trainings, and a sum over settings and trainings."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval for a proportion.

    Args:
        successes: In [0, trials].
        trials: At least 1.
        confidence: In (0, 1).

    Returns:
        Lower and upper bound, in [0, 1].

    References:
        Wilson: Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes must lie in [0, trials], trials be >= 1. Got {successes} of {trials}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2n = successes / trials, z * z / trials
    centre = (p + z2n / 2) / (1 + z2n)
    half = z / (1 + z2n) * float(np.sqrt(p * (1 - p) / trials + z2n / (4 * trials)))
    # exact at the ends, where rounding could leave the proportion outside its own interval
    return (max(0.0, centre - half) if successes else 0.0), (min(1.0, centre + half) if successes < trials else 1.0)


def student_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval for a mean over a handful of independent trainings.

    Args:
        values: At least 2 numbers.
        confidence: In (0, 1).

    Returns:
        Lower and upper bound.

    References:
        Student: The Probable Error of a Mean, Biometrika 1908.
    """
    if len(values) < 2:
        raise ValueError(f"An interval over repetitions needs at least 2 of them. Got {len(values)}.")
    from scipy import stats  # slow to import, and most who need an interval need Wilson's

    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error.

    Attributes:
        mean: NaN for no values.
        error: Standard error; NaN where there are too few values.
        freedom: Degrees of freedom of Student's t; 0 without an error.
    """

    mean: float
    error: float
    freedom: float

    def lower(self, level: float) -> float:
        """The bound that lies below the true mean with probability ``level``; -inf without an error."""
        return -self.negative.upper(level)

    def upper(self, level: float) -> float:
        """The bound that lies above the true mean with probability ``level``; inf without an error."""
        if math.isnan(self.error):
            return math.inf
        from scipy import stats

        return self.mean + float(stats.t.ppf(level, self.freedom)) * self.error

    def p_above(self, value: float) -> float:
        """One-sided p value of the hypothesis that the true mean is at most ``value``; NaN without an error."""
        if math.isnan(self.error):
            return math.nan
        from scipy import stats

        if self.error == 0:  # no spread at all: the mean is what it is
            return 0.0 if self.mean > value else 1.0
        return float(stats.t.sf((self.mean - value) / self.error, self.freedom))

    def p_below(self, value: float) -> float:
        """One-sided p value of the hypothesis that the true mean is at least ``value``; NaN without an error."""
        return self.negative.p_above(-value)

    def with_variance(self, variance: float) -> Estimate:
        """The estimate with a further, independent error whose variance is known."""
        if math.isnan(self.error) or variance == 0:
            return self
        own = self.error**2
        freedom = ((own + variance) / own) ** 2 * self.freedom if own > 0 else math.inf
        return Estimate(self.mean, math.sqrt(own + variance), freedom)

    @property
    def negative(self) -> Estimate:
        """The estimate with its sign flipped."""
        return Estimate(-self.mean, self.error, self.freedom)


def contrast(
    values: Mapping[Any, Sequence[float]],
    weights: Mapping[Any, float],
    pools: Mapping[Any, Hashable],
    units: Mapping[Any, Hashable],
    spread: Mapping[Any, Sequence[float]] | None = None,
) -> Estimate:
    """A weighted sum of settings' means, each over a few independent trainings.

    The error is that of trainings: the settings are all there are, so the spread between them adds none. Settings of
    one pool are taken to have the same spread over trainings, since the few of one setting cannot tell it. Where no
    setting of a pool has two trainings, the spread between units (settings that make up one comparison) stands in: it
    includes differences both between settings and between trainings, so the interval is if anything too wide.

    Args:
        values: By setting, those of its trainings, at least one each; independent of each other.
        weights: Of each setting in the sum; other settings of ``values`` count for the spread of their pools alone.
        pools: The pool of each setting.
        units: What each setting with a weight belongs to; units are compared, and weigh the same.
        spread: Values to take the pools' variances from, where these are others than ``values``.

    Returns:
        The sum with its standard error; the degrees of freedom are Satterthwaite's.

    References:
        Satterthwaite: An Approximate Distribution of Estimates of Variance Components, 1946.
    """
    if not weights:
        return Estimate(math.nan, math.nan, 0)
    means = {setting: float(np.mean(values[setting])) for setting in weights}
    total = math.fsum(weights[setting] * means[setting] for setting in weights)
    squares: dict[Hashable, float] = {}
    freedoms: dict[Hashable, int] = {}
    for setting, found in (spread or values).items():
        pool = pools[setting]
        squares[pool] = squares.get(pool, 0.0) + float(np.var(found) * len(found))
        freedoms[pool] = freedoms.get(pool, 0) + len(found) - 1
    sizes: dict[Hashable, float] = {}
    for setting, weight in weights.items():
        sizes[pools[setting]] = sizes.get(pools[setting], 0.0) + weight**2 / len(values[setting])
    if all(freedoms[pool] for pool in sizes):
        parts = {pool: size * squares[pool] / freedoms[pool] for pool, size in sizes.items()}
        variance = math.fsum(parts.values())
        lost = math.fsum(part**2 / freedoms[pool] for pool, part in parts.items())
        freedom = variance**2 / lost if lost > 0 else sum(freedoms[pool] for pool in sizes)
        return Estimate(total, math.sqrt(variance), freedom)
    sums: dict[Hashable, float] = {}
    for setting, weight in weights.items():
        sums[units[setting]] = sums.get(units[setting], 0.0) + weight * means[setting]
    count = len(sums)
    if count < 2:
        return Estimate(total, math.nan, 0)
    return Estimate(total, float(np.std([*sums.values()], ddof=1) * math.sqrt(count)), count - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: rejecting the p values below a level keeps the chance of any false rejection below that level.

    Args:
        p_values: Of several hypotheses; NaN for those that were not tested, which then do not count.

    Returns:
        The corrected values, in the same order.

    References:
        Holm: A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in corrected]
