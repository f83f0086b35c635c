import dataclasses
import hashlib
import logging

import numpy as np
import pytest

from jacobian_ensembles.data import arrays as module
from jacobian_ensembles.data.arrays import DataError, check_class_names, published_as, repeated_images
from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.stages.download_dataset import download_dataset
from jacobian_ensembles.stages.test_sets import load_test_set
from jacobian_ensembles.storage.files import read_header

SOURCE = """
import numpy as np


def leaking(local_dir):
    images = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    labels = np.arange(12) % 2
    train = {"train_images": images, "train_labels": labels}
    return train | {"test_images": images[8:] - SHIFT, "test_labels": labels[8:]}
"""


def arrays(train, test):
    """Images of one pixel each."""
    as_images = lambda values: np.array(values, np.uint8)[:, None, None]  # noqa: E731
    return {"train_images": as_images(train), "test_images": as_images(test)}


@pytest.mark.parametrize(
    ("train", "test", "counts"),
    [
        ([1, 2, 3], [4, 5], (0, 0, 0)),
        ([1, 2, 3], [3, 4, 3], (2, 0, 1)),
        ([1, 1, 1, 2], [2, 1], (2, 2, 0)),
    ],
)
def test_repeated_images_are_counted(train, test, counts):
    found = repeated_images(arrays(train, test))
    assert (found["test_in_train"], found["in_train"], found["in_test"]) == counts


@pytest.mark.parametrize(("shift", "leaked"), [(0, 4), (2, 4), (100, 0)])
def test_test_images_that_are_training_images_are_told_and_kept_as_a_fact(tmp_path, caplog, monkeypatch, shift, leaked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(SOURCE.replace("SHIFT", str(shift)))
    with caplog.at_level(logging.INFO):
        download_dataset("data.py:leaking", tmp_path / "leaking.safetensors")
    assert read_header(tmp_path / "leaking.safetensors")[1]["repeated"]["test_in_train"] == leaked
    assert (f"{leaked} of 4 test images are training images" in caplog.text) == bool(leaked)


def test_published_files_are_recognised_by_their_idx_bytes(monkeypatch):
    images, labels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.array([1, 0, 1], np.uint8)
    header = lambda *sizes: bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)  # noqa: E731
    sums = {
        "train_images": hashlib.sha256(header(3, 2, 2) + images.tobytes()).hexdigest(),
        "train_labels": hashlib.sha256(header(3) + labels.tobytes()).hexdigest(),
    }
    monkeypatch.setattr(module, "CARDS", {"tiny": dataclasses.replace(CARDS["mnist"], sha256=sums)})
    assert published_as({"train_images": images, "train_labels": labels}) == "tiny"
    assert published_as({"train_images": images, "train_labels": 1 - labels}) is None


@pytest.mark.parametrize(
    "names", ["ab", ["a"], ["a", "a"], ["a", ""], ["a", 1], ["a", "b\nc"], {"a": 0, "b": 1}, [["a"], ["b"]]]
)
def test_class_names_are_different_texts_one_per_class(names):
    assert check_class_names("d", ["a", "b"], 2) == ["a", "b"]
    with pytest.raises(DataError, match=r"d: class_names must be 2 different texts, one per class\. Got"):
        check_class_names("d", names, 2)


def test_class_names_come_from_the_dataset_to_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = SOURCE.replace("SHIFT", "0").replace("return train", 'return train | {"class_names": ["cat", "dog"]}')
    (tmp_path / "data.py").write_text(named)
    download_dataset("data.py:leaking", tmp_path / "leaking.safetensors")
    shown = load_test_set(tmp_path / "leaking.safetensors")
    assert (shown.names, shown.leaked) == (("cat", "dog"), 4)
