"""What the repository ships follows, by the plainest arithmetic, from its records: every number of every run."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jacobian_ensembles as je
from jacobian_ensembles.evaluation.records import metrics_of, worst_of_k
from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.ablation import ablation_rows
from jacobian_ensembles.runs.run import NOT_RECOMPUTABLE, Run

REFERENCE = Path(__file__).resolve().parents[3] / "results" / "reference"
SHIPPED = sorted(path.parents[1] for path in REFERENCE.glob("*/metrics/records.csv"))
ALL = sorted(path.parent for path in REFERENCE.glob("*/config.yaml"))
MODEL = ["dataset", "ensemble", "members", "lambda"]
each = pytest.mark.parametrize("shipped", SHIPPED, ids=[path.name for path in SHIPPED])


@pytest.fixture
def run(shipped):
    return Run.open(shipped)


@pytest.fixture
def worst(run):
    """The lowest accuracy of the attack seeds, per training of a model and eps."""
    return run.table("records").groupby([*MODEL, "repetition", "eps"])["accuracy"].min()


@pytest.mark.parametrize("shipped", ALL, ids=[path.name for path in ALL])
def test_every_file_is_listed_and_as_it_was(run):
    assert run.verify() > 5


@each
def test_every_model_and_eps_has_all_its_attack_seeds(run):
    seeds = run.table("records").groupby([*MODEL, "repetition", "eps"])["attack_seed"].agg(list)
    assert seeds.map(lambda found: found == list(range(run.config["attack"]["seeds"]))).all()
    assert set(seeds.index.get_level_values("eps")) == set(run.config["grid"]["eps"])


@each
def test_every_table_that_can_be_is_derived_from_records_to_the_last_digit(run):
    weight, confidence = run.settings["clean_weight"], run.settings["confidence"]
    records = run.table("records")
    metrics = metrics_of(records, confidence)
    derived = {"metrics": metrics, "summary": summarize(metrics, weight, confidence)}
    derived["worst_of_k"] = worst_of_k(records, confidence)
    if run.has("ablation") and "metrics/ablation.csv" not in run.made.get(NOT_RECOMPUTABLE, ()):
        tried = {v: metrics_of(run.table(f"records_{v}"), confidence) for v in run.config["ablation"]}
        derived["ablation"] = ablation_rows(tried)
    for name, table in derived.items():
        again = pd.read_csv(io.StringIO(table.to_csv(index=False, float_format="%.6g")))
        shipped = run.table(name)
        # older runs list their columns and rows in another order
        keys = [key for key in (*MODEL, "repetition", "eps", "count", "variant") if key in shipped]
        both = [frame[sorted(frame)].sort_values(keys, ignore_index=True) for frame in (again, shipped)]
        pd.testing.assert_frame_equal(*both, check_exact=True, check_dtype=False, obj=name)


@each
def test_a_models_accuracy_is_the_mean_over_eps_and_trainings(run, worst):
    summary = run.table("summary").set_index(MODEL).sort_index()
    pd.testing.assert_series_equal(
        summary["mean_uap_accuracy"], worst.groupby(MODEL).mean().sort_index(), check_names=False, atol=1e-6
    )
    means = (summary["clean_accuracy"] + summary["mean_uap_accuracy"]) / 2
    np.testing.assert_allclose(summary["weighted_accuracy"], means, atol=1e-6)


@each
def test_the_comparison_with_the_paper_shows_these_accuracies(run):
    ours = pd.read_csv(run.folder / "tables" / "comparison.csv").set_index(MODEL)
    summary = run.table("summary").set_index(MODEL).reindex(ours.index)
    for column, source in (("clean", "clean"), ("avg_uap", "mean_uap"), ("weighted", "weighted")):
        np.testing.assert_allclose(ours[f"our_{column}"], 100 * summary[f"{source}_accuracy"], atol=0.006)
        differences = ours[f"our_{column}"] - ours[f"paper_{column}"]
        np.testing.assert_allclose(ours[f"difference_{column}"], differences, atol=0.011)


@each
def test_the_bits_count_up_to_the_metrics_and_perturbations_stay_within_eps(shipped, run):
    if not (shipped / "bits").is_dir():
        pytest.skip("shipped before bits were kept")
    for row in run.table("metrics").to_dict("records"):
        name = f"{shipped.name}/{row['dataset']}/{row['ensemble']}/M{row['members']}/lambda{row['lambda']}"
        name += f"/rep{row['repetition']}"
        assert je.load_correct(name).mean() == pytest.approx(row["clean_accuracy"], abs=1e-6)
        assert je.load_correct(name, row["eps"]).mean() == pytest.approx(row["worst_accuracy"], abs=1e-6)
        if row["repetition"] == 0 and (shipped / "perturbations").is_dir():
            assert je.load_perturbation(name, row["eps"]).abs().max() == pytest.approx(row["eps"], abs=1e-6)
