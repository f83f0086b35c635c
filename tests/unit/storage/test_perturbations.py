import numpy as np
import pytest

from jacobian_ensembles.storage.files import ArtifactError
from jacobian_ensembles.storage.perturbations import (
    load_clean,
    load_uaps,
    pack_bits,
    save_clean,
    save_uaps,
    unpack_bits,
)

SPEC = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.0, "eps": 0.15}


def block(path, first, count, images=11, **changes):
    rng = np.random.default_rng(first)
    deltas = rng.random((count, 1, 28, 28), np.float32)
    bits = rng.random((count, images)) < 0.5
    save_uaps(path, deltas, bits, first, {**SPEC, **changes})
    return path, deltas, bits


@pytest.mark.parametrize("images", [1, 7, 8, 9, 10_000])
def test_bits_survive_packing(images):
    bits = np.random.default_rng(0).random((3, images)) < 0.5
    packed = pack_bits(bits)
    assert packed.shape == (3, (images + 7) // 8)
    assert np.array_equal(unpack_bits(packed, images), bits)


def test_blocks_are_joined_in_seed_order(tmp_path):
    a, da, ba = block(tmp_path / "a", 0, 3)
    b, db, bb = block(tmp_path / "b", 3, 2)
    deltas, bits, spec = load_uaps([a, b])
    assert np.array_equal(deltas, np.concatenate([da, db]))
    assert np.array_equal(bits, np.concatenate([ba, bb]))
    assert spec == {**SPEC, "images": 11, "steps_without_gradient": 0}


def test_blocks_out_of_order_or_missing_are_refused(tmp_path):
    a, b, c = (block(tmp_path / name, first, 2)[0] for name, first in (("a", 0), ("b", 2), ("c", 4)))
    with pytest.raises(ArtifactError, match="c: starts at attack seed 4; seed 2 was to come next"):
        load_uaps([a, c])
    with pytest.raises(ArtifactError, match="seed 0 was to come next"):
        load_uaps([b, a])


def test_blocks_of_another_model_eps_or_test_set_are_refused(tmp_path):
    a = block(tmp_path / "a", 0, 2)[0]
    for i, other in enumerate(({"eps": 0.2}, {"lambda": 1.0}, {"images": 12})):
        path = block(tmp_path / f"{i}", 2, 2, **other)[0]
        with pytest.raises(ArtifactError, match="a block of"):
            load_uaps([a, path])


def test_no_blocks_are_refused():
    with pytest.raises(ArtifactError, match="No blocks"):
        load_uaps([])


def test_clean_predictions_come_back(tmp_path):
    predicted, labels = np.array([1, 2, 9]), np.array([1, 3, 9])
    save_clean(tmp_path / "c", predicted, labels, SPEC)
    got, truth, spec = load_clean(tmp_path / "c")
    assert (got.tolist(), truth.tolist(), spec) == ([1, 2, 9], [1, 3, 9], SPEC)


def test_bits_are_packed_first_image_first():
    bits = np.array([[1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0]], bool)
    assert pack_bits(bits).tolist() == [[0b10110001, 0b11000000]]


def test_predictions_and_labels_of_different_length_are_refused(tmp_path):
    save_clean(tmp_path / "c", np.zeros(3), np.zeros(4), SPEC)
    with pytest.raises(ArtifactError, match=r"predicted is uint8 \(3,\) where uint8 \(4,\)"):
        load_clean(tmp_path / "c")
