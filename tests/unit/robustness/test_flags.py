"""Each rule on tables made by hand: what raises its flag, and what does not."""

import math

import pandas as pd
import pytest

from jacobian_ensembles.robustness.evidence import (
    COLUMNS,
    attack_row,
    clean_row,
    largest_class,
    single_rows,
    stress_table,
    transfer_row,
)
from jacobian_ensembles.robustness.flags import RULES, flagged, flags_of, tolerance

IMAGES = 10_000


def attack(name, kind, eps, worst, mean=None, std=0.0, **changes):
    record = {
        "seeds": 4, "images": IMAGES, "worst_accuracy": worst, "mean_accuracy": worst if mean is None else mean,
        "std_accuracy": std, "per_image_worst_accuracy": worst,
    }  # fmt: skip
    return attack_row(name, kind, eps, record, **changes)


#: An honest model: each row is weaker than the white box, and everything falls with eps and with steps.
HEALTHY = [
    clean_row(0.98, IMAGES),
    attack("noise", "noise", 0.1, 0.95),
    attack("10-steps", "white box", 0.1, 0.75, steps=10, family="steps"),
    attack("100-steps", "white box", 0.1, 0.70, steps=100, family="steps"),
    attack("100-steps", "white box", 0.2, 0.40, steps=100, family="steps"),
    attack("100-steps", "white box", 0.5, 0.10, steps=100, family="steps"),
    attack("square", "black box", 0.1, 0.80, steps=500),
    transfer_row(0.1, {"a": 0.9, "b": 0.85}, IMAGES),
    *single_rows(0.1, {"PGD": 0.30}, 40, 1000),
]


def flags(*rows, without=()):
    return flags_of(flagged(stress_table([r for r in HEALTHY if r["attack"] not in without] + list(rows)), 0.11))


def test_an_honest_model_raises_no_flag():
    assert flags() == []


@pytest.mark.parametrize(
    ("row", "flag"),
    [
        (attack("noise2", "noise", 0.1, 0.60), "beaten by noise"),
        (attack("square2", "black box", 0.1, 0.68), "beaten by black box"),
        (transfer_row(0.1, {"a": 0.9, "c": 0.5}, IMAGES), "beaten by transfer"),
        (attack("late", "white box", 0.1, 0.74, steps=300, family="steps"), "rises with steps"),
        (attack("100-steps", "white box", 0.3, 0.45, steps=100), "rises with eps"),
        (attack("stuck", "white box", 0.1, 0.98, without_gradient=0.5), "without gradient"),
        (single_rows(0.1, {"PGD2": 0.80}, 40, 1000)[0], "single image weaker"),
    ],
)
def test_each_dishonest_row_raises_its_own_flag_and_no_other(row, flag):
    table = flagged(stress_table([*HEALTHY, row]), 0.11)
    assert table["flags"].iloc[-1] == flag
    assert flags_of(table) == [flag]


def test_accuracy_above_chance_at_a_large_eps_raises_a_flag():
    stuck = attack("100-steps", "white box", 0.5, 0.17)
    rows = [r for r in HEALTHY if r["eps"] != 0.5]
    assert flags_of(flagged(stress_table([*rows, stuck]), 0.11)) == ["not at chance"]
    assert (
        flags_of(flagged(stress_table([*rows, {**stuck, "worst_accuracy": 0.15, "mean_accuracy": 0.15}]), 0.11)) == []
    )
    # the strongest attack counts
    assert flags(attack("weak", "white box", 0.5, 0.60)) == []


def test_differences_within_sampling_noise_raise_nothing():
    assert flags(attack("noise2", "noise", 0.1, 0.695)) == []
    # 1,000 images: 2 sqrt((0.7 * 0.3 + 0.74 * 0.26) / 1000) is four points
    assert flags(*single_rows(0.1, {"PGD2": 0.735}, 40, 1000)) == []
    # a mean of four seeds that scatter by five points has a standard error of two and a half
    assert flags(attack("late", "white box", 0.1, 0.6, mean=0.74, std=0.05, steps=300, family="steps")) == []


def test_the_tolerance_is_two_standard_errors_or_a_point():
    assert tolerance(0.5, 0.5, 10_000) == pytest.approx(2 * math.sqrt(0.5 / 10_000))
    assert tolerance(0.5, 0.5, 1e9) == 0.01
    assert tolerance(0.5, 0.5, 1e9, 0.03, 0.04) == pytest.approx(0.1)


def test_below_chance_nothing_is_beaten_and_nothing_rises():
    white = attack("100-steps", "white box", 0.4, 0.05, mean=0.05)
    assert flags(white, attack("square", "black box", 0.4, 0.01)) == []
    # 5 % at 0.4, 10 % at 0.5: both are chance
    assert flags(white) == []


def test_what_was_not_run_is_flagged_as_that():
    assert flags(*single_rows(0.1, {"APGD": None}, 40, 1000)) == ["not run"]
    assert (
        flags(attack("noise", "noise", 0.7, 0.01), without=("100-steps", "10-steps")) == []
    )  # no white box to compare


def test_the_table_has_all_its_columns_and_the_rows_their_order():
    table = flagged(stress_table(HEALTHY), 0.11)
    assert list(table.columns) == [*COLUMNS, "flags"]
    assert table["attack"].tolist()[:3] == ["clean", "noise", "10-steps"]
    row = table[table["kind"] == "transfer"].iloc[0]
    assert (row["source"], row["seeds"], row["worst_accuracy"], row["mean_accuracy"]) == ("b", 2, 0.85, 0.875)
    assert (table["flags"] == "").all()


def test_a_row_may_raise_several_flags():
    row = attack("noise2", "noise", 0.1, 0.60, without_gradient=1.0)
    table = flagged(stress_table([*HEALTHY, row]), 0.11)
    assert table["flags"].iloc[-1] == "beaten by noise; without gradient"
    assert flags_of(table) == [name for name in RULES if name in ("beaten by noise", "without gradient")]


def test_chance_is_the_share_of_the_most_frequent_class():
    assert largest_class(pd.Series([0, 1, 1, 2, 1]).to_numpy()) == 0.6
