import re

import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.paper.ablation import ablation_means, ablation_rows, attack_variants, in_common
from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation
from jacobian_ensembles.storage.checksums import write_record

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0}


DATASETS = ("mnist", "fashion_mnist")


def table_of(text, number=0):
    """The cells of one of a page's tables, without the line below its head."""
    rows = re.findall(r"^\|.*(?:\n\|.*)*", text, re.MULTILINE)[number].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (rows[0], *rows[2:])]


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
    aggregate_ablation(tmp_path / "m.csv", records, ["x", "x", "y", "y"], tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert table[["variant", "dataset", "worst_accuracy", "clean_accuracy"]].to_numpy().tolist() == [
        ["x", "mnist", 0.3, 0.9],
        ["x", "fashion_mnist", 0.3, 0.8],
        ["y", "mnist", 0.2, 0.9],
        ["y", "fashion_mnist", 0.2, 0.8],
    ]
    text = attack_variants({"ablation": table}, "mine", "").markdown
    # the strongest first; one eps: not comparable with the paper's four; what it cost was not counted
    assert table_of(text) == [
        ["variant", "all", "MNIST", "Fashion-MNIST", "change", "lower in", "seeds", "gradients", "from the paper"],
        ["y", "20.0 (30.0)", "20.0 (30.0)", "20.0 (30.0)", "-10.0", "2 of 2", "2", "–", "–"],
        ["x", "30.0 (40.0)", "30.0 (40.0)", "30.0 (40.0)", "–", "–", "2", "–", "–"],
    ]
    assert "averaged over ε = 0.15" in text
    assert "What each costs was not counted, so none is called the strongest." in text
    assert table_of(text, 2) == [["variant", "voting M=1 λ=0.10"], ["y", "20.0 (30.0)"], ["x", "30.0 (40.0)"]]
    assert "bounds" not in text


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
    aggregate_ablation(tmp_path / "m.csv", records, ["x"] * 4, tmp_path / "a.csv")
    text = attack_variants({"ablation": pd.read_csv(tmp_path / "a.csv")}, "mine", "").markdown
    assert table_of(text)[1] == ["x", "25.0 (42.5)", "–", "–", "2", "–", "6.9"]
    assert table_of(text, 1)[-1] == ["the paper, worst of 50", "31.9"]


def test_the_strongest_costs_no_more_and_follows_the_same_rules():
    """Of five: b is best on Fashion-MNIST, c overall; d costs more, e attacks something else."""
    worst = {"a": (0.5, 0.5), "b": (0.45, 0.3), "c": (0.3, 0.4), "d": (0.2, 0.2), "e": (0.1, 0.1)}
    rows = [
        {**CELL, "dataset": dataset, "eps": 0.15, "variant": v, "seeds": 1 if v == "c" else 5, "accuracies": [],
         "worst_accuracy": accuracy, "mean_accuracy": accuracy, "best_accuracy": accuracy, "std_accuracy": 0.0,
         "gradient_images": 200_000 if v == "d" else 100_000, **({"norm": "l2"} if v == "e" else {}),
         **({"success_rate": 0.25} if v == "b" else {})}
        for v, both in worst.items()
        for dataset, accuracy in zip(("mnist", "fashion_mnist"), both, strict=True)
    ]  # fmt: skip
    metrics = pd.DataFrame([{**CELL, "dataset": d, "eps": 0.15, "clean_accuracy": 0.9} for d in DATASETS])
    table = ablation_rows(rows, metrics, peers=list("abcd"))
    text = attack_variants({"ablation": table}, "mine", "").markdown
    assert "Strongest at the cost of a, under the same rules: c overall, c on MNIST, b on Fashion-MNIST." in text
    assert [row[0] for row in table_of(text)[1:]] == list("edcba")
    overall = {row[0]: dict(zip(table_of(text)[0], row, strict=True)) for row in table_of(text)[1:]}
    assert (overall["d"]["gradients"], overall["c"]["gradients"]) == ("200,000", "100,000")
    assert (overall["c"]["seeds"], overall["b"]["reached"], overall["c"]["reached"]) == ("1", "25.0", "–")
    assert (overall["b"]["change"], overall["b"]["lower in"]) == ("-12.5", "2 of 2")
    assert "ε of e bounds the root mean squared change of the pixels (L2)." in text


def test_many_models_are_averaged_and_how_alike_their_order_is_said():
    """18 models of a dataset at two lambda: the second variant takes 0.1 off all, and turns the order at λ = 0.5."""
    rows = []
    for ensemble in ("bagging", "snapshot", "voting"):
        for i, members in enumerate((1, 3, 9)):
            for lam, base in ((0.1, 0.3), (0.5, 0.6)):
                better = 0.03 * i + 0.01 * ("bagging", "snapshot", "voting").index(ensemble)
                for variant in ("own", "strong"):
                    worst = base + better if variant == "own" else base - 0.1 + (better if lam == 0.1 else -better)
                    rows.append(
                        {**CELL, "ensemble": ensemble, "members": members, "lambda": lam, "eps": 0.15, "seeds": 1,
                         "variant": variant, "clean_accuracy": 0.9, "worst_accuracy": worst, "mean_accuracy": worst,
                         "best_accuracy": worst}
                    )  # fmt: skip
    text = attack_variants({"ablation": pd.DataFrame(rows)}, "mine", "").markdown
    assert "MNIST, means over methods and M:" in text
    # over models 0.3 + 0.04 at λ = 0.1, 0.6 + 0.04 and 0.5 - 0.04 at λ = 0.5
    assert table_of(text, 1) == [
        ["variant", "λ=0.10", "λ=0.50"], ["strong", "24.0 (24.0)", "46.0 (46.0)"], ["own", "34.0 (34.0)", "64.0 (64.0)"]
    ]  # fmt: skip
    # within λ: +1 and -1; over both nine ranks are reversed: 1 - 6 * 240 / (18 * (18² - 1))
    assert "with those under own: strong +0.75, within one λ +0.00." in text


def test_variants_tried_at_other_eps_are_compared_at_those_they_share():
    tried = (("all", 0.1), ("all", 0.2), ("all", 0.3), ("few", 0.1), ("few", 0.2))
    table = pd.DataFrame([{**CELL, "variant": variant, "eps": eps} for variant, eps in tried])
    assert in_common(table)["eps"].tolist() == [0.1, 0.2, 0.1, 0.2]
    apart = table[(table["variant"] == "few") | (table["eps"] == 0.3)]
    assert in_common(apart).equals(apart)


def test_variants_tried_on_other_trainings_are_compared_on_those_they_share():
    """The second training met the first variant only, and is easier: without it 10 points are between the two."""
    rows = [("own", 0, 0.5), ("own", 1, 0.9), ("strong", 0, 0.4)]
    table = pd.DataFrame(
        [
            {**CELL, "variant": variant, "repetition": r, "eps": 0.15, "seeds": 1, "clean_accuracy": 0.9,
             "worst_accuracy": a, "mean_accuracy": a, "best_accuracy": a}
            for variant, r, a in rows
        ]
    )  # fmt: skip
    text = attack_variants({"ablation": table}, "mine", "").markdown
    overall = {row[0]: dict(zip(table_of(text)[0], row, strict=True)) for row in table_of(text)[1:]}
    assert (overall["own"]["all"], overall["strong"]["all"]) == ("50.0 (50.0)", "40.0 (40.0)")
    assert (overall["strong"]["change"], overall["strong"]["lower in"]) == ("-10.0", "1 of 1")
