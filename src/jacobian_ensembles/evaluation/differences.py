"""Differences between two small groups of trainings."""

from __future__ import annotations

from collections.abc import Sequence


def welch(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Welch's t interval and test for the difference of two means, each over a handful of independent trainings.

    Args:
        first: At least 2 numbers.
        second: At least 2 numbers.
        confidence: In (0, 1).

    Returns:
        Lower and upper bound of mean(first) - mean(second), and the two-sided p value of its being zero.

    References:
        Welch: The Generalization of Student's Problem when Several Different Population Variances are Involved,
        Biometrika 1947.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"A difference of means needs 2 trainings of each. Got {len(first)} and {len(second)}.")
    from scipy import stats  # slow to import

    found = stats.ttest_ind(first, second, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return float(low), float(high), float(found.pvalue)
