"""Runs beside one another, on numbers small enough to check by hand."""

import math

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from jacobian_ensembles.evaluation.differences import welch_interval
from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.paper.defences import ComparedRun, best_of_each, best_table, common_ground, compare, notes, plot


def made(name, seeds, clean=None, eps=(0.1, 0.2), objective="jacobian", **told):
    """A run of single networks; ``seeds`` has the accuracies under every attack seed by (strength, repetition)."""
    cells = {
        k: {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": k[0], "repetition": k[1]} for k in seeds
    }
    metrics, accuracies = [], []
    for key, values in seeds.items():
        for radius in eps:
            shown = [round(v - (radius - eps[0]), 6) for v in values]  # a tenth of eps costs ten points
            value = (clean or {}).get(key, 0.9)
            metrics.append(
                {**cells[key], "eps": radius, "seeds": len(values), "images": 100, "worst_accuracy": min(shown),
                 "worst_low": 0.0, "worst_high": 1.0, "clean_accuracy": value, "clean_low": value - 0.01,
                 "clean_high": value + 0.01}
            )  # fmt: skip
            accuracies += [
                {**cells[key], "eps": radius, "attack_seed": i, "accuracy": accuracy}
                for i, accuracy in enumerate(shown)
            ]
    return ComparedRun(name, objective, pd.DataFrame(metrics), pd.DataFrame(accuracies), **told)


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
    expected = welch_interval(ours, theirs)
    assert (best.loc["better", "difference_low"], best.loc["better", "difference_high"]) == pytest.approx(expected)
    assert best.loc["base", ["difference", "difference_low"]].isna().all()
    assert best.loc["single", "difference"] == pytest.approx((0.9 + 0.05) / 2 - 0.685)
    assert math.isnan(best.loc["single", "difference_low"])  # one training has no spread
    text = best_table(runs, best.reset_index()).markdown
    assert "+4.5 [" in text
    assert "| single | jacobian | 0.50 | 90.0 | 5.0 | 47.5 | -21.0 | – |" in text


def test_welchs_interval_by_hand():
    # means 2 and 6, variances 2 and 8, n = 2: se^2 = 1 + 4, Welch's df = 25 / (1 + 16), t by its table
    low, high = welch_interval([1.0, 3.0], [4.0, 8.0], 0.9)
    from scipy import stats

    half = stats.t.ppf(0.95, 25 / 17) * math.sqrt(5)
    assert (low, high) == pytest.approx((-4 - half, -4 + half))
    with pytest.raises(ValueError, match="Got 1 and 2"):
        welch_interval([1.0], [1.0, 2.0])


def test_what_makes_runs_incomparable_is_said():
    first = made("first", {(0.0, 0): [0.5, 0.5]}, attack={"clip": False, "step": 0.8})
    other = made("other", {(0.0, 0): [0.5, 0.5]}, attack={"clip": True, "step": 0.8}, banner="QUICK")
    few = made("few", {(0.0, 0): [0.5, 0.5]}, attack={"clip": False, "step": 0.8})
    few.metrics["images"] = 50
    text = "\n".join(notes([first, other, few]))
    assert "worst of 2 attack seeds" in text
    assert "other: QUICK." in text
    assert "other was attacked otherwise than first (clip): do not compare them" in text
    assert "few was tested on 50 images, first on 100" in text


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


def test_the_figure_has_a_panel_per_dataset_and_size_and_a_curve_per_run():
    runs = [made("a", {(0.0, 0): [0.5], (0.1, 0): [0.7]}), made("b", {(0.3, 0): [0.6], (0.2, 0): [0.4]})]
    table = compare(runs, 0.5, 0.95)
    larger = table.assign(members=3)
    fig = plot(runs, pd.concat([table, larger], ignore_index=True))
    assert [ax.get_title() for ax in fig.axes] == ["MNIST, M = 1", "MNIST, M = 3"]
    lines = {container.get_label(): container.lines[0] for container in fig.axes[0].containers}
    assert lines["a"].get_xdata() == pytest.approx([45.0, 65.0])
    assert lines["b"].get_xdata() == pytest.approx([35.0, 55.0])  # by strength, not as listed
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["a", "b"]
    plt.close(fig)
