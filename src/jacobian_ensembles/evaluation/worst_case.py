"""The worst of several attack seeds. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np


def expected_worst(accuracies: Sequence[float] | np.ndarray, count: int) -> float:
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
    accuracies: Sequence[float] | np.ndarray, count: int, confidence: float, seed: int = 0, draws: int = 2000
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


def worst_seed(accuracies: Sequence[float] | np.ndarray) -> int:
    """The attack seed that counts, that with the lowest accuracy; the first in a tie."""
    return int(np.argmin(np.asarray(accuracies)))


def counted(bits: np.ndarray) -> dict[str, Any]:
    """What only a model's answers themselves tell of an attack.

    Args:
        bits: (K, N) booleans: what the model got right under each of K attack seeds.

    Returns:
        ``images``, N; the ``accuracies`` (K,) of the seeds; and ``per_image_worst_accuracy``, where an image counts
        only if it is classified correctly under every seed.
    """
    accuracies = [float(accuracy) for accuracy in bits.mean(axis=1)]
    return {
        "images": bits.shape[1],
        "accuracies": accuracies,
        "per_image_worst_accuracy": float(bits.all(axis=0).mean()),
    }


def over_seeds(accuracies: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """The worst of all attack seeds, and the spread over them.

    Args:
        accuracies: (K,), one per attack seed.

    Returns:
        ``seeds``, K; ``worst_seed`` and ``worst_accuracy``; ``mean_accuracy``, ``best_accuracy``, and
        ``std_accuracy``, None for a single seed.
    """
    values = np.asarray(accuracies, float)
    worst = worst_seed(values)
    return {
        "seeds": len(values),
        "worst_seed": worst,
        "worst_accuracy": float(values[worst]),
        "mean_accuracy": float(values.mean()),
        "std_accuracy": float(values.std(ddof=1)) if len(values) > 1 else None,
        "best_accuracy": float(values.max()),
    }
