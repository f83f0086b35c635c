"""What readers see of every attack of a run: flags, accuracies at each eps, and who was tried on whom."""

import pandas as pd
import pytest

from jacobian_ensembles.robustness.evidence import attack_row, clean_row, single_rows, stress_table, transfer_row
from jacobian_ensembles.robustness.flags import RULES, flagged
from jacobian_ensembles.robustness.stress_tables import (
    accuracy_table,
    flags_table,
    plot_transfer,
    stress,
    transfer_table,
)

MODELS = [("mnist", "voting", 1, 0.0), ("mnist", "bagging", 3, 0.1)]
KEYS = ["dataset", "ensemble", "members", "lambda"]


def record(worst):
    return {"seeds": 2, "images": 1000, "worst_accuracy": worst, "mean_accuracy": worst, "std_accuracy": 0.0,
            "per_image_worst_accuracy": worst - 0.1}  # fmt: skip


def of_model(key, noise):
    rows = [
        clean_row(0.98, 1000),
        attack_row("noise", "noise", 0.1, record(noise)),
        attack_row("100-steps", "white box", 0.1, record(0.6), steps=100, family="steps"),
        attack_row("100-steps", "white box", 0.2, record(0.3), steps=100, family="steps"),
        transfer_row(0.1, {"elsewhere": 0.9}, 1000),
        *single_rows(0.1, {"PGD": 0.2, "APGD": None}, 40, 500),
    ]
    return flagged(stress_table(rows), 0.1).assign(repetition=0, **dict(zip(KEYS, key, strict=True)))


@pytest.fixture
def table(tmp_path):
    """As a run stores it, and reads it again."""
    path = tmp_path / "stress.csv"
    pd.concat([of_model(MODELS[0], 0.95), of_model(MODELS[1], 0.4)]).to_csv(path, index=False)
    return pd.read_csv(path)


def transfer(dataset="mnist", eps=0.1):
    names = {"voting M=1 λ=0.00": MODELS[0], "bagging M=3 λ=0.10": MODELS[1]}
    values = {"voting M=1 λ=0.00": (0.3, 0.8), "bagging M=3 λ=0.10": (0.7, 0.5), "one learner of it": (0.9, 0.6)}
    return pd.DataFrame(
        [
            {**dict(zip(KEYS, key, strict=True)), "dataset": dataset, "repetition": 0, "eps": eps, "source": source,
             "attack": "x", "own": source == name, "accuracy": accuracies[i], "images": 1000}
            for i, (name, key) in enumerate(names.items())
            for source, accuracies in values.items()
        ]
    )  # fmt: skip


def test_flags_stand_beside_each_model_with_what_raises_them(table):
    shown = flags_table(table).set_index("model")
    assert shown.loc["MNIST voting M=1 λ=0.00"].tolist() == ["98.0", "not run", "APGD at ε = 0.10"]
    assert shown.loc["MNIST bagging M=3 λ=0.10"].tolist() == [
        "98.0", "beaten by noise; not run", "noise at ε = 0.10; APGD at ε = 0.10",
    ]  # fmt: skip


def test_every_attack_has_a_column_and_a_raised_flag_an_asterisk(table):
    shown = accuracy_table(table, 0.1).set_index("model")
    assert list(shown.columns) == ["clean", "noise", "100-steps", "transfer", "PGD", "APGD", "each image's worst"]
    assert shown.loc["MNIST bagging M=3 λ=0.10"].tolist() == ["98.0", "40.0*", "60.0", "90.0", "20.0", "–*", "50.0"]
    assert list(accuracy_table(table, 0.2).columns) == ["model", "clean", "100-steps", "each image's worst"]


def test_a_models_own_perturbation_is_on_the_diagonal():
    wide = transfer_table(transfer(), "mnist", 0.1)
    assert wide.to_numpy().tolist() == [[0.3, 0.8], [0.7, 0.5], [0.9, 0.6]]
    assert list(wide.index) == [*wide.columns, "one learner of it"]


def test_the_written_table_tells_the_run_the_rules_and_the_clipping(table):
    rendered = stress({"stress": table, "transfer": transfer()}, "small", "5 seeds", clip=False)
    text = rendered.markdown
    assert text.startswith("5 seeds: run 'small', 1,000 test images; x + δ is not clipped")
    assert all(f"**{name}**" in text for name in RULES)
    assert "PGD and APGD attack 500 images one by one, in 40 steps, by the adversarial-robustness-toolbox." in text
    assert "| voting M=1 λ=0.00 | 30.0 | 80.0 |" in text
    assert len(rendered.frame) == len(table)
    missing = table.assign(worst_accuracy=table["worst_accuracy"].where(table["kind"] != "single image"))
    without = stress({"stress": missing, "transfer": transfer().head(0)}, "small", "", clip=True).markdown
    assert "it was not installed, so they are missing" in without
    assert "is clipped to [0, 1]" in without


def test_the_heat_map_has_a_panel_per_dataset_and_eps():
    both = pd.concat([transfer(), transfer(eps=0.2), transfer("fashion_mnist"), transfer("fashion_mnist", 0.2)])
    fig = plot_transfer(both)
    assert [ax.get_title() for ax in fig.axes] == [
        "MNIST, ε = 0.10", "MNIST, ε = 0.20", "Fashion-MNIST, ε = 0.10", "Fashion-MNIST, ε = 0.20",
    ]  # fmt: skip
    assert [text.get_text() for text in fig.axes[0].texts] == ["30", "80", "70", "50", "90", "60"]
