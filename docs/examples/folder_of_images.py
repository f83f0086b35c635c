"""A dataset of your own: colour images in folders, train/<class>/*.png and test/<class>/*.png.

grid: {datasets: [docs/examples/folder_of_images.py:shapes]}
data: {local_dir: path/to/the/folder}
"""

from pathlib import Path

import numpy as np

from jacobian_ensembles.data.folders import read_image_folder


def shapes(local_dir: str | Path | None) -> dict[str, np.ndarray]:
    """Read the folder named by data.local_dir."""
    if local_dir is None:
        raise ValueError("Set data.local_dir to the folder that holds train/ and test/.")
    return read_image_folder(local_dir)
