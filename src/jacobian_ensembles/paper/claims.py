"""The paper's claims, each checked against the numbers of a run: the evidence, the test used and a verdict.

The rules of the verdicts were fixed before any full-scale result was at hand. "Settings" are the combinations of
dataset, ensemble method, lambda (and M or eps) that a claim speaks of. A claim *holds* when it does in every setting,
or in the share stated by its check, *holds in part* when in at least half of them, and *does not hold* otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from jacobian_ensembles.evaluation.summary import MODEL_KEYS, average_repetitions
from jacobian_ensembles.paper.labels import DATASET_TITLES, RenderedTable, percent, run_note, short_number, to_markdown

_Z = 1.96  # two-sided 95 %
HOLDS, PART, FAILS, OPEN = "holds", "holds in part", "does not hold", "not tested"


@dataclass(frozen=True)
class Claim:
    """One row of the report.

    Attributes:
        claim: Its number, C1 to C8.
        statement: What the paper claims.
        evidence: The measured numbers behind the verdict.
        test: How they were judged.
        verdict: ``holds``, ``holds in part``, ``does not hold`` or ``not tested``.
    """

    claim: str
    statement: str
    evidence: str
    test: str
    verdict: str


def _verdict(share: float, needed: float = 1.0) -> str:
    """The verdict on a claim that is true in a share of its settings."""
    return HOLDS if share >= needed else PART if share >= 0.5 else FAILS


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _difference_error(a: pd.Series, b: pd.Series, images: pd.Series | float) -> pd.Series:
    """The standard error of the difference of two accuracies on ``images`` images, as if they were independent.

    Two models err on the same images, so the true error is smaller: what is called a significant difference is one
    (C1), but claims that hold for want of a significant loss (C2, C5) pass the more easily.
    """
    return ((a * (1 - a) + b * (1 - b)) / images) ** 0.5


def _against(models: pd.DataFrame, keys: list[str], column: str, where: str, value: int) -> pd.DataFrame:
    """Every model beside the one of its group with ``where == value``: ``<column>`` and ``<column>_base``."""
    base = models[where] == value
    return models[~base].merge(models.loc[base, [*keys, column]], on=keys, suffixes=("", "_base"), validate="m:1")


def _mean_by(change: pd.Series, models: pd.DataFrame, *keys: str) -> str:
    """The mean change in points of every dataset (and method): "MNIST bagging +0.2, ..."."""
    return ", ".join(
        " ".join([DATASET_TITLES[str(dataset)], *map(str, rest), _points(change[group.index].mean())])
        for (dataset, *rest), group in models.groupby(list(keys))
    )


def _large_lambda_costs_clean_accuracy(models: pd.DataFrame) -> tuple[str, str, str]:
    keys = ["dataset", "ensemble", "members"]
    largest = models["lambda"].max()
    if largest <= 0.1 or not (models["lambda"] == 0).any():
        return "This run has no lambda = 0 beside a lambda above 0.1.", "", OPEN
    pairs = _against(models[models["lambda"].isin([0, largest])], keys, "clean_accuracy", "lambda", 0)
    if pairs.empty:
        return f"This run has no (dataset, method, M) at both λ = 0 and {largest:g}.", "", OPEN
    change = pairs["clean_accuracy"] - pairs["clean_accuracy_base"]
    error = _difference_error(pairs["clean_accuracy"], pairs["clean_accuracy_base"], pairs["images"])
    worse = change < -_Z * error
    evidence = f"λ = {largest:g} against 0, mean change in points: {_mean_by(change, pairs, 'dataset')}; "
    evidence += f"significantly worse in {worse.sum()} of {len(pairs)} settings."
    return evidence, "Difference of two proportions, 95 %, per (dataset, method, M).", _verdict(worse.mean())


def _small_lambda_is_free(models: pd.DataFrame) -> tuple[str, str, str]:
    keys = ["dataset", "ensemble", "members"]
    small = models[models["lambda"] <= 0.1]
    if not (small["lambda"] > 0).any() or not (small["lambda"] == 0).any():
        return "This run has no lambda in (0, 0.1] beside lambda = 0.", "", OPEN
    pairs = _against(small, keys, "clean_accuracy", "lambda", 0)
    if pairs.empty:
        return "This run has no (dataset, method, M) at both λ = 0 and one in (0, 0.1].", "", OPEN
    best = pairs.loc[pairs.groupby(keys)["clean_accuracy"].idxmax()]
    change = best["clean_accuracy"] - best["clean_accuracy_base"]
    error = _difference_error(best["clean_accuracy"], best["clean_accuracy_base"], best["images"])
    free = change >= -_Z * error
    evidence = f"Best λ in (0, 0.1] against 0, mean change in points: {_mean_by(change, best, 'dataset')}; "
    evidence += f"no significant loss in {free.sum()} of {len(best)} settings, any gain in {(change > 0).sum()}."
    return (
        evidence,
        "Difference of two proportions, 95 %, of the best small λ per (dataset, method, M).",
        _verdict(free.mean()),
    )


def _ensembles_beat_one(table: pd.DataFrame, keys: list[str], column: str, needed: float) -> tuple[str, str, str]:
    pairs = _against(table, keys, column, "members", 1)
    if pairs.empty:
        return "This run has no M = 1 beside M > 1 of the same method and λ.", "", OPEN
    change = pairs[column] - pairs[f"{column}_base"]
    better = change > 0
    p = stats.wilcoxon(change).pvalue if len(change) > 5 and (change != 0).any() else np.nan
    means = _mean_by(change, pairs, "dataset", "ensemble")
    evidence = f"Better in {better.sum()} of {len(pairs)} settings; mean change in points: {means}."
    test = "Pairs (dataset, method, λ" + (", ε" if "eps" in keys else "") + "; M > 1 against M = 1)"
    # settings share learners, and images, so the p value is a guide, not a guarantee
    test += "" if np.isnan(p) else f"; Wilcoxon signed-rank p = {p:.2g}"
    return evidence, f"{test}; holds if in at least {needed:.0%}.", _verdict(better.mean(), needed)


def _more_learners_clean(models: pd.DataFrame) -> tuple[str, str, str]:
    return _ensembles_beat_one(models, ["dataset", "ensemble", "lambda"], "clean_accuracy", 0.9)


def _monotone_on_mnist(models: pd.DataFrame) -> tuple[str, str, str]:
    mnist = models[(models["dataset"] == "mnist") & (models.groupby(MODEL_KEYS[:3])["lambda"].transform("size") >= 3)]
    if mnist.empty:
        return "This run has no MNIST model at three or more values of lambda.", "", OPEN
    steps, falls, correlations = 0, [], []
    for (_, ensemble, members), line in mnist.groupby(MODEL_KEYS[:3]):
        line = line.sort_values("lambda")
        correlations.append(stats.spearmanr(line["lambda"], line["mean_uap_accuracy"]).statistic)
        y, lam, n = line["mean_uap_accuracy"].to_numpy(), line["lambda"].to_numpy(), line["images"].min()
        steps += len(y) - 1
        falls += [
            f"{ensemble} M={members} λ {lam[i]:g} to {lam[i + 1]:g}: {_points(y[i + 1] - y[i])}"
            for i in range(len(y) - 1)
            if y[i + 1] - y[i] < -_Z * _difference_error(y[i], y[i + 1], n)
        ]
    evidence = (
        f"Rank correlation of mean UAP accuracy with λ between {min(correlations):.2f} and {max(correlations):.2f}; "
    )
    evidence += f"{len(falls)} of {steps} steps in λ fall significantly"
    evidence += f" ({'; '.join(falls[:4])}{'; ...' if len(falls) > 4 else ''})." if falls else "."
    return evidence, "No step down beyond 95 % of image sampling; Spearman.", _verdict(1 - len(falls) / steps)


def _fashion_peaks_below_half(models: pd.DataFrame) -> tuple[str, str, str]:
    lines = models[models["dataset"] == "fashion_mnist"].groupby(["ensemble", "members"])
    fashion = lines.filter(lambda line: line["lambda"].between(0, 0.5, "neither").any() and line["lambda"].max() >= 0.5)
    if fashion.empty:
        return "This run has no Fashion-MNIST (method, M) on both sides of λ = 0.5.", "", OPEN
    best = fashion.loc[fashion.groupby(["ensemble", "members"])["mean_uap_accuracy"].idxmax()]
    inside = best["lambda"].between(0, 0.5, inclusive="neither")
    counts = best["lambda"].value_counts().sort_index()
    evidence = "Best λ: " + ", ".join(f"{lam:g} in {n}" for lam, n in counts.items()) + f" of {len(best)} settings."
    return evidence, "λ of the highest mean UAP accuracy per (method, M).", _verdict(inside.mean())


def _jacobian_ensembles_win(models: pd.DataFrame) -> tuple[str, str, str]:
    single, plain = models["members"] == 1, models["lambda"] == 0
    groups = {"Jacobian ensemble": ~single & ~plain, "JR only": single & ~plain}
    groups |= {"ensemble only": ~single & plain, "standard": single & plain}
    lines, held, asked = [], 0, 0
    for dataset in models["dataset"].unique():
        here = models["dataset"] == dataset
        if not all((here & chosen).any() for chosen in groups.values()):
            continue
        best = {n: models.loc[models.loc[here & chosen, "weighted_accuracy"].idxmax()] for n, chosen in groups.items()}
        values = [row["weighted_accuracy"] for row in best.values()]
        held += sum(a > b for a, b in pairwise(values))
        asked += 3
        named = [
            f"{n} {percent(r['weighted_accuracy'])} ({r['ensemble']} M={r['members']} λ={short_number(r['lambda'])})"
            for n, r in best.items()
        ]
        lines.append(f"{DATASET_TITLES[dataset]}: {', '.join(named)}")
    if not asked:
        return "This run lacks one of the four groups on every dataset.", "", OPEN
    test = "Order of the best weighted accuracies; the best of more models is favoured by chance."
    return "; ".join(lines) + ".", test, _verdict(held / asked)


def _jacobian_norms_fall(jacobian: pd.DataFrame | None) -> tuple[str, str, str]:
    if jacobian is None:
        return "This run has no Jacobian norms.", "", OPEN
    shares, ratios = [], []
    for column in ("ensemble_mean", "ensemble_variance"):
        pairs = _against(jacobian, ["dataset", "ensemble", "lambda"], column, "members", 1)
        shares.append((pairs[column] < pairs[f"{column}_base"]).mean())
        ratios.append((pairs[column] / pairs[f"{column}_base"]).median())
    if np.isnan(ratios[0]):
        return "This run has no Jacobian norms of the same method and λ at several M.", "", OPEN
    own = jacobian[jacobian["members"] > 1]
    within = (own["ensemble_mean"] < own["learner_mean"]).mean()
    evidence = (
        f"Against the M = 1 model: E lower in {shares[0]:.0%} of settings (median ratio {ratios[0]:.2f}), Var lower in "
        f"{shares[1]:.0%} (median ratio {ratios[1]:.2f}); E below that of the ensemble's own learners in {within:.0%}."
    )
    return evidence, "Exact norms over test images, M > 1 against M = 1.", _verdict(min(shares), 0.9)


def check_claims(metrics: pd.DataFrame, summary: pd.DataFrame, jacobian: pd.DataFrame | None) -> list[Claim]:
    """Check the paper's claims C1 to C8.

    Args:
        metrics: ``metrics.csv``, averaged over repetitions: one row per (model, eps).
        summary: ``summary.csv``.
        jacobian: ``jacobian.csv``; None where it was not measured.

    Returns:
        One row per claim.
    """
    per_eps = ["dataset", "ensemble", "lambda", "eps"]
    checks: list[tuple[str, str, Callable[[], tuple[str, str, str]]]] = [
        ("C1", "A large λ damages clean accuracy.", lambda: _large_lambda_costs_clean_accuracy(summary)),
        ("C2", "Some λ in (0, 0.1] does not hurt clean accuracy, or helps it.", lambda: _small_lambda_is_free(summary)),
        ("C3", "M > 1 beats M = 1 in clean accuracy across settings.", lambda: _more_learners_clean(summary)),
        (
            "C4",
            "M > 1 beats M = 1 in robustness in most settings.",
            lambda: _ensembles_beat_one(metrics, per_eps, "worst_accuracy", 2 / 3),
        ),
        ("C5", "On MNIST robustness grows monotonically with λ.", lambda: _monotone_on_mnist(summary)),
        ("C6", "On Fashion-MNIST the best robustness lies at 0 < λ < 0.5.", lambda: _fashion_peaks_below_half(summary)),
        (
            "C7",
            "By weighted accuracy: best Jacobian ensemble > best JR only > best ensemble only > best standard model.",
            lambda: _jacobian_ensembles_win(summary),
        ),
        ("C8", "Expectation and variance of ‖J_F‖² fall with M.", lambda: _jacobian_norms_fall(jacobian)),
    ]
    return [Claim(number, statement, *check()) for number, statement, check in checks]


def norm_against_robustness(summary: pd.DataFrame, jacobian: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation between mean ||J_F||_F^2 and mean UAP accuracy over the models of a dataset.

    Args:
        summary: ``summary.csv``.
        jacobian: ``jacobian.csv``, averaged over repetitions.

    Returns:
        Columns dataset, models, spearman.
    """
    joined = summary.merge(jacobian, on=MODEL_KEYS, suffixes=("", "_jacobian"))
    rows = [
        (name, len(group), stats.spearmanr(group["ensemble_mean"], group["mean_uap_accuracy"]).statistic)
        for name, group in joined.groupby("dataset")
        if len(group) > 2
    ]
    return pd.DataFrame(rows, columns=["dataset", "models", "spearman"])


def claims(tables: Mapping[str, pd.DataFrame], run: str, banner: str, confidence: float) -> RenderedTable:
    """The claims report of a run.

    Args:
        tables: ``metrics``, ``summary`` and ``jacobian``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        confidence: Level of intervals over repetitions.
    """
    metrics = average_repetitions(tables["metrics"], confidence)
    summary, raw = tables["summary"], tables["jacobian"]
    numeric = [c for c in raw.columns if c not in (*MODEL_KEYS, "repetition")]
    jacobian = raw.groupby(MODEL_KEYS, as_index=False)[numeric].mean()
    rows = check_claims(metrics, summary, jacobian)
    table = pd.DataFrame([astuple(row) for row in rows], columns=[f.name for f in fields(Claim)])
    text = f"The paper's claims against this run. {run_note(summary, run, banner)}\n\n"
    text += to_markdown(table.rename(columns=str.capitalize))
    for row in norm_against_robustness(summary, jacobian).itertuples():
        text += (
            f"\n{DATASET_TITLES[row.dataset]}: rank correlation between mean ‖J_F‖² and mean UAP accuracy over "
            f"{row.models} models: {row.spearman:.2f}.\n"
        )
    return RenderedTable(table, text, float_format=None)
