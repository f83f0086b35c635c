"""What stages read: a split of a stored dataset, a stored ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jacobian_ensembles.data.cards import DATASET_TENSORS, NORMALIZATION
from jacobian_ensembles.data.splits import validation_indices
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.experiment.extensions import resolve
from jacobian_ensembles.models.registry import ARCHITECTURES, Builder, build_nets
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.storage.files import check_tensors, load_tensors
from jacobian_ensembles.storage.learners import load_learners

if TYPE_CHECKING:
    import torch


def load_ensemble(
    path: str | Path,
    members: int | None = None,
    architecture: str | Builder = "lenet",
    method: str | Method | None = None,
) -> Ensemble:
    """Load a stored ensemble for evaluation.

    Args:
        path: The file ``assemble_ensemble`` wrote.
        members: The number of members it must have; None for any.
        architecture: What builds the members, where they are not LeNets: a reference (see
            :mod:`~jacobian_ensembles.experiment.extensions`) or the builder itself. A file names no code to run.
        method: The ensemble method, where it is not built in: a reference or the method itself. None for built-in ones.

    Returns:
        The ensemble, on the CPU, with gradients switched off.

    Raises:
        ArtifactError: If the file is damaged, or has other shapes or another member count.
        ExtensionError: If a reference leads nowhere.
        ValueError: If an architecture or method is not built in and was not given, or does not fit.
    """
    arrays, spec = load_learners(path, members)
    builder = resolve(architecture, ARCHITECTURES) if isinstance(architecture, str) else architecture
    if method is None:
        if spec["ensemble"] not in METHODS:
            raise ValueError(f"{path}: '{spec['ensemble']}' is not a built-in method: pass it (method=...).")
        method = METHODS[spec["ensemble"]]
    elif isinstance(method, str):
        method = resolve(method, METHODS, Method)
    nets = build_nets(arrays, spec["architecture"], None if architecture == "lenet" else builder)
    return Ensemble(nets, method.average)


def load_split(
    path: str | Path, split: str, validation_images: int, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load one split of a stored dataset.

    Args:
        path: The file :func:`~jacobian_ensembles.stages.download_dataset.download_dataset` wrote.
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
