import math

import pytest
import torch
import torch.nn.functional as F
from helpers_science import (
    ACTIVATIONS,
    SCALINGS,
    give_biases,
    plain_lenet,
    plain_of,
    textured,
)

from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.ensembles.in_engine import in_engine
from jacobian_ensembles.models import lenet
from jacobian_ensembles.models.lenet import LeNet, compiled
from jacobian_ensembles.storage.learners import PARAMETER_SHAPES


def make(activation="tanh", scaling=(0.0, 1.0), dropout=0.0, seed=0):
    net = LeNet(activation, dropout, *scaling, generator=torch.Generator().manual_seed(seed))
    return give_biases(net).double()


def vectors(batch, seed=2):
    return torch.randn(batch, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_forward_equals_the_textbook_network(activation, scaling, grad, dtype, tolerance):
    net, x = make(activation, scaling).to(dtype), textured(7, dtype=dtype)
    with torch.set_grad_enabled(grad):
        got = net(x)
    torch.testing.assert_close(got, plain_of(net)(x), rtol=tolerance, atol=tolerance, check_dtype=True)
    assert got.requires_grad == grad


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_autograd_through_forward_gives_the_textbook_parameter_and_input_gradients(activation):
    net, x, labels = make(activation, SCALINGS[1]), textured(5).requires_grad_(True), torch.arange(5)
    wanted = [x, *net.parameters()]
    got = torch.autograd.grad(F.cross_entropy(net(x), labels), wanted)
    expected = torch.autograd.grad(F.cross_entropy(plain_of(net)(x), labels), wanted)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-13)


def test_lenet_has_the_published_61706_parameters_with_the_shapes_checkpoints_expect():
    net = LeNet()
    assert sum(p.numel() for p in net.parameters()) == 61_706
    assert {name: tuple(p.shape) for name, p in net.state_dict().items()} == PARAMETER_SHAPES


def test_initial_weights_depend_on_the_generator_only():
    def fresh(global_seed, seed):
        torch.manual_seed(global_seed)
        return LeNet(generator=torch.Generator().manual_seed(seed)).state_dict()

    one, same, other = fresh(1, 7), fresh(2, 7), fresh(1, 8)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if name.endswith("weight"))


@pytest.mark.parametrize(
    ("name", "fan_in", "fan_out"),
    [("conv1", 25, 150), ("conv2", 150, 400), ("fc1", 400, 120), ("fc2", 120, 84), ("fc3", 84, 10)],
)
def test_initial_weights_are_xavier_uniform_and_biases_zero(name, fan_in, fan_out):
    layer = getattr(LeNet(generator=torch.Generator().manual_seed(0)), name)
    bound = math.sqrt(6 / (fan_in + fan_out))
    w = layer.weight.detach()
    assert bound * 0.95 < w.abs().max() <= bound
    spread = bound / math.sqrt(3)
    # the standard error of a uniform sample's deviation is about 0.45 of it over sqrt(n)
    assert abs(w.std().item() - spread) < 5 * 0.45 * spread / math.sqrt(w.numel())
    assert abs(w.mean().item()) < 5 * spread / math.sqrt(w.numel())
    assert not layer.bias.any()


def test_the_same_initial_weights_serve_both_activations_and_any_scaling():
    nets = [make("tanh", seed=4), make("relu", SCALINGS[1], dropout=0.5, seed=4)]
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_acts_only_when_a_generator_is_passed(training):
    net, x = make(dropout=0.5).train(training), textured(3)
    plain = plain_of(net)(x)
    torch.testing.assert_close(net(x), plain, rtol=1e-12, atol=1e-12)
    dropped = net(x, torch.Generator().manual_seed(0))
    assert (dropped - plain).abs().amax(1).min() > 1e-2
    again = net(x, torch.Generator().manual_seed(0))
    other = net(x, torch.Generator().manual_seed(1))
    assert torch.equal(dropped, again)
    assert not torch.equal(dropped, other)


def test_dropout_of_probability_zero_changes_nothing():
    net, x = make(dropout=0.0), textured(3)
    assert torch.equal(net(x, torch.Generator().manual_seed(0)), net(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "gelu"}, "activation must be 'tanh' or 'relu'. Got 'gelu'"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\). Got 1.0"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\). Got -0.1"),
        ({"dropout": math.nan}, r"dropout must lie in \[0, 1\). Got nan"),
        ({"std": 0.0}, r"std must be positive. Got 0.0"),
        ({"std": -1.0}, r"std must be positive. Got -1.0"),
        ({"std": math.nan}, r"std must be positive. Got nan"),
    ],
)
def test_arguments_that_make_no_network_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LeNet(**arguments)


def test_a_net_first_used_in_inference_mode_can_be_trained_afterwards():
    net, x = LeNet(), textured(2, dtype=torch.float32)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    assert net.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_dropout_scales_the_units_it_keeps(p):
    net, x = make(dropout=p), textured(40)
    rng = torch.Generator().manual_seed(3)
    masks = [(torch.rand(40, units, generator=rng) >= p).double() / (1 - p) for units in (120, 84)]
    for mask in masks:
        assert abs((mask > 0).double().mean().item() - (1 - p)) < 4 * math.sqrt(p * (1 - p) / mask.numel())
    expected = plain_lenet(dict(net.named_parameters()), x, masks=masks)
    torch.testing.assert_close(net(x, torch.Generator().manual_seed(3)), expected, rtol=1e-12, atol=1e-12)


def single(**options):
    return LeNet(generator=torch.Generator().manual_seed(0), **options)


def test_which_networks_run_in_the_engine():
    pytest.importorskip("numba")
    net, x = single(), textured(1, dtype=torch.float32)
    assert len(compiled([net, single(activation="relu")], x)) == 2
    for nets, inputs in (
        ([net], x.double()),
        ([single().double()], x),
        ([torch.nn.Flatten()], x),
        ([net, torch.nn.Flatten()], x),
        ([net], x.to("meta")),
        ([net], x.flatten(1)),
        ([net, single(mean=0.5)], x),
        ([net, single(classes=3)], x),
    ):
        assert compiled(nets, inputs) is None


def test_forward_runs_in_the_engine_where_no_gradient_is_wanted_and_is_differentiable_elsewhere(monkeypatch):
    pytest.importorskip("numba")
    net, x = single().requires_grad_(False), textured(3, dtype=torch.float32)
    textbook, calls = plain_of(net)(x), []
    monkeypatch.setattr(lenet, "compiled", lambda *args: calls.append(1) or compiled(*args))
    torch.testing.assert_close(net(x), textbook, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        net(x.clone().requires_grad_(True))
    with torch.inference_mode():
        net(x)
    assert len(calls) == 3
    assert net(x.clone().requires_grad_(True)).requires_grad
    assert net.requires_grad_(True)(x).requires_grad
    assert len(calls) == 3


def test_a_network_or_ensemble_that_does_something_else_is_not_the_engines():
    pytest.importorskip("numba")

    class Doubled(LeNet):
        def forward(self, x, dropout=None):
            return 2 * super().forward(x, dropout)

    class Flipped(Ensemble):
        def forward(self, x):
            return super().forward(x.flip(3))

    net, x = single(), textured(1, dtype=torch.float32)
    assert in_engine(Ensemble([net]), x) is not None
    hooked = single()
    hooked.conv2.register_forward_hook(lambda module, inputs, out: out + 1)
    for other in (Doubled(), Ensemble([Doubled()]), Flipped([net]), hooked, Ensemble([net], lambda logits: logits[0])):
        assert in_engine(other, x) is None
