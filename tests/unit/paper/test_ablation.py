import itertools

import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.evaluation.statistics import student_interval
from jacobian_ensembles.evaluation.worst_case import expected_worst, worst_interval
from jacobian_ensembles.paper.ablation import ablation_means
from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation
from jacobian_ensembles.stages.tabulate_spread import tabulate_spread
from jacobian_ensembles.stages.tabulate_worst_of_k import tabulate_worst_of_k
from jacobian_ensembles.storage.checksums import write_record

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


def record(path, accuracies, **changes):
    worst = min(accuracies)
    write_record(
        path,
        {**CELL, "eps": 0.15, "seeds": len(accuracies), "accuracies": accuracies, "worst_accuracy": worst,
         "mean_accuracy": float(np.mean(accuracies)), "best_accuracy": max(accuracies),
         "std_accuracy": float(np.std(accuracies, ddof=1)), **changes},
    )  # fmt: skip
    return path


def test_worst_of_k_is_tabulated_up_to_the_seeds_at_hand(tmp_path):
    tabulate_worst_of_k([record(tmp_path / "a", [0.4, 0.2, 0.6, 0.8])], tmp_path / "k.csv", 0.95)
    table = pd.read_csv(tmp_path / "k.csv")
    assert table["count"].tolist() == [1, 2, 3, 4]
    # of two out of four: 0.2 in 3 of 6 pairs, 0.4 in 2, 0.6 in 1
    assert table["expected_worst"].tolist() == pytest.approx([0.5, (3 * 0.2 + 2 * 0.4 + 0.6) / 6, 0.25, 0.2])
    assert (table["low"] <= table["high"]).all()


def test_variants_of_the_attack_are_set_side_by_side(tmp_path):
    metrics = pd.DataFrame([{**CELL, "eps": 0.15, "clean_accuracy": 0.9}])
    metrics = pd.concat([metrics, metrics.assign(dataset="fashion_mnist", clean_accuracy=0.8)])
    metrics.to_csv(tmp_path / "m.csv", index=False)
    records = [
        record(tmp_path / f"{v}{d}", accuracies, dataset=d)
        for v, accuracies in (("x", [0.5, 0.3]), ("y", [0.2, 0.4]))
        for d in ("mnist", "fashion_mnist")
    ]
    aggregate_ablation(tmp_path / "m.csv", records, ["x", "y"], tmp_path / "a.csv", tmp_path / "a.md")
    table = pd.read_csv(tmp_path / "a.csv")
    assert table[["variant", "dataset", "worst_accuracy", "clean_accuracy"]].to_numpy().tolist() == [
        ["x", "mnist", 0.3, 0.9],
        ["x", "fashion_mnist", 0.3, 0.8],
        ["y", "mnist", 0.2, 0.9],
        ["y", "fashion_mnist", 0.2, 0.8],
    ]
    text = (tmp_path / "a.md").read_text()
    # one eps: not comparable with the paper's four
    assert "| y | 20.0 (30.0) | 20.0 (30.0) | 20.0 (30.0) | – |" in text
    assert "averaged over ε = 0.15" in text


def test_variants_are_averaged_over_eps_and_set_beside_the_papers_number(tmp_path):
    standard = {**CELL, "members": 1, "lambda": 0.0, "variant": "x"}
    rows = [
        {**standard, "eps": eps, "clean_accuracy": 0.9, "worst_accuracy": worst, "mean_accuracy": 0.5,
         "best_accuracy": 0.7}
        for eps, worst in zip((0.1, 0.15, 0.2, 0.25), (0.4, 0.3, 0.2, 0.1), strict=True)
    ]  # fmt: skip
    means = ablation_means(pd.DataFrame(rows)).iloc[0]
    assert (means["worst_accuracy"], means["published"]) == pytest.approx((0.25, 0.319))
    metrics = pd.DataFrame(rows)[[*CELL, "eps", "clean_accuracy"]]
    metrics.to_csv(tmp_path / "m.csv", index=False)
    records = [
        record(tmp_path / f"{row['eps']}", [row["worst_accuracy"], 0.6], members=1, eps=row["eps"], **{"lambda": 0.0})
        for row in rows
    ]
    aggregate_ablation(tmp_path / "m.csv", records, ["x"], tmp_path / "a.csv", tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text()
    assert "| x | 25.0 (42.5) | 25.0 (42.5) | 6.9 |" in text
    assert "| *the paper, worst of 50* | 31.9 | – | – |" in text


def test_spread_over_trainings_and_over_attack_seeds_are_kept_apart(tmp_path):
    rows = [
        {**CELL, "repetition": r, "eps": eps, "seeds": 5, "images": 100, "clean_accuracy": clean,
         "worst_accuracy": worst, "std_accuracy": sd}
        for r, clean, uaps in ((0, 0.90, (0.5, 0.3)), (1, 0.94, (0.6, 0.4)))
        for eps, worst, sd in zip((0.1, 0.2), uaps, (0.01, 0.03), strict=True)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    tabulate_spread(tmp_path / "m.csv", tmp_path / "s.csv", tmp_path / "s.md", 0.5, 0.95, "reps", "")
    (row,) = pd.read_csv(tmp_path / "s.csv").to_dict("records")
    assert row["repetitions"] == 2
    assert (row["clean_accuracy"], row["mean_uap_accuracy"], row["weighted_accuracy"]) == pytest.approx(
        (0.92, 0.45, 0.685)
    )
    assert (row["mean_uap_low"], row["mean_uap_high"]) == pytest.approx(student_interval([0.4, 0.5]), abs=1e-5)
    assert row["mean_uap_sd"] == pytest.approx(0.1 / np.sqrt(2), abs=1e-5)
    assert row["attack_seed_sd"] == pytest.approx(0.02)
    text = (tmp_path / "s.md").read_text()
    assert "mean of 2 trainings" in text
    assert "| MNIST | voting M=1 λ=0.10 | 2 | 92.0 [" in text
