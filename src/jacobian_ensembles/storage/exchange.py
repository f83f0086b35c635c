"""Perturbations as files that other programs read: pictures and NumPy arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from jacobian_ensembles.storage.files import write_bytes

#: The endings of :func:`save_perturbation`'s files.
ENDINGS = (".png", ".npy", ".npz")


def save_perturbation(delta: Any, path: str | Path) -> None:
    """Write perturbations as a picture, or as an array without loss.

    Args:
        delta: A tensor or array, float: (channels, height, width) or (height, width), what is added to images in
            [0, 1]; for an array also K of them, (K, channels, height, width).
        path: What it ends in decides. ``.png``: a picture with a pixel for each, in grey or colour. No change is grey,
            128; the largest change in it, ``scale`` in the picture's text, is 255 where it adds and 1 where it takes
            away. ``.npy``: float32, of the shape given. ``.npz``: the same, called ``delta``.

    Raises:
        ValueError: If it ends in anything else, or ``delta`` is not finite or of another shape.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: it must end in one of {', '.join(ENDINGS)}.")
    values = np.asarray(delta.detach().cpu() if hasattr(delta, "detach") else delta)
    if values.dtype.kind != "f" or values.ndim not in (2, 3, 4) or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"delta must be finite floats, (channels, height, width). Got {values.dtype} {values.shape}, finite: "
            f"{values.dtype.kind == 'f' and bool(np.isfinite(values).all())}."
        )
    out = io.BytesIO()
    if ending == ".png":
        _draw(values, out)
    elif ending == ".npy":
        np.save(out, values.astype(np.float32))
    else:
        np.savez(out, delta=values.astype(np.float32))
    write_bytes(path, out.getvalue())


def _draw(values: np.ndarray, out: io.BytesIO) -> None:
    import PIL.Image
    from PIL.PngImagePlugin import PngInfo

    if values.ndim == 4 or (values.ndim == 3 and len(values) not in (1, 3)):
        raise ValueError(
            f"A picture shows one perturbation, (1 or 3 channels, height, width). Got {values.shape}: give delta[k]."
        )
    scale = float(np.abs(values).max())
    levels = np.round(128 + 127 * values.astype(np.float64) / (scale or 1)).astype(np.uint8)
    if levels.ndim == 3:
        levels = levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)
    text = PngInfo()
    text.add_text("scale", f"{scale:.9g}")
    PIL.Image.fromarray(levels).save(out, "PNG", pnginfo=text)
