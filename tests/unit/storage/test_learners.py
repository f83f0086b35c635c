import numpy as np
import pytest

from jacobian_ensembles.stages.assemble_ensemble import assemble_ensemble
from jacobian_ensembles.storage.files import ArtifactError, save_tensors
from jacobian_ensembles.storage.learners import PARAMETER_SHAPES, load_learners, save_learners

SPEC = {"dataset": "mnist", "ensemble": "bagging", "lambda": 0.1, "architecture": {"activation": "tanh"}}
SCORES = {"validation_accuracy": [0.5, 0.25, 0.75]}


def arrays(members, start=0):
    return {
        name: np.stack([np.full(shape, start + m, np.float32) for m in range(members)])
        for name, shape in PARAMETER_SHAPES.items()
    }


def learners(folder, count, spec=SPEC):
    paths = [folder / f"learner{i}.safetensors" for i in range(count)]
    for i, path in enumerate(paths):
        own = {"learners": [i], "validation_accuracy": [SCORES["validation_accuracy"][i % 3]]}
        save_learners(path, arrays(1, start=i), {**spec, **own})
    return paths


def test_members_are_stacked_in_order(tmp_path):
    assemble_ensemble(learners(tmp_path, 3), 3, tmp_path / "e.safetensors")
    loaded, spec = load_learners(tmp_path / "e.safetensors", members=3)
    assert spec == {**SPEC, **SCORES, "learners": [0, 1, 2], "members": 3}
    assert loaded["fc3.bias"].shape == (3, 10)
    assert loaded["fc3.bias"][:, 0].tolist() == [0, 1, 2]


def test_a_run_of_snapshots_is_an_ensemble(tmp_path):
    save_learners(tmp_path / "s.safetensors", arrays(3), {**SPEC, **SCORES, "learners": [0, 1, 2]})
    assemble_ensemble([tmp_path / "s.safetensors"], 3, tmp_path / "e.safetensors")
    assert (tmp_path / "e.safetensors").read_bytes() == (tmp_path / "s.safetensors").read_bytes()


def test_a_wrong_number_of_learners_is_refused(tmp_path):
    paths = learners(tmp_path, 2)
    with pytest.raises(ArtifactError, match=r"an ensemble of 3 was asked for, its files hold learners \[0, 1\]"):
        assemble_ensemble(paths, 3, tmp_path / "e.safetensors")
    with pytest.raises(ArtifactError, match=r"its files hold learners \[1, 0\]"):
        assemble_ensemble(paths[::-1], 2, tmp_path / "e.safetensors")
    assert not (tmp_path / "e.safetensors").exists()
    with pytest.raises(ArtifactError, match=r"learner0.safetensors: expected 2 learners, got 1"):
        load_learners(paths[0], members=2)


def test_learners_trained_differently_are_refused(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    paths = learners(one, 1) + learners(two, 1, {**SPEC, "lambda": 0.5})
    with pytest.raises(ArtifactError, match=r"two/learner0.*0\.5.*one/learner0.*0\.1"):
        assemble_ensemble(paths, 2, tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update({"fc1.weight": a["fc1.weight"][:, :, :399]}), r"fc1.weight is float32 \(1, 120, 399\)"),
        (lambda a: a.pop("conv2.bias"), "missing conv2.bias"),
        (lambda a: a.update({"fc3.bias": a["fc3.bias"].astype(np.float64)}), "fc3.bias is float64"),
    ],
)
def test_wrong_shapes_types_and_names_are_refused(tmp_path, change, message):
    parameters = arrays(1)
    change(parameters)
    save_tensors(tmp_path / "l.safetensors", parameters, "learners", {**SPEC, "members": 1})
    with pytest.raises(ArtifactError, match=message):
        load_learners(tmp_path / "l.safetensors")


def test_one_learner_has_the_61706_parameters_of_lenet5():
    assert sum(int(np.prod(shape)) for shape in PARAMETER_SHAPES.values()) == 61_706
