import numpy as np
import pandas as pd
import pytest
from helpers_claims import tables

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.effects import members_of, trainings_of
from jacobian_ensembles.paper.reliability import reliability, reliability_of, sentence


def both(found):
    return trainings_of(found["metrics"], None, 0.5), members_of(found["members"], 0.5)


def made(seed=0, **settings):
    """A grid of five trainings whose ensembles differ less: by a third of a learner's deviation, and half of it."""
    return tables(**({"trainings": 5, "lambdas": (0.0, 0.1, 0.5, 1.0), "noise": (0.1, 2.0), "seed": seed} | settings))


def test_the_spread_of_ensembles_and_of_their_members_by_hand():
    keys = {"dataset": "mnist", "ensemble": "voting", "lambda": 0.1}
    ensembles = [{**keys, "members": 2, "repetition": r, "uap": value} for r, value in ((0, 0), (3, 50), (4, 54))]
    singles = [
        {**keys, "repetition": r, "member": i, "uap": value}
        for r, values in ((0, (0, 99)), (3, (40, 44)), (4, (50, 56)))
        for i, value in enumerate(values)
    ]
    (row,) = reliability_of(pd.DataFrame(ensembles), pd.DataFrame(singles), 0.95).to_dict("records")
    assert (row["members"], row["settings"], row["trainings"]) == (2, 1, 2)
    # training 0 is not new; deviations of 50 and 54: variance 8; of the members (8 + 18) over two freedoms
    assert row["ensemble_sd"] == pytest.approx(8**0.5)
    assert row["single_sd"] == pytest.approx(13**0.5)
    # the expected worst of two of 40, 44, 50, 56: 40 in three pairs, 44 in two, 50 in one
    assert row["worst_gain"] == pytest.approx(50 - (3 * 40 + 2 * 44 + 50) / 6)
    # F(1, 2) below 8/13: the share is x / (x + 2) to the power of one half
    assert row["p"] == pytest.approx((8 / 13 / (8 / 13 + 2)) ** 0.5, abs=0.01)
    assert "not shown" in sentence(row)


def test_more_reliable_ensembles_are_told():
    table = reliability_of(*both(made()), 0.95)
    assert table["dataset"].tolist() == ["mnist", "fashion_mnist"]
    assert table["holds"].all()
    assert (table["settings"] == 8).all()  # bagging and voting at four lambda; snapshots have no members of their own
    assert "is more reliable than a single network" in sentence(table.iloc[0].to_dict())
    assert (table["worst_gain"] > 0).all()


def test_equally_spread_ensembles_are_rarely_called_more_reliable():
    rng, told = np.random.default_rng(3), []
    trainings, members = both(made(datasets=("mnist",)))
    for _ in range(40):
        for table in (trainings, members):
            # as different between settings as they like
            table["uap"] = 50 + rng.normal(0, 1 + 20 * table["lambda"].to_numpy())
        told.append(reliability_of(trainings, members, 0.95)["holds"].iloc[0])
    assert np.mean(told) < 0.05 + 3 * (0.05 * 0.95 / 40) ** 0.5


@pytest.mark.parametrize("trainings", [3, 4])
def test_trainings_known_before_tell_nothing(trainings):
    found = made(trainings=trainings)
    assert reliability_of(*both(found), 0.95).empty
    found["summary"] = summarize(found["metrics"], 0.5, 0.95)
    text = reliability(found, "mine", "QUICK", clean_weight=0.5, confidence=0.95).markdown
    assert "There are no two new trainings yet." in text


def test_the_table_says_what_follows():
    found = made()
    found["summary"] = summarize(found["metrics"], 0.5, 0.95)
    text = reliability(found, "mine", "QUICK", clean_weight=0.5, confidence=0.95).markdown
    assert "QUICK: run 'mine'" in text
    assert "On Fashion-MNIST an ensemble of 9 is more reliable" in text
