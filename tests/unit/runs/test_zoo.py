import importlib.util
import shutil
from pathlib import Path

import helpers_runs
import numpy as np
import pytest
import torch
from helpers_runs import finished_run

import jacobian_ensembles as je
from jacobian_ensembles.cli.main import main
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.runs.join import join_runs
from jacobian_ensembles.storage.files import ArtifactError
from jacobian_ensembles.storage.learners import save_learners

PAIRED_TEST = Path(__file__).resolve().parents[3] / "docs" / "examples" / "paired_test.py"
M3 = "mine/mnist/voting/M3/lambda0.10"


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """The folder of shipped runs, empty."""
    monkeypatch.setenv("JACOBIAN_ENSEMBLES_REFERENCE", str(tmp_path / "reference"))
    return tmp_path / "reference"


def ship(tmp_path, reference, name="mine", sizes=(1, 3), first=0, keep=("bits", "perturbations"), models=()):
    root, config = finished_run(tmp_path, name, sizes, first)
    config["run"]["keep"] = list(keep)
    for m, members in models:
        arrays = {k: np.stack([net.state_dict()[k].numpy() for net in members]) for k in members[0].state_dict()}
        options = {"activation": "tanh", "dropout": 0.0}
        spec = {"dataset": "mnist", "ensemble": "voting", "lambda": 0.1, "validation_accuracy": [0.9] * m}
        spec |= {"architecture": Architecture(options=options).record()}
        save_learners(root / f"ensembles/mnist/voting/M{m}/lambda0.10/rep0/ensemble.safetensors", arrays, spec)
    for m, _ in models:
        at = f"mnist_voting_M{m}_lambda0.10_rep0"
        (root / "models").mkdir(exist_ok=True)
        shutil.copy(
            root / f"ensembles/mnist/voting/M{m}/lambda0.10/rep0/ensemble.safetensors",
            root / f"models/{at}.safetensors",
        )
    helpers_runs.ship(root, reference / name, config, keep)


def test_which_images_a_shipped_model_gets_right_is_kept_in_bits(tmp_path, reference):
    ship(tmp_path, reference)
    # by the fixture: of 100 images 30 wrong when clean, 20 more at eps 0.2
    np.testing.assert_array_equal(je.load_correct(M3), np.arange(100) >= 30)
    np.testing.assert_array_equal(je.load_correct(M3, eps=0.2), np.arange(100) >= 50)
    assert je.load_correct("mine/mnist/voting/M1/lambda0.1", eps=0.15).sum() == 75
    # 13 bytes for 100 images, 2 models, clean and two eps
    assert (reference / "mine/bits/mnist.safetensors").stat().st_size < 2 * 3 * 13 + 1000


def test_worst_perturbations_are_kept_if_asked_for(tmp_path, reference):
    ship(tmp_path, reference)
    delta = je.load_perturbation(M3, 0.15)
    assert (delta.dtype, tuple(delta.shape)) == (torch.float32, (1, 28, 28))
    assert delta.unique().tolist() == pytest.approx([0.15])
    ship(tmp_path, reference, "lean", keep=("bits",))
    with pytest.raises(ArtifactError, match=r"no perturbations of it are shipped.*those of mine \(mnist\)"):
        je.load_perturbation(M3.replace("mine", "lean"), 0.15)


def test_a_shipped_ensemble_is_loaded_by_its_name(tmp_path, reference):
    nets = {m: [LeNet(generator=torch.Generator().manual_seed(i)) for i in range(m)] for m in (1, 3)}
    ship(tmp_path, reference, keep=("bits", "models"), models=nets.items())
    assert je.shipped_models() == ["mine/mnist/voting/M1/lambda0.10", M3]
    x = torch.rand(4, 1, 28, 28)
    probabilities = torch.stack([net.eval()(x).softmax(1) for net in nets[3]]).mean(0)
    torch.testing.assert_close(je.load_ensemble(M3)(x).exp(), probabilities)


def test_a_model_that_is_not_shipped_is_named_with_those_that_are(tmp_path, reference):
    with pytest.raises(ArtifactError, match=r"no such ensemble is shipped. There are: none in .*reference"):
        je.load_ensemble(M3)
    ship(tmp_path, reference)
    with pytest.raises(ArtifactError, match="has 2 models, not this one"):
        je.load_correct("mine/mnist/bagging/M3/lambda0.10")
    with pytest.raises(ValueError, match=r"eps must be one of 0.15, 0.2. Got 0.1"):
        je.load_correct(M3, eps=0.1)
    with pytest.raises(ValueError, match=r"is named run/dataset/ensemble/M3/lambda0.50"):
        je.load_correct("mine/mnist/voting")


def test_joined_runs_keep_the_arrays_of_all_parts(tmp_path, reference):
    ship(tmp_path, reference, "a", (1,))
    ship(tmp_path, reference, "b", (1,), first=1, keep=("bits",))
    ship(tmp_path, reference, "c", (3,), first=0)
    join_runs([reference / name for name in "acb"], reference / "whole", draw=lambda folder: None)
    name = "whole/mnist/voting/M1/lambda0.10"
    assert je.load_correct(f"{name}/rep1", eps=0.2).sum() == 70
    assert je.load_correct("whole/mnist/voting/M3/lambda0.10", eps=0.2).sum() == 50
    assert je.load_perturbation("whole/mnist/voting/M3/lambda0.10", eps=0.2).max() == pytest.approx(0.2)
    with pytest.raises(ArtifactError, match="has 2 models, not this one"):  # of the second training none was kept
        je.load_perturbation(f"{name}/rep1", eps=0.2)
    # what a single run drawn anew keeps, too
    join_runs([reference / "whole"], reference / "whole", draw=lambda folder: None)
    assert je.load_correct(f"{name}/rep1", eps=0.2).sum() == 70


def test_the_command_line_takes_names_of_shipped_models(tmp_path, reference, capsys):
    assert main(["evaluate", M3]) == 2
    assert f"{M3}: no such ensemble is shipped" in capsys.readouterr().err
    ship(tmp_path, reference)
    assert tuple(je.load_perturbation(M3).shape) == (2, 1, 28, 28)
    assert je.load_perturbation(M3).amax((1, 2, 3)).tolist() == pytest.approx([0.15, 0.2])


def test_the_worked_example_tests_two_models_image_by_image(tmp_path, reference):
    ship(tmp_path, reference)
    spec = importlib.util.spec_from_file_location("paired_test", PAIRED_TEST)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    one, other = (f"mine/mnist/voting/M{m}/lambda0.1" for m in (1, 3))
    a, b = (je.load_correct(name, 0.15) for name in (one, other))
    only_a, only_b = (a > b).sum(), (b > a).sum()
    assert {only_a, only_b} == {0, 20}  # all on one side: two of the 2^20 ways that twenty coins can fall
    assert example.compare(one, other, 0.15) == (
        f"eps 0.15: {a.mean():.2%} and {b.mean():.2%}; only the one: {only_a}, only the other: {only_b}; p 1.9e-06"
    )
