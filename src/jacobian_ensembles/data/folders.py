"""Datasets of a user's own: folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jacobian_ensembles.data.checks import DataError


def read_image_folder(folder: str | Path, mode: str = "RGB") -> dict[str, np.ndarray]:
    """Read a dataset from image files: ``<folder>/train/<class>/*`` and ``<folder>/test/<class>/*``.

    Args:
        folder: The folder. Its classes are those of ``train``, numbered in alphabetical order.
        mode: ``RGB`` for three channels, ``L`` for one (grey).

    Returns:
        Arrays as :func:`check_arrays` wants them.

    Raises:
        DataError: If a folder is missing, holds no images, or images of several sizes.
    """
    from PIL import Image

    folder = Path(folder)
    classes = sorted(p.name for p in (folder / "train").glob("*") if p.is_dir())
    if not classes:
        raise DataError(f"{folder}: no folder train/<class>/ in it. Images belong in train/<class>/ and test/<class>/.")
    out: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        images, labels = [], []
        for label, name in enumerate(classes):
            for path in sorted((folder / part / name).glob("*.*")):
                with Image.open(path) as image:
                    images.append(np.asarray(image.convert(mode)))
                labels.append(label)
        sizes = sorted({image.shape for image in images})
        if len(sizes) != 1:
            raise DataError(f"{folder / part}: images of one size are needed, got {sizes or 'none'}.")
        out |= {f"{part}_images": np.stack(images), f"{part}_labels": np.array(labels)}
    return out
