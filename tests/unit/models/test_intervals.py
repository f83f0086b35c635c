"""Interval bounds against hand-computed ones, brute force, and the network's own float32."""

import numpy as np
import pytest
import torch
from helpers_science import give_biases, plain_of, textured
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jacobian_ensembles.engine import activations
from jacobian_ensembles.engine.compiling import inner
from jacobian_ensembles.models import intervals
from jacobian_ensembles.models.building import Normalized
from jacobian_ensembles.models.intervals import layers_of, margin_bounds
from jacobian_ensembles.models.lenet import LeNet

U = 2.0**-24


def linear(weight, bias=None):
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def test_by_hand():
    # h = relu of (x1 - x2, x1 + x2 - 1) in [-0.2, 0.6] and [-0.3, 0.5]: [0, 0.6] and [0, 0.5];
    # the margin z0 - z1 = 3 h1 - h2 + 0.5 lies in [0 - 0.5 + 0.5, 1.8 + 0.5]; unfolded it would start at -0.7
    net = nn.Sequential(
        linear([[1.0, -1.0], [1.0, 1.0]], [0.0, -1.0]), nn.ReLU(), linear([[2.0, 1.0], [-1.0, 2.0]], [0.5, 0.0])
    )
    x = torch.tensor([[0.65, 0.45]], dtype=torch.float64)
    found = margin_bounds(layers_of(net), x, torch.full_like(x, 0.2), torch.tensor([0]))
    torch.testing.assert_close(found.low, torch.tensor([[0.0, 0.0]]).double())
    torch.testing.assert_close(found.high, torch.tensor([[0.0, 2.3]]).double())
    torch.testing.assert_close(found.size, torch.tensor([2.2]).double())  # |z0| <= 2 * 0.6 + 0.5 + 0.5


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_without_a_box_a_lenets_bounds_are_its_logits(activation):
    net = give_biases(LeNet(activation, 0.0, 0.25, 0.5, generator=torch.Generator().manual_seed(0))).double()
    x, labels = textured(3), torch.tensor([1, 7, 0])
    with torch.no_grad():
        logits = plain_of(net)(x)
        found = margin_bounds(layers_of(net), x, 0 * x, labels)
    margins = logits.gather(1, labels[:, None]) - logits
    torch.testing.assert_close(found.low, margins)
    torch.testing.assert_close(found.high, margins)
    assert (found.size >= logits.abs().amax(1)).all()


@st.composite
def small_nets(draw):
    """Nets of a few pixels, with every kind of layer."""
    act = draw(st.sampled_from([nn.ReLU, nn.Tanh]))
    pool = draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(2, padding=1), nn.AdaptiveAvgPool2d(2), nn.Identity()]))
    bias = draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 10_000)))
    front = [
        nn.Conv2d(1, 3, 3, stride=draw(st.integers(1, 2)), padding=draw(st.integers(1, 2)), bias=bias),
        act(),
        pool,
    ]
    front += (
        [nn.Dropout(0.5), nn.Flatten()] if draw(st.booleans()) else [nn.Sequential(nn.Dropout2d(0.5), nn.Flatten())]
    )
    features = nn.Sequential(*front)(torch.zeros(1, 1, 3, 3)).shape[1]
    net = nn.Sequential(*front, nn.Linear(features, 5, bias=bias), act(), nn.Linear(5, 3, bias=bias))
    if draw(st.booleans()):
        net.append(nn.ReLU())  # no last linear layer to fold
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(draw(st.sampled_from([0.3, 1.0, 4.0])))
    return Normalized(net, 0.3, 0.4).eval() if draw(st.booleans()) else net.eval()


@settings(max_examples=60, deadline=None)
@given(small_nets(), st.sampled_from([0.0, 1e-4, 0.05, 0.3]), st.integers(0, 99))
def test_no_input_of_the_box_leaves_the_bounds_whatever_its_precision(net, eps, seed):
    rng = torch.Generator().manual_seed(seed)
    x, labels = torch.rand(2, 1, 3, 3, generator=rng), torch.tensor([seed % 3, 1])
    corners = torch.tensor(list(np.ndindex((2,) * 9)), dtype=torch.float32).view(-1, 1, 1, 3, 3) * 2 - 1
    inside = torch.rand(200, 1, 1, 3, 3, generator=rng) * 2 - 1
    delta = eps * torch.cat([corners, inside])
    inputs = (x + delta).flatten(0, 1)
    with torch.no_grad():
        logits = net(inputs).double().view(len(delta), 2, -1)
        margins = logits.gather(2, labels.expand(len(delta), 2)[:, :, None]) - logits
        radius = eps + 3 * U * (x.double() + eps)
        found = margin_bounds(layers_of(net.double()), x.double(), radius, labels, U)
    assert (found.low <= margins).all()
    assert (margins <= found.high).all()
    assert (logits.abs() <= found.size[:, None]).all()


def test_float32_needs_the_slack_and_keeps_within_it():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2000, 50), nn.Tanh(), nn.Linear(50, 4))
    x, labels = torch.rand(200, 2000), torch.arange(200) % 4
    with torch.no_grad():
        out = net(x).double()
        margins = out.gather(1, labels[:, None]) - out
        layers = layers_of(net.double())
        exact, found = (margin_bounds(layers, x.double(), 0 * x.double(), labels, unit) for unit in (0.0, U))
    assert (margins < exact.low - 1e-12).any()  # rounding leaves exact bounds
    assert ((found.low <= margins) & (margins <= found.high)).all()
    assert (found.high - found.low).max() < 0.02


def test_the_slack_by_hand():
    # one product and a bias in units u = 0.01: gamma = 3 u / (1 - 3 u), of |w| |x| + |b| = 2 * 0.5 + 1
    net = nn.Sequential(linear([[2.0]], [1.0]), nn.ReLU(), nn.Identity())
    x = torch.tensor([[0.5]], dtype=torch.float64)
    centre, radius = intervals._affine(layers_of(net)[0], x, 0 * x, 0.01)
    torch.testing.assert_close(torch.cat([centre, radius]).flatten(), torch.tensor([2, 2 * 0.03 / 0.97]).double())


def test_tanh_is_computed_within_its_allowance():
    vectors = pytest.importorskip("jacobian_ensembles.engine.vectors", reason="numba is missing", exc_type=ImportError)
    load, store, tanh = vectors.load, vectors.store, activations.tanh

    @inner
    def compiled(x, out):
        for at in range(len(x)):
            store(out, at, tanh(load(x, at)))

    bits = np.arange(0, int(np.float32(10).view(np.uint32)), 4001, dtype=np.uint32)
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    x = x[: len(x) // vectors.LANES * vectors.LANES].reshape(-1, vectors.LANES)
    exact, out = np.tanh(x.astype(np.float64)), np.empty_like(x)
    compiled(x, out)
    for found in (out, torch.tanh(torch.from_numpy(x)).numpy()):
        assert np.abs(found - exact).max() < intervals._TANH / 2 * U


def test_bounds_can_be_differentiated():
    net, x = LeNet("relu", generator=torch.Generator().manual_seed(0)), textured(2, dtype=torch.float32)
    low = margin_bounds(layers_of(net), x, torch.full_like(x, 0.01), torch.tensor([1, 2])).low
    low.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters() if p is not net.fc3.bias)


def test_dropout_is_off_in_bounds_whatever_the_mode():
    torch.manual_seed(0)
    plain = [nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10)]
    dropping = nn.Sequential(*plain[:3], nn.Dropout(0.9), plain[3]).train()
    x, labels = textured(3, dtype=torch.float32), torch.tensor([1, 2, 0])
    with_it, without = (margin_bounds(layers_of(n), x, 0 * x, labels) for n in (dropping, nn.Sequential(*plain)))
    for a, b in zip(with_it, without, strict=True):
        assert torch.equal(a, b)


def test_one_radius_for_all_images_is_that_of_each():
    net, x = LeNet("tanh", generator=torch.Generator().manual_seed(0)).double(), textured(3).double()
    labels, radius = torch.tensor([1, 2, 0]), torch.full_like(x, 0.03)
    for unit in (0.0, U):
        each, one = (margin_bounds(layers_of(net), x, r, labels, unit) for r in (radius, radius[:1]))
        for a, b in zip(each, one, strict=True):
            torch.testing.assert_close(a, b)


class Odd(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize(
    ("net", "got"),
    [
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)), "BatchNorm1d"),
        (nn.Sequential(nn.Sequential(Odd(4, 2))), "Odd"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "Conv2d with padding_mode 'circular'"),
        (nn.MaxPool2d(2, return_indices=True), "MaxPool2d with return_indices"),
        (Normalized(nn.LogSoftmax(1), 0.5, 0.5), "LogSoftmax"),
    ],
)
def test_what_has_no_bounds_is_refused_by_name(net, got):
    with pytest.raises(ValueError, match=rf"bounds are known for a LeNet and .*Linear, ReLU.*Got {got}\.$"):
        layers_of(net)


def test_layers_must_end_in_logits():
    x = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"Got \(1, 1, 2, 2\): end them with"):
        margin_bounds([nn.MaxPool2d(2)], x, x, torch.tensor([0]))
