import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jacobian_ensembles.storage import files as artifacts
from jacobian_ensembles.storage.files import (
    ArtifactError,
    check_tensors,
    load_tensors,
    read_json,
    save_tensors,
    write_bytes,
    write_json,
)

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1, 2, 250], np.uint8)}
SPEC = {"dataset": "mnist", "lambda": 0.1, "architecture": {"activation": "tanh"}}


@pytest.fixture
def stored(tmp_path):
    save_tensors(tmp_path / "x.safetensors", TENSORS, "thing", SPEC)
    return tmp_path / "x.safetensors"


def test_what_was_saved_comes_back(stored):
    tensors, spec = load_tensors(stored, "thing")
    assert spec == SPEC
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        assert np.array_equal(tensors[name], array)


def test_equal_content_is_equal_bytes_whatever_the_order(stored, tmp_path):
    turned = dict(reversed(TENSORS.items()))
    save_tensors(tmp_path / "y.safetensors", turned, "thing", dict(reversed(SPEC.items())))
    assert (tmp_path / "y.safetensors").read_bytes() == stored.read_bytes()


def test_every_flipped_bit_is_found(stored, tmp_path):
    content = stored.read_bytes()
    # the length, the header's JSON, the first and last tensor
    for position in [0, 3, 9, 40, 120, len(content) // 2, len(content) - 30, len(content) - 20, len(content) - 1]:
        damaged = bytearray(content)
        damaged[position] ^= 4
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"damaged\.safetensors"):
            load_tensors(path, "thing")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(stored, keep):
    stored.write_bytes(stored.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"x\.safetensors: not a readable safetensors file"):
        load_tensors(stored, "thing")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere\.safetensors"):
        load_tensors(tmp_path / "nowhere.safetensors", "thing")


def test_a_file_of_another_kind_or_origin_is_refused(stored, tmp_path):
    with pytest.raises(ArtifactError, match="expected a file of kind 'uaps', got 'thing'"):
        load_tensors(stored, "uaps")
    save_file(TENSORS, tmp_path / "foreign.safetensors")
    with pytest.raises(ArtifactError, match="not one of this project"):
        load_tensors(tmp_path / "foreign.safetensors", "thing")


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_a_pickle_is_refused_and_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.safetensors").write_bytes(pickle.dumps({"conv1.weight": Hostile()}))
    with pytest.raises(ArtifactError):
        load_tensors("x.safetensors", "thing")
    assert not Path("executed").exists()


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, failing):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(artifacts.os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        write_bytes(path, b"new")
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_results_are_as_readable_as_other_files(tmp_path):
    write_json(tmp_path / "x.json", {})
    (tmp_path / "y.json").write_text("")
    assert (tmp_path / "x.json").stat().st_mode == (tmp_path / "y.json").stat().st_mode


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff\xfe"])
def test_json_that_is_none_is_refused_by_name(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ArtifactError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_every_difference_is_named():
    expected = {"a": ((3,), "uint8"), "b": ((2, 4), "float32"), "c": ((1,), "int64")}
    with pytest.raises(ArtifactError) as error:
        check_tensors("f", {**TENSORS, "d": np.zeros(1)}, expected)
    for part in ("f: ", "missing c", "unexpected d", "b is float32 (2, 3) where float32 (2, 4) was expected"):
        assert part in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(3, 2), (0, 3), (5,)])
def test_types_and_shapes_come_back(tmp_path, dtype, shape):
    array = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype)
    save_tensors(tmp_path / "x", {"a": array}, "thing", {})
    back = load_tensors(tmp_path / "x", "thing")[0]["a"]
    assert (back.dtype, back.shape, back.tolist()) == (array.dtype, array.shape, array.tolist())


def test_big_endian_arrays_come_back(tmp_path):
    save_tensors(tmp_path / "x", {"a": np.arange(3, dtype=">i4")}, "thing", {})
    assert load_tensors(tmp_path / "x", "thing")[0]["a"].tolist() == [0, 1, 2]


def flips_not_refused(path, positions, bits):
    """Each flip that loads, or fails in another way than by an ArtifactError that names the file."""
    content, slipped = path.read_bytes(), []
    for position in positions:
        for bit in bits:
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                load_tensors(path, "thing")
                outcome = "loaded"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
            if not outcome.startswith(f"ArtifactError: {path}"):
                slipped.append((position, bit, outcome))
    return slipped


def test_a_flipped_bit_in_any_byte_of_the_arrays_is_found(stored):
    size = stored.stat().st_size
    assert flips_not_refused(stored, range(size - sum(a.nbytes for a in TENSORS.values()), size), (0, 7)) == []


def test_a_flipped_bit_in_any_byte_of_the_header_is_found(stored):
    content = stored.read_bytes()
    slipped = flips_not_refused(stored, range(content.index(b"kind") - 4, content.index(b'"dtype"')), (0, 6))
    assert slipped[:3] == []


def test_bytes_after_the_end_are_refused(stored):
    stored.write_bytes(stored.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match=r"x\.safetensors"):
        load_tensors(stored, "thing")


def test_the_pickle_of_these_tests_would_do_harm(tmp_path, monkeypatch):
    # else the test that it is not executed could not fail
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert Path("executed").exists()


def test_equal_bytes_of_another_type_are_refused(stored):
    content = stored.read_bytes()
    assert content.count(b'"F32"') == 1
    stored.write_bytes(content.replace(b'"F32"', b'"I32"'))
    with pytest.raises(ArtifactError, match="checksum"):
        load_tensors(stored, "thing")


def test_a_file_system_without_permissions_keeps_the_file(tmp_path, monkeypatch):
    def refused(path, mode):
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(artifacts.os, "chmod", refused)
    artifacts.try_output(tmp_path / "a.json")
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_trying_an_output_meets_what_the_write_would_meet(tmp_path, monkeypatch, step):
    def refused(*args):
        raise OSError(95, "not supported")

    monkeypatch.setattr(artifacts.os, step, refused)
    with pytest.raises(OSError, match="not supported"):
        artifacts.try_output(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
