"""From bits to numbers: worst-case selection, intervals, the metrics table. NumPy and pandas only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from jacobian_ensembles.artifacts import ArtifactError, load_tensors, save_tensors, write_text
from jacobian_ensembles.checksums import read_record, verify_checksum, write_checksums, write_record
from jacobian_ensembles.records import load_clean, load_uaps, pack_bits
from jacobian_ensembles.theory import theorem_bounds

MODEL_KEYS = ["dataset", "ensemble", "members", "lambda"]
CELL_KEYS = [*MODEL_KEYS, "repetition"]

_T = TypeVar("_T", float, "pd.Series[float]")


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion.

    Args:
        successes: In [0, trials].
        trials: At least 1.
        confidence: In (0, 1).

    Returns:
        Lower and upper bound, in [0, 1].

    References:
        Wilson: Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes must lie in [0, trials], trials be >= 1. Got {successes} of {trials}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2n = successes / trials, z * z / trials
    centre = (p + z2n / 2) / (1 + z2n)
    half = z / (1 + z2n) * float(np.sqrt(p * (1 - p) / trials + z2n / (4 * trials)))
    # exact at the ends, where rounding could leave the proportion outside its own interval
    return (max(0.0, centre - half) if successes else 0.0), (min(1.0, centre + half) if successes < trials else 1.0)


def select_worst_uap(
    blocks: Sequence[str | Path], record_path: str | Path, uap_path: str | Path, confidence: float
) -> None:
    """Choose the worst of all attack seeds, the lowest test accuracy, and keep the whole record.

    Args:
        blocks: Files of :func:`save_uaps`, in seed order.
        record_path: JSON record to write: every seed's accuracy, the seed chosen, mean and spread, and the
            accuracy over the per-image worst case (an image counts only if right under every seed).
        uap_path: Where to store the chosen perturbation and its bits.
        confidence: Level of the Wilson interval.
    """
    deltas, bits, spec = load_uaps(blocks)
    accuracies = bits.mean(axis=1)
    worst = int(np.argmin(bits.sum(axis=1)))  # the first of equals
    low, high = wilson_interval(int(bits[worst].sum()), bits.shape[1], confidence)
    record = {
        **spec,
        "seeds": len(bits),
        "accuracies": [round(float(a), 6) for a in accuracies],
        "worst_seed": worst,
        "worst_accuracy": float(accuracies[worst]),
        "worst_low": low,
        "worst_high": high,
        "mean_accuracy": float(accuracies.mean()),
        "std_accuracy": float(accuracies.std(ddof=1)) if len(bits) > 1 else None,
        "best_accuracy": float(accuracies.max()),
        "per_image_worst_accuracy": float(bits.all(axis=0).mean()),
    }
    save_tensors(
        uap_path,
        {"delta": deltas[worst], "correct": pack_bits(bits[worst : worst + 1])},
        kind="worst_uap",
        spec={**spec, "seed": worst},
    )
    write_record(record_path, record)


def clean_record(path: str | Path, confidence: float) -> dict[str, Any]:
    """Clean accuracy of one model, with its Wilson interval and the model's cell."""
    predicted, labels, spec = load_clean(path)
    right = predicted == labels
    low, high = wilson_interval(int(right.sum()), len(right), confidence)
    return {
        **spec,
        "images": len(right),
        "clean_accuracy": float(right.mean()),
        "clean_low": low,
        "clean_high": high,
    }


def weighted_accuracy(clean: _T, uap: _T, clean_weight: float = 0.5) -> _T:
    """Weighted accuracy: ``clean_weight * clean + (1 - clean_weight) * uap`` (the paper: equal weights)."""
    return clean_weight * clean + (1 - clean_weight) * uap


def aggregate_metrics(
    clean_files: Sequence[str | Path],
    worst_files: Sequence[str | Path],
    metrics_path: str | Path,
    summary_path: str | Path,
    clean_weight: float,
    confidence: float,
) -> None:
    """Gather all records into the two tables everything downstream reads, and ``SHA256SUMS`` beside them.

    Args:
        clean_files: Clean predictions, one file per model.
        worst_files: Worst-case records, one file per (model, eps).
        metrics_path: CSV to write, one row per (model, repetition, eps).
        summary_path: CSV to write in the same folder, one row per model: clean, mean UAP and weighted accuracy.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.

    Raises:
        ArtifactError: If the models of the two lists differ.
    """
    clean = pd.DataFrame([clean_record(path, confidence) for path in clean_files])
    worst = pd.DataFrame([read_record(path) for path in worst_files]).drop(columns="accuracies")
    metrics = worst.merge(
        clean.drop(columns="images"), on=CELL_KEYS, how="outer", validate="many_to_one", indicator="origin"
    )
    odd = metrics.loc[metrics.pop("origin") != "both", CELL_KEYS]
    if len(odd):
        raise ArtifactError(f"Models with clean predictions but no attack, or the reverse:\n{odd.to_string()}")
    order = [*CELL_KEYS, "eps"]
    leading = [*order, "seeds", "images", "worst_accuracy", "worst_low", "worst_high", "worst_seed"]
    metrics = metrics[leading + [c for c in metrics.columns if c not in leading]].sort_values(order)
    summary = summarize(metrics, clean_weight, confidence)
    for path, table in ((metrics_path, metrics), (summary_path, summary)):
        write_text(path, table.to_csv(index=False, float_format="%.6g"))
    write_checksums([metrics_path, summary_path])


def student_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean, for a handful of independent trainings.

    Args:
        values: At least 2 numbers.
        confidence: In (0, 1).

    Returns:
        Lower and upper bound.

    References:
        Student: The Probable Error of a Mean, Biometrika 1908.
    """
    if len(values) < 2:
        raise ValueError(f"An interval over repetitions needs at least 2 of them. Got {len(values)}.")
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def average_repetitions(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Average every accuracy over the training repetitions of a model.

    Args:
        table: Rows with the cell's keys and, possibly, ``eps``.
        confidence: Level of the intervals.

    Returns:
        One row per model (and eps), without ``repetition``: means, and the number of ``repetitions``. Where there
        are several, ``<stem>_low`` and ``<stem>_high`` of each ``<stem>_accuracy`` are Student's t interval over
        repetitions, and ``<stem>_sd`` their standard deviation; of a single training the intervals stay as they
        are, over test images.
    """
    keys = [*MODEL_KEYS, "eps"] if "eps" in table.columns else MODEL_KEYS
    stems = [c.removesuffix("_accuracy") for c in table.columns if c.endswith("_accuracy")]
    rows = []
    for _, group in table.groupby(keys):
        row = group.iloc[0].drop("repetition").to_dict() | {"repetitions": len(group)}
        for stem in stems if len(group) > 1 else ():
            values = group[f"{stem}_accuracy"]
            low, high = student_interval(values.tolist(), confidence)
            row |= {f"{stem}_accuracy": values.mean(), f"{stem}_low": low, f"{stem}_high": high}
            row |= {f"{stem}_sd": values.std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows)


def summarize(metrics: pd.DataFrame, clean_weight: float, confidence: float) -> pd.DataFrame:
    """One row per model: clean accuracy, mean over eps of the worst-case accuracy, weighted accuracy.

    Args:
        metrics: The table of :func:`aggregate_metrics`.
        clean_weight: Weight of clean accuracy.
        confidence: Level of the intervals over repetitions.

    Returns:
        A frame with ``clean_accuracy``, ``mean_uap_accuracy`` and ``weighted_accuracy`` of every model, averaged
        over its repetitions (see :func:`average_repetitions`), and the number of eps values, attack seeds and
        test images behind them. The intervals of a single training are over test images: Wilson's for clean accuracy;
        for the means, the means of their parts' bounds, as if the parts erred on the same images (so rather too wide).
    """
    cells = metrics.groupby(CELL_KEYS, as_index=False).agg(
        clean_accuracy=("clean_accuracy", "first"),
        clean_low=("clean_low", "first"),
        clean_high=("clean_high", "first"),
        mean_uap_accuracy=("worst_accuracy", "mean"),
        mean_uap_low=("worst_low", "mean"),
        mean_uap_high=("worst_high", "mean"),
        eps_values=("eps", "count"),
        seeds=("seeds", "min"),
        images=("images", "min"),
    )
    for value in ("accuracy", "low", "high"):
        clean, uap = cells[f"clean_{value}"], cells[f"mean_uap_{value}"]
        cells[f"weighted_{value}"] = weighted_accuracy(clean, uap, clean_weight)
    return average_repetitions(cells, confidence)


def aggregate_jacobian(paths: Sequence[str | Path], csv_path: str | Path) -> None:
    """Set measured Jacobian norms beside the theorem's.

    The theorem's expectation and variance are over random learners; here they are taken over test images, of
    fixed learners. mu and sigma are estimated from the entries of the learners' Jacobians.

    Args:
        paths: What :func:`~jacobian_ensembles.measure.measure_to_file` wrote, one per model.
        csv_path: CSV to write, one row per model: mean and variance of ||J_F||_F^2 over images; the same of
            ||J_i||_F^2, averaged over learners; the theorem's lower and upper bounds; the mean cosine between two
            learners' Jacobians (0 if independent with mu = 0; empty for M = 1) and the entries' excess kurtosis
            (0 if normal).
    """
    rows = []
    for path in paths:
        tensors, spec = load_tensors(path, kind="jacobian")
        learners, ensemble, cosine = tensors["learners"], tensors["ensemble"], tensors["cosine"]
        mean, variance, _, kurtosis = tensors["moments"].T
        members = len(learners)
        classes, inputs = map(int, tensors["size"])
        sigma = float(np.sqrt(variance.mean()))
        lower, upper = theorem_bounds(classes, inputs, float(mean.mean()), sigma, members)
        rows.append(
            {
                **spec,
                "images": len(ensemble),
                "ensemble_mean": ensemble.mean(),
                "ensemble_mean_se": ensemble.std(ddof=1) / np.sqrt(len(ensemble)),
                "ensemble_variance": ensemble.var(ddof=1),
                "learner_mean": learners.mean(),
                "learner_variance": learners.var(axis=1, ddof=1).mean(),
                "lower_mean": lower.mean,
                "lower_variance": lower.variance,
                "upper_mean": upper.mean,
                "upper_variance": upper.variance,
                "mu": mean.mean(),
                "sigma": sigma,
                "cosine": (cosine.sum() - np.trace(cosine)) / (members * (members - 1)) if members > 1 else np.nan,
                "excess_kurtosis": kurtosis.mean(),
            }
        )
    table = pd.DataFrame(rows).sort_values(CELL_KEYS)
    write_text(csv_path, table.to_csv(index=False, float_format="%.6g"))


def read_table(path: str | Path) -> pd.DataFrame:
    """Read ``metrics.csv`` or ``summary.csv``.

    Raises:
        ArtifactError: If the file is missing, altered, not CSV, or lacks the columns that name a model.
    """
    verify_checksum(path)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read as CSV ({error}). Delete it to have it made again.") from error
    missing = [key for key in MODEL_KEYS if key not in table.columns]
    if missing:
        raise ArtifactError(f"{path}: no column {', '.join(missing)}. Delete it to have it made again.")
    return table
