"""The fixed validation split."""

from __future__ import annotations

import logging

import numpy as np

from jacobian_ensembles.seeding import derive_seed

log = logging.getLogger(__name__)


def default_validation(images: int) -> int:
    """How many of n training images are held out for validation unless one says: 5,000, but at most a tenth."""
    return min(5_000, images // 10)


def validation_indices(labels: np.ndarray, size: int, dataset: str) -> np.ndarray:
    """Choose the fixed, stratified validation images of a training set.

    The split depends on the dataset and the size only, never on a run's seed, so that every choice made on it, in
    any run, is made on the same images. Every class keeps an image to train on.

    Args:
        labels: (n,) training labels.
        size: How many images; each class gets its share of them, to within one, as far as it has images to spare.
        dataset: The dataset's name.

    Returns:
        (size,) sorted indices.

    Raises:
        ValueError: If some class would have no training image left.
    """
    rng = np.random.default_rng(derive_seed("validation", dataset, size))
    counts = np.bincount(labels)
    spare = np.maximum(counts - 1, 0)
    if size > spare.sum():
        raise ValueError(
            f"{dataset}: {size} validation images asked for; its training set has {len(labels)} in all, and each of "
            f"its {np.count_nonzero(counts)} classes needs one to train on. Ask for at most {spare.sum()}."
        )
    share = counts * size / len(labels)
    quota = np.minimum(np.floor(share).astype(int), spare)
    while (left := size - quota.sum()) > 0:  # once, unless some class has nothing to spare
        room = np.flatnonzero(quota < spare)
        quota[room[np.argsort((quota - share)[room], kind="stable")[:left]]] += 1
    if size and (without := np.flatnonzero((quota == 0) & (counts > 0))).size:
        log.warning("%s: no validation image of class %s.", dataset, ", ".join(map(str, without[:10])))
    chosen = [rng.choice(np.flatnonzero(labels == c), quota[c], replace=False) for c in range(len(counts))]
    return np.sort(np.concatenate(chosen))


def limited_indices(index: np.ndarray, labels: np.ndarray, limit: int, dataset: str, split: str) -> np.ndarray:
    """Choose a fixed random part of a split, in which no class is missing that the split has.

    Args:
        index: (n,) indices of the split's images.
        labels: Labels of all images that ``index`` points into.
        limit: How many images.
        dataset: The dataset's name.
        split: The split's name.

    Returns:
        (limit,) sorted indices.

    Raises:
        ValueError: If there are fewer images than ``limit``, or more classes.
    """
    if limit > len(index):
        raise ValueError(f"{dataset}: {limit} {split} images asked for; it has {len(index)}.")
    shuffled = np.random.default_rng(derive_seed("limit", dataset, split)).permutation(index)
    classes, first = np.unique(labels[shuffled], return_index=True)
    if limit < len(classes):
        raise ValueError(f"{dataset}: {limit} {split} images asked for; its {len(classes)} classes need one each.")
    beyond = first[first >= limit]
    kept = np.ones(limit, bool)
    for _ in beyond:  # a class whose first image comes later takes the place of one that others can spare
        here = labels[shuffled[:limit]]
        common = np.bincount(here[kept], minlength=classes.max() + 1).argmax()
        kept[np.flatnonzero(kept & (here == common))[-1]] = False
    return np.sort(np.concatenate([shuffled[:limit][kept], shuffled[beyond]]))
