"""What stages read: splits of a stored dataset, a stored ensemble. No torch, until something is a tensor."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.data.arrays import pixels
from jacobian_ensembles.data.cards import class_names
from jacobian_ensembles.data.splits import default_validation, limited_indices, validation_indices
from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.extensions.references import resolve
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.compiled import Compiled, from_arrays
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.test_sets import read_dataset
from jacobian_ensembles.storage.files import ArtifactError, read_header, stored_checksum, understanding
from jacobian_ensembles.storage.learners import load_learners

if TYPE_CHECKING:
    import torch
    from torch import nn

    from jacobian_ensembles.ensembles.ensemble import Ensemble
    from jacobian_ensembles.models.building import Builder


@dataclass(frozen=True)
class StoredImages:
    """A stored dataset, and which of its images are used.

    Attributes:
        path: The file.
        validation_images: Size of the validation split; None for the default of :func:`load_split`.
        train_images: Train (and craft) on only this many training images; None for all.
        test_images: Use only this many test images; None for all.
        dataset: The dataset that it must be; None for any.
    """

    path: str | Path
    validation_images: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    dataset: str | None = None

    def split(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, channels, height, width) and labels (B,) of a split: see :func:`load_split`."""
        import torch

        images, labels = self.arrays(name)
        return torch.from_numpy(pixels(images)), torch.from_numpy(labels)

    def arrays(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The same as arrays, images as they are stored: uint8, a quarter of the memory."""
        limit = {"train": self.train_images, "test": self.test_images}.get(name)
        return _load_split(self.path, name, self.validation_images, limit, self.dataset)

    def last(self, *names: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Several splits as arrays, the last that a job reads: the whole dataset, of some 50 MB, is not kept."""
        found = [self.arrays(name) for name in names]
        _read_dataset.cache_clear()
        return found

    @cached_property
    def train(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels to train and craft on: the training set without its validation images."""
        return self.split("train")

    @cached_property
    def validation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels to make choices on."""
        return self.split("validation")

    @cached_property
    def test(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels to test on."""
        return self.split("test")

    @property
    def checksum(self) -> str:
        """The checksum of the dataset."""
        return stored_checksum(self.path)

    @property
    def classes(self) -> int:
        """C, the number of classes: one more than the largest training label."""
        tensors, _ = _load_dataset(self.path, self.dataset)
        return int(tensors["train_labels"].max()) + 1

    @property
    def class_names(self) -> list[str]:
        """What the C classes are called; numbers if they have no names."""
        _, spec = _load_dataset(self.path, self.dataset)
        return spec.get("class_names") or class_names(spec["dataset"], self.classes)


@dataclass(frozen=True)
class StoredEnsemble:
    """A stored ensemble, and what is needed to load it.

    Attributes:
        path: The file.
        members: The number of members it must have; None for any.
        architecture: See :func:`load_ensemble`.
        method: See :func:`load_ensemble`.
        data: The checksum of the dataset that it must have been trained on; None for any.
    """

    path: str | Path
    members: int | None = None
    architecture: str = "lenet"
    method: str | None = None
    data: str | None = None

    def load(self) -> Ensemble:
        """The ensemble, on the CPU, with gradients switched off: see :func:`load_ensemble`."""
        self._check_data()
        return load_ensemble(self.path, self.members, self.architecture, self.method)

    def compiled(self) -> Compiled | None:
        """The ensemble in the engine; None for what the engine does not know."""
        if self.architecture != "lenet":
            return None
        self._check_data()
        arrays, architecture, how = _read_ensemble(self.path, self.members, self.method)
        if architecture.name != "lenet" or not isinstance(how.average, str):
            return None
        return from_arrays(arrays, architecture, how.average)

    def _check_data(self) -> None:
        trained = {} if self.data is None else read_header(self.path, "learners")[1]
        if trained.get("data") != self.data:
            raise ArtifactError(
                f"{self.path}: trained on another {trained.get('dataset')} than the one that is there now. Delete it "
                "to have it made again."
            )


class Placed:
    """A model where it computes, and the way of images to it.

    LeNets on a CPU are in the engine and take arrays, without torch; any other model takes tensors on its device.

    Args:
        model: A stored ensemble, or any classifier.
        device: ``cpu`` or ``cuda``.
        arrays: Whether arrays will do.

    Attributes:
        model: What the package's attacks and measurements take.
    """

    def __init__(self, model: StoredEnsemble | nn.Module, device: str, arrays: bool = True) -> None:
        self._device: torch.device | None = None
        self.model: Any = None
        stored = model if isinstance(model, StoredEnsemble) else None
        if stored and arrays and device == "cpu":
            self.model = stored.compiled()
        if self.model is None:
            self._device = prepare_device(device)
            net: Any = stored.load() if stored else model
            self.model = net.to(self._device)

    def bring(self, images: np.ndarray, labels: np.ndarray, stored: bool = False) -> tuple[Any, Any]:
        """Images, uint8, and labels as the model takes them.

        Args:
            images: (N, ...).
            labels: (N,).
            stored: Whether the engine may have images as they are: attacks turn those into numbers that a step needs.
        """
        if self._device is None:
            return images if stored else pixels(images), labels
        import torch

        return torch.from_numpy(pixels(images)).to(self._device), torch.from_numpy(labels).to(self._device)


def load_ensemble(
    path: str | Path,
    members: int | None = None,
    architecture: str | Builder = "lenet",
    method: str | Method | None = None,
) -> Ensemble:
    """Load the file of a stored ensemble; :mod:`jacobian_ensembles.runs.zoo` has the function that takes names, too.

    Args:
        path: The file ``assemble_ensemble`` wrote.
        members: See :func:`~jacobian_ensembles.runs.zoo.load_ensemble`, also for the rest.
        architecture: A reference, or the builder itself.
        method: A reference, or the method itself; None for built-in ones.

    Returns:
        The ensemble, on the CPU, with gradients switched off.
    """
    from jacobian_ensembles.ensembles.ensemble import Ensemble
    from jacobian_ensembles.models.building import build_nets

    arrays, spelled, how = _read_ensemble(path, members, method)
    builder: Builder = resolve(architecture, ARCHITECTURES) if isinstance(architecture, str) else architecture
    return Ensemble(build_nets(arrays, spelled, None if architecture == "lenet" else builder), how.average)


def _read_ensemble(
    path: str | Path, members: int | None, method: str | Method | None
) -> tuple[dict[str, np.ndarray], Architecture, Method]:
    arrays, spec = load_learners(path, members)
    name = str(spec.get("ensemble"))
    if method is None and name not in METHODS:
        raise ArtifactError(f"{path}: '{name}' is not a built-in method: pass it (method=...).")
    how = method if isinstance(method, Method) else resolve(method or name, METHODS, Method)
    with understanding(path):
        return arrays, Architecture(**spec["architecture"]), how


def load_split(
    path: str | Path,
    split: str,
    validation_images: int | None = None,
    limit: int | None = None,
    dataset: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load one split of a stored dataset.

    Args:
        path: The file :func:`~jacobian_ensembles.stages.download_dataset.download_dataset` wrote.
        split: ``train`` (the training set without its validation images), ``validation`` or ``test``.
        validation_images: Size of the validation split; None for 5,000, as in ``config.yaml``, but at most a tenth of
            the training set.
        limit: Use only this many images, a fixed random choice; None for all.
        dataset: The dataset that the file must hold; None for any.

    Returns:
        Images (B, channels, height, width), float32 in [0, 1], and labels (B,), int64.

    Raises:
        ArtifactError: If the file is damaged, is no dataset, another, or not the published one of its name.
        ValueError: If there is no such split, or ``limit`` exceeds what the split has or leaves out a class.
    """
    import torch

    images, labels = _load_split(path, split, validation_images, limit, dataset)
    return torch.from_numpy(pixels(images)), torch.from_numpy(labels)


def _load_split(
    path: str | Path, split: str, validation_images: int | None, limit: int | None, dataset: str | None
) -> tuple[np.ndarray, np.ndarray]:
    if split not in ("train", "validation", "test"):
        raise ValueError(f"split must be 'train', 'validation' or 'test'. Got {split!r}.")
    tensors, spec = _load_dataset(path, dataset)
    part = "test" if split == "test" else "train"
    images, labels = tensors[f"{part}_images"], tensors[f"{part}_labels"]
    if split == "test":
        index = np.arange(len(labels))
    else:
        size = default_validation(len(labels)) if validation_images is None else validation_images
        index = validation_indices(labels, size, spec["dataset"])
        if split == "train":
            index = np.setdiff1d(np.arange(len(labels)), index)
    if limit is not None:
        index = limited_indices(index, labels, limit, spec["dataset"], split)
    chosen = images[index]
    chosen = chosen[:, None] if chosen.ndim == 3 else np.moveaxis(chosen, -1, 1)
    return chosen, labels[index].astype(np.int64)


def _load_dataset(path: str | Path, dataset: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A stored dataset, checked; a job does not read and check it again for its next split."""
    try:
        told = Path(path).stat()
    except OSError:
        return read_dataset(path)  # which says what is wrong
    return _read_dataset(str(path), dataset, told.st_mtime_ns, told.st_size)


@functools.lru_cache(maxsize=1)
def _read_dataset(
    path: str, dataset: str | None, written: int, size: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return read_dataset(path, dataset)
