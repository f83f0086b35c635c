"""Checks on images, labels and whole datasets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from jacobian_ensembles.data.cards import DATASET_TENSORS


def check_images(images: Tensor, labels: Tensor) -> None:
    """Refuse images that are not floats in [0, 1], and labels that are not one integer each.

    Raises:
        ValueError: Saying what was got and what to do.
    """
    low, high = (images.min().item(), images.max().item()) if images.numel() else (0.0, 0.0)
    if not images.is_floating_point() or low < 0 or high > 1:
        raise ValueError(
            f"images must be floats in [0, 1]. Got {images.dtype} in [{low:g}, {high:g}]. Divide bytes by 255, and "
            "let the model subtract means and divide by deviations itself: perturbations are bounded in pixel units."
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ValueError(f"labels must be {len(images)} integers. Got {labels.dtype} of shape {tuple(labels.shape)}.")


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
    out = {name: np.asarray(value) for name, value in arrays.items()}
    shape = out["train_images"].shape[1:]
    problems = []
    for part in ("train", "test"):
        images, labels = out[f"{part}_images"], out[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[1:] != shape:
            wanted = "uint8 of shape (n, height, width) or (n, height, width, channels), as in training"
            problems.append(f"{part}_images must be {wanted}, got {images.dtype} {images.shape}")
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or not len(labels):
            problems.append(f"{part}_labels must be {len(images)} integers, got {labels.dtype} {labels.shape}")
    if not problems:
        classes = int(out["train_labels"].max()) + 1
        missing = sorted(set(range(classes)) - set(out["train_labels"].tolist()))
        if not 2 <= classes <= 256 or missing or int(out["train_labels"].min()) < 0:
            problems.append(
                f"training labels must run from 0 to C - 1, 2 <= C <= 256; {missing or 'some'} do not occur"
            )
        if not 0 <= int(out["test_labels"].min()) <= int(out["test_labels"].max()) < classes:
            problems.append("a test label occurs that no training image has")
    if problems:
        raise DataError(f"{dataset}: {'; '.join(problems)}.")
    return {name: a.astype(np.uint8) for name, a in out.items()}
