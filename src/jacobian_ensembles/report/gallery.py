"""The worst perturbations as pictures, with what a model takes some perturbed images for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from jacobian_ensembles.report.contents import TestSet

_SHOWN_IMAGES = 5  # per gallery row


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a URI that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image_uri(pixels: np.ndarray) -> str:
    """An image (height, width) or (height, width, 3) in [0, 1] as the URI of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def _picture(x: np.ndarray) -> np.ndarray:
    """(channels, height, width) to what :func:`image_uri` takes."""
    return x[0] if len(x) == 1 else np.moveaxis(x[:3], 0, -1)


def _percents(values: Iterable[float]) -> list[float | None]:
    return [None if np.isnan(v) else round(100 * float(v), 1) for v in values]


def accuracy_per_class(name: str, clean: tuple[np.ndarray, np.ndarray], under_uap: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy per true class, clean and under the model's worst perturbation.

    Args:
        name: What the page calls the model.
        clean: Which images are classified correctly, booleans, and their true classes: (N,) each.
        under_uap: (N,) booleans: the images still classified correctly under the perturbation.
    """
    right_clean, labels = clean
    rows = {"clean": right_clean, "UAP": under_uap}
    return [
        {"model": name, "under": under, "values": _percents(pd.Series(right).groupby(labels).mean())}
        for under, right in rows.items()
    ]


def example_indices(labels: np.ndarray) -> list[int]:
    """The first test image of each of the first few classes: the same for every model, not hand-picked."""
    return [int(np.flatnonzero(labels == c)[0]) for c in np.unique(labels)[:_SHOWN_IMAGES]]


def thumbnail(uap: Mapping[str, Any]) -> dict[str, Any]:
    """A perturbation as a small picture, with its accuracy and attack seed."""
    return {
        "uri": image_uri(_picture(0.5 + uap["delta"] / (2 * uap["eps"]))),
        "accuracy": f"{100 * uap['accuracy']:.1f}",
        "seed": uap["seed"],
    }


def examples(
    test_set: TestSet, delta: np.ndarray, predicted: tuple[Sequence[int], Sequence[int]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Some test images, clean and perturbed, with what a model takes them for.

    Args:
        test_set: The images.
        delta: (channels, height, width), the perturbation.
        predicted: The model's classes for the images of :func:`example_indices`, clean and perturbed.
        names: What the classes are called.
    """
    indices = example_indices(test_set.labels)
    return [
        {
            "clean": image_uri(_picture(test_set.images[i])),
            "perturbed": image_uri(_picture(test_set.images[i] + delta)),
            "label": names[test_set.labels[i]],
            "predicted": names[before],
            "fooled": names[after],
            "right": (before == test_set.labels[i], after == test_set.labels[i]),
        }
        for i, before, after in zip(indices, *predicted, strict=True)
    ]
