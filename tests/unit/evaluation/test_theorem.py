import math

import numpy as np
import pytest
from helpers_science import within

from jacobian_ensembles.evaluation.theorem import (
    check_weights,
    frobenius_moments,
    measured_moments,
    simulate_moments,
    theorem_bounds,
    weight_bounds,
)


def drawn_norms(classes, inputs, mu, sigma, weights, draws, seed):
    """Squared Frobenius norms of sum_i c_i J_i, entry by entry as Theorem 3.1 assumes."""
    rng = np.random.default_rng(seed)
    averaged = np.zeros((draws, classes, inputs))
    for c in weights:
        averaged += c * (mu + sigma * rng.standard_normal((draws, classes, inputs)))
    return (averaged**2).sum((1, 2))


def assert_moments_of(norms, mean, variance):
    n = len(norms)
    centred = norms - norms.mean()
    assert within(norms.mean(), mean, norms.std() / math.sqrt(n))
    fourth = (centred**4).mean()
    assert within(norms.var(ddof=1), variance, math.sqrt((fourth - norms.var() ** 2) / n))


@pytest.mark.parametrize(
    ("classes", "inputs", "mu", "sigma", "weights", "mean", "variance"),
    [
        (1, 1, 0.0, 1.0, [1.0], 1, 2),  # chi-squared with one degree of freedom
        (2, 3, 0.0, 1.0, [1.0], 6, 12),  # with six
        (2, 3, 3.0, 2.0, [0.5, 0.5], 66, 480),  # t = 4/2 = 2: 6 (2 + 9) and 6 (4*9*2 + 2*4)
        (1, 2, 1.0, 4.0, [0.25, 0.75], 22, 480),  # t = 16 (1 + 9)/16 = 10: 2 (10 + 1) and 2 (4*10 + 2*100)
        (5, 4, 2.0, 0.0, [0.1, 0.9], 80, 0),  # nothing random: 20 entries of 2
    ],
)
def test_moments_by_hand(classes, inputs, mu, sigma, weights, mean, variance):
    got = frobenius_moments(classes, inputs, mu, sigma, np.array(weights))
    assert got.mean == pytest.approx(mean)
    assert got.variance == pytest.approx(variance)


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (0.5, 0.3), (-2.0, 1.5)])
@pytest.mark.parametrize("weights", [[1.0], [0.25] * 4, [0.7, 0.2, 0.1]])
def test_moments_agree_with_monte_carlo(mu, sigma, weights):
    norms = drawn_norms(3, 5, mu, sigma, weights, draws=40_000, seed=1)
    got = frobenius_moments(3, 5, mu, sigma, np.array(weights))
    assert_moments_of(norms, got.mean, got.variance)


@pytest.mark.parametrize("correlation", [-0.2, 0.4, 1.0])
@pytest.mark.parametrize("weights", [[0.25] * 4, [0.7, 0.2, 0.1]])
def test_moments_of_correlated_learners_agree_with_monte_carlo(weights, correlation):
    members, rng = len(weights), np.random.default_rng(4)
    covariance = 1.5**2 * (correlation + (1 - correlation) * np.eye(members))
    entries = rng.multivariate_normal(np.full(members, 0.5), covariance, (40_000, 3 * 5))
    got = frobenius_moments(3, 5, 0.5, 1.5, np.array(weights), correlation)
    assert_moments_of(((entries @ weights) ** 2).sum(1), got.mean, got.variance)


@pytest.mark.parametrize(("members", "correlation"), [(3, -0.6), (1, 1.1), (2, -1.01)])
def test_a_correlation_that_no_learners_can_have_is_refused(members, correlation):
    with pytest.raises(ValueError, match=r"correlation must lie in \["):
        frobenius_moments(1, 1, 0.0, 1.0, np.full(members, 1 / members), correlation)


@pytest.mark.parametrize("members", [2, 3, 9])
def test_drawn_averages_reach_the_lower_bounds_and_single_learners_the_upper(members):
    lower, upper = theorem_bounds(3, 5, 0.5, 1.2, members)
    averaged = drawn_norms(3, 5, 0.5, 1.2, [1 / members] * members, draws=40_000, seed=2)
    single = drawn_norms(3, 5, 0.5, 1.2, [1.0], draws=40_000, seed=3)
    assert_moments_of(averaged, lower.mean, lower.variance)
    assert_moments_of(single, upper.mean, upper.variance)


@pytest.mark.parametrize("members", [2, 4])
def test_drawn_unequal_ensembles_lie_strictly_between_the_bounds(members):
    rng = np.random.default_rng(7)
    lower, upper = theorem_bounds(2, 4, 0.3, 1.0, members)
    for seed in range(5):
        # far from equal and from a single learner, so that sampling noise cannot reverse the order
        weights = 0.5 * np.eye(members)[seed % members] + 0.5 * (rng.dirichlet(np.full(members, 5.0)))
        norms = drawn_norms(2, 4, 0.3, 1.0, weights, draws=40_000, seed=seed)
        assert lower.mean < norms.mean() < upper.mean
        assert lower.variance < norms.var(ddof=1) < upper.variance


@pytest.mark.parametrize("members", [2, 3, 9])
def test_any_convex_weights_obey_theorem_3_1_with_equality_for_averaging_only(members):
    rng = np.random.default_rng(members)
    lower, upper = theorem_bounds(10, 784, 0.01, 0.2, members)
    for weights in rng.dirichlet(np.ones(members), 200):
        got = frobenius_moments(10, 784, 0.01, 0.2, weights)
        assert lower.mean < got.mean < upper.mean
        assert lower.variance < got.variance < upper.variance
    equal = frobenius_moments(10, 784, 0.01, 0.2, np.full(members, 1 / members))
    assert (equal.mean, equal.variance) == pytest.approx((lower.mean, lower.variance))


def test_bounds_for_a_centred_jacobian_are_the_papers_powers_of_m():
    # mu = 0: the mean shrinks as 1/M and the variance as 1/M^2
    lower, upper = theorem_bounds(10, 784, 0.0, 0.2, 4)
    assert upper.mean == pytest.approx(7840 * 0.04)
    assert upper.variance == pytest.approx(7840 * 2 * 0.0016)
    assert lower.mean == pytest.approx(upper.mean / 4)
    assert lower.variance == pytest.approx(upper.variance / 16)


def test_bounds_of_a_single_learner_coincide():
    lower, upper = theorem_bounds(10, 784, 0.3, 0.2, 1)
    assert (lower.mean, lower.variance) == pytest.approx((upper.mean, upper.variance))


@pytest.mark.parametrize("members", [2, 3, 5, 9])
def test_proposition_1_holds_for_random_convex_weights(members):
    for concentration in (0.3, 1.0, 50.0):
        for weights in np.random.default_rng(0).dirichlet(np.full(members, concentration), 200):
            if weights.min() <= 0:  # a Dirichlet draw may underflow to a weight of zero, which is no weight
                continue
            lower, squares, upper = weight_bounds(weights)
            assert lower == pytest.approx(1 / members)
            assert squares == pytest.approx(sum(c * c for c in weights.tolist()))
            assert lower <= squares < upper == 1


@pytest.mark.parametrize("members", [1, 2, 7])
def test_equal_weights_reach_the_lower_bound_of_proposition_1(members):
    lower, squares, _ = weight_bounds(np.full(members, 1 / members))
    assert squares == pytest.approx(lower) == pytest.approx(1 / members)


@pytest.mark.parametrize(
    "weights",
    [[], [0.5, 0.6], [0.5, 0.4], [1.5, -0.5], [1.0, 0.0], [math.nan, 1.0], [[0.5, 0.5]], 1.0, [math.inf, 1.0]],
)
def test_weights_that_are_no_convex_combination_are_refused(weights):
    for use in (
        check_weights,
        weight_bounds,
        lambda w: frobenius_moments(2, 2, 0.0, 1.0, w),
        lambda w: simulate_moments(2, 2, 0.0, 1.0, w, draws=2, seed=0),
    ):
        with pytest.raises(ValueError, match=r"weights must be positive and sum to 1\. Got"):
            use(np.array(weights))


def test_simulation_estimates_the_moments_of_hand_computed_cases():
    n = 20_000
    got = simulate_moments(2, 3, 3.0, 2.0, np.array([0.5, 0.5]), draws=n, seed=0)
    assert within(got.mean, 66, math.sqrt(480 / n))
    assert got.variance == pytest.approx(480, rel=0.06)  # its standard error is about 1.2 %


def test_simulated_variance_is_unbiased_even_from_two_draws():
    # a biased estimate would average one half of the true variance, 2
    got = [simulate_moments(1, 1, 0.0, 1.0, np.ones(1), draws=2, seed=s).variance for s in range(4_000)]
    assert within(np.mean(got), 2, np.std(got) / math.sqrt(len(got)))


def test_simulation_is_determined_by_its_seed():
    first, same, other = (simulate_moments(2, 2, 0.0, 1.0, np.ones(1), draws=10, seed=s) for s in (1, 1, 2))
    assert first == same
    assert first != other


def statistics(jacobians):
    """What the job measures, of (M, N, C, D) Jacobians, one pair of learners after the other."""
    members, images = jacobians.shape[:2]
    flat = jacobians.reshape(members, images, -1)
    cosine = np.empty((members, members))
    for i, j in np.ndindex(members, members):
        norms = np.linalg.norm(flat[i], axis=1) * np.linalg.norm(flat[j], axis=1)
        cosine[i, j] = np.mean((flat[i] * flat[j]).sum(1) / norms)
    return {
        "learners": (flat**2).sum(2),
        "ensemble": (flat.mean(0) ** 2).sum(1),
        "cosine": cosine,
        "moments": np.stack([flat.mean((1, 2)), flat.var((1, 2)), np.zeros(members), np.zeros(members)], axis=1),
        "size": np.array(jacobians.shape[2:]),
    }


def test_a_cosine_weighted_by_norm_is_that_of_every_pair_and_image():
    rng = np.random.default_rng(5)
    shared = rng.standard_normal((1, 6, 2, 4)) * rng.exponential(2, (1, 6, 1, 1))
    jacobians = shared + rng.standard_normal((3, 6, 2, 4))
    inner = weights = 0.0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for x in range(6):
            a, b = jacobians[i, x].ravel(), jacobians[j, x].ravel()
            inner += a @ b
            weights += math.sqrt(a @ a) * math.sqrt(b @ b)
    got = measured_moments(statistics(jacobians))
    assert got["cosine_by_norm"] == pytest.approx(inner / weights, rel=1e-12)
    # images with large Jacobians are those where learners agree
    assert got["cosine_by_norm"] > got["cosine"]


def test_learners_alike_on_the_images_with_large_jacobians_only():
    # two learners, two images: norms 10 and the same Jacobian; norms 1 and orthogonal ones
    jacobians = np.array([[[[10.0, 0.0]], [[1.0, 0.0]]], [[[10.0, 0.0]], [[0.0, 1.0]]]])
    got = measured_moments(statistics(jacobians))
    assert got["cosine"] == 0.5
    assert got["cosine_by_norm"] == pytest.approx(100 / 101)
    # norms are equal, so the weighted cosine alone gives the ensemble's expectation: 1/2 + 1/2 * 100/101 of 50.5
    assert got["ensemble_mean"] == pytest.approx(50.5 * (1 / 2 + 100 / 202))


def test_the_variance_over_learners_at_an_image_by_hand():
    # squared norms 1 and 9 at one image, 4 and 4 at the other: variances 32 and 0; means 5 and 4, of 2 entries
    jacobians = np.array([[[[1.0, 0.0]], [[2.0, 0.0]]], [[[0.0, 3.0]], [[0.0, 2.0]]]])
    got = measured_moments(statistics(jacobians))
    assert got["learner_variance_at_image"] == 16
    assert got["upper_variance_at_image"] == pytest.approx((2 * 25 / 2 + 2 * 16 / 2) / 2)


def test_entries_as_the_theorem_assumes_have_the_variance_it_allows():
    jacobians = np.random.default_rng(8).normal(0.0, 0.5, (40, 300, 3, 7))
    got = measured_moments(statistics(jacobians))
    assert got["learner_variance_at_image"] == pytest.approx(got["upper_variance_at_image"], rel=0.05)
    assert got["learner_variance"] == pytest.approx(got["upper_variance"], rel=0.05)
    assert got["cosine_by_norm"] == pytest.approx(0, abs=0.01)


def test_a_single_learner_is_compared_with_none():
    got = measured_moments(statistics(np.ones((1, 2, 1, 2))))
    missing = ("cosine", "cosine_by_norm", "learner_variance_at_image", "upper_variance_at_image")
    assert all(math.isnan(got[name]) for name in missing)


def test_learners_without_any_jacobian_have_no_cosine():
    dead = {**statistics(np.ones((2, 3, 1, 2))), "learners": np.zeros((2, 3)), "ensemble": np.zeros(3)}
    assert math.isnan(measured_moments(dead)["cosine_by_norm"])
