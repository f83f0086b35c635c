"""Layers against float64 torch, and by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("jacobian_ensembles.engine.vectors", reason="numba is missing", exc_type=ImportError)

from jacobian_ensembles.engine import layers, network
from jacobian_ensembles.engine.vectors import LANES

RNG = np.random.default_rng(1)
#: Channels, outputs, input plane, windows, and the layers of the network.
SIZES = {
    "first": (1, 6, 32, 14, network.convolution1, network.input_gradient1, network.tangent1, network.weight_gradient1),
    "second": (6, 16, 14, 5, network.convolution2, network.input_gradient2, network.tangent2, network.weight_gradient2),
}


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def images_first(array, *shape):
    """(n, LANES) of vectors to (LANES, ...) in float64."""
    return torch.from_numpy(array.reshape(*shape, LANES)).double().movedim(-1, 0)


def unpooled(p, winners, outputs, windows):
    """Gradients of windows at their winners: (LANES, O, 2 windows, 2 windows)."""
    p, won = (images_first(a, outputs, windows, windows) for a in (p, winners))
    pixels = torch.stack([torch.where(won == k, p, 0) for k in range(4)], -1).unflatten(-1, (2, 2))
    return pixels.permute(0, 1, 2, 4, 3, 5).reshape(LANES, outputs, 2 * windows, 2 * windows)


def close(got, expected):
    scale = expected.abs().max()
    assert (got - expected).abs().max() < 2e-6 * scale


@pytest.fixture(params=SIZES)
def size(request):
    return SIZES[request.param]


@pytest.mark.parametrize("relu", [True, False])
def test_convolution_pooling_and_activation(size, relu):
    channels, outputs, width, windows, layer, *_ = size
    x, weight, bias = draw(channels * width * width, LANES), draw(outputs * channels * 25) / 5, draw(outputs)
    out, won = np.empty((outputs * windows**2, LANES), np.float32), np.empty((outputs * windows**2, LANES), np.int32)
    layer(x, weight, bias, relu, out, won)
    reach = 2 * windows + 4
    planes = images_first(x, channels, width, width)[..., :reach, :reach]
    z = F.conv2d(planes, torch.from_numpy(weight).double().view(outputs, channels, 5, 5))
    pooled, where = F.max_pool2d(z, 2, return_indices=True)
    pooled = pooled + torch.from_numpy(bias).double()[:, None, None]
    close(images_first(out, outputs, windows, windows), torch.relu(pooled) if relu else torch.tanh(pooled))
    first = 2 * torch.arange(windows)
    corner = first[:, None] * 2 * windows + first
    position = where - corner
    position = torch.where(position >= 2 * windows, position - 2 * windows + 2, position)
    assert torch.equal(images_first(won, outputs, windows, windows).long(), position)


def test_an_impulse_through_the_first_layer_is_its_kernel_and_the_first_of_equals_wins():
    plane, weight = np.zeros((32, 32, LANES), np.float32), np.zeros((6, 25), np.float32)
    plane[2 + 10, 2 + 10] = np.arange(1, LANES + 1)  # image i is i + 1 at pixel (10, 10)
    weight[0, 12], weight[1] = 2.0, 1.0  # the first channel copies, twice as bright; the second adds up 5x5 pixels
    bias = np.array([0.5, 1.0, 0, 0, 0, 0], np.float32)
    out, won = np.empty((6 * 196, LANES), np.float32), np.empty((6 * 196, LANES), np.int32)
    network.convolution1(plane.reshape(-1, LANES), weight.ravel(), bias, True, out, won)
    out, won = out.reshape(6, 14, 14, LANES), won.reshape(6, 14, 14, LANES)
    expected = np.full((14, 14, LANES), 0.5, np.float32)
    expected[5, 5] += 2 * np.arange(1, LANES + 1)
    np.testing.assert_array_equal(out[0], expected)
    assert not won[0].any()
    lit = np.zeros((14, 14), bool)
    lit[4:7, 4:7] = True
    np.testing.assert_array_equal(out[1, ..., 0], np.where(lit, 2.0, 1.0))
    # the impulse reaches rows and columns 8 to 12: all four pixels of windows 4 and 5, the first only of window 6
    assert not won[1].any()


def test_input_gradient(size):
    channels, outputs, width, windows, _, layer, *_ = size
    inputs, padding = (28, 2) if channels == 1 else (14, 0)
    p, won = draw(outputs * windows**2, LANES), RNG.integers(0, 4, (outputs * windows**2, LANES)).astype(np.int32)
    weight, taps = draw(outputs * channels * 25), np.empty(outputs * 9 * channels * 16, np.float32)
    layers.input_taps(weight, channels, taps)
    out = np.full((channels * width * width, LANES), 7, np.float32)
    layer(p, won, taps, out, width, padding * width + padding)
    kernel = torch.from_numpy(weight).double().view(outputs, channels, 5, 5)
    expected = F.conv_transpose2d(unpooled(p, won, outputs, windows), kernel, padding=padding)
    got = images_first(out, channels, width, width)
    inside = slice(padding, padding + inputs)
    close(got[..., inside, inside], expected)
    assert (got.numel() - expected.numel()) == int((got == 7).sum())  # nothing else is written


def test_tangent(size):
    channels, outputs, width, windows, _, _, layer, _ = size
    x, won = draw(channels * width**2, LANES), RNG.integers(0, 4, (outputs * windows**2, LANES)).astype(np.int32)
    weight, out = draw(outputs * channels * 25), np.empty((outputs * windows**2, LANES), np.float32)
    taps = np.empty(channels * 36 * layers.tap_outputs(outputs) * 4, np.float32)
    layers.tangent_taps(weight, channels, taps)
    layer(x, taps, won, out)
    reach = 2 * windows + 4
    planes = images_first(x, channels, width, width)[..., :reach, :reach]
    z = F.conv2d(planes, torch.from_numpy(weight).double().view(outputs, channels, 5, 5))
    mask = unpooled(np.ones_like(out), won, outputs, windows)
    close(images_first(out, outputs, windows, windows), 4 * F.avg_pool2d(z * mask, 2))


def test_weight_gradient_adds(size):
    channels, outputs, width, windows, *_, layer = size
    x, won = draw(channels * width**2, LANES), RNG.integers(0, 4, (outputs * windows**2, LANES)).astype(np.int32)
    p, out = draw(outputs * windows**2, LANES), np.ones((outputs * channels * 25, LANES), np.float32)
    layer(p, won, x, out)
    reach = 2 * windows + 4
    planes = images_first(x, channels, width, width)[..., :reach, :reach]
    weight = torch.zeros(outputs, channels, 5, 5, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(F.conv2d(planes, weight), weight, unpooled(p, won, outputs, windows))
    close(torch.from_numpy(out.reshape(outputs, channels, 5, 5, LANES)).double().sum(-1) - LANES, expected)


@pytest.mark.parametrize(("inputs", "outputs", "up", "back"), [
    (400, 120, network.linear3, network.back3),
    (120, 84, network.linear4, network.back4),
    (84, 12, network.linear5, network.back5),
])  # fmt: skip
def test_linear_layers(inputs, outputs, up, back):
    weight, bias, x, p = draw(outputs, inputs), draw(outputs), draw(inputs, LANES), draw(outputs, LANES)
    out, down = np.empty((outputs, LANES), np.float32), np.empty((inputs, LANES), np.float32)
    up(weight.ravel(), bias, x, out)
    back(weight.ravel(), p, outputs, down)
    w = torch.from_numpy(weight).double()
    close(torch.from_numpy(out).double(), w @ torch.from_numpy(x).double() + torch.from_numpy(bias).double()[:, None])
    close(torch.from_numpy(down).double(), w.T @ torch.from_numpy(p).double())


@pytest.mark.parametrize(("inputs", "outputs", "vectors"), [(400, 8, 5), (120, 84, 4), (84, 12, 3)])
def test_gradients_of_linear_weights(inputs, outputs, vectors):
    layer, blocks, features, width = layers.linear_weights(inputs, vectors, 2), 3, outputs + 5, inputs + 40
    p, rows = draw(blocks, features, LANES), draw((blocks + 1) * LANES, width)
    out = np.empty(outputs * inputs, np.float32)
    layer(p.reshape(-1, LANES), features, rows.reshape(-1), width, blocks, outputs, out, np.empty(128, np.float32))
    down = torch.from_numpy(p[:, :outputs]).double().transpose(0, 1).flatten(1)
    expected = down @ torch.from_numpy(rows[: blocks * LANES, :inputs]).double()
    close(torch.from_numpy(out.reshape(outputs, inputs)).double(), expected)
