"""Checks on the tensors of images and labels that the library and models are given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_OVERSHOOT = 1e-3  # how far beyond [0, 1] rounding and resampling carry a pixel
_SCALE = "Divide bytes by 255."
_NORMALIZE = "Let the model subtract means and divide by deviations itself: perturbations are bounded in pixel units."


def check_images(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check images and their labels, and convert them to the types that everything computes with.

    Args:
        images: (N, ...), N >= 1, floats in [0, 1] of any precision.
        labels: (N,), integers >= 0 of any type.

    Returns:
        The images, with float16 and bfloat16 as float32, and the labels, as int64 on the same device.

    Raises:
        ValueError: If they are anything else; the message says what was given, what is allowed and what to do.
    """
    images = check_pixels(images)
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels must be a tensor. Got {type(labels).__name__}: use torch.as_tensor(labels).")
    if tuple(labels.shape) != (len(images),) or labels.is_floating_point() or labels.is_complex():
        what = f"labels must be {len(images)} integers. Got {labels.dtype} of shape {_shape(labels)}."
        raise ValueError(what + _label_advice(labels, len(images)))
    labels = labels.to(images.device, torch.int64)
    if (low := int(labels.min())) < 0:
        raise ValueError(
            f"labels must be integers from 0 on. Got {low}: leave such images out, or renumber the classes."
        )
    return images, labels


def check_pixels(images: Tensor) -> Tensor:
    """Check images without labels: see :func:`check_images`.

    Args:
        images: (N, ...), N >= 1, floats in [0, 1] of any precision.

    Returns:
        The images, with float16 and bfloat16 as float32, detached from any graph.

    Raises:
        ValueError: If they are anything else; the message says what was given, what is allowed and what to do.
    """
    if not isinstance(images, Tensor) or images.layout != torch.strided:
        got = f"a {images.layout} tensor" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a dense tensor. Got {got}: use torch.as_tensor(images), or .to_dense().")
    if images.ndim < 2 or not images.numel():
        raise ValueError(f"images must be (N, ...) with N >= 1, one image per row. Got shape {_shape(images)}.")
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in [0, 1]. Got {images.dtype}{_range(images)}. {_SCALE}")
    images = outside_inference(images.detach())
    if images.dtype not in (torch.float32, torch.float64):
        images = images.float()
    low, high = (value.item() for value in images.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = (~images.isfinite()).flatten(1).any(1)
        raise ValueError(
            f"images must be finite. Got NaN or infinity in {int(bad.sum())} of {len(images)} images, first in number "
            f"{int(bad.int().argmax())}: look for a division by zero where they are made, or leave those out."
        )
    if low < 0 or high > 1:
        advice = f"{_SCALE} {_NORMALIZE}"
        if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
            advice = "That is rounding: use images.clamp(0, 1)."
        elif low >= 0:
            advice = _SCALE
        elif high <= 1:
            advice = "Map [-1, 1] to [0, 1] by (images + 1) / 2. " + _NORMALIZE
        raise ValueError(f"images must be floats in [0, 1]. Got {images.dtype} in [{low:.9g}, {high:.9g}]. {advice}")
    return images


def outside_inference(tensor: Tensor) -> Tensor:
    """A tensor that autograd can use: a copy of one that was made under ``torch.inference_mode()``."""
    return tensor.clone() if tensor.is_inference() and not torch.is_inference_mode_enabled() else tensor


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _range(images: Tensor) -> str:
    if images.is_complex() or images.dtype == torch.bool:
        return ""
    return f" in [{int(images.to(torch.int64).min())}, {int(images.to(torch.int64).max())}]"


def _label_advice(labels: Tensor, images: int) -> str:
    if labels.ndim == 2 and labels.shape[0] == images:
        return " Use labels.squeeze(1)." if labels.shape[1] == 1 else " Of one-hot rows, use labels.argmax(1)."
    if labels.ndim == 1 and len(labels) == images and labels.is_floating_point():
        return " Use labels.long() if they are whole numbers."
    return ""


def check_training_labels(labels: Tensor) -> int:
    """The number of classes C that training labels imply.

    Args:
        labels: (N,) int64 labels >= 0.

    Returns:
        C, one more than the largest label.

    Raises:
        ValueError: If there is only one class, or the classes are not numbered from 0.
    """
    low, high = int(labels.min()), int(labels.max())
    if low == high:
        raise ValueError(f"training labels must name two classes or more. Got {low} for all {len(labels)} images.")
    if low > 0:
        raise ValueError(f"training labels must count classes from 0. Got {low} to {high}: subtract {low}.")
    return high + 1
