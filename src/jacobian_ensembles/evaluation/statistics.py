"""Intervals: of a proportion, and of a mean over a handful of trainings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion.

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
    """Student's t interval of a mean, for a handful of independent trainings.

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
