"""Stage aggregate_jacobian: measured Jacobian norms beside the theorem's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.evaluation.theorem import theorem_bounds
from jacobian_ensembles.storage.files import load_tensors, write_text


def aggregate_jacobian(paths: Sequence[str | Path], csv_path: str | Path) -> None:
    """Set measured Jacobian norms beside the theorem's.

    The theorem's expectation and variance are over random learners; here they are taken over test images, of
    fixed learners. mu and sigma are estimated from the entries of the learners' Jacobians.

    Args:
        paths: What :func:`~jacobian_ensembles.stages.measure_jacobian.measure_to_file` wrote, one per model.
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
