import math

import pytest
import torch
import torch.nn.functional as F
from helpers_science import (
    ACTIVATIONS,
    SCALINGS,
    dyadic,
    give_biases,
    jacobians,
    plain_lenet,
    plain_of,
    single_tap,
    textured,
    with_blank_background,
)

from jacobian_ensembles.models import convolutions
from jacobian_ensembles.models.lenet import LeNet
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


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_with_the_jacobian_equal_those_with_the_exact_matrix(activation, scaling):
    net, x, v = make(activation, scaling), textured(6), vectors(6)
    u = textured(6, seed=9) - 0.5
    exact = jacobians(plain_of(net), x)
    at = net.linearize(x)
    torch.testing.assert_close(at.logits, plain_of(net)(x), rtol=1e-12, atol=1e-12)
    vj = torch.einsum("bc,bcd->bd", v, exact).view(6, 1, 28, 28)
    torch.testing.assert_close(at.vjp(v), vj, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(at.jvp(u), torch.einsum("bcd,bd->bc", exact, u.flatten(1)), rtol=1e-9, atol=1e-12)
    for groups in (1, 2, 3, 6):
        sums = torch.stack([part.sum(0) for part in vj.split(6 // groups)])
        torch.testing.assert_close(at.vjp_sum(v, groups), sums, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobian_predicts_a_small_step(activation):
    net, x, u = make(activation), textured(4), textured(4, seed=8) - 0.5
    h = 1e-6
    with torch.no_grad():
        slope = (net(x + h * u) - net(x - h * u)) / (2 * h)
    torch.testing.assert_close(net.linearize(x).jvp(u), slope, rtol=1e-5, atol=1e-8)


def test_backward_products_build_no_graph():
    net, x, v = make(), textured(2), vectors(2)
    at = net.linearize(x)
    assert not at.vjp(v).requires_grad
    assert not at.vjp_sum(v).requires_grad
    assert not any(g.requires_grad for g in at.gradients(v, [v])[0])


@pytest.mark.parametrize("blank", [True, False], ids=["black", "square"])
@pytest.mark.parametrize("net", [dyadic(make("relu")), single_tap(make("tanh"))], ids=["dyadic-relu", "tap-tanh"])
def test_ties_in_pooling_are_won_by_the_first_pixel_as_in_max_pool2d(net, blank):
    x, v = with_blank_background(blank), vectors(4)
    exact = jacobians(plain_of(net), x)
    at = net.linearize(x)
    vj = torch.einsum("bc,bcd->bd", v, exact).view(4, 1, 28, 28)
    assert vj.abs().amax((1, 2, 3)).min() > 0  # else nothing would be compared
    torch.testing.assert_close(at.vjp(v), vj, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(at.vjp_sum(v, 2), vj.unflatten(0, (2, 2)).sum(1), rtol=1e-9, atol=1e-12)
    u = textured(4)
    torch.testing.assert_close(at.jvp(u), torch.einsum("bcd,bd->bc", exact, u.flatten(1)), rtol=1e-9, atol=1e-12)
    x.requires_grad_(True)
    (through_forward,) = torch.autograd.grad((net(x) * v).sum(), x)
    torch.testing.assert_close(through_forward, vj, rtol=1e-9, atol=1e-12)


def test_black_regions_inside_textured_images_give_the_textbook_gradient():
    # random weights: the first layer's windows inside the black squares tie, the second layer's do not
    net, x, v = make("tanh"), textured(4, dtype=torch.float32).double(), vectors(4)
    x[:, :, 2:10, 2:10] = 0
    x[:, :, 16:26, 14:22] = 0
    vj = torch.einsum("bc,bcd->bd", v, jacobians(plain_of(net), x)).view(4, 1, 28, 28)
    torch.testing.assert_close(net.linearize(x).vjp(v), vj, rtol=1e-9, atol=1e-12)


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
    torch.testing.assert_close(net.linearize(x).logits, plain, rtol=1e-12, atol=1e-12)
    dropped = net.linearize(x, torch.Generator().manual_seed(0)).logits
    assert (dropped - plain).abs().amax(1).min() > 1e-2
    again = net.linearize(x, torch.Generator().manual_seed(0)).logits
    other = net.linearize(x, torch.Generator().manual_seed(1)).logits
    assert torch.equal(dropped, again)
    assert not torch.equal(dropped, other)


def test_dropout_of_probability_zero_changes_nothing():
    net, x = make(dropout=0.0), textured(3)
    assert torch.equal(net.linearize(x, torch.Generator().manual_seed(0)).logits, net.linearize(x).logits)


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_dropout_scales_the_kept_units_and_its_jacobian_is_that_of_the_masked_network(p):
    net, x, v = make(dropout=p), textured(40), vectors(40)
    at = net.linearize(x, torch.Generator().manual_seed(3))
    # the slope of tanh is never zero here, so a zero slope is a dropped unit
    kept = [(slope != 0).double() for slope in at.slopes[2:]]
    for mask in kept:
        error = math.sqrt(p * (1 - p) / mask.numel())
        assert abs(mask.mean().item() - (1 - p)) < 4 * error
    assert not torch.equal(kept[0][:, :84], kept[1])

    parameters, masks = dict(net.named_parameters()), [mask / (1 - p) for mask in kept]
    torch.testing.assert_close(at.logits, plain_lenet(parameters, x, masks=masks), rtol=1e-12, atol=1e-12)
    x.requires_grad_(True)
    (vj,) = torch.autograd.grad((plain_lenet(parameters, x, masks=masks) * v).sum(), x)
    torch.testing.assert_close(at.vjp(v), vj, rtol=1e-9, atol=1e-12)
    u = textured(40, seed=6)
    # <v, J u> = <J^T v, u>: the forward product sees the same masks
    torch.testing.assert_close((v * at.jvp(u)).sum(1), (vj * u).sum((1, 2, 3)), rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize("scaling", [(0.0, 1.0), (0.13, 0.31)])
@pytest.mark.parametrize("seed", range(3))
def test_on_flat_background_the_first_pixel_wins_although_sums_differ_by_rounding(scaling, seed):
    rng = torch.Generator().manual_seed(seed)
    net = give_biases(LeNet("tanh", mean=scaling[0], std=scaling[1], generator=rng), seed)
    x = torch.zeros(4, 1, 28, 28)
    x[1:, :, 6:20, 9:15] = torch.rand(3, 1, 14, 6, generator=rng)
    v = torch.randn(4, 10, generator=rng)
    expected = torch.einsum("bc,bcd->bd", v, jacobians(plain_of(net), x))
    error = (net.linearize(x).vjp(v).flatten(1) - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-5


def test_a_net_first_used_in_inference_mode_can_be_trained_afterwards():
    convolutions._window_shifts.cache_clear()
    net, x = LeNet(), textured(2, dtype=torch.float32)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    assert net.conv1.weight.grad.abs().sum() > 0
