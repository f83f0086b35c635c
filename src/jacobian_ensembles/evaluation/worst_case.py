"""The worst of several attack seeds. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

from jacobian_ensembles.evaluation.statistics import wilson_interval


def expected_worst(accuracies: Sequence[float], count: int) -> float:
    """The expected lowest accuracy among ``count`` of the attack seeds at hand, drawn without replacement.

    Of the K accuracies in ascending order, the i-th (from 0) is the lowest of a draw when the other count - 1 are
    among the K - 1 - i above it: C(K-1-i, count-1) of the C(K, count) draws.

    Args:
        accuracies: (K,), one per attack seed.
        count: In [1, K].

    Returns:
        The expectation, exact.

    Raises:
        ValueError: If ``count`` is not in [1, K].
    """
    ordered = np.sort(np.asarray(accuracies, float))
    size = len(ordered)
    if not 1 <= count <= size:
        raise ValueError(f"count must lie in [1, {size}], the number of attack seeds. Got {count}.")
    total = comb(size, count)
    weights = np.array([comb(size - 1 - i, count - 1) / total for i in range(size)])
    return float(weights @ ordered)


def worst_interval(
    accuracies: Sequence[float], count: int, confidence: float, seed: int = 0, draws: int = 2000
) -> tuple[float, float]:
    """Where the lowest accuracy among ``count`` attack seeds falls, by the bootstrap over the seeds at hand.

    Args:
        accuracies: (K,), one per attack seed.
        count: How many seeds are drawn, with replacement.
        confidence: Share of draws between the bounds.
        seed: Of the draws.
        draws: How many.

    Returns:
        The lower and the upper percentile.
    """
    rng = np.random.default_rng(seed)
    lowest = rng.choice(np.asarray(accuracies, float), (draws, count)).min(axis=1)
    low, high = np.quantile(lowest, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def worst_case(bits: np.ndarray, confidence: float) -> dict[str, Any]:
    """The worst of all attack seeds, that with the lowest accuracy, and the record of all of them.

    Args:
        bits: (K, N) booleans: what the model got right under each seed.
        confidence: Level of the Wilson interval.

    Returns:
        Every seed's accuracy, the seed chosen, mean and spread, and the accuracy over the per-image worst case (an
        image counts only if it is classified correctly under every seed).
    """
    accuracies = bits.mean(axis=1)
    worst = int(np.argmin(bits.sum(axis=1)))  # the first in a tie
    low, high = wilson_interval(int(bits[worst].sum()), bits.shape[1], confidence)
    return {
        "seeds": len(bits),
        "accuracies": [round(float(a), 6) for a in accuracies],
        "worst_seed": worst,
        "worst_accuracy": float(accuracies[worst]),
        "worst_low": low,
        "worst_high": high,
        "mean_accuracy": float(accuracies.mean()),
        "std_accuracy": float(accuracies.std(ddof=1)) if len(bits) > 1 else None,
        "best_accuracy": float(accuracies.max()),
        "per_image_worst_accuracy": float(bits.all(axis=0).mean()),
    }
