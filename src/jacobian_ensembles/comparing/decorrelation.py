"""Whether learners trained side by side have Jacobians that agree less, and what the ensemble gains."""

from __future__ import annotations

import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS

#: The share of the cosine between learners' Jacobians that may be left where decorrelation counts as working.
REMAINING = 0.5
#: How far clean accuracy may lie from that of learners trained one by one.
CLEAN_TOLERANCE = 0.005
_MEASURED = ["cosine", "mean_ratio", "ensemble_mean", "clean_accuracy", "mean_uap_accuracy"]


def jacobians_and_accuracy(jacobian: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """What is compared for every ensemble of a run.

    Args:
        jacobian: ``jacobian.csv``.
        summary: ``summary.csv``.

    Returns:
        Indexed by model (M > 1), means over its trainings: ``cosine`` between learners' Jacobians; ``ensemble_mean``,
        E||J_F||_F^2; ``mean_ratio``, its ratio to a learner's; ``clean_accuracy`` and ``mean_uap_accuracy``.
    """
    several = jacobian[jacobian["members"] > 1]
    several = several.assign(mean_ratio=several["ensemble_mean"] / several["learner_mean"])
    means = several.groupby(MODEL_KEYS)[["cosine", "mean_ratio", "ensemble_mean"]].mean()
    return means.join(summary.set_index(MODEL_KEYS)[["clean_accuracy", "mean_uap_accuracy"]], how="inner")


def beside_learners_alone(alone: pd.DataFrame, together: pd.DataFrame) -> pd.DataFrame:
    """Ensembles whose learners were trained side by side, each beside the same model with learners trained one by one.

    Args:
        alone: Of :func:`jacobians_and_accuracy`.
        together: The same for the other run.

    Returns:
        Indexed by the models that both have: the columns of ``together``, those of ``alone`` with the suffix
        ``_alone``, and ``works``: the cosine is at most :data:`REMAINING` times that of learners alone, with
        clean accuracy within :data:`CLEAN_TOLERANCE`.
    """
    joined = together[_MEASURED].join(alone[_MEASURED].add_suffix("_alone"), how="inner")
    distance = (joined["clean_accuracy"] - joined["clean_accuracy_alone"]).abs().round(9)
    fell = joined["cosine"] <= REMAINING * joined["cosine_alone"]
    return joined.assign(works=fell & (distance <= CLEAN_TOLERANCE))
