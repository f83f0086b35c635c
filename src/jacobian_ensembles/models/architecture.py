"""What a learner's network is: its name, input shape, number of classes, options and normalisation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from jacobian_ensembles.data.cards import CLASSES, NORMALIZATION
from jacobian_ensembles.experiment.config import Model
from jacobian_ensembles.experiment.extensions import short_name


def architecture(dataset: str, model: Model, images: Tensor, classes: int = CLASSES) -> dict[str, Any]:
    """What :func:`~jacobian_ensembles.models.registry.build_net` needs to know of a dataset's learners.

    Args:
        dataset: The dataset's name.
        model: The architecture's settings.
        images: (B, channels, height, width), the training images.
        classes: C.

    Returns:
        A JSON-able mapping.

    Raises:
        ValueError: If a LeNet cannot take such images.
    """
    mean, std = 0.0, 1.0
    if model.normalize:
        mean, std = NORMALIZATION.get(dataset) or (round(images.mean().item(), 4), round(images.std().item(), 4))
    shape = tuple(images.shape[1:])
    scaling = {"mean": mean, "std": std, "classes": classes}
    if model.architecture != "lenet":
        name = short_name(model.architecture)
        return {"name": name, "shape": list(shape), "options": dict(model.options), **scaling}
    if shape != (1, 28, 28):
        raise ValueError(
            f"{dataset}: its images are of shape {shape}; a LeNet takes (1, 28, 28). Resize them, or set "
            "model.architecture to one of your own (path/to/file.py:object)."
        )
    return {"activation": model.activation, "dropout": model.dropout, **scaling}
