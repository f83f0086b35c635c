"""What cannot be trained is refused before a step is taken."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import Builder, build_net
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


def check_storable(net: nn.Module, architecture: Architecture, builder: Builder | None) -> None:
    """Refuse a network that could not be stored as arrays and rebuilt from them, before any step is taken.

    Args:
        net: The fresh network, after it was tried on images, so that lazy layers have their sizes.
        architecture: What it is.
        builder: What builds it.

    Raises:
        ValueError: If its state is not made of dense arrays alone, or does not fit a network that is built anew.
    """
    state = net.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor) or value.layout != torch.strided]
    if odd:
        raise ValueError(
            "the architecture's state must be arrays alone, which can be stored without running code. Got "
            f"{', '.join(f'{name} of type {type(state[name]).__name__}' for name in odd)}: keep it out of state_dict, "
            "in an attribute that the builder sets."
        )
    with torch.random.fork_rng():
        again = build_net(architecture, builder)
    try:
        again.load_state_dict(state)
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise ValueError(f"the architecture's state must fit a network that its builder builds anew. {what}") from None


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
