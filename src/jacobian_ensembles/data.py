"""Stored datasets as tensors: the whole of a split in memory, with a fixed validation split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jacobian_ensembles.artifacts import check_tensors, load_tensors
from jacobian_ensembles.seeding import derive_seed

if TYPE_CHECKING:
    import torch

CLASSES = 10

#: (shape, dtype) of the built-in datasets' arrays.
DATASET_TENSORS = {
    "train_images": ((60_000, 28, 28), "uint8"),
    "train_labels": ((60_000,), "uint8"),
    "test_images": ((10_000, 28, 28), "uint8"),
    "test_labels": ((10_000,), "uint8"),
}

#: Pixel mean and standard deviation of each training set, for models that normalise.
NORMALIZATION = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}


def validation_indices(labels: np.ndarray, size: int, dataset: str) -> np.ndarray:
    """Choose the fixed, stratified validation images of a training set.

    The choice depends on the dataset and the size only, never on a run's seed, so that every choice made on
    it in any run was made on the same images.

    Args:
        labels: (n,) training labels.
        size: How many images; each class gets its share of them, to within one.
        dataset: The dataset's name.

    Returns:
        (size,) sorted indices.

    Raises:
        ValueError: If no training image would be left.
    """
    rng = np.random.default_rng(derive_seed("validation", dataset, size))
    if size >= len(labels):
        raise ValueError(f"{dataset}: {size} validation images asked for; its training set has {len(labels)} in all.")
    counts = np.bincount(labels)
    share = counts * size / len(labels)
    quota = np.floor(share).astype(int)
    quota[np.argsort(quota - share, kind="stable")[: size - quota.sum()]] += 1
    chosen = [rng.choice(np.flatnonzero(labels == c), quota[c], replace=False) for c in range(len(counts))]
    return np.sort(np.concatenate(chosen))


def load_split(
    path: str | Path, split: str, validation_images: int, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load one split of a stored dataset.

    Args:
        path: The file :func:`~jacobian_ensembles.datasets.download_dataset` wrote.
        split: ``train`` (the training set without its validation images), ``validation`` or ``test``.
        validation_images: Size of the validation split.
        limit: Use only so many images, a fixed random choice; None for all.

    Returns:
        Images (B, channels, height, width), float32 in [0, 1], and labels (B,), int64.

    Raises:
        ArtifactError: If the file is damaged or is not a dataset.
        ValueError: If there is no such split, or ``limit`` exceeds what the split has.
    """
    import torch

    if split not in ("train", "validation", "test"):
        raise ValueError(f"split must be 'train', 'validation' or 'test'. Got {split!r}.")
    tensors, spec = load_tensors(path, kind="dataset")
    check_tensors(path, tensors, DATASET_TENSORS if spec.get("dataset") in NORMALIZATION else _own_tensors(tensors))
    part = "test" if split == "test" else "train"
    images, labels = tensors[f"{part}_images"], tensors[f"{part}_labels"]
    if split == "test":
        index = np.arange(len(labels))
    else:
        index = validation_indices(labels, validation_images, spec["dataset"])
        if split == "train":
            index = np.setdiff1d(np.arange(len(labels)), index)
    if limit is not None:
        if limit > len(index):
            raise ValueError(f"{spec['dataset']}: {limit} {split} images asked for; it has {len(index)}.")
        rng = np.random.default_rng(derive_seed("limit", spec["dataset"], split))
        index = np.sort(rng.permutation(index)[:limit])
    pixels = torch.from_numpy(images[index])
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    return pixels, torch.from_numpy(labels[index]).to(torch.int64)


def _own_tensors(tensors: dict[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], str]]:
    """What the arrays of a user's dataset must be, given the shape of its training images."""
    shape = tensors["train_images"].shape[1:] if "train_images" in tensors else ()
    counts = {part: len(tensors.get(f"{part}_labels", ())) for part in ("train", "test")}
    images = {f"{part}_images": ((n, *shape), "uint8") for part, n in counts.items()}
    return images | {f"{part}_labels": ((n,), "uint8") for part, n in counts.items()}


def class_count(path: str | Path) -> int:
    """C, the number of classes of a stored dataset: one more than the largest training label.

    Raises:
        ArtifactError: If the file is damaged or is not a dataset.
    """
    tensors, _ = load_tensors(path, kind="dataset", only=("train_labels",))
    return int(tensors["train_labels"].max()) + 1
