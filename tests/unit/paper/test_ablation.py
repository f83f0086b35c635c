import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.paper.ablation import ablation_means, attack_variants
from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation
from jacobian_ensembles.storage.checksums import write_record

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0}


def record(path, accuracies, **changes):
    worst = min(accuracies)
    write_record(
        path,
        {**CELL, "eps": 0.15, "seeds": len(accuracies), "accuracies": accuracies, "worst_accuracy": worst,
         "mean_accuracy": float(np.mean(accuracies)), "best_accuracy": max(accuracies),
         "std_accuracy": float(np.std(accuracies, ddof=1)), **changes},
    )  # fmt: skip
    return path


def test_variants_of_the_attack_are_set_side_by_side(tmp_path):
    metrics = pd.DataFrame([{**CELL, "eps": 0.15, "clean_accuracy": 0.9}])
    metrics = pd.concat([metrics, metrics.assign(dataset="fashion_mnist", clean_accuracy=0.8)])
    metrics.to_csv(tmp_path / "m.csv", index=False)
    records = [
        record(tmp_path / f"{v}{d}", accuracies, dataset=d)
        for v, accuracies in (("x", [0.5, 0.3]), ("y", [0.2, 0.4]))
        for d in ("mnist", "fashion_mnist")
    ]
    aggregate_ablation(tmp_path / "m.csv", records, ["x", "y"], tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert table[["variant", "dataset", "worst_accuracy", "clean_accuracy"]].to_numpy().tolist() == [
        ["x", "mnist", 0.3, 0.9],
        ["x", "fashion_mnist", 0.3, 0.8],
        ["y", "mnist", 0.2, 0.9],
        ["y", "fashion_mnist", 0.2, 0.8],
    ]
    text = attack_variants({"ablation": table}, "mine", "").markdown
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
    aggregate_ablation(tmp_path / "m.csv", records, ["x"], tmp_path / "a.csv")
    text = attack_variants({"ablation": pd.read_csv(tmp_path / "a.csv")}, "mine", "").markdown
    assert "| x | 25.0 (42.5) | 25.0 (42.5) | 6.9 |" in text
    assert "| *the paper, worst of 50* | 31.9 | – | – |" in text
