"""Checks on the arrays of a whole dataset. No torch: fetching needs none."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jacobian_ensembles.data.cards import CARDS, DATASET_TENSORS


class DataError(RuntimeError):
    """A dataset could not be obtained, or is not the dataset it claims to be."""


def check_arrays(dataset: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Check a user's dataset.

    Args:
        dataset: Its name, for the messages.
        arrays: ``train_images`` and ``test_images``, uint8, (n, height, width) or (n, height, width, channels), of one
            size; ``train_labels`` and ``test_labels``, (n,) integers in [0, C), each class among the training labels;
            and, if the classes have names, ``class_names``, C different texts: see :func:`check_class_names`.

    Returns:
        The arrays, with labels as uint8.

    Raises:
        DataError: If they are not such arrays; the message names every difference.
    """
    if isinstance(arrays, Mapping):
        arrays = {name: value for name, value in arrays.items() if name != "class_names"}
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


def check_class_names(dataset: str, names: Any, classes: int) -> list[str]:
    """Check what a user's classes are called.

    Args:
        dataset: The dataset's name, for the message.
        names: What the user gave.
        classes: C.

    Returns:
        The names.

    Raises:
        DataError: If they are not C different texts of one line.
    """
    found = list(names) if isinstance(names, Sequence) and not isinstance(names, str | bytes) else []
    fine = all(isinstance(name, str) and name.strip() and len(name.splitlines()) == 1 for name in found)
    if not fine or not len(found) == len(set(found)) == classes:
        raise DataError(f"{dataset}: class_names must be {classes} different texts, one per class. Got {names!r}.")
    return found


def pixels(images: np.ndarray) -> np.ndarray:
    """Stored images, uint8, as numbers in [0, 1]: float32, contiguous."""
    found = images.astype(np.float32, order="C")
    found /= np.float32(255)
    return found


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """The (channels, height, width) of an image of an array (n, height, width) or (n, height, width, channels)."""
    return shape[3] if len(shape) == 4 else 1, shape[1], shape[2]


def published_as(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The built-in dataset whose published files hold these arrays, byte for byte; None if there is none."""
    digests = {name: _idx_digest(array) for name, array in arrays.items()}
    return next((name for name, card in CARDS.items() if card.sha256 == digests), None)


def _idx_digest(array: np.ndarray) -> str:
    """The SHA-256 sum of the IDX file of an array of bytes: two zeros, the type, the number of axes, sizes, content."""
    digest = hashlib.sha256(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def repeated_images(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count images that occur more than once, byte for byte.

    Args:
        arrays: As :func:`check_arrays` returns them.

    Returns:
        ``test_in_train``, the test images that are training images, too; ``in_train`` and ``in_test``, the images of
        each set that repeat an earlier one of it.
    """
    seen = {part: [image.tobytes() for image in arrays[f"{part}_images"]] for part in ("train", "test")}
    training = set(seen["train"])
    return {
        "test_in_train": sum(image in training for image in seen["test"]),
        "in_train": len(seen["train"]) - len(training),
        "in_test": len(seen["test"]) - len(set(seen["test"])),
    }


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images (n, a, b, c) are more likely (n, channels, height, width)."""
    if len(shape) == 3 or shape[3] <= 4:
        return False
    return shape[1] <= 4 or shape[1] < shape[2] == shape[3]
