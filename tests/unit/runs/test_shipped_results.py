"""What the repository ships follows, by the plainest arithmetic, from the accuracies under every attack seed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import jacobian_ensembles as je

SHIPPED = sorted(
    path.parent for path in Path(__file__).resolve().parents[3].glob("results/reference/*/attack_seeds.csv")
)
MODEL = ["dataset", "ensemble", "members", "lambda"]
pytestmark = pytest.mark.parametrize("shipped", SHIPPED, ids=[path.name for path in SHIPPED])


def read(path):
    return pd.read_csv(path, dtype={"commit": str})


@pytest.fixture
def worst(shipped):
    """The lowest accuracy of the attack seeds, per training of a model and eps."""
    return read(shipped / "attack_seeds.csv").groupby([*MODEL, "repetition", "eps"])["accuracy"].min()


def test_every_model_and_eps_has_all_its_attack_seeds(shipped):
    config = yaml.safe_load((shipped / "config.yaml").read_text())
    seeds = read(shipped / "attack_seeds.csv").groupby([*MODEL, "repetition", "eps"])["attack_seed"].agg(list)
    assert seeds.map(lambda found: found == list(range(config["attack"]["seeds"]))).all()
    assert set(seeds.index.get_level_values("eps")) == set(config["grid"]["eps"])


def test_the_metrics_are_those_of_the_worst_seeds(shipped, worst):
    metrics = read(shipped / "metrics" / "metrics.csv").set_index(worst.index.names)["worst_accuracy"]
    pd.testing.assert_series_equal(metrics.sort_index(), worst.sort_index(), check_names=False, atol=1e-6)


def test_a_models_accuracy_is_the_mean_over_eps_and_trainings(shipped, worst):
    summary = read(shipped / "metrics" / "summary.csv").set_index(MODEL).sort_index()
    pd.testing.assert_series_equal(
        summary["mean_uap_accuracy"], worst.groupby(MODEL).mean().sort_index(), check_names=False, atol=1e-6
    )
    means = (summary["clean_accuracy"] + summary["mean_uap_accuracy"]) / 2
    np.testing.assert_allclose(summary["weighted_accuracy"], means, atol=1e-6)


def test_the_comparison_with_the_paper_shows_these_accuracies(shipped):
    ours = read(shipped / "tables" / "comparison.csv").set_index(MODEL)
    summary = read(shipped / "metrics" / "summary.csv").set_index(MODEL).reindex(ours.index)
    for column, source in (("clean", "clean"), ("avg_uap", "mean_uap"), ("weighted", "weighted")):
        np.testing.assert_allclose(ours[f"our_{column}"], 100 * summary[f"{source}_accuracy"], atol=0.006)
        differences = ours[f"our_{column}"] - ours[f"paper_{column}"]
        np.testing.assert_allclose(ours[f"difference_{column}"], differences, atol=0.011)


def test_the_bits_count_up_to_the_metrics_and_perturbations_stay_within_eps(shipped):
    if not (shipped / "bits").is_dir():
        pytest.skip("shipped before bits were kept")
    metrics = read(shipped / "metrics" / "metrics.csv")
    for row in metrics.to_dict("records"):
        name = f"{shipped.name}/{row['dataset']}/{row['ensemble']}/M{row['members']}/lambda{row['lambda']}"
        name += f"/rep{row['repetition']}"
        assert je.load_correct(name).mean() == pytest.approx(row["clean_accuracy"], abs=1e-6)
        assert je.load_correct(name, row["eps"]).mean() == pytest.approx(row["worst_accuracy"], abs=1e-6)
        if row["repetition"] == 0 and (shipped / "perturbations").is_dir():
            assert je.load_perturbation(name, row["eps"]).abs().max() == pytest.approx(row["eps"], abs=1e-6)
