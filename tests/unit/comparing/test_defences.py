"""Runs beside one another, on numbers small enough to check by hand."""

import dataclasses
import math

import pandas as pd
import pytest
from helpers_defences import made

from jacobian_ensembles.comparing.defences import (
    best_of_each,
    common_ground,
    compare,
    gain_of_members,
    strongest_at_each_eps,
    verdict,
)
from jacobian_ensembles.evaluation.differences import welch
from jacobian_ensembles.evaluation.statistics import wilson_interval


def test_runs_are_compared_by_the_attack_seeds_and_eps_that_all_have():
    few = made("few", {(0.0, 0): [0.5, 0.4]})
    many = made("many", {(0.0, 0): [0.6, 0.7, 0.1]}, eps=(0.1, 0.2, 0.3))
    common = common_ground([few, many])
    assert (common.eps, common.seeds, common.variants) == ((0.1, 0.2), 2, ())
    table = compare([few, many], 0.5, 0.95).set_index("run")
    # the third seed and the third eps of the larger run do not count
    assert table.loc["few", "mean_uap_accuracy"] == pytest.approx((0.4 + 0.3) / 2)
    assert table.loc["many", "mean_uap_accuracy"] == pytest.approx((0.6 + 0.5) / 2)
    assert table.loc["many", "weighted_accuracy"] == pytest.approx((0.9 + 0.55) / 2)
    low = (wilson_interval(60, 100)[0] + wilson_interval(50, 100)[0]) / 2
    assert table.loc["many", "mean_uap_low"] == pytest.approx(low)
    assert (table["eps_values"] == 2).all()


def test_the_worst_of_all_attacks_counts_only_those_that_all_runs_have():
    variants = pd.DataFrame(
        [
            {"variant": name, "dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.0, "repetition": 0,
             "eps": eps, "worst_accuracy": worst}
            for name, eps, worst in (("margin", 0.1, 0.2), ("margin", 0.2, 0.9), ("odd", 0.1, 0.0), ("odd", 0.2, 0.0))
        ]
    )  # fmt: skip
    both = made("both", {(0.0, 0): [0.5]}, variants=variants)
    one = made("one", {(0.0, 0): [0.5]}, variants=variants[variants["variant"] == "margin"])
    table = compare([both, one], 0.5, 0.95)
    assert common_ground([both, one]).variants == ("margin",)
    assert table["every_attack_accuracy"].tolist() == pytest.approx([(0.2 + 0.4) / 2] * 2)
    assert table["mean_uap_accuracy"].tolist() == pytest.approx([0.45] * 2)
    assert common_ground([both, made("none", {(0.0, 0): [0.5]})]).variants == ()


def test_cost_is_measured_by_plain_training_wherever_it_was_done():
    jacobian = made("a", {(0.0, 0): [0.5], (0.1, 0): [0.5]}, seconds={("voting", 0.0): 20.0, ("voting", 0.1): 50.0})
    noise = made("b", {(0.2, 0): [0.5], (0.3, 0): [0.5]}, seconds={("voting", 0.2): 24.0})
    cost = compare([jacobian, noise], 0.5, 0.95).set_index(["run", "lambda"])["cost"]
    assert cost["a", 0.0] == 1.0
    assert cost["a", 0.1] == 2.5
    assert cost["b", 0.2] == 1.2
    assert math.isnan(cost["b", 0.3])


def test_the_best_strength_of_each_run_and_its_difference_from_the_first():
    base = made("base", {(0.0, 0): [0.2], (0.0, 1): [0.2], (0.1, 0): [0.50], (0.1, 1): [0.54]})
    better = made("better", {(0.3, 0): [0.60], (0.3, 1): [0.68]}, clean={(0.3, 0): 0.88, (0.3, 1): 0.86})
    single = made("single", {(0.5, 0): [0.1]})
    runs = [base, better, single]
    best = best_of_each(runs, compare(runs, 0.5, 0.95), 0.5, 0.95).set_index("run")
    assert best.index.tolist() == ["base", "better", "single"]
    assert best["lambda"].tolist() == [0.1, 0.3, 0.5]
    # weighted: base (0.9 + 0.45)/2 and (0.9 + 0.49)/2; better (0.88 + 0.55)/2 and (0.86 + 0.63)/2
    ours, theirs = [0.715, 0.745], [0.675, 0.695]
    assert best.loc["better", "difference"] == pytest.approx(0.045)
    expected = welch(ours, theirs)[:2]
    assert (best.loc["better", "difference_low"], best.loc["better", "difference_high"]) == pytest.approx(expected)
    assert best.loc["base", ["difference", "difference_low"]].isna().all()
    assert best.loc["single", "difference"] == pytest.approx((0.9 + 0.05) / 2 - 0.685)
    assert math.isnan(best.loc["single", "difference_low"])  # one training has no spread
    assert best["verdict"].tolist() == ["", "no difference found", ""]  # two trainings each are too few


@pytest.mark.parametrize(
    ("difference", "p", "every_attack", "said"),
    [
        (0.020, 0.049, 0.01, "better"),
        (-0.020, 0.049, -0.01, "worse"),
        (0.020, 0.051, 0.01, "no difference found"),  # could be chance
        (0.009, 0.001, 0.01, "no difference found"),  # too small to matter
        (0.020, 0.001, -0.01, "no difference found"),  # another attack says otherwise
        (-0.020, 0.001, 0.0, "no difference found"),
        (0.020, math.nan, 0.01, ""),
    ],
)
def test_a_verdict_needs_the_size_the_test_and_every_attack(difference, p, every_attack, said):
    assert verdict({"difference": difference, "p": p, "every_attack_difference": every_attack}) == said


def test_the_comparisons_of_a_table_are_corrected_for_each_other():
    base = made("base", {(0.0, 0): [0.20], (0.0, 1): [0.22], (0.0, 2): [0.24]})
    others = [
        made(name, {(0.1, r): [start + 0.02 * r] for r in range(3)}) for name, start in (("a", 0.30), ("b", 0.27))
    ]
    runs = [base, *others]
    best = best_of_each(runs, compare(runs, 0.5, 0.95), 0.5, 0.95).set_index("run")
    p = [welch([start, start + 0.01, start + 0.02], [0.1, 0.11, 0.12])[2] for start in (0.15, 0.135)]
    assert best.loc[["a", "b"], "p"].tolist() == pytest.approx([2 * p[0], max(2 * p[0], p[1])])
    assert best["verdict"].tolist() == ["", "better", "better"]


def test_the_difference_under_every_attack_is_of_the_same_models():
    variants = pd.DataFrame(
        [
            {"variant": "margin", "dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": lam,
             "repetition": 0, "eps": eps, "worst_accuracy": worst}
            for lam, worst in ((0.0, 0.3), (0.5, 0.1)) for eps in (0.1, 0.2)
        ]
    )  # fmt: skip
    base = made("base", {(0.0, 0): [0.5]}, variants=variants[variants["lambda"] == 0.0])
    other = made("other", {(0.5, 0): [0.7]}, variants=variants[variants["lambda"] == 0.5])
    row = best_of_each([base, other], compare([base, other], 0.5, 0.95), 0.5, 0.95).set_index("run").loc["other"]
    assert row["difference"] == pytest.approx(0.1)
    assert row["every_attack_difference"] == pytest.approx((0.1 - 0.3) / 2)


def test_what_ensembles_add_is_measured_from_a_runs_own_best_single_learner():
    one = made("one", {(0.1, 0): [0.50], (0.1, 1): [0.52], (0.2, 0): [0.1], (0.2, 1): [0.1]})
    three = made("one", {(0.1, 0): [0.2], (0.1, 1): [0.2], (0.2, 0): [0.80], (0.2, 1): [0.82]})
    three.records["members"] = 3
    both = dataclasses.replace(one, records=pd.concat([one.records, three.records]))
    lonely = dataclasses.replace(three, name="lonely")
    gains = gain_of_members([both, lonely], compare([both, lonely], 0.5, 0.95), 0.5, 0.95)
    (row,) = gains.to_dict("records")
    assert (row["run"], row["members"], row["lambda"]) == ("one", 3, 0.2)
    # under attack 0.8 and 0.82 against 0.5 and 0.52, clean accuracy the same: half of 30 points
    assert row["difference"] == pytest.approx(0.15)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(welch([0.15, 0.16], [0, 0.01])[:2])
    assert row["verdict"] == "better"


def test_the_most_robust_at_an_eps_is_found_among_those_that_cost_little():
    a = made("a", {(0.0, 0): [0.2], (0.1, 0): [0.5], (0.2, 0): [0.9]}, clean={(0.1, 0): 0.89, (0.2, 0): 0.88})
    b = made("b", {(0.3, 0): [0.6], (0.3, 1): [0.8]}, clean={(0.3, 0): 0.885, (0.3, 1): 0.895})
    poor = made("poor", {(0.4, 0): [0.95]}, clean={(0.4, 0): 0.5})
    found = strongest_at_each_eps([a, b, poor], {"mnist": 0.01}, 0.95)
    ranked = found[found["eps"] == 0.2].sort_values("place")
    # plain training has 0.9: the 0.88 of strength 0.2 is too little, the mean of 0.885 and 0.895 just enough
    assert ranked[["run", "lambda", "place"]].to_numpy().tolist() == [["b", 0.3, 1], ["a", 0.1, 2]]
    assert ranked["worst_accuracy"].tolist() == pytest.approx([0.6, 0.4])


def test_welchs_interval_by_hand():
    # means 2 and 6, variances 2 and 8, n = 2: se^2 = 1 + 4, Welch's df = 25 / (1 + 16), t by its table
    low, high, p = welch([1.0, 3.0], [4.0, 8.0], 0.9)
    from scipy import stats

    half = stats.t.ppf(0.95, 25 / 17) * math.sqrt(5)
    assert (low, high) == pytest.approx((-4 - half, -4 + half))
    assert p == pytest.approx(2 * stats.t.sf(4 / math.sqrt(5), 25 / 17))
    with pytest.raises(ValueError, match="Got 1 and 2"):
        welch([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([made("a", {(0.0, 0): [0.5]}), made("a", {(0.0, 0): [0.5]})], "different names. Got a, a"),
        ([], "Got none"),
        ([made("a", {(0.0, 0): [0.5]}), made("b", {(0.0, 0): [0.5]}, eps=(0.3,))], r"a \[0\.1, 0\.2\]; b \[0\.3\]"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        compare(runs, 0.5, 0.95)
