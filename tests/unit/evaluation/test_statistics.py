import math

import numpy as np
import pytest
from scipy import stats

from jacobian_ensembles.evaluation.statistics import Estimate, contrast, holm

RNG = np.random.default_rng(11)


def mean_of(values, settings, pooled=False):
    """The mean over settings, each with its own variance, or with one for all."""
    groups = {}
    for value, setting in zip(values, settings, strict=True):
        groups.setdefault(setting, []).append(value)
    weights = {setting: 1 / len(groups) for setting in groups}
    return contrast(
        groups, weights, dict.fromkeys(groups) if pooled else {s: s for s in groups}, {s: s for s in groups}
    )


def test_the_mean_of_two_settings_by_hand():
    # means 2 and 4; variances of the means 2/2 and 8/2
    got = mean_of([1, 3, 2, 6], ["a", "a", "b", "b"])
    assert got.mean == 3
    assert got.error == pytest.approx(math.sqrt(1 + 4) / 2)
    assert got.freedom == pytest.approx(5**2 / (1**2 + 4**2))


def test_a_pool_has_one_variance_by_hand():
    # squares 2 + 8 over 2 freedoms: variance 5, of each mean 5/2
    got = mean_of([1, 3, 2, 6], ["a", "a", "b", "b"], pooled=True)
    assert (got.mean, got.freedom) == (3, 2)
    assert got.error == pytest.approx(math.sqrt(2 * 2.5) / 2)


def test_a_single_training_borrows_the_variance_of_its_pool():
    # a has one training; b's variance is 8: 8/1 + 8/2 in the difference
    got = contrast({"a": [5], "b": [2, 6]}, {"a": 1, "b": -1}, {"a": 0, "b": 0}, {"a": 0, "b": 0})
    assert (got.mean, got.freedom) == (1, 1)
    assert got.error == pytest.approx(math.sqrt(12))


def test_variances_may_come_from_other_values():
    values, spread = {"a": [5.0, 5.0]}, {"a": [0.0, 2.0], "b": [1.0, 1.0]}
    got = contrast(values, {"a": 2.0}, {"a": 0, "b": 0}, {"a": 0}, spread)
    # squares 2 + 0 over 2 freedoms: variance 1; twice a mean of two: 4 * 1/2
    assert (got.mean, got.error, got.freedom) == (10, pytest.approx(math.sqrt(2)), 2)


def test_two_settings_are_welchs_test():
    a, b = RNG.normal(1.0, 1, 5), RNG.normal(0.2, 3, 4)
    got = contrast({"a": a, "b": b}, {"a": 1, "b": -1}, {"a": "a", "b": "b"}, {"a": 0, "b": 0})
    test = stats.ttest_ind(a, b, equal_var=False, alternative="greater")
    assert got.p_above(0) == pytest.approx(test.pvalue)
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (got.lower(0.975), got.upper(0.975)) == pytest.approx((interval.low, interval.high))
    pooled = contrast({"a": a, "b": b}, {"a": 1, "b": -1}, {"a": 0, "b": 0}, {"a": 0, "b": 0})
    assert pooled.p_above(0) == pytest.approx(stats.ttest_ind(a, b, alternative="greater").pvalue)


def test_settings_count_alike_however_many_trainings_they_have():
    assert mean_of([0, 0, 0, 0, 3, 3], [*"aaaabb"]).mean == 1.5


def test_single_trainings_are_a_t_test_over_units():
    values = RNG.normal(1, 2, 7)
    test = stats.ttest_1samp(values, 0.5, alternative="less")
    assert mean_of(values.tolist(), range(7)).p_below(0.5) == pytest.approx(test.pvalue)
    # a unit of two settings: the difference between them
    groups = {(unit, side): [value * side] for unit, value in enumerate(values) for side in (1, 2)}
    weights = {(unit, side): (1 if side == 2 else -1) / 7 for unit, side in groups}
    got = contrast(groups, weights, dict.fromkeys(groups), {setting: setting[0] for setting in groups})
    assert got.p_below(0.5) == pytest.approx(test.pvalue)


def test_signs_turned_at_random_agree():
    values = RNG.normal(0.8, 1.5, 24)
    got = mean_of(values.tolist(), range(24)).p_above(0)
    permuted = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        rng=3,
        vectorized=True,
    )
    assert got == pytest.approx(permuted.pvalue, abs=0.01)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("trainings", [2, 5])
def test_intervals_cover_the_mean_of_settings_that_differ_in_mean_and_spread(trainings, pooled):
    rng = np.random.default_rng(trainings)
    truth, spread = np.array([0.0, 5.0, -3.0, 20.0]), np.array([0.5, 1.0, 1.0, 2.0])
    settings = np.repeat(range(4), trainings).tolist()
    covered = []
    for _ in range(1000):
        values = (truth[:, None] + rng.normal(0, spread[:, None], (4, trainings))).ravel()
        got = mean_of(values.tolist(), settings, pooled)
        covered.append(got.lower(0.975) <= truth.mean() <= got.upper(0.975))
    assert np.mean(covered) > 0.94 - 3 * math.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_values_have_no_interval(values):
    got = mean_of(values, ["a"] * len(values))
    assert math.isnan(got.error)
    assert math.isnan(got.p_above(0))
    assert math.isnan(got.p_below(0))
    assert (got.lower(0.975), got.upper(0.975)) == (-math.inf, math.inf)


def test_without_spread_the_mean_is_certain():
    got = mean_of([2, 2, 4, 4], [*"aabb"])
    assert got == Estimate(3, 0, 2)
    assert (got.p_above(2.9), got.p_above(3.1), got.p_below(3.1)) == (0, 1, 0)
    assert (got.lower(0.975), got.upper(0.975)) == (3, 3)


def test_a_known_variance_is_added_with_its_freedoms():
    got = Estimate(1.0, 3.0, 4).with_variance(16.0)
    assert got.error == 5
    assert got.freedom == pytest.approx(25**2 / (9**2 / 4))  # Satterthwaite, the other part being known
    assert Estimate(1.0, 0.0, 2).with_variance(4.0) == Estimate(1.0, 2.0, math.inf)
    assert math.isnan(Estimate(1.0, math.nan, 0).with_variance(1.0).error)
    assert Estimate(1.0, 2.0, math.inf).p_above(0) == pytest.approx(stats.norm.sf(0.5))


def test_holms_correction_by_hand():
    # 0.005 times 4; 0.01 times 3; 0.03 times 2; 0.04 is no less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_what_was_not_tested_does_not_count():
    got = holm([0.02, math.nan, 0.04])
    assert got[0] == pytest.approx(0.04)
    assert math.isnan(got[1])
    assert got[2] == pytest.approx(0.04)


def test_holm_keeps_the_chance_of_any_false_rejection():
    rng = np.random.default_rng(6)
    any_false = [min(holm(rng.random(14).tolist())) < 0.05 for _ in range(2000)]
    assert np.mean(any_false) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
