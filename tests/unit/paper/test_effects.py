import math

import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.evaluation.image_error import covariances, image_covariance
from jacobian_ensembles.paper.effects import EQUAL_COMPUTE, SINGLE, Evidence, gains, members_of, trainings_of


def cells(rows):
    """A row per training: ensemble, M, lambda, repetition, clean and accuracy under attack in %."""
    columns = ["ensemble", "members", "lambda", "repetition", "clean_accuracy", "worst_accuracy"]
    table = pd.DataFrame(rows, columns=columns).assign(dataset="mnist", eps=0.1)
    table[["clean_accuracy", "worst_accuracy"]] /= 100
    return table


def evidence(rows, members=()):
    alone = cells(members).rename(columns={"members": "member"}) if members else None
    return Evidence(trainings_of(cells(rows), None, 0.5), members_of(alone, 0.5))


ROWS = [
    *(("voting", m, 0.1, 0, 90, value) for m, value in ((1, 50), (2, 56), (3, 60))),
    *(("snapshot", m, 0.1, 0, 90, value) for m, value in ((1, 57), (3, 52))),
]
ALONE = [("voting", i, 0.1, 0, 90, value) for i, value in enumerate((50, 54, 58))]


def test_a_gain_is_over_the_mean_of_an_ensembles_own_members_by_hand():
    found = gains(evidence(ROWS, ALONE), "mnist", "uap")
    assert found.loc[("voting", 0.1, 0), [2, 3]].tolist() == pytest.approx([56 - 52, 60 - 54])
    # snapshots are compared with one run as long as all of them
    assert found.loc[("snapshot", 0.1, 0), 3] == pytest.approx(52 - 57)


def test_other_baselines_by_hand():
    found = gains(evidence(ROWS, ALONE), "mnist", "uap", SINGLE)
    assert found.loc[("voting", 0.1, 0), [2, 3]].tolist() == pytest.approx([6, 10])
    found = gains(evidence(ROWS), "mnist", "uap", EQUAL_COMPUTE)
    assert found.loc[("voting", 0.1, 0), [2, 3]].tolist() == pytest.approx([56 - 57, 60 - 57])
    assert found.loc[("snapshot", 0.1, 0)].isna().all()


@pytest.mark.parametrize("alone", [[], ALONE[:2]])
def test_without_all_of_its_members_an_ensemble_has_no_gain(alone):
    found = gains(evidence(ROWS, alone), "mnist", "uap")
    assert math.isnan(found.loc[("voting", 0.1, 0), 3])
    assert math.isnan(found.loc[("voting", 0.1, 0), 2]) == (not alone)


def test_accuracies_are_percent_and_weighted_by_the_runs_weight():
    metrics = pd.concat([cells(ROWS), cells(ROWS).assign(eps=0.2, worst_accuracy=0.1)])
    first = trainings_of(metrics, None, 0.8).set_index(["ensemble", "members"]).loc[("voting", 1)]
    assert (first["clean"], first["uap"], first["uap 0.1"], first["uap 0.2"]) == pytest.approx((90, 30, 50, 10))
    assert first["weighted"] == pytest.approx(0.8 * 90 + 0.2 * 30)


def test_which_trainings_effects_are_measured_in():
    rows = [("voting", 1, 0.1, r, 90, 50 + r) for r in range(5)]
    found = evidence(rows)
    assert found.here("mnist")["repetition"].tolist() == [0, 1, 2, 3, 4]
    assert found.judged().here("mnist")["repetition"].tolist() == [1, 2, 3, 4]
    assert found.since(3).here("mnist")["repetition"].tolist() == [3, 4]
    assert found.since(5).here("mnist").empty
    assert evidence(rows[:1]).judged().here("mnist")["repetition"].tolist() == [0]


def test_the_variance_over_images_is_that_of_paired_bits_by_hand():
    # two models on four images: they differ on images 1 and 2, where the first alone and the second alone is right
    bits = {("a", 1): [1, 1, 0, 0], ("a", 3): [1, 0, 1, 0]}
    table = image_covariance(
        ({"dataset": "mnist", "ensemble": e, "members": m, "lambda": 0.1}, np.array(right))
        for (e, m), right in bits.items()
    )
    found = Evidence(pd.DataFrame(), images=covariances(table))
    # differences 0, 1, -1, 0: variance 2/3 over three freedoms, of a mean of four, in points
    weights = {("a", 1, 0.1): 1.0, ("a", 3, 0.1): -1.0}
    assert found.image_variance("mnist", weights) == pytest.approx(100**2 * (2 / 3) / 4)
    assert found.image_variance("kuzushiji", weights) == 0
    assert Evidence(pd.DataFrame()).image_variance("mnist", weights) == 0


def test_trainings_of_a_model_are_averaged_over_images_first():
    cell = {"dataset": "mnist", "ensemble": "a", "members": 1, "lambda": 0.1}
    table = image_covariance([(cell, np.array([1, 0])), (cell, np.array([0, 1]))])
    assert table["0"].tolist() == [0]
