"""What paths spell: every template of a run that names a cell, and what lies under a wrong one."""

import re

import numpy as np
import pytest

from jacobian_ensembles.runs.layout import Layout
from jacobian_ensembles.storage.checksums import read_record, write_record
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, save_tensors
from jacobian_ensembles.storage.places import misplaced, spelled

VALUES = {
    "dataset": "fashion_mnist", "ensemble": "half_median", "members": "3", "lambda_jr": "0.50", "repetition": "1",
    "member": "2", "eps": "0.15", "first": "4", "last": "7", "variant": "one-step", "trial": "slow.2", "what": "bits",
}  # fmt: skip
KEYS = {"lambda_jr": "lambda", "member": "learner", "first": "first_seed", "last": "last_seed"}
#: Those that only name a dataset's own file, or are tables: see test_checksums.
OTHERS = {"dataset", "own_dataset", "variant_records"}
TEMPLATES = {
    name: template
    for name, template in vars(Layout("results", "mine")).items()
    if isinstance(template, str) and "{" in template and name not in OTHERS
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_path_that_names_a_cell_spells_all_of_it(name):
    wildcards = set(re.findall(r"\{(\w+)\}", TEMPLATES[name])) - {"what"}
    expected = {KEYS.get(key, key): VALUES[key] for key in wildcards}
    if name == "model":
        expected["model"] = f"{expected.pop('dataset')}_{expected.pop('ensemble')}"
    assert spelled(TEMPLATES[name].format(**VALUES)) == expected


@pytest.mark.parametrize(
    "path", ["x.safetensors", "/home/me/mnist/x.json", "lambda0.1/x.json", "a/b/lambda0.10/rep0/tmp123/0.safetensors"]
)
def test_other_paths_spell_nothing(path):
    assert spelled(path) == {}
    assert misplaced(path, {"lambda": 0.5}) is None


CELL = {"dataset": "mnist", "ensemble": "voting", "members": 2, "lambda": 0.1, "repetition": 0, "eps": 0.15}
BLOCK = "run/uaps/mnist/voting/M2/lambda0.10/rep0/eps0.15/seeds0-1.safetensors"


@pytest.mark.parametrize(
    "other",
    [{"dataset": "fashion_mnist"}, {"ensemble": "bagging"}, {"members": 3}, {"lambda": 0.15}, {"repetition": 1},
     {"eps": 0.2}, {"first_seed": 2}, {"last_seed": 2}, {"variant": "strong"}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_a_file_of_another_cell_is_refused_by_name(tmp_path, other):
    spec = {**CELL, "first_seed": 0, "last_seed": 1}
    arrays = {"delta": np.zeros((2, 1, 28, 28), np.float32)}
    save_tensors(tmp_path / BLOCK, arrays, "uaps", spec)
    load_tensors(tmp_path / BLOCK, "uaps")
    save_tensors(tmp_path / BLOCK, arrays, "uaps", spec | other)
    with pytest.raises(ArtifactError, match=rf"seeds0-1.*it is another result's: {next(iter(other))} .*\(here: "):
        load_tensors(tmp_path / BLOCK, "uaps")


def test_a_learner_in_another_ones_place_and_a_record_of_a_variant_are_refused(tmp_path):
    place = tmp_path / "run/learners/mnist/voting/lambda0.10/rep0/learner1.safetensors"
    spec = {key: CELL[key] for key in ("dataset", "ensemble", "lambda", "repetition")}
    save_tensors(place, {}, "learners", {**spec, "learners": [0]})
    with pytest.raises(ArtifactError, match="learner 0 "):
        load_tensors(place, "learners")
    place = tmp_path / "run/ablation/strong/mnist/voting/M2/lambda0.10/rep0/eps0.15/worst.json"
    write_record(place, CELL | {"variant": "strong"})
    read_record(place)
    write_record(place, CELL)
    with pytest.raises(ArtifactError, match=r"variant none \(here: strong\)"):
        read_record(place)
