"""A dataset of your own: KMNIST, ten cursive Japanese characters, by torchvision's downloader.

    grid: {datasets: [docs/examples/kuzushiji.py:kmnist]}

Same size and format as MNIST, so that the LeNet takes it as it is.
"""

from pathlib import Path

import numpy as np
from torchvision.datasets import KMNIST


def kmnist(local_dir: str | Path | None) -> dict[str, np.ndarray]:
    """Download KMNIST, or read it from data.local_dir if a copy lies there."""
    parts = {
        part: KMNIST(local_dir or "results/data/kmnist", part == "train", download=True) for part in ("train", "test")
    }
    images = {f"{part}_images": data.data.numpy() for part, data in parts.items()}
    return images | {f"{part}_labels": data.targets.numpy() for part, data in parts.items()}
