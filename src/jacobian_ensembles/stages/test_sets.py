"""What the stages of the page read from a dataset. NumPy only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jacobian_ensembles.report.contents import TestSet
from jacobian_ensembles.storage.files import load_tensors


def load_test_set(path: str | Path) -> TestSet:
    """The test images of a stored dataset, all of them.

    Raises:
        ArtifactError: If the file is damaged or is not a dataset.
    """
    tensors, _ = load_tensors(path, kind="dataset")
    images = tensors["test_images"].astype(np.float32) / 255
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    return TestSet(images, tensors["test_labels"], int(tensors["train_labels"].max()) + 1)
