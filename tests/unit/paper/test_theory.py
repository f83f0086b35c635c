import math

import numpy as np
import pandas as pd
import pytest
from helpers_claims import grid

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.theory import (
    beside_the_theorem,
    correlated_ratio,
    norm_against_robustness,
    summary_of_theory,
    theorem,
)


def one(**changes):
    """jacobian.csv of one ensemble of two learners."""
    row = {
        "dataset": "mnist", "ensemble": "bagging", "members": 2, "lambda": 0.1, "repetition": 0, "ensemble_mean": 7.0,
        "ensemble_variance": 60.0, "learner_mean": 10.0, "learner_variance": 100.0, "lower_mean": 5.0,
        "lower_variance": 0.5, "upper_mean": 10.0, "upper_variance": 2.0, "mu": 0.0, "sigma": 0.1, "cosine": 0.3,
        "cosine_by_norm": 0.5, "learner_variance_at_image": 12.0, "upper_variance_at_image": 3.0,
    }  # fmt: skip
    return pd.DataFrame([row | changes])


def test_a_models_moments_beside_the_theorem_by_hand():
    (row,) = beside_the_theorem(one()).to_dict("records")
    assert (row["mean_ratio"], row["theorem_mean_ratio"]) == (0.7, 0.5)
    assert (row["variance_ratio"], row["theorem_variance_ratio"]) == (0.6, 0.25)
    assert row["correlated_mean_ratio"] == pytest.approx(0.5 + 0.5 * 0.3)
    assert row["correlated_variance_ratio"] == pytest.approx(0.65**2)
    assert row["mean_ratio_by_norm"] == pytest.approx(0.75)
    # of the gap of 0.2, half the cosine is explained: 0.15, and 0.25 with weights
    assert row["gap_by_cosine"] == pytest.approx(0.75)
    assert row["gap_by_norm"] == pytest.approx(1.25)
    assert (row["learner_variance_over_bound"], row["ensemble_variance_over_bound"]) == (50, 30)
    assert row["variance_at_image_over_bound"] == 4
    assert row["trainings"] == 1


def test_trainings_are_averaged_and_single_networks_left_out():
    table = pd.concat([one(), one(repetition=1, ensemble_mean=9.0), one(members=1, cosine=math.nan)])
    (row,) = beside_the_theorem(table).to_dict("records")
    assert row["mean_ratio"] == pytest.approx(0.8)
    assert row["trainings"] == 2


def test_older_tables_have_no_weighted_cosine():
    recent = ["cosine_by_norm", "learner_variance_at_image", "upper_variance_at_image"]
    models = beside_the_theorem(one().drop(columns=recent))
    (row,) = models.to_dict("records")
    assert row["gap_by_cosine"] == pytest.approx(0.75)
    assert math.isnan(row["gap_by_norm"])
    shown = summary_of_theory(models)
    assert shown["gap: large norms agree"].tolist() == ["–"]
    assert shown["Var over learners at an image / upper bound"].tolist() == ["–"]


def test_learners_with_equal_norms_leave_nothing_to_explain():
    # equal norms: the weighted cosine alone gives the expectation, 1/2 + 0.4/2
    models = beside_the_theorem(one(cosine_by_norm=0.4))
    shown = summary_of_theory(models).iloc[0]
    assert (shown["gap: mean cosine"], shown["gap: large norms agree"]) == ("0.75", "0.25")
    assert float(shown["gap: norms differ"]) == 0


def test_a_single_learner_is_its_own_theorem():
    assert correlated_ratio({"members": 1, "mu": 0.1, "sigma": 1.0, "cosine": math.nan}, "variance") == 1


def tables(uap_of_norm, within=0.0, trainings=3):
    """Models whose robustness follows their norm over lambda, and something else within one."""
    metrics, jacobian = grid(trainings=trainings, lambdas=(0.0, 0.1, 1.0), noise=(0.0, 0.0), eps=(0.1, 0.2))
    keys = ["dataset", "ensemble", "members", "lambda", "repetition"]
    both = metrics.merge(jacobian[[*keys, "ensemble_mean"]], on=keys)
    norm = np.log(both["ensemble_mean"])
    own = norm - norm.groupby([both[k] for k in keys[:-1]]).transform("mean")
    metrics["worst_accuracy"] = (uap_of_norm(both["lambda"], norm) + within * own).to_numpy()
    return metrics, jacobian


def test_norm_and_robustness_are_ranked_across_lambda_and_within():
    # across lambda robustness falls with the norm; at one lambda it rises
    metrics, jacobian = tables(lambda lam, norm: lam + 0.01 * norm)
    table = norm_against_robustness(metrics, jacobian, 0.95)
    across = table[table["lambda"].isna()]
    assert (across["spearman"] < -0.5).all()
    within = table[table["lambda"].notna()]
    assert within["spearman"].to_numpy() == pytest.approx(np.ones(6))
    assert (within["models"] == 12).all()
    assert (within["trainings"] == 3).all()
    assert within[["low", "high"]].to_numpy() == pytest.approx(np.ones((6, 2)))


def test_the_interval_of_a_correlation_ends_at_one():
    metrics, jacobian = tables(lambda lam, norm: lam + 0.01 * norm)
    last = metrics["repetition"] == 2
    metrics.loc[last, "worst_accuracy"] *= np.linspace(1, 3, last.sum())  # its ranks differ from the others'
    table = norm_against_robustness(metrics, jacobian, 0.95)
    within = table[(table["spearman"] < 1) & table["lambda"].notna()]
    assert len(within)
    assert (within["high"] == 1).all()
    assert (within["low"] < within["spearman"]).all()


def test_trainings_of_the_same_model_are_ranked_by_what_they_differ_in():
    metrics, jacobian = tables(lambda lam, norm: lam + 0.01 * norm, within=-1.0)
    table = norm_against_robustness(metrics, jacobian, 0.95)
    assert table["same_model"].to_numpy() == pytest.approx(-np.ones(len(table)))
    single = norm_against_robustness(*tables(lambda lam, norm: lam + norm, trainings=1), 0.95)
    assert single["same_model"].isna().all()
    assert single["low"].isna().all()
    assert single["spearman"].notna().all()


def test_equal_robustness_has_no_rank():
    metrics, jacobian = tables(lambda lam, norm: 0 * lam)
    assert norm_against_robustness(metrics, jacobian, 0.95)["spearman"].isna().all()


@pytest.mark.parametrize("trainings", [1, 3])
def test_the_table_has_a_row_per_lambda(trainings):
    metrics, jacobian = grid(trainings=trainings)
    tables = {"metrics": metrics, "summary": summarize(metrics, 0.5, 0.95), "jacobian": jacobian}
    rendered = theorem(tables, "mine", "QUICK", 0.95)
    assert len(rendered.frame) == 2 * 3 * 3 * 8
    assert "QUICK: run 'mine'" in rendered.markdown
    rows = [line for line in rendered.markdown.splitlines() if line.startswith("| ")]
    # headings and rules; 16 of moments; 16 of correlations and two over all lambda
    assert len(rows) == 2 * 2 + 16 + 18


def test_whatever_was_measured_is_set_beside_robustness():
    metrics, jacobian = grid()
    jacobian["margin_gradient"] = jacobian["ensemble_mean"]
    tables = {"metrics": metrics, "summary": summarize(metrics, 0.5, 0.95), "jacobian": jacobian}
    *_, norm, margin = theorem(tables, "mine", "", 0.95).markdown.split("Rank correlation between ")
    assert norm.startswith("E‖J_F‖² and")
    assert margin.startswith("the L1 norm of the margin's mean gradient and")
    assert [line for line in norm.splitlines() if line.startswith("|")] == [
        line for line in margin.splitlines() if line.startswith("|")
    ]


def test_a_run_of_single_networks_has_its_correlations_alone():
    metrics, jacobian = grid(members=(1,))
    tables = {"metrics": metrics, "summary": summarize(metrics, 0.5, 0.95), "jacobian": jacobian}
    rendered = theorem(tables, "mine", "", 0.95)
    assert len(rendered.frame) == 0
    assert "Rank correlation" in rendered.markdown
