"""Interval bounds of a LeNet's last hidden layer, and their gradient: a pass through a network twice as wide.

The most and the least that a layer can be over a box are h' = W+ h + W- l + b and l' = W+ l + W- h + b, with W+ and W-
the positive and the negative part of W: one layer with weights [[W+, W-], [W-, W+]] of h and l side by side. Pooling
and activations rise, so they act on both alike. The layers are those of :mod:`~jacobian_ensembles.engine.layers`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jacobian_ensembles.engine.compiling import entry, inner
from jacobian_ensembles.engine.layers import (
    convolution,
    input_gradient,
    input_taps,
    linear,
    linear_back,
    linear_weights,
    weight_gradient,
)
from jacobian_ensembles.engine.memory import aligned, buffers
from jacobian_ensembles.engine.network import activate, add, add_sums, fill, through
from jacobian_ensembles.engine.training import columns, fold
from jacobian_ensembles.engine.vectors import LANES, load_tile, scatter, zeros

#: Vectors of a block: both planes, the first layer's outputs, the hidden features; an image's row of these; gradients
#: before the two linear layers' activations.
_PLANES, _FIRST, _HIDDEN, _ROW, _DOWN = 2 * 32 * 32, 12 * 196, 1208, 1216, 408
_FC1, _FC2 = 800, 1040
#: Sizes of weight and bias of four layers, and where they start: each at a multiple of 16.
_SIZES = (600, 12, 9600, 32, 192000, 240, 40320, 168)
_W1, _B1, _W2, _B2, _W3, _B3, _W4, _B4 = _STARTS = (0, 608, 624, 10224, 10256, 202256, 202496, 242816)
_ALL, _TAPS = 242992, 32 * 9 * 12 * 16
#: Where sums of the linear layers' biases lie; those of the convolutions lie as their parameters do.
_SUM3, _SUM4, _SUMS = _W3, _W3 + 240, _W3 + 240 + 176

_WIDE = LANES == 16
_TOGETHER = 4 if _WIDE else 2
convolution1, convolution2 = convolution(2, 12, 32, 14, 3 if _WIDE else 2), convolution(12, 32, 14, 5, _TOGETHER)
input_gradient2 = input_gradient(12, 32, 14, 5, 2, 3)
weight_gradient1, weight_gradient2 = weight_gradient(2, 12, 32, 14), weight_gradient(12, 32, 14, 5)
linear3, linear4 = linear(800, 12), linear(240, 12)
back3, back4 = linear_back(800, 20 if _WIDE else 10), linear_back(240, 12)
linear_weights3, linear_weights4 = linear_weights(800, 5, _TOGETHER), linear_weights(240, 5, _TOGETHER)


@inner
def _boxes(images, first, eps, mean, scale, rows, planes):  # type: ignore[no-untyped-def]
    """The most and the least of a block's pixels, in two planes."""
    for i in range(LANES):
        rows[i] = min(first + i, len(images) - 1)
    delta = np.full(784, np.float32(eps), np.float32)
    fill(images.reshape(-1), rows, delta, -math.inf, math.inf, mean, scale, planes)
    delta[:] = -np.float32(eps)
    fill(images.reshape(-1), rows, delta, -math.inf, math.inf, mean, scale, planes[1024:])


@entry
def _up(images, eps, mean, scale, theta, relu, planes, a1, winners, hidden, out):  # type: ignore[no-untyped-def]
    """Bounds (N, 168) of the last hidden features, and all blocks' first outputs, winners and hidden features."""
    count, rows = len(images), np.empty(LANES, np.int64)
    planes[:] = 0.0
    for b in range((count + LANES - 1) // LANES):
        first, h = b * LANES, hidden[b * _HIDDEN : (b + 1) * _HIDDEN]
        a, w = a1[b * _FIRST : (b + 1) * _FIRST], winners[b * (_FIRST + _FC1) : (b + 1) * (_FIRST + _FC1)]
        _boxes(images, first, eps, mean, scale, rows, planes)
        convolution1(planes, theta[_W1:], theta[_B1:], relu, a, w)
        convolution2(a, theta[_W2:], theta[_B2:], relu, h[:_FC1], w[_FIRST:])
        linear3(theta[_W3:], theta[_B3 : _B3 + 240], h[:_FC1], h[_FC1:_FC2])
        activate(h[_FC1:_FC2], relu)
        linear4(theta[_W4:], theta[_B4 : _B4 + 168], h[_FC1:_FC2], h[_FC2:])
        activate(h[_FC2:], relu)
        for i in range(min(LANES, count - first)):
            for f in range(168):
                out[first + i, f] = h[_FC2 + f, i]


@entry
def _down(  # type: ignore[no-untyped-def]
    images, eps, mean, scale, theta, relu, v, planes, a1, winners, hidden, work, taps, downs, rows, sums, gradient
):
    """The parameters' gradient, laid out like them, of sum(v * out) after :func:`_up`."""
    count, which, edge = len(images), np.empty(LANES, np.int64), np.empty(128, np.float32)
    blocks = (count + LANES - 1) // LANES
    q, p = work[:_FC1], work[_FC1 : 2 * _FC1]
    q1, p1 = work[2 * _FC1 : 2 * _FC1 + _FIRST], work[2 * _FC1 + _FIRST : 2 * (_FC1 + _FIRST)]
    g = work[2 * (_FC1 + _FIRST) :]
    planes[:] = 0.0
    sums[:] = 0.0
    input_taps(theta[_W2 : _W2 + 9600], 12, taps)
    for b in range(blocks):
        first, h = b * LANES, hidden[b * _HIDDEN : (b + 1) * _HIDDEN]
        a, w = a1[b * _FIRST : (b + 1) * _FIRST], winners[b * (_FIRST + _FC1) : (b + 1) * (_FIRST + _FC1)]
        here = downs[b * _DOWN : (b + 1) * _DOWN]
        p3, p4 = here[:240], here[240:]
        columns(v, first, count, 1.0, g)
        through(g, h[_FC2:], relu, p4)
        back4(theta[_W4:], p4, 168, q)
        through(q[:240], h[_FC1:_FC2], relu, p3)
        back3(theta[_W3:], p3, 240, q)
        through(q, h[:_FC1], relu, p)
        input_gradient2(p, w[_FIRST:], taps, q1, 14, 0)
        through(q1, a, relu, p1)
        _boxes(images, first, eps, mean, scale, which, planes)
        weight_gradient1(p1, w, planes, sums[_W1 : _W1 + 600])
        weight_gradient2(p, w[_FIRST:], a, sums[_W2 : _W2 + 9600])
        add_sums(p1, 196, sums[_B1 : _B1 + 12])
        add_sums(p, 25, sums[_B2 : _B2 + 32])
        add(sums[_SUM3 : _SUM3 + 240], p3)
        add(sums[_SUM4 : _SUM4 + 168], p4)
        for f in range(0, _HIDDEN, LANES):
            scatter(rows, _ROW, first * _ROW + f, load_tile(h, f, zeros(LANES)))
    gradient[:] = 0.0
    fold(sums, _W3, gradient)
    fold(sums[_SUM3:], 240, gradient[_B3:])
    fold(sums[_SUM4:], 168, gradient[_B4:])
    linear_weights3(downs, _DOWN, rows, _ROW, blocks, 240, gradient[_W3:], edge)
    linear_weights4(downs[240:], _DOWN, rows[_FC1:], _ROW, blocks, 168, gradient[_W4:], edge)


class BoundPass:
    """One pass up, and perhaps one down.

    Args:
        layers: Weight and bias, float32, of the two convolutions and the first two linear layers, twice as wide.
        relu: Whether the activation is ReLU; otherwise it is tanh.
        mean: Subtracted from images.
        std: Divides them after that.
    """

    def __init__(self, layers: Sequence[Any], relu: bool, mean: float, std: float) -> None:
        self._theta, self._relu = aligned(_ALL), relu
        self._scaling = np.float32(mean), np.float32(1 / std)
        for start, size, layer in zip(_STARTS, _SIZES, layers, strict=True):
            self._theta[start : start + size] = layer.reshape(-1)

    def up(self, images: Any, eps: float) -> Any:
        """The most, and after them the least, that each of the 84 features can be: (N, 168).

        Args:
            images: (N, 784) float32.
            eps: How far a pixel can be from its value.
        """
        blocks = -(-len(images) // LANES)
        self._boxes = images, np.float32(eps), *self._scaling
        self._planes = buffers.take("boxes", _PLANES)
        self._state = (
            aligned((blocks * _FIRST, LANES)),
            aligned((blocks * (_FIRST + _FC1), LANES), np.int32),
            aligned((blocks * _HIDDEN + LANES, LANES)),
        )
        out = np.empty((len(images), 168), np.float32)
        _up(*self._boxes, self._theta, self._relu, self._planes, *self._state, out)
        return out

    def down(self, v: Any) -> list[Any]:
        """The gradient of sum(v * out), v (N, 168) float32, with respect to each of the layers, flat."""
        blocks, gradient = -(-len(v) // LANES), aligned(_ALL)
        _down(
            *self._boxes, self._theta, self._relu, v, self._planes, *self._state,
            buffers.take("bound", 2 * (_FC1 + _FIRST) + 168), buffers.flat("bound taps", _TAPS),
            buffers.take("bound downs", blocks * _DOWN), buffers.flat("bound rows", (blocks + 1) * LANES * _ROW),
            buffers.take("bound sums", _SUMS + 16), gradient,
        )  # fmt: skip
        return [gradient[start : start + size] for start, size in zip(_STARTS, _SIZES, strict=True)]
