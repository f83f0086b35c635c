"""What a run found, in a sentence for each dataset."""

from __future__ import annotations

import pandas as pd

from jacobian_ensembles.paper.labels import DATASET_TITLES, in_order


def headline(summary: pd.DataFrame) -> list[str]:
    """What regularisation did to a single network, dataset by dataset.

    Args:
        summary: ``summary.csv`` of a run: a row per model, accuracies in [0, 1].

    Returns:
        A sentence for each dataset that has a single network without regularisation and one with it: the strength is
        the one of highest weighted accuracy, numbers are means over methods and trainings.
    """
    single = summary[summary["members"] == 1]
    columns = ["clean_accuracy", "mean_uap_accuracy", "weighted_accuracy"]
    sentences = []
    for dataset in in_order(single["dataset"], DATASET_TITLES):
        of_it = single[single["dataset"] == dataset]
        means = 100 * of_it.groupby("lambda")[columns].mean()
        if 0 not in means.index or len(means) < 2:
            continue
        plain, best = means.loc[0], means.drop(0)["weighted_accuracy"].idxmax()
        ours, trainings = means.loc[best], int(of_it["repetitions"].min())
        sentences.append(
            f"{DATASET_TITLES[dataset]}: regularisation of strength {best:g} took a single network's accuracy under "
            f"attack from {plain['mean_uap_accuracy']:.1f} to {ours['mean_uap_accuracy']:.1f} %, without an attack from "
            f"{plain['clean_accuracy']:.1f} to {ours['clean_accuracy']:.1f} % "
            f"({'one training' if trainings == 1 else f'{trainings} trainings'} of each model)."
        )
    return sentences
