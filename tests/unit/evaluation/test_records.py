"""Records of an attack, and what follows from them, on numbers small enough to check by hand."""

import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.evaluation.records import metrics_of, once, records_table, with_worst, worst_of_k
from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.evaluation.worst_case import counted, over_seeds

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0}
KEY = tuple(CELL.values())


def attack(eps=0.15, accuracies=(0.4, 0.2, 0.2), **more):
    return {**CELL, "eps": eps, "images": 10, "accuracies": [*accuracies], "per_image_worst_accuracy": 0.1, **more}


def test_bits_are_counted_once():
    bits = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]], bool)
    assert counted(bits) == {"images": 4, "accuracies": [0.5, 0.25, 0.75], "per_image_worst_accuracy": 0.0}


def test_the_worst_of_seeds_is_the_first_in_a_tie():
    found = over_seeds([0.4, 0.2, 0.2])
    assert (found["seeds"], found["worst_seed"], found["worst_accuracy"], found["best_accuracy"]) == (3, 1, 0.2, 0.4)
    assert found["mean_accuracy"] == pytest.approx(0.8 / 3)
    assert found["std_accuracy"] == pytest.approx(np.sqrt(0.04 / 3))
    assert over_seeds([0.4])["std_accuracy"] is None


def test_records_have_a_row_per_seed_in_order():
    table = records_table([attack(0.3), attack(0.15, success_rates=[0.1, 0.2, 0.6], steps=30)], {KEY: 0.9})
    assert table["eps"].tolist() == [0.15] * 3 + [0.3] * 3
    assert table["attack_seed"].tolist() == [0, 1, 2] * 2
    assert table["accuracy"].tolist() == [0.4, 0.2, 0.2] * 2
    assert table["clean_accuracy"].eq(0.9).all()
    assert table["success_rate"].tolist()[:3] == [0.1, 0.2, 0.6]


@pytest.mark.parametrize("clean", [{}, {KEY: 0.9, ("mnist", "voting", 3, 0.1, 0): 0.9}])
def test_models_that_were_not_attacked_or_not_evaluated_are_named(clean):
    with pytest.raises(ValueError, match=r"clean predictions but no attack, or the reverse:\nmnist voting"):
        records_table([attack()], clean)


def test_metrics_follow_from_records():
    rates = {"success_rates": [0.1, 0.2, 0.6], "steps_without_gradient": 4}
    (row,) = metrics_of(records_table([attack(**rates)], {KEY: 0.9}), 0.9).to_dict("records")
    assert {key: row[key] for key in CELL} == CELL
    assert (row["seeds"], row["images"], row["worst_seed"], row["worst_accuracy"]) == (3, 10, 1, 0.2)
    assert (row["worst_low"], row["worst_high"]) == wilson_interval(2, 10, 0.9)
    assert (row["clean_low"], row["clean_high"]) == wilson_interval(9, 10, 0.9)
    assert (row["per_image_worst_accuracy"], row["steps_without_gradient"]) == (0.1, 4)
    assert row["success_rate"] == pytest.approx(0.3)


def test_the_first_seeds_alone_give_the_metrics_of_a_shorter_run():
    records = records_table([attack()], {KEY: 0.9})
    (row,) = metrics_of(records[records["attack_seed"] < 1], 0.9).to_dict("records")
    assert (row["seeds"], row["worst_accuracy"]) == (1, 0.4)


def test_another_worst_accuracy_has_its_own_interval():
    metrics = with_worst(metrics_of(records_table([attack()], {KEY: 0.9}), 0.9), [0.1], 0.9)
    assert tuple(metrics[["worst_accuracy", "worst_low", "worst_high"]].iloc[0]) == (0.1, *wilson_interval(1, 10, 0.9))


def test_worst_of_k_is_tabulated_up_to_the_seeds_at_hand():
    table = worst_of_k(records_table([attack(accuracies=[0.4, 0.2, 0.6, 0.8])], {KEY: 0.9}), 0.95)
    assert table["count"].tolist() == [1, 2, 3, 4]
    # of two out of four: 0.2 in 3 of 6 pairs, 0.4 in 2, 0.6 in 1
    assert table["expected_worst"].tolist() == pytest.approx([0.5, (3 * 0.2 + 2 * 0.4 + 0.6) / 6, 0.25, 0.2])
    assert (table["low"] <= table["high"]).all()


def test_numbers_survive_a_file_in_full_precision(tmp_path):
    records = records_table([attack(accuracies=[1 / 3, 2 / 7, 0.1])], {KEY: 5 / 6})
    records.to_csv(tmp_path / "records.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "records.csv"), records, rtol=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: pd.concat([table, table.iloc[:1]]), "repetition 0, eps 0.15, attack_seed 0: there twice"),
        (lambda table: table.drop(index=1), "not every attack seed from 0 to 2 is there"),
        (lambda table: table[table["attack_seed"] > 0], "not every attack seed from 0 to 2 is there"),
        (lambda table: table.assign(images=[10, 10, 20] * 4), "its rows disagree on images or clean_accuracy"),
        (lambda table: table.assign(clean_accuracy=[0.9, 0.8, 0.9] * 4), "its rows disagree on images or clean"),
        (lambda table: table.iloc[3:], "attacked at 1 eps, other models at 2"),
    ],
    ids=["twice", "a hole", "no first", "images", "clean", "an eps"],
)
@pytest.mark.parametrize(
    "derive", [metrics_of, lambda records: worst_of_k(records, 0.95)], ids=["metrics", "worst of k"]
)
def test_records_with_something_twice_or_with_holes_are_refused(derive, change, message):
    other = {**CELL, "members": 3}
    attacks = [attack(eps, **cell) for cell in ({}, other) for eps in (0.15, 0.3)]
    table = records_table(attacks, {KEY: 0.9, tuple(other.values()): 0.9})
    derive(table)
    with pytest.raises(ValueError, match=message):
        derive(change(table))


def test_a_table_has_each_row_once_and_every_one_with_every_other():
    table = pd.DataFrame([(d, m, e) for d in "ab" for m in (0, 1) for e in (0.1, 0.2)], columns=["d", "m", "e"])
    once(table, ["d", "m", "e"], every=["m", "e"])
    with pytest.raises(ValueError, match="d b: not every m with every e"):
        once(table.iloc[:-1], ["d", "m", "e"], every=["m", "e"])
    with pytest.raises(ValueError, match="d a, m 0: there twice"):
        once(table, ["d", "m"])
