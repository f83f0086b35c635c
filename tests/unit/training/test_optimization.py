import subprocess
import sys
import textwrap

import pytest
import torch

from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.optimization import Optimizer
from jacobian_ensembles.training.recipe import Recipe


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_one_vector_of_parameters_is_optimised_as_ten_are_by_torch(optimizer):
    settings = Recipe(optimizer=optimizer, momentum=0.8, weight_decay=0.1)
    net, plain = (LeNet(generator=torch.Generator().manual_seed(0)) for _ in range(2))
    ours = Optimizer(net, settings)
    if optimizer == "adam":
        theirs = torch.optim.Adam(plain.parameters(), weight_decay=0.1)
    else:
        theirs = torch.optim.SGD(plain.parameters(), momentum=0.8, weight_decay=0.1)
    rng = torch.Generator().manual_seed(1)
    for rate in (0.01, 0.02, 0.005):
        gradients = [torch.randn(p.shape, generator=rng) for p in net.parameters()]
        ours.step(gradients, rate)
        for p, g in zip(plain.parameters(), gradients, strict=True):
            p.grad = g
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
    torch.testing.assert_close(weights(net), weights(plain), rtol=1e-5, atol=1e-7)
    assert (weights(net) - weights(LeNet(generator=torch.Generator().manual_seed(0)))).abs().mean() > 1e-3


def test_a_net_in_any_memory_format_is_optimised_and_gradients_keep_their_memory():
    net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    before = weights(net)
    optimizer = Optimizer(net, Recipe(optimizer="sgd", momentum=0.0, weight_decay=0.0))
    places = set()
    for value in (1.0, 2.0):
        optimizer.step([torch.full_like(p, value) for p in net.parameters()], 1.0)
        places.add(optimizer.gradient.data_ptr())
    torch.testing.assert_close(weights(net), before - 3.0)
    assert len(places) == 1


def test_what_is_frozen_stays():
    net = torch.nn.Linear(2, 2)
    net.weight.requires_grad_(False)
    before = net.weight.clone(), net.bias.detach().clone()
    Optimizer(net, Recipe(optimizer="sgd", momentum=0.0)).step([torch.ones(2)], 0.5)
    assert torch.equal(net.weight, before[0])
    torch.testing.assert_close(net.bias, before[1] - 0.5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_step_does_not_import_torchs_compiler(optimizer):
    code = f"""
        import sys, torch
        from jacobian_ensembles.training.optimization import Optimizer
        from jacobian_ensembles.training.recipe import Recipe
        net = torch.nn.Linear(2, 2)
        Optimizer(net, Recipe(optimizer="{optimizer}")).step([torch.ones(2, 2), torch.ones(2)], 0.1)
        print("torch._dynamo" in sys.modules)
        """
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
