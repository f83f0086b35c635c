"""Decorrelated learners beside learners trained one by one, on numbers that can be checked by hand."""

import pandas as pd
import pytest

from jacobian_ensembles.comparing.decorrelation import beside_learners_alone, jacobians_and_accuracy

MODEL = {"dataset": "mnist", "ensemble": "voting", "members": 3, "lambda": 0.1}


def measured(cosines, clean, *, uap=0.7, members=3, strength=0.1):
    """A run of one model, with a training per cosine."""
    model = {**MODEL, "members": members, "lambda": strength}
    jacobian = pd.DataFrame(
        [
            {**model, "repetition": i, "cosine": cosine, "ensemble_mean": 1.0 + i, "learner_mean": 2.0 + 2 * i}
            for i, cosine in enumerate(cosines)
        ]
    )
    return jacobian, pd.DataFrame([{**model, "clean_accuracy": clean, "mean_uap_accuracy": uap}])


def test_trainings_are_averaged():
    (row,) = jacobians_and_accuracy(*measured([0.2, 0.4], 0.9)).to_dict("records")
    assert row["cosine"] == pytest.approx(0.3)
    assert row["ensemble_mean"] == 1.5
    assert row["mean_ratio"] == 0.5
    assert (row["clean_accuracy"], row["mean_uap_accuracy"]) == (0.9, 0.7)


def test_single_networks_have_no_cosine_to_compare():
    assert jacobians_and_accuracy(*measured([float("nan")], 0.9, members=1)).empty


@pytest.mark.parametrize(
    ("cosine", "clean", "works"),
    [
        (0.30, 0.900, True),  # just half
        (0.31, 0.900, False),
        (0.10, 0.895, True),  # just half a point
        (0.10, 0.905, True),
        (0.10, 0.894, False),
        (0.10, 0.906, False),
    ],
)
def test_it_works_where_the_cosine_halves_at_equal_clean_accuracy(cosine, clean, works):
    alone = jacobians_and_accuracy(*measured([0.6], 0.9))
    (row,) = beside_learners_alone(alone, jacobians_and_accuracy(*measured([cosine], clean))).to_dict("records")
    assert (row["cosine"], row["cosine_alone"], row["works"]) == (cosine, 0.6, works)


def test_only_models_that_both_have_are_compared():
    alone = jacobians_and_accuracy(*measured([0.6], 0.9))
    assert beside_learners_alone(alone, jacobians_and_accuracy(*measured([0.1], 0.9, strength=0.4))).empty
