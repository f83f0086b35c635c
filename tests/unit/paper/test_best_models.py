import math

import numpy as np
import pandas as pd
import pytest
from helpers_claims import tables
from scipy import stats

from jacobian_ensembles.paper.best_models import OverLambda, best_inside, best_of_kinds, choose_and_measure
from jacobian_ensembles.paper.effects import Evidence, trainings_of


def evidence(values, methods=("bagging", "voting")):
    """Accuracies of M = 1: (methods, trainings, lambdas)."""
    values = np.asarray(values, float)
    rows = [
        {
            "dataset": "mnist",
            "ensemble": method,
            "members": 1,
            "lambda": round(0.1 * k, 1),
            "repetition": r,
            "uap": value,
        }
        for method, of_method in zip(methods, values, strict=True)
        for r, of_training in enumerate(of_method)
        for k, value in enumerate(of_training)
    ]
    return Evidence(pd.DataFrame(rows))


def best(found, inside, outside, needed=0.0):
    curve = OverLambda(found, "mnist", "uap")
    return best_inside(found, "mnist", "x", needed, curve, inside, outside)


def test_two_values_of_lambda_are_a_test_with_pooled_variances():
    # with one method, lambda 0.1 against 0 is Welch's: each has a pool of its own
    values = np.random.default_rng(1).normal(0, [[[1.0, 3.0]]], (1, 4, 2))
    got = best(evidence(values, methods=("voting",)), [0.1], [0.0])
    test = stats.ttest_ind(values[0, :, 1], values[0, :, 0], equal_var=False, alternative="greater")
    assert (got.p_above, got.p_below) == pytest.approx((test.pvalue, 1 - test.pvalue))
    assert got.value == pytest.approx(values[0, :, 1].mean() - values[0, :, 0].mean())
    assert got.models == "λ = 0.1 against 0"
    # what all have in common changes nothing
    got = best(evidence(values + 1.0, methods=("voting",)), [0.1], [0.0])
    assert got.p_above == pytest.approx(test.pvalue)


def test_the_best_of_a_set_must_beat_the_best_of_the_other_by_hand():
    # lambda 0, 0.1, 0.2 and 0.3 at 1, 4, 6 and 5, without noise: 0.2 beats 0.3 by 1, and 0.1 does not
    found = evidence(np.broadcast_to([1.0, 4.0, 6.0, 5.0], (2, 3, 4)))
    got = best(found, [0.1, 0.2], [0.0, 0.3], 0.5)
    assert (got.value, got.low, got.high, got.p_above, got.p_below, got.p_reversed) == (1, 1, 1, 0, 1, 1)
    assert best(found, [0.1, 0.2], [0.0, 0.3], 1.5).p_below == 0
    assert (got.models, got.trainings) == ("λ = 0.2 against 0.3", 3)
    other = best(found, [0.0, 0.1], [0.2, 0.3], 0.5)
    assert (other.value, other.p_below, other.p_reversed) == (-2, 0, 0)
    assert best(found, [0.0, 0.1], [0.2, 0.3], 2.5).p_reversed == 1


@pytest.mark.parametrize("inside", [3, 1])
def test_looking_for_the_best_finds_none_among_equals(inside):
    rng = np.random.default_rng(2)
    above, below, covered = [], [], []
    for _ in range(200):
        got = best(evidence(rng.normal(0, 2, (2, 4, 4))), [0.0, 0.1, 0.2][:inside], [0.0, 0.1, 0.2, 0.3][inside:])
        above.append(got.p_above < 0.025)
        below.append(got.p_below < 0.025)
        covered.append(got.low <= 0 <= got.high)
    most = 0.025 + 3 * math.sqrt(0.025 * 0.975 / 200)
    assert np.mean(above) < most
    assert np.mean(below) < most
    assert np.mean(covered) > 1 - 2 * most


def test_one_training_of_one_method_has_no_interval():
    got = best(evidence([[[1.0, 2.0]]], methods=("voting",)), [0.1], [0.0])
    assert got.value == 1
    assert (got.low, got.high) == (-math.inf, math.inf)
    assert math.isnan(got.p_above)
    assert math.isnan(got.p_below)
    assert math.isnan(got.p_reversed)


@pytest.mark.parametrize(
    ("repetitions", "used", "expected"),
    [
        ([0], (), [([0], [])]),
        ([0, 1, 2], (), [([0], [1, 2])]),
        ([0, 1, 2], (1, 2), [([0], [1, 2])]),
        ([0, 1, 2, 3, 4], (1, 2, 3, 4), [([0, 1, 2], [3, 4]), ([0], [1, 2, 3, 4])]),
        ([0, 1, 2, 3, 4], (3, 4), [([0, 1, 2], [3, 4]), ([0], [3, 4])]),
        ([3, 4], (), [([], [3, 4]), ([3], [4])]),
    ],
)
def test_the_best_are_chosen_in_other_trainings_than_they_are_measured_in(repetitions, used, expected):
    trainings = pd.DataFrame({"repetition": repetitions, "dataset": "mnist"})
    assert choose_and_measure(Evidence(trainings, used=used), "mnist") == expected


def chosen(values, used=(), column="clean"):
    """Two ensembles and a standard network; the ensemble that is best in the first training has luck."""
    rows = [
        {"dataset": "mnist", "ensemble": e, "members": m, "lambda": lam, "repetition": r, "weighted": value}
        for e, m, lam, of_model in values
        for r, value in enumerate(of_model)
    ]
    table = pd.DataFrame(rows).assign(clean=lambda t: 2.0 * t["weighted"])
    found = Evidence(table, used=used)
    kinds = ("Jacobian ensemble", "standard")
    return best_of_kinds(found, "mnist", "x", 1.0, "weighted", column, kinds, choose_and_measure(found, "mnist"))


def test_the_best_models_are_named_and_measured_by_hand():
    values = [("a", 3, 0.1, (9, 1, 3)), ("b", 3, 0.1, (4, 4, 4)), ("a", 1, 0.0, (0, 1, 3))]
    got = chosen(values)
    # a is best in training 0; in 1 and 2 it has 1 and 3, and the network 1 and 3; twice these are compared
    assert (got.value, got.models, got.trainings) == (0, "a M=3 λ=0.1 against a M=1 λ=0", 2)
    # variances over trainings 1 and 2, of twice the values: ensembles 8 and 0, pooled 4; networks 8
    assert got.high == pytest.approx(stats.t.ppf(0.975, (4 / 2 + 8 / 2) ** 2 / (2**2 / 2 + 4**2 / 1)) * math.sqrt(6))


def test_a_half_computed_training_chooses_nothing_and_measures_the_models_it_has():
    values = [("a", 3, 0.1, (9, 1, 3)), ("b", 3, 0.1, (4, 4, 4)), ("a", 1, 0.0, (0, 1, 3))]
    more = [(*values[0][:3], (*values[0][3], 100)), *values[1:]]
    assert (chosen(more).value, chosen(more).models) == (chosen(values).value, chosen(values).models)
    # a third model's trainings 3 and 4 are missing: a, the best of 0 to 2, is measured in them all the same
    more = [("a", 3, 0.1, (9, 1, 3, 5, 6)), values[1], ("a", 1, 0.0, (0, 1, 3, 2, 5))]
    got = chosen(more)
    assert (got.value, got.models, got.trainings) == (2 * (3 + 1) / 2, "a M=3 λ=0.1 against a M=1 λ=0", 2)


def test_the_best_of_many_equal_models_is_no_better():
    """Sixty-three ensembles against three networks: chosen and measured in one training, the best would win."""
    honest, naive = [], []
    for seed in range(40):
        made = tables(lambda *_: 95.0, lambda *_: 50.0, 2, datasets=("mnist",), eps=(0.1,), noise=(0.3, 3.0), seed=seed)
        found = Evidence(trainings_of(made["metrics"], None, 0.5))
        for values, split in ((honest, [([0], [1])]), (naive, [([0, 1], [0, 1])])):
            kinds = ("Jacobian ensemble", "standard")
            got = best_of_kinds(found, "mnist", "x", 1.0, "weighted", "weighted", kinds, split)
            values.append(got.value)
    assert abs(np.mean(honest)) < 3 * np.std(honest) / math.sqrt(40)
    assert np.mean(naive) > 3 * np.std(naive) / math.sqrt(40)
