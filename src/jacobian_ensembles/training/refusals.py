"""What cannot be trained is refused before a step is taken."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from jacobian_ensembles.models.door import try_out


def check_learner(net: nn.Module, images: Tensor, classes: int) -> None:
    """Refuse a user's network that cannot be trained on a dataset, before any step is taken.

    Args:
        net: The fresh network.
        images: (B, ...), some training images.
        classes: C of the dataset.

    Raises:
        ValueError: If it does not return (B, C) scores, or has no float32 parameters to train, or others.
    """
    with torch.random.fork_rng():
        found = try_out(net, images)
    if found != classes:
        raise ValueError(
            f"the architecture must return {classes} scores, one per class of the dataset. It returned {found}: build "
            "its last layer for the number of classes it is given, as in builder(shape, classes)."
        )
    trained = [p for p in net.parameters() if p.requires_grad]
    kinds = sorted({str(p.dtype) for p in trained})
    if kinds != ["torch.float32"]:
        got = ", ".join(kinds) or "none that requires a gradient"
        raise ValueError(f"the architecture's parameters must be float32. Got {got}: build it with .float().")


def check_validation(labels: Tensor) -> None:
    """Refuse a validation split on which no learner could be told from a guess.

    Args:
        labels: (B,) validation labels.

    Raises:
        ValueError: If even a perfect score would be no better than guessing one class.
    """
    if len(labels) == 0 or guess(labels) >= 1:
        common = int(torch.bincount(labels).max()) if len(labels) else 0
        raise ValueError(
            f"the validation split must tell a learner from a guess. Got {len(labels)} images, {common} of one class: "
            "give more, of several classes (data.validation_images, or validation=...)."
        )


def guess(labels: Tensor) -> float:
    """The accuracy of guessing the most frequent class, plus three standard errors.

    Args:
        labels: (B,).

    Returns:
        A share; it may exceed 1.
    """
    chance = torch.bincount(labels).max().item() / len(labels)
    return chance + 3 * math.sqrt(chance * (1 - chance) / len(labels))
