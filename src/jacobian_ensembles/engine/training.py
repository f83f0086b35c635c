"""A whole training step in one compiled call: the loss of one learner, its gradient, and the optimiser's move.

The loss is the cross-entropy plus 1/2 sum ||v^T J||^2 over some directions v. With u = J^T v held constant, the
gradient of 1/2 ||J^T v||^2 equals that of v^T J u, a product of weights and slopes. Through the weights it is an outer
product per layer, of v on its way down and u on its way up. Through the slopes it joins the loss's own way back, as a
*bend*: a tanh's slope 1 - a^2 changes by -2a, a ReLU's not at all. No backward pass is differentiated.
"""

from __future__ import annotations

import math

import numpy as np

from jacobian_ensembles.engine.compiling import entry, inner
from jacobian_ensembles.engine.layers import input_taps, linear_weights, tangent_taps
from jacobian_ensembles.engine.losses import loss_and_gradient
from jacobian_ensembles.engine.memory import copy
from jacobian_ensembles.engine.network import (
    B1,
    B2,
    B3,
    B4,
    CORNER,
    FC1,
    FC2,
    FIRST,
    HIDDEN,
    PLANE,
    ROW,
    TANGENT1,
    TANGENT2,
    TAPS1,
    TAPS2,
    W1,
    W2,
    W3,
    W4,
    W5,
    add,
    add_pixel_totals,
    add_sums,
    backward,
    fill,
    forward,
    input_gradient1,
    linear3,
    linear4,
    linear5,
    shared_gradient,
    tangent1,
    tangent2,
    through,
    times,
    weight_gradient1,
    weight_gradient2,
)  # fmt: skip
from jacobian_ensembles.engine.vectors import (
    LANES,
    add_totals,
    constant,
    load,
    load_tile,
    scatter,
    sqrt,
    store,
    total,
    zeros,
)

_TOGETHER = 4 if LANES == 16 else 2
linear_weights3, linear_weights4 = linear_weights(400, 5, _TOGETHER), linear_weights(120, 4, _TOGETHER)
linear_weights5 = linear_weights(84, 3, _TOGETHER)
_FEATURES, _STATES = HIDDEN + 4, FIRST + HIDDEN + 4
#: Vectors of a step's buffer that do not depend on the batch, the network's classes or the parameters' number.
FIXED = 2 * PLANE + 5 * _FEATURES + 6 * FIRST + (HIDDEN + FIRST) + 204
#: Elements of its tables.
TABLES = TAPS2 + TAPS1 + TANGENT1 + TANGENT2
#: Where sums of the linear layers' biases lie; those of the convolutions lie as their parameters do.
_SUM3, _SUM4, _SUM5 = W3, W3 + 128, W3 + 128 + 96
SUMS = _SUM5
#: Numbers of the optimisers.
NONE, ADAM, SGD = range(3)


@inner
def _bend(bend, a, q, t):  # type: ignore[no-untyped-def]
    """Add what the change of the slopes at ``a`` adds to the gradient before these activations."""
    for at in range(len(q)):
        change = -2.0 * load(a, at) * load(q, at) * load(t, at)
        store(bend, at, load(bend, at) + change)


@inner
def _to_rows(hidden, rows, first):  # type: ignore[no-untyped-def]
    """Write a block's hidden features image by image, from row ``first`` on."""
    for f in range(0, HIDDEN, LANES):
        scatter(rows, ROW, first * ROW + f, load_tile(hidden, f, zeros(LANES)))


@inner
def columns(array, first, count, factor, out):  # type: ignore[no-untyped-def]
    """Rows (N, features) to a block's features; zeros for images that are missing."""
    for f in range(array.shape[1]):
        for i in range(LANES):
            out[f, i] = array[first + i, f] * factor if first + i < count else 0.0


@inner
def fold(sums, count, gradient):  # type: ignore[no-untyped-def]
    """Add up lanes: ``count`` vectors, or up to LANES - 1 more."""
    for f in range(0, count, LANES):
        add_totals(gradient, f, load_tile(sums, f, zeros(LANES)))


@inner
def _adam(theta, gradient, mean, square, step, rate, decay):  # type: ignore[no-untyped-def]
    """Kingma, Ba: Adam (2015), Algorithm 1, with betas 0.9 and 0.999, and weight decay as in torch.optim.Adam."""
    size, root = rate / (1 - 0.9**step), math.sqrt(1 - 0.999**step)
    for at in range(0, len(theta), LANES):
        p = load(theta, at)
        g = load(gradient, at) + decay * p
        m = 0.9 * load(mean, at) + 0.1 * g
        s = 0.999 * load(square, at) + 0.001 * g * g
        store(mean, at, m)
        store(square, at, s)
        store(theta, at, p - size * (m / (sqrt(s) / root + 1e-8)))


@inner
def _sgd(theta, gradient, velocity, rate, momentum, decay):  # type: ignore[no-untyped-def]
    """Gradient descent with momentum and weight decay as in torch.optim.SGD."""
    for at in range(0, len(theta), LANES):
        p = load(theta, at)
        v = momentum * load(velocity, at) + (load(gradient, at) + decay * p)
        store(velocity, at, v)
        store(theta, at, p - rate * v)


@inner
def _move(theta, gradient, optimizer, mean, square, step, rate, momentum, decay):  # type: ignore[no-untyped-def]
    if optimizer == ADAM:
        _adam(theta, gradient, mean, square, step, rate, decay)
    elif optimizer == SGD:
        _sgd(theta, gradient, mean, rate, momentum, decay)


@entry
def move_of(theta, gradient, optimizer, mean, square, step, rate, momentum, decay):  # type: ignore[no-untyped-def]
    """Step number ``step``, from 1, of an optimiser that keeps ``mean`` and ``square``; all laid out like ``theta``."""
    _move(theta, gradient, optimizer, mean, square, step, rate, momentum, decay)


@entry
def step_of(  # type: ignore[no-untyped-def]
    images, labels, directions, masks, mean, scale, theta, outputs, relu, classes, gradient, common, work, winners,
    tables, downs, rows, sums, optimizer, mean_of, square_of, step, rate, momentum, decay,
):  # fmt: skip
    """The loss, which is returned, and its ``gradient``, laid out like ``theta``; then an optimiser's :func:`move_of`.

    The arguments are those of :func:`~jacobian_ensembles.engine.passes.training_gradient`; unless it is empty,
    ``common`` (28, 32) gets the gradient of the mean cross-entropy with respect to something added to all images. Then
    follows memory: ``work``, FIXED + 5 * outputs vectors, ``winners``, FIRST + 400, ``tables``, TABLES elements,
    ``downs``, 204 + outputs vectors of every block and direction, ``rows``, ROW elements of every image of these and of
    LANES more, and ``sums``, SUMS + outputs vectors.
    """
    count, many = len(labels), len(directions)
    blocks, down = (count + LANES - 1) // LANES, 204 + outputs
    taps2, taps1 = tables[:TAPS2], tables[TAPS2 : TAPS2 + TAPS1]
    taps3 = tables[TAPS2 + TAPS1 : TAPS2 + TAPS1 + TANGENT1]
    taps4 = tables[TAPS2 + TAPS1 + TANGENT1 :]
    input_taps(theta[W2 : W2 + 2400], 6, taps2)
    if many:
        input_taps(theta[W1 : W1 + 150], 1, taps1)
        tangent_taps(theta[W1 : W1 + 150], 1, taps3)
        tangent_taps(theta[W2 : W2 + 2400], 6, taps4)
    at, none = 0, work[:0]
    plane, at = work[at : at + PLANE], at + PLANE
    moved, at = work[at : at + PLANE], at + PLANE
    hidden, at = work[at : at + HIDDEN], at + _FEATURES
    dropped, at = work[at : at + HIDDEN], at + _FEATURES
    q, at = work[at : at + HIDDEN], at + _FEATURES
    p, at = work[at : at + HIDDEN], at + _FEATURES
    t, at = work[at : at + HIDDEN], at + _FEATURES
    a1, at = work[at : at + FIRST], at + FIRST
    q1, at = work[at : at + FIRST], at + FIRST
    p1, at = work[at : at + FIRST], at + FIRST
    t1, at = work[at : at + FIRST], at + FIRST
    z, at = work[at : at + 2 * FIRST], at + 2 * FIRST
    bend, at = work[at : at + HIDDEN + FIRST], at + HIDDEN + FIRST
    mask, at = work[at : at + 204], at + 204
    logits, at = work[at : at + outputs], at + outputs
    each, at = work[at : at + outputs], at + outputs
    shares, at = work[at : at + 2 * outputs], at + 2 * outputs
    ju, at = work[at : at + outputs], at + outputs
    zero, edge = np.zeros(120, np.float32), np.empty(128, np.float32)  # tangents have no biases
    rows_of, block_labels = np.empty(LANES, np.int64), np.empty(LANES, np.int32)
    losses, nothing = np.empty(blocks * LANES, np.float32), np.zeros(784, np.float32)
    plane[:] = 0.0
    moved[:] = 0.0
    sums[:] = 0.0
    won2, square, totals = winners[FIRST:], 0.0, np.zeros(4 * FIRST, np.float32)
    last = W5 + 84 * outputs
    if not len(masks):
        mask = none
    for b in range(blocks):
        first = b * LANES
        for i in range(LANES):
            rows_of[i] = min(first + i, count - 1)
            block_labels[i] = labels[rows_of[i]] if first + i < count else -1
        fill(images.reshape(-1), rows_of, nothing, -math.inf, math.inf, mean, scale, plane)
        if len(masks):
            columns(masks, first, count, 1.0, mask)
        forward(plane, theta, outputs, relu, mask, a1, winners, hidden, dropped, logits)
        if many:
            bend[:] = 0.0
        for d in range(many):
            here = downs[((1 + d) * blocks + b) * down : ((1 + d) * blocks + b) * down + down]
            v = here[204 : 204 + outputs]
            v[:] = 0.0
            columns(directions[d], first, count, scale, v)
            backward(v, theta, outputs, relu, mask, none, a1, winners, hidden, taps2, q, p, q1, p1)
            copy(p[FC1:HIDDEN], here)
            input_gradient1(p1, winners, taps1, moved, 32, CORNER)
            tangent1(moved, taps3, winners, z)
            through(z[:FIRST], a1, relu, t1)
            weight_gradient1(p1, winners, moved, sums[W1 : W1 + 150])
            weight_gradient2(p, won2, t1, sums[W2 : W2 + 2400])
            tangent2(t1, taps4, won2, z)
            t2, t3, t4 = t[:FC1], t[FC1:FC2], t[FC2:HIDDEN]
            through(z[:FC1], hidden[:FC1], relu, t2)
            linear3(theta[W3:], zero, t2, z)
            through(z[:120], hidden[FC1:FC2], relu, t3)
            times(t3, mask[:120])
            linear4(theta[W4:], zero[:84], t3, z)
            through(z[:84], hidden[FC2:HIDDEN], relu, t4)
            times(t4, mask[120:204])
            linear5(theta[W5:], zero[:outputs], t4, ju)
            part = constant(0.0)
            for c in range(outputs):
                part = part + load(v, c) * load(ju, c)
            square += total(part)
            if not relu:
                _bend(bend, hidden, q, t)
                _bend(bend[HIDDEN : HIDDEN + FIRST], a1, q1, t1)
            _to_rows(t, rows, ((1 + d) * blocks + b) * LANES)
        here = downs[b * down : (b + 1) * down]
        v = here[204 : 204 + outputs]
        v[:] = 0.0
        loss_and_gradient(
            logits, 1, outputs, classes, 0, 0, math.inf, block_labels, 1.0 / count, each, shares, v, losses[first:]
        )
        if len(common):
            backward(v, theta, outputs, relu, mask, none, a1, winners, hidden, taps2, q, p, q1, p1)
            add_pixel_totals(p1, winners, totals)
        change = bend if many and not relu else none
        backward(v, theta, outputs, relu, mask, change, a1, winners, hidden, taps2, q, p, q1, p1)
        copy(p[FC1:HIDDEN], here)
        _to_rows(dropped if len(masks) else hidden, rows, first)
        weight_gradient1(p1, winners, plane, sums[W1 : W1 + 150])
        weight_gradient2(p, won2, a1, sums[W2 : W2 + 2400])
        add_sums(p1, 196, sums[B1 : B1 + 6])
        add_sums(p[:FC1], 25, sums[B2 : B2 + 16])
        add(sums[_SUM3 : _SUM3 + 120], here[:120])
        add(sums[_SUM4 : _SUM4 + 84], here[120:204])
        add(sums[_SUM5 : _SUM5 + outputs], v)
    gradient[:] = 0.0
    fold(sums, W3, gradient)
    fold(sums[_SUM3 : _SUM3 + 128], 120, gradient[B3:])
    fold(sums[_SUM4 : _SUM4 + 96], 84, gradient[B4:])
    for c in range(classes):
        gradient[last + c] = total(load(sums, _SUM5 + c))
    everything = blocks * (1 + many)
    linear_weights3(downs, down, rows, ROW, everything, 120, gradient[W3:], edge)
    linear_weights4(downs[120:], down, rows[FC1:], ROW, everything, 84, gradient[W4:], edge)
    linear_weights5(downs[204:], down, rows[FC2:], ROW, everything, outputs, gradient[W5:], edge)
    if len(common):
        shared_gradient(totals, theta, np.empty(6 * 32 * 64, np.float32), common)
        for n in range(len(common)):
            common[n] *= scale
    _move(theta, gradient, optimizer, mean_of, square_of, step, rate, momentum, decay)
    loss = 0.0
    for i in range(count):
        loss += losses[i]
    return loss / count + square / 2
