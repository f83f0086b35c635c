"""What a run found, in numbers: a sentence for each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from jacobian_ensembles.extensions.references import short_name
from jacobian_ensembles.paper.labels import DATASET_TITLES, in_order, model_name, norm_note

_THE_PAPERS = "Jacobian regularisation"
_ACCURACIES = ["clean_accuracy", "mean_uap_accuracy", "weighted_accuracy"]


def defence(config: Mapping[str, Any]) -> str:
    """What the strength λ of a run is one of, such as ``Jacobian regularisation``."""
    name = (config.get("training") or {}).get("objective", "jacobian")
    return _THE_PAPERS if name == "jacobian" else f"'{short_name(name)}'"


def attacked_by(config: Mapping[str, Any]) -> str:
    """What a run's accuracies are under, such as ``attack``, with its name where it is not the paper's."""
    name = (config.get("attack") or {}).get("method", "sgd")
    return "attack" if name == "sgd" else f"the attack '{short_name(name)}'"


def headline(summary: pd.DataFrame, config: Mapping[str, Any], classes: Mapping[str, int]) -> list[str]:
    """What regularisation did to a single network, dataset by dataset; where a run cannot say, its best model.

    Args:
        summary: ``summary.csv`` of a run: a row per model, accuracies in [0, 1].
        config: The run's settings.
        classes: How many classes datasets have, where that is known.

    Returns:
        A sentence for each dataset. The strength is the one of highest weighted accuracy, numbers are means over eps,
        ensemble methods and trainings.
    """
    sentences = []
    for dataset in in_order(summary["dataset"], DATASET_TITLES):
        sentence = _sentence(summary[summary["dataset"] == dataset], config)
        if count := classes.get(dataset):
            sentence += f" Guessing among {count} classes gives {100 / count:.3g} %."
        sentences.append(sentence)
    return sentences


def _sentence(models: pd.DataFrame, config: Mapping[str, Any]) -> str:
    title, under = DATASET_TITLES[models["dataset"].iloc[0]], attacked_by(config)
    trainings = int(models["repetitions"].min())
    rests_on = f"{'one training' if trainings == 1 else f'{trainings} trainings'} of each model"
    single = models[models["members"] == 1]
    means = (100 * single.groupby("lambda")[_ACCURACIES].mean()).reset_index().to_dict("records")
    plain = next((row for row in means if row["lambda"] == 0), None)
    ours = max((row for row in means if row is not plain), key=lambda row: row["weighted_accuracy"], default=None)
    if plain is None or ours is None:
        best = models.sort_values("weighted_accuracy").iloc[-1]
        told = f"the best of {len(models)} models is " * (len(models) > 1) + model_name(best.to_dict())
        if defence(config) != _THE_PAPERS:
            told += f" (the strength of {defence(config)})"
        robust, clean = (100 * best[name] for name in _ACCURACIES[1::-1])
        told += f", with {robust:.1f} % under {under} and {clean:.1f} % clean"
    else:
        before, after = (row["mean_uap_accuracy"] for row in (plain, ours))
        clean = round(ours["clean_accuracy"] - plain["clean_accuracy"], 1) + 0.0  # no -0.0
        change = f"from {before:.1f} to {after:.1f} %"
        verb = "raised" if after > before else "lowered"
        if f"{before:.1f}" == f"{after:.1f}":
            verb, change = "left", f"at {after:.1f} %"
        told = (
            f"{defence(config)} of strength {ours['lambda']:g} {verb} a single network's accuracy under {under} "
            f"{change}, clean {clean:+.1f} points"
        )
    return f"{title}: {told} ({rests_on}).{norm_note(models)}"
