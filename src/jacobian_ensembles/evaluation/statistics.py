"""Intervals and tests for a proportion, a mean over a handful of trainings, and one over settings and trainings."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

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

    @property
    def negative(self) -> Estimate:
        """The estimate with its sign flipped."""
        return Estimate(-self.mean, self.error, self.freedom)


def mean_over_settings(values: Sequence[float], settings: Sequence[Hashable]) -> Estimate:
    """The mean over a fixed list of settings, each seen in a few independent trainings.

    The error is that of trainings: the settings are all there are, so the spread between them adds none, and they may
    differ in the spread of their trainings. Where a setting has only one training, the spread between settings stands
    in. It includes differences both between settings and between trainings, so the interval is if anything too wide.

    Args:
        values: Independent of each other; whatever shares learners must be combined into one value.
        settings: The setting of each.

    Returns:
        The mean of the settings' means, with its standard error by Welch's formula; the degrees of freedom are
        Satterthwaite's.

    References:
        Welch: The Generalization of Student's Problem when Several Different Population Variances are Involved,
        Biometrika 1947. Satterthwaite: An Approximate Distribution of Estimates of Variance Components, 1946.
    """
    groups: dict[Hashable, list[float]] = {}
    for value, setting in zip(values, settings, strict=True):
        groups.setdefault(setting, []).append(value)
    if not groups:
        return Estimate(math.nan, math.nan, 0)
    means = np.array([np.mean(group) for group in groups.values()])
    count, mean = len(groups), float(means.mean())
    if min(map(len, groups.values())) >= 2:
        parts = np.array([np.var(group, ddof=1) / len(group) for group in groups.values()])
        freedoms = np.array([len(group) - 1 for group in groups.values()])
        total = parts.sum()
        freedom = total**2 / (parts**2 / freedoms).sum() if total > 0 else freedoms.sum()
        return Estimate(mean, float(np.sqrt(total)) / count, float(freedom))
    if count < 2:
        return Estimate(mean, math.nan, 0)
    return Estimate(mean, float(means.std(ddof=1) / np.sqrt(count)), count - 1)


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
