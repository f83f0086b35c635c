"""Perturbations that each have a class: which class, and how often they succeed. No torch, until there are tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from jacobian_ensembles.data.interop import is_tensor, like, to_numpy
from jacobian_ensembles.evaluation.accuracy import perturb, predictions
from jacobian_ensembles.models.compiled import admit, classes_of
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes, without_gradients


@without_gradients()
def target_classes(model: Any, images: Any, first: int, count: int) -> np.ndarray:
    """The classes of perturbations number ``first``, ``first`` + 1, ...: each number modulo C.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), of which a few are used to find C.
        first: The first number.
        count: K.

    Returns:
        (K,) int64.
    """
    with evaluating(model):
        return np.arange(first, first + count) % classes_of(model, images)


@without_gradients()
@own_modes()
def success_rates(
    model: Any,
    images: Any,
    labels: Any,
    deltas: Any,
    target: str = "none",
    first: int = 0,
    clip: bool = False,
) -> Any:
    """How often each perturbation does what it was crafted for.

    Args:
        model: Any classifier, see :func:`~jacobian_ensembles.attacks.crafting.craft_uaps`.
        images: (N, ...), in [0, 1]; with labels and perturbations tensors, or arrays for LeNets in the engine.
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
    true, rates = to_numpy(labels), np.full(len(deltas), np.nan)
    if is_tensor(deltas):
        deltas = deltas.to(images)
    with evaluating(model):
        for i, (delta, k) in enumerate(zip(deltas, classes, strict=True)):
            taken = to_numpy(predictions(model, perturb(images, delta, clip)))
            hit = (taken == k)[true != k] if target == "each" else (taken != true)[(true == k) | (target == "none")]
            if hit.size:
                rates[i] = hit.mean()
    return like(rates, deltas)
