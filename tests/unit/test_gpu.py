"""The CUDA path against the CPU path, where there is a device."""

import pytest
import torch
from helpers_science import give_biases, textured

from jacobian_ensembles.attacks.crafting import craft_uaps
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.sgd_uap import SgdUap
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.training.learner import Task, accuracy
from jacobian_ensembles.training.members import train_learner
from jacobian_ensembles.training.objectives.jacobian import Jacobian
from jacobian_ensembles.training.recipe import Recipe


@pytest.fixture(
    params=[
        "cpu",  # everywhere, so that what is for a GPU is run before there is one
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
        ),
    ]
)
def device(request):
    yield prepare_device(request.param)
    torch.use_deterministic_algorithms(False)


def ensemble(members=3):
    nets = [give_biases(LeNet(generator=torch.Generator().manual_seed(m)), seed=m) for m in range(members)]
    return Ensemble([net.requires_grad_(False) for net in nets], "probabilities")


def test_gradients_equal_those_of_the_cpu(device):
    x, labels = textured(24, dtype=torch.float32), torch.arange(24) % 10
    expected = loss_gradient(ensemble(), x, labels, 12.0, groups=4)
    got = loss_gradient(ensemble().to(device), x.to(device), labels.to(device), 12.0, groups=4)
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-4, atol=1e-6)


def test_seeds_side_by_side_are_as_strong_as_one_at_a_time(device):
    model = ensemble().to(device)
    x = textured(400, dtype=torch.float32).to(device)
    labels = model(x).argmax(1)  # right about every image until it is attacked
    settings = SgdUap(iterations=20, batch_size=50)
    together = craft_uaps(model, x, labels, 0.2, settings, range(5))
    alone = craft_uaps(model, x, labels, 0.2, settings, range(5), side_by_side=1)
    a, b = (correct(model, x, labels, deltas, clip=False).float().mean(1) for deltas in (together, alone))
    assert together.abs().max() <= 0.2 + 1e-6
    assert (a - b).abs().max() < 0.1


def test_training_is_reproducible_and_learns(device):
    labels = torch.arange(400) % 10
    images = 0.1 * textured(400, dtype=torch.float32)
    for i, label in enumerate(labels.tolist()):
        row, column = divmod(label, 4)
        images[i, :, 3 + 8 * row : 8 + 8 * row, 1 + 7 * column : 6 + 7 * column] += 0.8
    data = images.to(device), labels.to(device)
    settings = Recipe(epochs=8, batch_size=20)
    tanh = Architecture(options={"activation": "tanh"})
    task = Task(data, data, tanh, settings, 0.05, Jacobian)
    runs = [train_learner(task, ("gpu",)).nets[0] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True))
    assert accuracy(runs[0].to(device), *data) > 0.9
