"""The fixed validation split."""

from __future__ import annotations

import numpy as np

from jacobian_ensembles.seeding import derive_seed


def validation_indices(labels: np.ndarray, size: int, dataset: str) -> np.ndarray:
    """Choose the fixed, stratified validation images of a training set.

    The split depends on the dataset and the size only, never on a run's seed, so that every choice made on it, in
    any run, is made on the same images.

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
