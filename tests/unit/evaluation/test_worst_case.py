import itertools

import numpy as np
import pytest

from jacobian_ensembles.evaluation.worst_case import expected_worst, worst_interval
from jacobian_ensembles.evaluation.worst_of_k import worst_of_k

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0}


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_expected_worst_is_the_mean_over_all_subsets(count):
    accuracies = [0.5, 0.9, 0.2, 0.7, 0.2, 0.6]
    subsets = [min(subset) for subset in itertools.combinations(accuracies, count)]
    assert expected_worst(accuracies, count) == pytest.approx(np.mean(subsets))


@pytest.mark.parametrize("count", [0, 4])
def test_a_count_beyond_the_seeds_at_hand_is_refused(count):
    with pytest.raises(ValueError, match=r"count must lie in \[1, 3\]"):
        expected_worst([0.1, 0.2, 0.3], count)


def test_bootstrap_percentiles_enclose_what_the_seeds_allow():
    # the lowest of two draws from {0, 1} is 1 in a quarter of the draws, so both percentiles of 95 % are its values
    assert worst_interval([0.0, 1.0], 2, 0.95) == (0.0, 1.0)
    # of ten draws it is 1 once in 1024
    assert worst_interval([0.0, 1.0], 10, 0.95) == (0.0, 0.0)
    assert worst_interval([0.3], 5, 0.95) == (0.3, 0.3)


def test_worst_of_k_is_tabulated_up_to_the_seeds_at_hand():
    accuracies = [0.4, 0.2, 0.6, 0.8]
    table = worst_of_k([{**CELL, "eps": 0.15, "seeds": 4, "accuracies": accuracies}], 0.95)
    assert table["count"].tolist() == [1, 2, 3, 4]
    # of two out of four: 0.2 in 3 of 6 pairs, 0.4 in 2, 0.6 in 1
    assert table["expected_worst"].tolist() == pytest.approx([0.5, (3 * 0.2 + 2 * 0.4 + 0.6) / 6, 0.25, 0.2])
    assert (table["low"] <= table["high"]).all()
