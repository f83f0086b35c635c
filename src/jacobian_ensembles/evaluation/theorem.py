"""Proposition 1 and Theorem 3.1: how averaging M learners shrinks the norm of the Jacobian. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jacobian_ensembles.evaluation.shared_direction import COLUMNS


@dataclass(frozen=True)
class Moments:
    """Expectation and variance of a squared Frobenius norm."""

    mean: float
    variance: float


def check_weights(weights: np.ndarray) -> np.ndarray:
    """Refuse weights that are not a convex combination: (M,) positive numbers of sum 1.

    Raises:
        ValueError: If they are not.
    """
    weights = np.asarray(weights, float)
    if weights.ndim != 1 or not len(weights) or (weights <= 0).any() or not np.isclose(weights.sum(), 1):
        raise ValueError(f"weights must be positive and sum to 1. Got {weights.tolist()}.")
    return weights


def weight_bounds(weights: np.ndarray) -> tuple[float, float, float]:
    """Proposition 1: 1/M <= sum c_i^2 < 1 for M >= 2, with equality on the left for equal weights.

    Args:
        weights: (M,) positive weights of sum 1.

    Returns:
        The lower bound 1/M, the sum of squares, and the upper bound 1.
    """
    weights = check_weights(weights)
    return 1 / len(weights), float(np.sum(weights**2)), 1.0


def frobenius_moments(
    classes: int, inputs: int, mu: float, sigma: float, weights: np.ndarray, correlation: float = 0.0
) -> Moments:
    """Moments of ||J_F||_F^2 when the entries of every J_i are independent N(mu, sigma^2).

    The entries of J_F = sum_i c_i J_i are then N(mu, t) with t = sigma^2 sum c_i^2, so each square has mean
    t + mu^2 and variance 4 mu^2 t + 2 t^2, and CD of them add up (the proof of Theorem 3.1). Where the same entry of
    two learners is correlated, t = sigma^2 (sum c_i^2 + correlation (1 - sum c_i^2)): the theorem without one of its
    assumptions, that learners are independent of each other.

    Args:
        classes: C.
        inputs: D.
        mu: Mean of the entries.
        sigma: Standard deviation of the entries, >= 0.
        weights: (M,) positive weights of sum 1.
        correlation: Between the same entry of any two learners, in [-1/(M-1), 1]; 0 in the paper.

    Returns:
        Expectation and variance.

    Raises:
        ValueError: If the weights are not a convex combination, or M variables cannot be so correlated.
    """
    squares = float(np.sum(check_weights(weights) ** 2))
    lowest = -1 / (len(weights) - 1) if len(weights) > 1 else -1.0
    if not lowest <= correlation <= 1:
        raise ValueError(f"correlation must lie in [{lowest:g}, 1] for {len(weights)} learners. Got {correlation:g}.")
    t = sigma**2 * (squares + correlation * (1 - squares))
    n = classes * inputs
    return Moments(n * (t + mu**2), n * (4 * mu**2 * t + 2 * t**2))


def theorem_bounds(classes: int, inputs: int, mu: float, sigma: float, members: int) -> tuple[Moments, Moments]:
    """Theorem 3.1, Eqs. (3) and (4): bounds on the moments of ||J_F||_F^2.

    Args:
        classes: C.
        inputs: D.
        mu: Mean of the entries of every J_i.
        sigma: Their standard deviation, >= 0.
        members: M.

    Returns:
        The lower bounds, reached by averaging, and the upper bounds: the moments of a single learner.
    """
    equal = np.full(members, 1 / members)
    lower = frobenius_moments(classes, inputs, mu, sigma, equal)
    return lower, frobenius_moments(classes, inputs, mu, sigma, np.ones(1))


def _cosine_by_norm(learners: np.ndarray, ensemble: np.ndarray) -> float:
    """The cosine between two learners' Jacobians, weighted by the product of their norms; missing for M = 1.

    The inner products follow from ||sum_i J_i||^2 = sum_i ||J_i||^2 + sum_{i != j} <J_i, J_j>, so they need not be
    measured one by one.

    Args:
        learners: (M, N), every ||J_i||_F^2.
        ensemble: (N,), ||(1/M) sum_i J_i||_F^2.
    """
    inner = len(learners) ** 2 * ensemble - learners.sum(axis=0)
    products = np.square(np.sqrt(learners).sum(axis=0)) - learners.sum(axis=0)
    return float(inner.sum() / products.sum()) if len(learners) > 1 and products.sum() > 0 else np.nan


def measured_moments(statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Set measured Jacobian norms of one ensemble beside the theorem's.

    The theorem's expectation and variance are over random learners; here they are taken over test images, for
    fixed learners. mu and sigma are estimated from the entries of the learners' Jacobians. The variance over learners
    at one and the same image, which is closer to the theorem's, is given beside it.

    Args:
        statistics: Of :func:`~jacobian_ensembles.evaluation.jacobian_norms.jacobian_statistics`.

    Returns:
        Mean and variance of ||J_F||_F^2 over images; the same of ||J_i||_F^2, averaged over learners; the theorem's
        lower and upper bounds; ``learner_variance_at_image``, the variance of ||J_i||_F^2 over learners at one image,
        averaged over images, and ``upper_variance_at_image``, the most that the theorem allows it for any mu, given the
        mean norm at each image; the mean cosine between two learners' Jacobians (0 if independent with mu = 0) and the
        same with each image and pair of learners weighted by the product of their norms, ``cosine_by_norm``; the
        entries' excess kurtosis (0 if normal); and, where it was measured, what images share:
        :data:`~jacobian_ensembles.evaluation.shared_direction.COLUMNS`. Whatever compares learners is missing for M =
        1.
    """
    learners, ensemble, cosine = statistics["learners"], statistics["ensemble"], statistics["cosine"]
    mean, variance, _, kurtosis = statistics["moments"].T
    members = len(learners)
    classes, inputs = map(int, statistics["size"])
    sigma = float(np.sqrt(variance.mean()))
    lower, upper = theorem_bounds(classes, inputs, float(mean.mean()), sigma, members)
    at_image = learners.mean(
        axis=0
    )  # = n (mu^2 + sigma^2) there, so that Eq. (4) allows at most 2 n (mu^2 + sigma^2)^2
    return {
        "images": len(ensemble),
        "ensemble_mean": ensemble.mean(),
        "ensemble_mean_se": ensemble.std(ddof=1) / np.sqrt(len(ensemble)),
        "ensemble_variance": ensemble.var(ddof=1),
        "learner_mean": learners.mean(),
        "learner_variance": learners.var(axis=1, ddof=1).mean(),
        "lower_mean": lower.mean,
        "lower_variance": lower.variance,
        "upper_mean": upper.mean,
        "upper_variance": upper.variance,
        "learner_variance_at_image": learners.var(axis=0, ddof=1).mean() if members > 1 else np.nan,
        "upper_variance_at_image": 2 * np.square(at_image).mean() / (classes * inputs) if members > 1 else np.nan,
        "mu": mean.mean(),
        "sigma": sigma,
        "cosine": (cosine.sum() - np.trace(cosine)) / (members * (members - 1)) if members > 1 else np.nan,
        "cosine_by_norm": _cosine_by_norm(learners, ensemble),
        "excess_kurtosis": kurtosis.mean(),
    } | (dict(zip(COLUMNS, statistics["shared"], strict=True)) if "shared" in statistics else {})


def simulate_moments(
    classes: int, inputs: int, mu: float, sigma: float, weights: np.ndarray, draws: int, seed: int
) -> Moments:
    """Estimate the same moments by Monte Carlo.

    Args:
        classes: C.
        inputs: D.
        mu: Mean of the entries.
        sigma: Standard deviation of the entries.
        weights: (M,) positive weights of sum 1.
        draws: How many ensembles to draw, at least 2.
        seed: Of the draws.

    Returns:
        Sample mean and unbiased sample variance of ||J_F||_F^2.
    """
    weights = check_weights(weights)
    rng = np.random.default_rng(seed)
    norms = np.empty(draws)
    for k in range(draws):
        jacobians = rng.normal(mu, sigma, (len(weights), classes, inputs))
        norms[k] = np.square(np.tensordot(weights, jacobians, axes=1)).sum()
    return Moments(float(norms.mean()), float(norms.var(ddof=1)))
