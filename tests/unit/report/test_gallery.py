"""The pictures of the page; that the gallery says what the model says is tested with the page, in test_page.py."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from jacobian_ensembles.data.cards import class_names
from jacobian_ensembles.report.gallery import accuracy_per_class, image_uri
from jacobian_ensembles.storage.files import ArtifactError, save_tensors
from jacobian_ensembles.storage.perturbations import load_worst_uap

SPEC = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0}


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_an_image_survives_its_uri():
    pixels = np.linspace(0, 1, 12).reshape(3, 4)
    np.testing.assert_allclose(decoded(image_uri(pixels)) / 255, pixels, atol=1 / 500)


def test_colour_survives_and_what_leaves_the_range_is_cut():
    pixels = np.zeros((2, 2, 3))
    pixels[0, 0], pixels[1, 1] = (1.2, 0.5, -0.1), (0, 1, 0)
    np.testing.assert_array_equal(decoded(image_uri(pixels))[[0, 1], [0, 1]], [[255, 128, 0], [0, 255, 0]])


def test_classes_nobody_has_named_are_numbers():
    assert class_names("mnist", 3) == ["0", "1", "2"]
    assert class_names("fashion_mnist", 10)[9] == "ankle boot"


def test_accuracy_is_counted_by_true_class():
    clean = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 2])
    rows = accuracy_per_class("x", clean, np.array([False, True, False, True]))
    assert [row["values"] for row in rows] == [[50.0, 100.0, 0.0], [50.0, 0.0, 100.0]]


def test_a_file_of_another_kind_is_refused(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": np.zeros(1)}, kind="clean", spec=SPEC)
    with pytest.raises(ArtifactError, match="worst_uap"):
        load_worst_uap(tmp_path / "x.safetensors")
