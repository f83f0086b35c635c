"""The table that tests a model's robustness, with a row per attack and eps; and how perturbations transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.robustness.flags import CLEAN, SINGLE, TRANSFER

#: The columns of the table, except ``flags``: see :mod:`~jacobian_ensembles.robustness.flags`. Besides what the rules
#: need, it has ``per_image_worst_accuracy``, the share of images classified correctly under every seed, and ``source``,
#: the model that a transferred perturbation was crafted on.
COLUMNS = (
    "attack", "kind", "eps", "steps", "family", "seeds", "images", "worst_accuracy", "mean_accuracy", "std_accuracy",
    "per_image_worst_accuracy", "without_gradient", "source",
)  # fmt: skip


def attack_row(
    attack: str,
    kind: str,
    eps: float,
    record: Mapping[Any, Any],
    steps: int | None = None,
    family: str = "",
    without_gradient: float = 0.0,
) -> dict[str, Any]:
    """The row of a universal attack.

    Args:
        attack: Its name.
        kind: See :mod:`~jacobian_ensembles.robustness.flags`.
        eps: Radius.
        record: What :func:`~jacobian_ensembles.evaluation.worst_case.counted` and ``over_seeds`` tell of it.
        steps: Gradient steps, or queries; None where they are not counted.
        family: Shared by attacks that differ only in ``steps``.
        without_gradient: Share of the steps that had no usable gradient.
    """
    known = {column: record[column] for column in COLUMNS if column in record}
    own = {"attack": attack, "kind": kind, "eps": eps, "steps": steps, "family": family}
    return {**known, **own, "without_gradient": without_gradient}


def clean_row(accuracy: float, images: int) -> dict[str, Any]:
    """The row of the clean images."""
    same = {"worst_accuracy": accuracy, "mean_accuracy": accuracy, "per_image_worst_accuracy": accuracy}
    return {"attack": CLEAN, "kind": CLEAN, "eps": 0.0, "images": images, **same}


def transfer_row(eps: float, accuracies: Mapping[str, float], images: int) -> dict[str, Any]:
    """The row of the perturbations of other models: the worst of them, and their mean.

    Args:
        eps: Radius.
        accuracies: Of the model under each perturbation but its own, by the name of the model it was crafted on.
        images: The number of test images.
    """
    source = min(accuracies, key=lambda name: accuracies[name])
    values = np.array(list(accuracies.values()))
    return {
        "attack": TRANSFER, "kind": TRANSFER, "eps": eps, "seeds": len(values), "images": images, "source": source,
        "worst_accuracy": values.min(), "mean_accuracy": values.mean(),
        "std_accuracy": values.std(ddof=1) if len(values) > 1 else None,
    }  # fmt: skip


def single_rows(
    eps: float, accuracies: Mapping[str, float | None], iterations: int, images: int
) -> list[dict[str, Any]]:
    """The rows of images attacked one by one, by attack; without accuracy where the attack's library is missing."""
    return [
        {
            "attack": name, "kind": SINGLE, "eps": eps, "steps": iterations, "images": images,
            "worst_accuracy": value, "mean_accuracy": value, "per_image_worst_accuracy": value,
        }
        for name, value in accuracies.items()
    ]  # fmt: skip


def stress_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of the functions above as a table with :data:`COLUMNS`."""
    table = pd.DataFrame(rows).reindex(columns=[*COLUMNS])
    for name in ("attack", "kind", "family", "source"):
        table[name] = table[name].astype(object).where(table[name].notna(), "")
    table["without_gradient"] = table["without_gradient"].astype(float).fillna(0.0)
    for name in ("eps", "steps", "worst_accuracy", "mean_accuracy", "std_accuracy", "per_image_worst_accuracy"):
        table[name] = table[name].astype(float)
    return table


def largest_class(labels: np.ndarray) -> float:
    """The share of the most frequent class: chance, the accuracy of a model that gives all images that class."""
    return float(np.bincount(labels).max() / len(labels))


@torch.no_grad()
def transfer_matrix(
    models: Mapping[str, nn.Module], deltas: Mapping[str, Tensor], images: Tensor, labels: Tensor, clip: bool = False
) -> pd.DataFrame:
    """The accuracy of every model under the perturbations crafted on each of them.

    Args:
        models: T models, by name.
        deltas: S perturbations, each (...) like an image, by the name of the model that it was crafted on.
        images: (N, ...), test images in [0, 1], on the models' device.
        labels: (N,).
        clip: Clip perturbed images to [0, 1].

    Returns:
        (S, T), in [0, 1]: a row per perturbation, a column per model; white box where the names are equal.
    """
    stacked = torch.stack([*deltas.values()]).to(images)
    columns = {}
    for name, model in models.items():
        x, y = admit(model, images, labels)
        with evaluating(model):
            columns[name] = correct(model, x, y, stacked, clip).double().mean(1).numpy()
    return pd.DataFrame(columns, index=[*deltas])
