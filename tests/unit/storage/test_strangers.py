"""Files from strangers: whatever a header says, one line names the file."""

import json
import struct

import numpy as np
import pytest

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.stages.inputs import load_ensemble
from jacobian_ensembles.stages.test_sets import read_dataset
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, read_header, read_json, save_tensors
from jacobian_ensembles.storage.learners import load_learners
from jacobian_ensembles.storage.perturbations import load_clean, load_uaps, load_worst_uap


def refused(read, path):
    with pytest.raises(ArtifactError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def with_header(header, data=b""):
    told = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + data


OURS = json.dumps({"kind": "clean", "spec": {}, "sha256": "0"})
HEADERS = {
    "empty": b"",
    "no JSON": with_header(b"abc"),
    "length of everything": struct.pack("<Q", 2**63) + b"{}",
    "another's": with_header({"__metadata__": {"format": "pt"}}),
    "no tensors": with_header({"__metadata__": {"jacobian_ensembles": OURS}}),
    "metadata is a list": with_header({"__metadata__": ["jacobian_ensembles"]}),
    "metadata is a number": with_header({"__metadata__": {"jacobian_ensembles": 1}}),
    **{
        f"our part is {text[:20]}": with_header({"__metadata__": {"jacobian_ensembles": text}})
        for text in ("", "1", "[]", "null", '"x"', "{}", '{"kind": 1, "spec": [], "sha256": null}', "[" * 100_000)
    },
    **{
        f"dtype {kind}": with_header(
            {
                "__metadata__": {"jacobian_ensembles": OURS},
                "x": {"dtype": kind, "shape": [2], "data_offsets": [0, size]},
            },
            bytes(size),
        )
        for kind, size in {"BF16": 4, "F8_E4M3": 2, "F8_E5M2": 2, "X9": 2, "I64": 2}.items()
    },
    "offsets outside": with_header({"x": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}, b"1"),
    "negative shape": with_header({"x": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}, b"1"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_any_header_is_refused_in_one_line_that_names_the_file(tmp_path, name):
    path = tmp_path / "x.safetensors"
    path.write_bytes(HEADERS[name])
    refused(lambda path: load_tensors(path, "clean"), path)
    if name not in ("no tensors", *(key for key in HEADERS if key.startswith("dtype"))):  # their header is one of ours
        refused(read_header, path)


def bits(path):
    """The bits of a shipped run that a file takes the place of."""
    run = path.parents[1]
    for name in ("config.yaml", "provenance.json"):
        (run / name).write_text("{}")
    cell = Cell.model_validate({"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0, "repetition": 0})
    return Run.open(run).arrays("bits", cell)


READERS = {
    "learners": (load_learners, "members architecture"),
    "learners, built": (load_ensemble, "members ensemble architecture"),
    "clean": (load_clean, ""),
    "uaps": (lambda path: load_uaps([path]), "first_seed images"),
    "worst_uap": (load_worst_uap, "images"),
    "dataset": (read_dataset, ""),
    "bits": (bits, "models eps images"),
}
TENSORS = [{}, {"delta": np.zeros((), np.float32)}, {"labels": np.zeros((2, 2), np.int8), "correct": np.zeros(3)}]


@pytest.mark.parametrize("tensors", TENSORS, ids=["no tensors", "a scalar", "other tensors"])
@pytest.mark.parametrize("value", [None, -1, 10**30, "x", [], {}, [[[]]], {"name": 1}], ids=str)
@pytest.mark.parametrize("reader", READERS)
def test_whatever_a_file_says_of_itself_is_refused_in_one_line_that_names_it(tmp_path, reader, value, tensors):
    read, keys = READERS[reader]
    path = tmp_path / "run/bits/x.safetensors" if reader == "bits" else tmp_path / "x.safetensors"
    path = path.with_name("mnist.safetensors") if reader == "bits" else path
    kind = reader.partition(",")[0]
    for spec in ({}, *({key: value} for key in keys.split()), dict.fromkeys(keys.split(), value)):
        save_tensors(path, tensors, kind, spec | ({"dataset": "mnist"} if reader == "bits" else {}))
        refused(read, path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"9" * 10_000, b"[]", b"{", b'{"a": NaN,}'])
def test_json_of_any_kind_is_refused_in_one_line_that_names_the_file(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    refused(read_json, tmp_path / "x.json")
