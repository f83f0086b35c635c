"""Perturbations that each have a class: which class, and how often they succeed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jacobian_ensembles.evaluation.accuracy import perturb, predictions
from jacobian_ensembles.models.door import admit, scores
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes


@torch.no_grad()
def target_classes(model: nn.Module, images: Tensor, first: int, count: int) -> Tensor:
    """The classes of perturbations number ``first``, ``first`` + 1, ...: each number modulo C.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), of which a few are used to find C.
        first: The first number.
        count: K.

    Returns:
        (K,) int64, on the device of ``images``.
    """
    with evaluating(model):
        classes = scores(model, images[:16]).shape[1]
    return torch.arange(first, first + count, device=images.device) % classes


@torch.no_grad()
@own_modes()
def success_rates(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    deltas: Tensor,
    target: str = "none",
    first: int = 0,
    clip: bool = False,
) -> Tensor:
    """How often each perturbation does what it was crafted for.

    Args:
        model: Any classifier, see :func:`~jacobian_ensembles.attacks.crafting.craft_uaps`.
        images: (N, ...), in [0, 1].
        labels: (N,), the true classes.
        deltas: (K, ...).
        target: As in crafting. ``none``: the share of all images that are not taken for their own class.
            ``each``, for perturbation k: the share of images of other classes than k mod C that are taken for k mod C.
            ``class``: the share of images of class k mod C that are not taken for it.
        first: The number of the first perturbation, as in crafting.
        clip: Clip perturbed images to [0, 1].

    Returns:
        (K,) doubles in [0, 1], on the CPU; NaN where there are no such images.

    Raises:
        ValueError: If ``target`` is none of the three, or the arguments do not fit together.
    """
    if target not in ("none", "each", "class"):
        raise ValueError(f"target must be 'none', 'each' or 'class'. Got {target!r}.")
    images, labels = admit(model, images, labels)
    classes = target_classes(model, images, first, len(deltas)).tolist()
    true, rates = labels.cpu(), []
    with evaluating(model):
        for delta, k in zip(deltas.to(images), classes, strict=True):
            taken = predictions(model, perturb(images, delta, clip))
            hit = (taken == k)[true != k] if target == "each" else (taken != true)[(true == k) | (target == "none")]
            rates.append(hit.double().mean())
    return torch.stack(rates)
