from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jacobian_ensembles.data.arrays import DataError
from jacobian_ensembles.data.cards import FILES
from jacobian_ensembles.stages.checking import check_source
from jacobian_ensembles.stages.download_dataset import download_dataset

NOT_YET = Path("nowhere/shapes.safetensors")
OWN = """
import numpy as np

def load(local_dir):
    images, labels = np.zeros((4, {side}, {side}), np.uint8), np.array([0, 1, 0, 1])
    return {{"train_images": images, "test_images": images, "train_labels": labels, "test_labels": labels}}
"""


@pytest.fixture
def folder(tmp_path):
    """A dataset of one image per class and part, 28 x 28 and grey."""
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(np.full((28, 28), 9, np.uint8)).save(tmp_path / part / name / "1.png")
    return tmp_path


def test_what_can_be_read_and_trained_on_passes(folder):
    check_source("mnist", None, "lenet", NOT_YET)
    check_source(f"{folder}/", None, "lenet", NOT_YET)
    check_source("own.py:load", "nowhere", "lenet", NOT_YET)  # what a function returns is not known yet


def test_a_lenet_is_refused_on_images_of_another_shape(folder):
    Image.fromarray(np.full((32, 32, 3), (1, 2, 3), np.uint8)).save(folder / "train/a/1.png")
    with pytest.raises(ValueError, match=r"of shape \(3, 32, 32\); a LeNet takes \(1, 28, 28\)"):
        check_source(f"{folder}/", None, "lenet", NOT_YET)
    check_source(f"{folder}/", None, "own.py:net", NOT_YET)


def test_a_folder_without_images_is_refused(folder):
    (folder / "test/b/1.png").unlink()
    with pytest.raises(DataError, match="test/b: no image in it"):
        check_source(f"{folder}/", None, "lenet", NOT_YET)
    with pytest.raises(DataError, match="no such folder"):
        check_source(f"{folder}/nothing", None, "lenet", NOT_YET)


def test_a_folder_without_the_files_of_a_built_in_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        check_source("mnist", str(tmp_path / "nothing"), "lenet", NOT_YET)
    with pytest.raises(DataError, match="no file train-images"):
        check_source("mnist", str(tmp_path), "lenet", NOT_YET)
    (tmp_path / "mnist").mkdir()
    for name in FILES.values():
        (tmp_path / "mnist" / f"{name}.gz").touch()
    check_source("mnist", str(tmp_path), "lenet", NOT_YET)  # their content is checked when they are read


def test_what_a_function_gave_is_known_once_it_is_read(tmp_path):
    source, stored = tmp_path / "own.py", tmp_path / "load.safetensors"
    refused = r"load: The images are of shape \(1, 32, 32\); a LeNet takes \(1, 28, 28\)"
    source.write_text(OWN.format(side=32))
    with pytest.raises(DataError, match=refused):
        download_dataset(f"{source}:load", stored, architecture="lenet")
    assert not stored.exists()  # the job that reads it fails, and no training starts
    download_dataset(f"{source}:load", stored, architecture="own.py:net")
    check_source(f"{source}:load", None, "own.py:net", stored)
    with pytest.raises(ValueError, match=refused):
        check_source(f"{source}:load", None, "lenet", stored)
    source.write_text(OWN.format(side=28))
    check_source(f"{source}:load", None, "lenet", stored)  # to be read anew
