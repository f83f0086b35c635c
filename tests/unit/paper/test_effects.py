import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jacobian_ensembles.paper.effects import best_inside


def table(values, methods=("bagging", "voting")):
    """A column per lambda, a row per method and training: (methods, trainings, lambdas)."""
    values = np.asarray(values, float)
    index = pd.MultiIndex.from_product(
        [["mnist"], methods, range(values.shape[1])], names=["dataset", "ensemble", "repetition"]
    )
    return pd.DataFrame(values.reshape(len(index), -1), index, columns=[0.1 * k for k in range(values.shape[2])])


def test_two_values_of_lambda_are_welchs_test():
    values = np.random.default_rng(1).normal(0, [[[1.0]], [[3.0]]], (2, 4, 2))
    wide = table(values)
    got = best_inside("mnist", "x", 0.0, wide, [0.1], [0.0], 0.95)
    change = (wide[0.1] - wide[0.0]).to_numpy().reshape(2, 4)
    test = stats.ttest_ind(change[0], -change[1], equal_var=False, alternative="greater")
    assert got.p_above == pytest.approx(test.pvalue)
    assert got.p_below == pytest.approx(1 - test.pvalue)
    assert got.value == pytest.approx(change.mean())
    assert got.models == "λ = 0.1 against 0"


def test_the_best_of_a_set_must_beat_the_best_of_the_other_by_hand():
    # lambda 0, 0.1, 0.2 and 0.3 at 1, 4, 6 and 5, without noise: 0.2 beats 0.3 by 1, and 0.1 does not
    wide = table(np.broadcast_to([1.0, 4.0, 6.0, 5.0], (2, 3, 4)))
    inside, outside = wide.columns[1:3], [wide.columns[0], wide.columns[3]]
    got = best_inside("mnist", "x", 0.5, wide, list(inside), outside, 0.95)
    assert (got.value, got.low, got.high, got.p_above, got.p_below) == (1, 1, 1, 0, 1)
    assert best_inside("mnist", "x", 1.5, wide, list(inside), outside, 0.95).p_below == 0
    assert (got.models, got.trainings) == ("λ = 0.2 against 0.3", 3)


@pytest.mark.parametrize("inside", [3, 1])
def test_looking_for_the_best_finds_none_among_equals(inside):
    rng = np.random.default_rng(2)
    above, below, covered = [], [], []
    for _ in range(300):
        wide = table(rng.normal(0, 2, (2, 4, 4)))
        columns = list(wide.columns)
        got = best_inside("mnist", "x", 0.0, wide, columns[:inside], columns[inside:], 0.95)
        above.append(got.p_above < 0.025)
        below.append(got.p_below < 0.025)
        covered.append(got.low <= 0 <= got.high)
    most = 0.025 + 3 * math.sqrt(0.025 * 0.975 / 300)
    assert np.mean(above) < most
    assert np.mean(below) < most
    assert np.mean(covered) > 1 - 2 * most


def test_one_training_of_one_method_has_no_interval():
    got = best_inside("mnist", "x", 0.0, table([[[1.0, 2.0]]], methods=("voting",)), [0.1], [0.0], 0.95)
    assert got.value == 1
    assert (got.low, got.high) == (-math.inf, math.inf)
    assert math.isnan(got.p_above)
    assert math.isnan(got.p_below)
