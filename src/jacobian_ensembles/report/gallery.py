"""The worst perturbations as pictures, with what a model takes some perturbed images for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from jacobian_ensembles.paper.labels import model_name
from jacobian_ensembles.storage.predictions import load_clean

_FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_SHOWN_IMAGES = 5  # per gallery row


def class_names(dataset: str, classes: int) -> list[str]:
    """What the classes of a dataset are called; numbers where nobody has named them."""
    return list(_FASHION) if dataset == "fashion_mnist" else [str(c) for c in range(classes)]


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


def model_key(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells the models of a run apart: dataset, ensemble, members, lambda."""
    return spec["dataset"], spec["ensemble"], int(spec["members"]), float(spec["lambda"])


def _percents(values: Iterable[float]) -> list[float | None]:
    return [None if np.isnan(v) else round(100 * float(v), 1) for v in values]


def accuracy_per_class(model: Mapping[str, Any], clean: str | Path, uap: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy per true class, clean and under the model's worst perturbation."""
    predicted, labels, _ = load_clean(clean)
    rows = {"clean": predicted == labels, "UAP": uap["correct"]}
    return [
        {"model": model["name"], "under": under, "values": _percents(pd.Series(right).groupby(labels).mean())}
        for under, right in rows.items()
    ]


def _examples(
    ensemble: str | Path,
    delta: np.ndarray,
    images: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    how: dict[str, Any],
) -> list[dict[str, Any]]:
    """Some test images, clean and perturbed, with what a model takes them for."""
    import torch

    from jacobian_ensembles.stages.inputs import load_ensemble

    model = load_ensemble(ensemble, **how)
    with torch.no_grad():
        x = torch.from_numpy(images)
        pairs = [model(z).argmax(1).tolist() for z in (x, x + torch.from_numpy(delta))]
    return [
        {
            "clean": image_uri(_picture(image)),
            "perturbed": image_uri(_picture(image + delta)),
            "label": names[label],
            "predicted": names[before],
            "fooled": names[after],
            "right": (before == label, after == label),
        }
        for image, label, before, after in zip(images, labels, *pairs, strict=True)
    ]


def gallery(
    dataset: str,
    models: Sequence[Mapping[str, Any]],
    uaps: Mapping[tuple[Any, ...], dict[str, Any]],
    ensembles: Mapping[tuple[Any, ...], str | Path],
    test: tuple[np.ndarray, np.ndarray],
    names: Sequence[str],
    how: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The worst perturbations of a dataset: of chosen models with examples, of all models as small pictures.

    Args:
        dataset: Its name.
        models: The models shown with examples: what :func:`model_key` takes, ``name`` and ``title``.
        uaps: :func:`load_worst_uap` of every model of the run, by :func:`model_key`.
        ensembles: Every model's file, by :func:`model_key`.
        test: Test images (N, channels, height, width) in [0, 1] and labels (N,).
        names: What the classes are called.
        how: Keyword arguments of :func:`~jacobian_ensembles.stages.inputs.load_ensemble`, by ensemble method.

    Returns:
        ``rows``, the chosen models with examples, and ``every`` model's perturbation as a small picture.
    """
    images, labels = test
    # the first test image of each of some classes: the same for every model, chosen by nobody
    first = [int(np.flatnonzero(labels == c)[0]) for c in np.unique(labels)[:_SHOWN_IMAGES]]
    rows = []
    for model in models:
        uap = uaps[model_key(model)]
        examples = _examples(
            ensembles[model_key(model)],
            uap["delta"],
            images[first],
            labels[first].tolist(),
            names,
            how.get(model["ensemble"], {}),
        )
        rows.append({**model, **_thumbnail(uap), "examples": examples})
    every = [{"name": model_name(uap), **_thumbnail(uap)} for key, uap in uaps.items() if key[0] == dataset]
    return {"rows": rows, "every": every}


def _thumbnail(uap: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uri": image_uri(_picture(0.5 + uap["delta"] / (2 * uap["eps"]))),
        "accuracy": f"{100 * uap['accuracy']:.1f}",
        "seed": uap["seed"],
    }
