import copy
import subprocess
import sys
import textwrap

import pytest
import torch
from helpers_science import ACTIVATIONS, directions, give_biases, textured

from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.training.objectives.derivatives import gradients_of
from jacobian_ensembles.training.objectives.objective import Terms
from jacobian_ensembles.training.optimization import Optimizer
from jacobian_ensembles.training.recipe import Recipe


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def lenet(activation="tanh", dropout=0.0):
    return give_biases(LeNet(activation, dropout, 0.1, 0.3, generator=torch.Generator().manual_seed(0)))


NETS = {
    "engine": lenet,
    "float64": lambda: lenet().double(),
    "other": lambda: torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double(),
}


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("kind", NETS)
def test_parameters_move_as_torch_moves_them_in_float64(kind, optimizer, momentum, decay):
    net = NETS[kind]()
    ours, plain = Optimizer(net, Recipe(optimizer=optimizer, momentum=momentum, weight_decay=decay)), NETS[kind]()
    plain.load_state_dict(net.state_dict())
    plain.double()
    if optimizer == "adam":
        theirs = torch.optim.Adam(plain.parameters(), weight_decay=decay)
    else:
        theirs = torch.optim.SGD(plain.parameters(), momentum=momentum, weight_decay=decay)
    rng, before = torch.Generator().manual_seed(1), weights(net).clone()
    for rate in (0.01, 0.02, 0.005):
        gradients = [torch.randn(p.shape, generator=rng).to(p) for p in net.parameters()]
        ours.step(gradients, rate)
        for p, g in zip(plain.parameters(), gradients, strict=True):
            p.grad = g.double()
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
    tolerance = 5e-7 if kind == "engine" else 1e-12
    torch.testing.assert_close(weights(net).double(), weights(plain), rtol=tolerance, atol=tolerance)
    assert (weights(net) - before).abs().mean() > 1e-3


def batch(count=37):
    return textured(count, dtype=torch.float32), torch.arange(count) % 10


@pytest.mark.parametrize("settings", [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.8}], ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("projections", [0, 1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_whole_step_is_its_gradient_and_a_move_to_the_byte(activation, projections, dropout, decay, settings):
    recipe, (x, labels) = Recipe(weight_decay=decay, **settings), batch()
    whole, parts = (Optimizer(lenet(activation, dropout), recipe) for _ in range(2))
    masks, same_masks = (torch.Generator().manual_seed(1) for _ in range(2))
    for step in range(3):
        v = directions(projections, len(x), seed=step).float() if projections else None
        terms = Terms(x, 0.3 * bool(projections), v)
        loss = whole.descend(terms, labels, 0.01, masks)
        expected, gradients = gradients_of(parts.net, terms, labels, same_masks)
        parts.step(gradients, 0.01)
        assert torch.equal(loss, expected)
        assert torch.equal(weights(whole.net), weights(parts.net))
    assert not torch.equal(weights(whole.net), weights(lenet(activation)))


@pytest.mark.parametrize("projections", [0, 2])
@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.003), ("sgd", 0.1)])
def test_a_learner_becomes_what_it_becomes_in_float64(optimizer, rate, projections):
    x, labels = batch(100)
    ours, exact = (Optimizer(net, Recipe(optimizer=optimizer)) for net in (lenet(), lenet().double()))
    for step in range(10):
        v = directions(projections, len(x), seed=step) if projections else None
        lam = 0.1 * bool(projections)
        loss = ours.descend(Terms(x, lam, None if v is None else v.float()), labels, rate)
        expected = exact.descend(Terms(x.double(), lam, v), labels, rate)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    difference = (weights(ours.net).double() - weights(exact.net)).abs()
    moved = (weights(exact.net) - weights(lenet()).double()).abs()
    assert difference.mean() < 1e-5 * moved.mean()


def hooked(net):
    net.fc1.register_forward_hook(lambda module, inputs, out: out)


def of_a_class_with_its_own_forward(net):
    net.__class__ = type("Own", (LeNet,), {"forward": lambda self, x: LeNet.forward(self, x)})


@pytest.mark.parametrize("change", [hooked, of_a_class_with_its_own_forward])
def test_a_lenet_that_is_called_otherwise_is_differentiated_as_it_is_called_and_moves_alike(change):
    (x, labels), v = batch(), directions(1, 37).float()
    usual, other = (Optimizer(lenet(), Recipe()) for _ in range(2))
    for _ in range(2):
        losses = [optimizer.descend(Terms(x, 0.1, v), labels, 0.01).item() for optimizer in (usual, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        change(other.net)  # from the second step on
    assert (weights(usual.net) - weights(other.net)).abs().mean() < 1e-5
    assert not torch.equal(weights(usual.net), weights(other.net))


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_a_net_may_write_to_its_images(lam):
    nets = [torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(5, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    x, labels, v = torch.linspace(-1, 1, 10).view(2, 5), torch.tensor([0, 2]), directions(1, 2)[..., :3].float()
    before = x.clone()
    value, gradients = gradients_of(nets[0], Terms(x, lam, v), labels)
    assert torch.equal(x, before)
    Optimizer(nets[0], Recipe()).step(gradients, 0.1)
    assert torch.equal(Optimizer(nets[1], Recipe()).descend(Terms(x, lam, v), labels, 0.1), value)
    assert torch.equal(weights(nets[0]), weights(nets[1]))


def test_a_copy_of_a_learner_stays_as_it_is():
    (x, labels), net = batch(), lenet()
    optimizer = Optimizer(net, Recipe())
    snapshot, before = copy.deepcopy(net), weights(net).clone()
    optimizer.descend(Terms(x), labels, 0.01)
    assert torch.equal(weights(snapshot), before)
    assert not torch.equal(weights(net), before)
    assert [p.shape for p in snapshot.parameters()] == [p.shape for p in lenet().parameters()]


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


def test_a_frozen_layer_of_a_lenet_stays():
    (x, labels), net = batch(), lenet()
    net.conv1.requires_grad_(False)
    before = net.conv1.weight.clone(), net.conv2.weight.detach().clone()
    Optimizer(net, Recipe()).descend(Terms(x), labels, 0.01)
    assert torch.equal(net.conv1.weight, before[0])
    assert not torch.equal(net.conv2.weight, before[1])


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
