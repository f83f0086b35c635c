"""Variants of the attack on the same models."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.published import PAPER_EPS, paper_models


def ablation_means(ablation: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracies of every (variant, model) over eps.

    Args:
        ablation: What :func:`aggregate_ablation` wrote: one row per (variant, model, eps).

    Returns:
        One row per (variant, model) in the order met: clean_accuracy; worst_accuracy, mean_accuracy and
        best_accuracy, of the attack seeds; and ``published``, the paper's mean accuracy under UAP, where Table 1 has
        the model and eps are the paper's four.
    """
    accuracies = ["clean_accuracy", "worst_accuracy", "mean_accuracy", "best_accuracy"]
    keys = ["variant", *MODEL_KEYS]
    means = ablation.groupby(keys, as_index=False, sort=False)[accuracies].mean()
    paper = paper_models()
    paper["published"] = paper["avg_uap"] / 100 if set(ablation["eps"]) == PAPER_EPS else np.nan
    return means.merge(paper[[*MODEL_KEYS, "published"]], on=MODEL_KEYS, how="left", validate="many_to_one")
