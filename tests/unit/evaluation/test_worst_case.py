import itertools

import numpy as np
import pytest

from jacobian_ensembles.evaluation.worst_case import expected_worst, worst_interval


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
