"""Checks on images, labels and whole datasets."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jacobian_ensembles.data.cards import DATASET_TENSORS

_OVERSHOOT = 1e-3  # how far beyond [0, 1] rounding and resampling carry a pixel
_SCALE = "Divide bytes by 255."
_NORMALIZE = "Let the model subtract means and divide by deviations itself: perturbations are bounded in pixel units."


def check_images(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check images and their labels, and give them in the types that everything computes with.

    Args:
        images: (N, ...), N >= 1, floats in [0, 1] of any precision.
        labels: (N,), integers >= 0 of any type.

    Returns:
        The images, float16 and bfloat16 as float32, and the labels, as int64 beside them.

    Raises:
        ValueError: Saying what was got, what is allowed and what to do.
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
        The images, float16 and bfloat16 as float32, outside any graph.

    Raises:
        ValueError: Saying what was got, what is allowed and what to do.
    """
    if not isinstance(images, Tensor) or images.layout != torch.strided:
        got = f"a {images.layout} tensor" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a dense tensor. Got {got}: use torch.as_tensor(images), or .to_dense().")
    if images.ndim < 2 or not images.numel():
        raise ValueError(f"images must be (N, ...) with N >= 1, one image per row. Got shape {_shape(images)}.")
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in [0, 1]. Got {images.dtype}{_range(images)}. {_SCALE}")
    images = images.detach()
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
    """The number of classes C that training labels speak of.

    Args:
        labels: (N,) int64 labels >= 0.

    Returns:
        C, one more than the largest label.

    Raises:
        ValueError: If there is one class only, or classes are not counted from 0.
    """
    low, high = int(labels.min()), int(labels.max())
    if low == high:
        raise ValueError(f"training labels must name two classes or more. Got {low} for all {len(labels)} images.")
    if low > 0:
        raise ValueError(f"training labels must count classes from 0. Got {low} to {high}: subtract {low}.")
    return high + 1


class DataError(RuntimeError):
    """A dataset could not be obtained, or is not the dataset it claims to be."""


def check_arrays(dataset: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check a user's dataset.

    Args:
        dataset: Its name, for the messages.
        arrays: ``train_images`` and ``test_images``, uint8, (n, height, width) or (n, height, width, channels), of one
            size; ``train_labels`` and ``test_labels``, (n,) integers in [0, C), each class among the training labels.

    Returns:
        The arrays, with labels as uint8.

    Raises:
        DataError: Naming every difference.
    """
    if not isinstance(arrays, Mapping) or set(arrays) != set(DATASET_TENSORS):
        got = ", ".join(map(str, arrays)) if isinstance(arrays, Mapping) else type(arrays).__name__
        raise DataError(f"{dataset}: its function must return a mapping of {', '.join(DATASET_TENSORS)}. Got {got}.")
    out, problems = {}, []
    for name, value in arrays.items():
        try:
            out[name] = np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on a GPU
            raise DataError(f"{dataset}: {name} cannot be made an array ({error}).") from error
    shape = out["train_images"].shape[1:]
    for part in ("train", "test"):
        images, labels = out[f"{part}_images"], out[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[1:] != shape or not images.size:
            wanted = "uint8 of shape (n, height, width) or (n, height, width, channels), as in training"
            scale = "; scale floats to 0..255 and round them" if images.dtype.kind == "f" else ""
            problems.append(f"{part}_images must be {wanted}, got {images.dtype} {images.shape}{scale}")
        elif _channels_first(images.shape):
            problems.append(
                f"{part}_images of shape {images.shape} have their channels first; move channels last, by "
                "np.moveaxis(images, 1, -1)"
            )
        count = len(images) if images.ndim else 0
        if labels.shape != (count,) or labels.dtype.kind not in "iu" or not count:
            problems.append(f"{part}_labels must be {count} integers, got {labels.dtype} {labels.shape}")
    if not problems:
        classes = int(out["train_labels"].max()) + 1
        missing = sorted(set(range(min(classes, 257))) - set(out["train_labels"].tolist()))
        if not 2 <= classes <= 256 or missing or int(out["train_labels"].min()) < 0:
            problems.append(
                f"training labels must run from 0 to C - 1, 2 <= C <= 256; got {out['train_labels'].min()} to "
                f"{classes - 1}" + (f", without {', '.join(map(str, missing[:10]))}" if missing else "")
            )
        elif not 0 <= int(out["test_labels"].min()) <= int(out["test_labels"].max()) < classes:
            problems.append("a test label occurs that no training image has")
    if problems:
        raise DataError(f"{dataset}: {'; '.join(problems)}.")
    return {name: a.astype(np.uint8) for name, a in out.items()}


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images (n, a, b, c) are more likely (n, channels, height, width)."""
    if len(shape) == 3 or shape[3] <= 4:
        return False
    return shape[1] <= 4 or shape[1] < shape[2] == shape[3]
