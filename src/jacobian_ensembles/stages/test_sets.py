"""What stages read from a dataset's file: checked arrays, and the test set that the page shows. NumPy only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jacobian_ensembles.data.arrays import pixels, published_as
from jacobian_ensembles.data.cards import CARDS, DATASET_TENSORS, class_names
from jacobian_ensembles.report.contents import TestSet
from jacobian_ensembles.storage.files import ArtifactError, check_tensors, load_tensors, understanding


def read_dataset(path: str | Path, dataset: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A stored dataset, and what is known of it.

    Args:
        path: The file.
        dataset: The dataset that it must be; None for any.

    Returns:
        The arrays, uint8, and the file's spec.

    Raises:
        ArtifactError: If the file is damaged, is no dataset or another, or is called like a built-in dataset but does
            not hold its published images and labels.
    """
    tensors, spec = load_tensors(path, kind="dataset")
    name = spec.get("dataset")
    with understanding(path):
        check_tensors(path, tensors, DATASET_TENSORS if name in CARDS else _own_tensors(tensors))
    if name in CARDS and (found := published_as(tensors)) != name:
        raise ArtifactError(
            f"{path}: it is called {name}, but holds {found or 'other images or labels'} instead of the published "
            "ones. Delete it to have it made again."
        )
    if dataset not in (None, name):
        raise ArtifactError(f"{path}: it holds {name}, where {dataset} is needed. Delete it to have it made again.")
    return tensors, spec


def _own_tensors(tensors: dict[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], str]]:
    """What the arrays of a user's dataset must be, given the shape of its training images."""
    shape = tensors["train_images"].shape[1:] if "train_images" in tensors else ()
    counts = {part: len(tensors.get(f"{part}_labels", ())) for part in ("train", "test")}
    images = {f"{part}_images": ((n, *shape), "uint8") for part, n in counts.items()}
    return images | {f"{part}_labels": ((n,), "uint8") for part, n in counts.items()}


def load_test_set(path: str | Path) -> TestSet:
    """The test images of a stored dataset, which its file is named after, all of them.

    Raises:
        ArtifactError: See :func:`read_dataset`.
    """
    name = Path(path).stem
    tensors, spec = read_dataset(path, name)
    images = pixels(tensors["test_images"])
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    names = spec.get("class_names") or class_names(name, int(tensors["train_labels"].max()) + 1)
    return TestSet(images, tensors["test_labels"], tuple(names), spec.get("repeated", {}).get("test_in_train", 0))
