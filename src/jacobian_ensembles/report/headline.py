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
        means = (100 * of_it.groupby("lambda")[columns].mean()).reset_index().to_dict("records")
        plain = next((row for row in means if row["lambda"] == 0), None)
        ours = max((row for row in means if row is not plain), key=lambda row: row["weighted_accuracy"], default=None)
        if plain is None or ours is None:
            continue
        trainings = int(of_it["repetitions"].min())
        under, clean = (f"{plain[name]:.1f} to {ours[name]:.1f} %" for name in ("mean_uap_accuracy", "clean_accuracy"))
        sentences.append(
            f"{DATASET_TITLES[dataset]}: regularisation of strength {ours['lambda']:g} took a single network's "
            f"accuracy under attack from {under}, without an attack from {clean} "
            f"({'one training' if trainings == 1 else f'{trainings} trainings'} of each model)."
        )
    return sentences
