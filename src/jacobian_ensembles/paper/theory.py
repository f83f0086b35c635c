"""Theorem 3.1 beside what was measured on trained networks, and norms beside robustness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from jacobian_ensembles.evaluation.statistics import student_interval
from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS
from jacobian_ensembles.evaluation.theorem import frobenius_moments
from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    RenderedTable,
    in_order,
    markdown_note,
    short_number,
    to_markdown,
)

#: Columns of ``jacobian.csv`` that are set beside robustness.
_MEASURES = {
    "ensemble_mean": "E‖J_F‖²",
    "shared_norm": "the largest eigenvalue of E[J_Fᵀ J_F]",
    "shared_share": "its share of all eigenvalues",
    "margin_gradient": "the L1 norm of the margin's mean gradient",
}
#: Columns of ``jacobian.csv`` that runs from before November 2026 lack.
_RECENT = ["cosine_by_norm", "learner_variance_at_image", "upper_variance_at_image"]


def correlated_ratio(row: Mapping[Any, Any], moment: str, by: str = "cosine") -> float:
    """A moment of ||J_F||_F^2 over a learner's own, by Theorem 3.1 for learners as correlated as these were measured.

    Args:
        row: Of ``jacobian.csv``: ``members``, ``mu``, ``sigma`` and the column that ``by`` names.
        moment: ``mean`` or ``variance``.
        by: ``cosine``, or ``cosine_by_norm``.

    Returns:
        The ratio; 1 for a single learner.
    """

    def theorem(members: int, correlation: float) -> float:
        weights = np.full(members, 1 / members)
        moments = frobenius_moments(1, 1, row["mu"], row["sigma"], weights, correlation)
        return float(getattr(moments, moment))

    members = row["members"]
    if members > 1 and math.isnan(row[by]):
        return math.nan
    return theorem(members, row[by] if members > 1 else 0.0) / theorem(1, 0.0)


def beside_the_theorem(jacobian: pd.DataFrame) -> pd.DataFrame:
    """Every ensemble's measured moments beside the theorem's, as ratios.

    Args:
        jacobian: ``jacobian.csv``; a run from before November 2026 lacks ``cosine_by_norm`` and variances at an image.

    Returns:
        One row per model with M > 1, means over its trainings: ``mean_ratio`` and ``variance_ratio``, of the ensemble
        to its learners; the same by the theorem, and by the theorem for learners correlated by their mean cosine;
        ``mean_ratio_by_norm``, correlated by the cosine weighted by norm; ``cosine`` and ``cosine_by_norm``;
        ``gap_by_cosine`` and ``gap_by_norm``, the share of the gap between ``mean_ratio`` and 1/M that each accounts
        for (the second is 1 where learners' norms are equal, more elsewhere); and three variances as multiples of the
        theorem's upper bound: the learners' own, the ensemble's, and that over learners at one image.
    """
    table = jacobian[jacobian["members"] > 1].reset_index(drop=True)
    table = table.assign(**{column: np.nan for column in _RECENT if column not in table.columns})
    rows = table.to_dict("records")
    result = table[CELL_KEYS].copy()
    for moment in ("mean", "variance"):
        result[f"{moment}_ratio"] = table[f"ensemble_{moment}"] / table[f"learner_{moment}"]
        result[f"theorem_{moment}_ratio"] = table[f"lower_{moment}"] / table[f"upper_{moment}"]
        result[f"correlated_{moment}_ratio"] = [correlated_ratio(row, moment) for row in rows]
    result["mean_ratio_by_norm"] = [correlated_ratio(row, "mean", "cosine_by_norm") for row in rows]
    result[["cosine", "cosine_by_norm"]] = table[["cosine", "cosine_by_norm"]]
    gap = result["mean_ratio"] - 1 / result["members"]
    for name, by in (("cosine", "cosine"), ("norm", "cosine_by_norm")):
        result[f"gap_by_{name}"] = (1 - 1 / result["members"]) * table[by] / gap
    result["learner_variance_over_bound"] = table["learner_variance"] / table["upper_variance"]
    result["ensemble_variance_over_bound"] = table["ensemble_variance"] / table["upper_variance"]
    at_image = table["learner_variance_at_image"] / table["upper_variance_at_image"]
    result["variance_at_image_over_bound"] = at_image
    means = result.groupby(MODEL_KEYS).agg({c: "mean" for c in result.columns if c not in CELL_KEYS})
    return means.assign(trainings=result.groupby(MODEL_KEYS).size()).reset_index()


def _rank_correlation(x: pd.Series, y: pd.Series) -> float:
    """Spearman's; NaN where there is nothing to correlate."""
    if len(x) < 3 or x.nunique() < 2 or y.nunique() < 2:
        return math.nan
    return float(stats.spearmanr(x, y).statistic)


def norm_against_robustness(
    metrics: pd.DataFrame, jacobian: pd.DataFrame, confidence: float, by: str = "ensemble_mean"
) -> pd.DataFrame:
    """Rank correlations between E||J_F||_F^2 and accuracy under attack (mean over eps): across lambdas and within each.

    Args:
        metrics: ``metrics.csv``.
        jacobian: ``jacobian.csv``.
        confidence: Level of the intervals.
        by: Another column of ``jacobian.csv`` to take in place of the norm.

    Returns:
        Columns ``dataset``; ``lambda``, missing where all are taken together; ``models``, ``trainings``; ``spearman``
        over models, a mean over trainings, with Student's t interval over them clipped to [-1, 1], ``low`` and
        ``high``, where there are at least two; and ``same_model``, over trainings of the same model: that of what is
        left when the mean over a model's trainings is subtracted from both, missing for a single training.
    """
    robustness = metrics.groupby(CELL_KEYS, as_index=False).agg(uap=("worst_accuracy", "mean"))
    joined = robustness.merge(jacobian[[*CELL_KEYS, by]], on=CELL_KEYS, validate="one_to_one")
    joined["norm"] = np.log(joined[by].where(joined[by] > 0))
    joined = joined.dropna(subset=["norm"])
    groups: list[tuple[Any, Any, pd.DataFrame]] = []
    for name in in_order(joined["dataset"], DATASET_TITLES):
        here = joined[joined["dataset"] == name]
        groups.append((name, np.nan, here))
        if len(set(here["lambda"])) > 1:
            groups += [(name, lam, group) for lam, group in here.groupby("lambda")]
    rows = []
    for dataset, lam, group in groups:
        each = [_rank_correlation(g["norm"], g["uap"]) for _, g in group.groupby("repetition")]
        each = [value for value in each if not math.isnan(value)]
        low, high = np.clip(student_interval(each, confidence), -1, 1) if len(each) > 1 else (math.nan, math.nan)
        rest = group[["norm", "uap"]] - group.groupby(MODEL_KEYS)[["norm", "uap"]].transform("mean")
        repeated = group.groupby(MODEL_KEYS)["uap"].transform("size") > 1
        row = {
            "dataset": dataset,
            "lambda": lam,
            "models": len(group.groupby(MODEL_KEYS)),
            "trainings": group["repetition"].nunique(),
        }
        row |= {"spearman": np.mean(each) if each else math.nan, "low": low, "high": high}
        rows.append(row | {"same_model": _rank_correlation(rest.loc[repeated, "norm"], rest.loc[repeated, "uap"])})
    return pd.DataFrame(rows)


def _times(values: pd.Series) -> str:
    """The geometric mean of factors."""
    values = values.dropna()
    if values.empty:
        return "–"
    mean = float(np.exp(np.log(values).mean()))
    digits = 0 if mean >= 10 else 2
    return f"{mean:,.{digits}f}"


def _average(values: pd.Series, digits: int = 2) -> str:
    return "–" if values.dropna().empty else f"{values.mean():.{digits}f}"


def summary_of_theory(models: pd.DataFrame) -> pd.DataFrame:
    """:func:`beside_the_theorem` for readers: a row per dataset and lambda, means over methods and M.

    Args:
        models: Of :func:`beside_the_theorem`.
    """
    rows = []
    for dataset in in_order(models["dataset"], DATASET_TITLES):
        for lam, here in models[models["dataset"] == dataset].groupby("lambda"):
            ratio, squared = here["variance_ratio"], here["mean_ratio"] ** 2
            row = {
                "Dataset": DATASET_TITLES[dataset],
                "λ": short_number(float(str(lam))),
                "Ensembles": str(len(here)),
                "Var of a learner / upper bound": _times(here["learner_variance_over_bound"]),
                "Var of the ensemble / upper bound": _times(here["ensemble_variance_over_bound"]),
                "Var over learners at an image / upper bound": _times(here["variance_at_image_over_bound"]),
                "E ratio": _average(here["mean_ratio"]),
                "1/M": _average(1 / here["members"]),
                "gap: mean cosine": _average(here["gap_by_cosine"]),
                "gap: large norms agree": _average(here["gap_by_norm"] - here["gap_by_cosine"]),
                "gap: norms differ": _average(1 - here["gap_by_norm"]),
                "Var ratio": _average(ratio),
                "error of (E ratio)²": _average((ratio - squared).abs()),
                "error of the correlated formula": _average((ratio - here["correlated_variance_ratio"]).abs()),
            }
            rows.append(row)
    return pd.DataFrame(rows)


def _correlations(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in table.to_dict("records"):
        interval = "" if math.isnan(row["low"]) else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
        across = "–" if math.isnan(row["spearman"]) else f"{row['spearman']:+.2f}{interval}"
        rows.append(
            {
                "Dataset": DATASET_TITLES[row["dataset"]],
                "λ": "all" if math.isnan(row["lambda"]) else short_number(row["lambda"]),
                "Models": row["models"],
                "Trainings": row["trainings"],
                "over models": across,
                "over trainings of a model": "–" if math.isnan(row["same_model"]) else f"{row['same_model']:+.2f}",
            }
        )
    return pd.DataFrame(rows)


def theorem(tables: Mapping[str, pd.DataFrame], run: str, banner: str, confidence: float) -> RenderedTable:
    """Theorem 3.1 against a run: ratios and bounds, and the correlation of norm and robustness.

    Args:
        tables: ``metrics``, ``summary`` and ``jacobian``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        confidence: Level of intervals over trainings.
    """
    models = beside_the_theorem(tables["jacobian"])
    text = f"Theorem 3.1 against this run. {markdown_note(tables['summary'], run, banner)}\n\n"
    if len(models):
        text += (
            "Moments of ‖J_F‖² over test images, means over methods and M > 1 (factors: geometric). The upper bound is "
            "the theorem's own, from the measured μ and σ; at an image, from the norms there. The gap is that between "
            "the ratio of expectations (ensemble to learners) and 1/M: the shares that the mean cosine between "
            "learners makes, that larger Jacobians agreeing more adds, and that unequal norms take away, make 1. "
            "Errors are absolute, in the ratio of variances.\n\n"
        )
        text += to_markdown(summary_of_theory(models)) + "\n"
    metrics, jacobian = tables["metrics"], tables["jacobian"]
    measures = {name: title for name, title in _MEASURES.items() if name in jacobian}
    for name, title in measures.items():
        text += (
            f"Rank correlation between {title} and accuracy under attack, mean over ε: over models, and over trainings "
            f"of the same model; {confidence:.0%} intervals over trainings.\n\n"
        )
        text += to_markdown(_correlations(norm_against_robustness(metrics, jacobian, confidence, name))) + "\n"
    return RenderedTable(models, text.removesuffix("\n"))
