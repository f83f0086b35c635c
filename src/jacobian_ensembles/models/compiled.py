"""LeNets in the engine, as a classifier that takes arrays as other classifiers take tensors. No torch."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.data.arrays import pixels
from jacobian_ensembles.data.interop import to_numpy
from jacobian_ensembles.models.architecture import Architecture

if TYPE_CHECKING:
    from jacobian_ensembles.data.interop import Array
    from jacobian_ensembles.engine.passes import Networks

log = logging.getLogger(__name__)
#: A LeNet's layers with parameters, input to output.
LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")
_TRIED = 16  # images that a model is tried on


@functools.cache
def engine() -> ModuleType | None:
    """The engine's passes, imported when a network first needs them; None where numba cannot compile."""
    try:
        from jacobian_ensembles.engine.passes import __name__ as name  # code digests follow this form of import
    except ImportError as error:
        log.warning("LeNets run through torch's layers, several times slower than compiled: %s", error)
        return None
    return sys.modules[name]


@dataclass(frozen=True)
class Compiled:
    """LeNets in the engine, and how their scores are averaged.

    The package's attacks and measurements take it in place of an ensemble, with images (N, 1, 28, 28), float32 or as a
    dataset stores them, uint8, and labels (N,) int64 as arrays, and return arrays. They compute the same for the
    ensemble and tensors on a CPU.

    Attributes:
        networks: M of them.
        average: ``logits`` or ``probabilities``.
    """

    networks: Networks
    average: str = "logits"

    @property
    def members(self) -> list[Compiled]:
        """Each network by itself."""
        return [Compiled(self.networks.only(m)) for m in range(len(self.networks))]

    def admit(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Check images and labels, in the range and of the types that a stored dataset's have, together with the model.

        Raises:
            ValueError: If they are not of the shapes and classes of the model, or it returns NaN.
        """
        classes = self.networks.classes
        if images.shape[1:] != (1, 28, 28) or labels.shape != (len(images),):
            raise ValueError(
                f"a LeNet needs images (N, 1, 28, 28) and labels (N,). Got {images.shape} and {labels.shape}."
            )
        if not 0 <= (low := int(labels.min())) <= (high := int(labels.max())) < classes:
            raise ValueError(
                f"labels must lie in [0, {classes}), as the model returns {classes} scores. Got {low} to {high}: give "
                "the images of this model's classes."
            )
        if np.isnan(self.networks.logits(rows(images[:_TRIED]))).any():
            raise ValueError(
                "the model must return finite scores. It returned NaN for clean images: look into its weights."
            )


def admit(model: Any, images: Any, labels: Any) -> tuple[Any, Any]:
    """Check a model, images and labels together, as :func:`~jacobian_ensembles.models.door.admit` does.

    Returns:
        Images and labels, of the types that everything computes with.
    """
    if isinstance(model, Compiled):
        model.admit(images, labels)
        return images, labels
    from jacobian_ensembles.models.door import admit as admit_tensors

    return admit_tensors(model, images, labels)


def classes_of(model: Any, images: Any) -> int:
    """C; a model that is not in the engine is asked for the scores of a few images."""
    if isinstance(model, Compiled):
        return model.networks.classes
    from jacobian_ensembles.models.door import scores

    return scores(model, images[:_TRIED]).shape[1]


def rows(images: Array) -> Any:
    """Images (B, 1, 28, 28) as the engine reads them, (B, 784).

    A copy only of stored ones, uint8, and of what is not contiguous and writable.
    """
    if images.dtype == np.uint8:
        images = pixels(to_numpy(images))
    return np.require(to_numpy(images).reshape(len(images), 784), requirements=["C_CONTIGUOUS", "WRITEABLE"])


def from_arrays(arrays: Mapping[str, np.ndarray], architecture: Architecture, average: str) -> Compiled | None:
    """Stored LeNets in the engine.

    Args:
        arrays: (M, ...) by parameter name, see :func:`~jacobian_ensembles.models.building.parameter_arrays`.
        architecture: Of all of them.
        average: See :class:`Compiled`.

    Returns:
        A copy; None where numba cannot compile.
    """
    if (passes := engine()) is None:
        return None
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    members = len(arrays[names[0]])
    relu = architecture.options.get("activation", "tanh") == "relu"
    nets = [[arrays[name][m] for name in names] for m in range(members)]
    return Compiled(passes.pack(nets, [relu] * members, architecture.mean, architecture.std), average)
