"""The one door between this package and a user's model: what goes in and what comes out is checked here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from jacobian_ensembles.data.tensors import check_images
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.models.lenet import LeNet

log = logging.getLogger(__name__)
_TRIED = 16  # images that a model is tried on


def scores(model: Callable[[Tensor], Tensor], x: Tensor, keep: bool = True) -> Tensor:
    """A model's scores for a batch.

    The model gets a copy, which it may write to, in its own precision. The copy stays in the graph of ``x``.

    Args:
        model: Maps (B, ...) to scores (B, C).
        x: (B, ...).
        keep: Whether ``x`` must stay as it is; otherwise the model may get ``x`` itself.

    Returns:
        (B, C), at least as precise as ``x``.

    Raises:
        ValueError: If the model returns anything other than one row of float scores per image.
    """
    precision = _precision(model) or x.dtype
    given = x.to(precision, copy=keep and not isinstance(model, LeNet))  # a LeNet writes to no input
    out = check_scores(model(given), len(x))
    return out.to(torch.promote_types(out.dtype, x.dtype))


def _precision(model: Callable[[Tensor], Tensor]) -> torch.dtype | None:
    """The floating type of a module's first parameter or buffer; None where it has none."""
    if not isinstance(model, nn.Module):
        return None
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            if not is_lazy(tensor) and tensor.is_floating_point() and tensor.element_size() > 1:
                return tensor.dtype
    return None


def check_scores(out: object, images: int) -> Tensor:
    """Refuse anything but one row of scores per image.

    Args:
        out: What a model returned.
        images: B, the images it was given.

    Returns:
        ``out``.

    Raises:
        ValueError: Saying what was returned and how to wrap the model.
    """
    needed = f"the model must return scores as one tensor (B, C), a row per image, here {images}"
    if not isinstance(out, Tensor):
        got = type(out).__name__
        if isinstance(out, Mapping):
            got += f" with {', '.join(map(repr, out))}"
            pick = "['logits']"
        elif isinstance(out, tuple | list):
            got += f" of {len(out)}"
            pick = "[0]"
        else:
            pick = ".logits"
        raise ValueError(f"{needed}. It returned a {got}: wrap it in a module whose forward returns net(x){pick}.")
    shape = tuple(out.shape)
    if out.ndim != 2 or shape[0] != images or out.is_complex() or out.dtype == torch.bool:
        advice = "wrap it in a module that gives it in this form"
        if out.ndim == 1 and shape[0] == images:
            advice = (
                "return the scores themselves, not the chosen class; of a single logit z, torch.stack([0 * z, z], 1)"
            )
        elif out.ndim > 2 and shape[0] == images and out[0].numel() == shape[1]:
            advice = "end it with .flatten(1)"
        raise ValueError(f"{needed}. It returned {out.dtype} {shape}: {advice}.")
    if shape[1] < 2:
        raise ValueError(
            f"{needed}, C >= 2. It returned {shape}: of a single logit z, return two scores, "
            "torch.cat([torch.zeros_like(z), z], 1)."
        )
    return out


@torch.no_grad()
def admit(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check a model, images and labels together, before any work is done with them.

    The model is tried twice on a few images. A warning is logged if its scores are probabilities, which weakens
    attacks, or if the two answers differ, so that it draws random numbers or remembers what it saw.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), floats in [0, 1].
        labels: (N,), integers in [0, C).

    Returns:
        Images and labels as :func:`~jacobian_ensembles.data.tensors.check_images` returns them.

    Raises:
        ValueError: Saying what was given, what is allowed and what to do.
    """
    images, labels = check_images(images, labels)
    if isinstance(model, nn.Module) and any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError(
            "the model's parameters must allow gradients. Got parameters made under torch.inference_mode(): build or "
            "load the model outside it."
        )
    classes = try_out(model, images)
    if (high := int(labels.max())) >= classes:
        low = int(labels.min())
        advice = "subtract 1 from them" if low == 1 and high == classes else "give the images of this model's classes"
        raise ValueError(
            f"labels must lie in [0, {classes}), as the model returns {classes} scores. Got {low} to {high}: {advice}."
        )
    return images, labels


@torch.no_grad()
def try_out(model: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """Try a model twice on the first few images.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), floats in [0, 1].

    Returns:
        C.

    Raises:
        ValueError: If it returns anything other than a row of scores per image, or NaN.
    """
    x = images[:_TRIED]
    with evaluating(model):
        first, second = scores(model, x), scores(model, x)
    if first.isnan().any() or second.isnan().any():
        raise ValueError(
            "the model must return finite scores. It returned NaN for clean images: look into its weights."
        )
    if first.shape != second.shape or not torch.allclose(first, second, rtol=1e-3, atol=1e-4):
        log.warning(
            "the model gives the same images other scores the second time, by up to %.3g: it draws random numbers or "
            "keeps state between calls, and accuracies depend on the order of calls.",
            (first - second).abs().max().item() if first.shape == second.shape else float("inf"),
        )
    if (first >= 0).all() and ((first.sum(1) - 1).abs() < 1e-3).all():
        log.warning(
            "the model returns probabilities. Attacks take a second softmax of them and are weakened: return logits, "
            "or log-probabilities (.log())."
        )
    return first.shape[1]
