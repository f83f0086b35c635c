"""Whole passes over images in one compiled call each: classifying, products with Jacobians, and attacks.

Blocks of LANES images are outermost, learners inside: a block stays in the cache. What is missing to a whole block is
filled with the last image and left out of sums. :mod:`jacobian_ensembles.engine.passes` describes the arguments and
calls these functions; ``work`` and ``winners`` are buffers of at least the sizes given there.
"""

from __future__ import annotations

import math

import numpy as np

from jacobian_ensembles.engine.compiling import entry, exact, inner
from jacobian_ensembles.engine.layers import input_taps
from jacobian_ensembles.engine.losses import loss_and_gradient, most_likely
from jacobian_ensembles.engine.network import (
    FIRST,
    HIDDEN,
    PLANE,
    TAPS1,
    TAPS2,
    W1,
    W2,
    add_pixel_totals,
    backward,
    fill,
    forward,
    input_gradient1,
    shared_gradient,
)
from jacobian_ensembles.engine.vectors import LANES, load_tile, scatter, zeros

#: Vectors of ``work`` that all learners share, and of those that each has; winners of a learner.
SHARED, OWN, WINNERS = PLANE + 2 * (FIRST + HIDDEN + 4), FIRST + HIDDEN + 4, FIRST + 400


@inner
def _rows(first, count, rows):  # type: ignore[no-untyped-def]
    """The row numbers of a block that starts at image ``first`` of ``count``."""
    for i in range(LANES):
        rows[i] = min(first + i, count - 1)


@inner
def _classify(plane, parameters, outputs, relus, work, winners, logits):  # type: ignore[no-untyped-def]
    """All learners' logits of a block, keeping what the way back needs."""
    none = plane[:0]
    for m in range(len(parameters)):
        own, won = work[m * OWN : (m + 1) * OWN], winners[m * WINNERS : (m + 1) * WINNERS]
        a1, hidden = own[:FIRST], own[FIRST : FIRST + HIDDEN]
        scores = logits[m * outputs : (m + 1) * outputs]
        forward(plane, parameters[m], outputs, relus[m], none, a1, won, hidden, none, scores)


@entry
def scores_of(  # type: ignore[no-untyped-def]
    images, deltas, low, high, mean, scale, parameters, outputs, relus, classes, average, work, winners, logits,
    each, taken
):  # fmt: skip
    """Classify every image under every perturbation.

    Unless they are empty, ``taken`` (K, N) int32 gets the ensemble's class, -1 where it is NaN, and ``each``
    (M, N, outputs) the logits of all learners under the last perturbation.
    """
    rows, plane, found = np.empty(LANES, np.int64), work[:PLANE], np.empty(LANES, np.int32)
    half = len(parameters) * outputs
    own, scratch = logits[half : 2 * half], logits[2 * half :]
    plane[:] = 0.0
    for first in range(0, len(images), LANES):
        _rows(first, len(images), rows)
        here = min(LANES, len(images) - first)
        for k in range(len(deltas)):
            fill(images.reshape(-1), rows, deltas[k], low, high, mean, scale, plane)
            _classify(plane, parameters, outputs, relus, work[SHARED:], winners, logits)
            if len(taken):
                most_likely(logits, len(parameters), outputs, classes, average, own, scratch, found)
                for i in range(here):
                    taken[k, first + i] = found[i]
        for m in range(len(each)):
            for c in range(outputs):
                for i in range(here):
                    each[m, first + i, c] = logits[m * outputs + c, i]


@entry
def products_of(  # type: ignore[no-untyped-def]
    images, v, mean, scale, parameters, outputs, relus, work, winners, logits, taps, shared, out
):
    """One network's v^T J for each of ``v`` (K, N, C): ``out`` (K, N, 784), or its sum over images, (K, 28, 32)."""
    rows, delta, plane = np.empty(LANES, np.int64), np.zeros(784, np.float32), work[:PLANE]
    count, none, weights = len(images), plane[:0], parameters[0]
    own, won = work[SHARED:], winners
    a1, hidden = own[:FIRST], own[FIRST : FIRST + HIDDEN]
    q, p, q1, p1 = _down(work)
    taps2, taps1 = taps[:TAPS2], taps[TAPS2 : TAPS2 + TAPS1]
    input_taps(weights[W2 : W2 + 2400], 6, taps2)
    input_taps(weights[W1 : W1 + 150], 1, taps1)
    totals, planes = np.zeros((len(v), 4 * FIRST), np.float32), np.empty(6 * 32 * 64, np.float32)
    down = logits[outputs : 2 * outputs]
    image = np.empty((784, LANES), np.float32)
    block = np.empty(784 * LANES, np.float32)
    for first in range(0, count, LANES):
        plane[:] = 0.0
        _rows(first, count, rows)
        fill(images.reshape(-1), rows, delta, -math.inf, math.inf, mean, scale, plane)
        _classify(plane, parameters, outputs, relus, own, won, logits)
        for k in range(len(v)):
            down[:] = 0.0
            for c in range(v.shape[2]):
                for i in range(min(LANES, count - first)):
                    down[c, i] = v[k, first + i, c] * scale
            backward(down, weights, outputs, relus[0], none, none, a1, won, hidden, taps2, q, p, q1, p1)
            if shared:
                add_pixel_totals(p1, won, totals[k])
                continue
            input_gradient1(p1, won, taps1, image, 28, 0)
            for n in range(0, 784, LANES):
                scatter(block, 784, n, load_tile(image, n, zeros(LANES)))
            for i in range(min(LANES, count - first)):
                for n in range(784):
                    out[k, first + i, n] = block[i * 784 + n]
    if shared:
        for k in range(len(v)):
            shared_gradient(totals[k], weights, planes, out[k].reshape(-1))


@inner
def _down(work):  # type: ignore[no-untyped-def]
    """The parts of ``work`` for what comes down: q, p, q1 and p1 of :func:`backward`."""
    at = PLANE + HIDDEN + 4
    return (
        work[PLANE : PLANE + HIDDEN],
        work[at : at + HIDDEN],
        work[at + HIDDEN + 4 : at + HIDDEN + 4 + FIRST],
        work[at + HIDDEN + 4 + FIRST : at + HIDDEN + 4 + FIRST + FIRST],
    )


@inner
def _gradient(  # type: ignore[no-untyped-def]
    images, index, labels, delta, low, high, mean, scale, parameters, taps, outputs, relus, classes, average,
    kind, cap, work, winners, logits, rows, block_labels, losses, totals, planes, out, gradient
):  # fmt: skip
    """The gradient (784) of the mean loss at the images of an index under a perturbation, and the losses."""
    count, members, plane = len(index), len(parameters), work[:PLANE]
    own = work[SHARED:]
    half, none = members * outputs, plane[:0]
    each, v, scratch = logits[half : 2 * half], logits[2 * half : 3 * half], logits[3 * half :]
    q, p, q1, p1 = _down(work)
    share = 1.0 / count
    totals[:] = 0.0
    for first in range(0, count, LANES):
        for i in range(LANES):
            rows[i] = index[min(first + i, count - 1)]
            block_labels[i] = labels[rows[i]] if first + i < count else -1
        fill(images.reshape(-1), rows, delta, low, high, mean, scale, plane)
        _classify(plane, parameters, outputs, relus, own, winners, logits)
        loss_and_gradient(
            logits, members, outputs, classes, average, kind, cap, block_labels, share, each, scratch, v, losses[first:]
        )
        for m in range(members):
            state, won = own[m * OWN : (m + 1) * OWN], winners[m * WINNERS : (m + 1) * WINNERS]
            a1, hidden = state[:FIRST], state[FIRST : FIRST + HIDDEN]
            down = v[m * outputs : (m + 1) * outputs]
            backward(down, parameters[m], outputs, relus[m], none, none, a1, won, hidden, taps[m], q, p, q1, p1)
            add_pixel_totals(p1, won, totals[m])
    out[:] = 0.0
    for m in range(members):
        shared_gradient(totals[m], parameters[m], planes, out)
    for y in range(28):
        for x in range(28):
            gradient[28 * y + x] = out[32 * y + x] * scale


@exact
def _finite(g):  # type: ignore[no-untyped-def]
    """NaN becomes zero, and infinity the largest number."""
    most = np.float32(np.finfo(np.float32).max)
    for i in range(len(g)):
        g[i] = np.float32(0) if math.isnan(g[i]) else min(max(g[i], -most), most)


@exact
def _size(values):  # type: ignore[no-untyped-def]
    """The root of the mean square."""
    total = 0.0
    for x in values:
        total += float(x) * float(x)
    return math.sqrt(total) / math.sqrt(len(values))


@exact
def _moved(delta, g, step, eps, l2, out):  # type: ignore[no-untyped-def]
    """A step from ``delta`` along the steepest direction of a gradient, projected onto the ball."""
    h, radius = np.float32(step), np.float32(eps)
    size = max(_size(g), _TINY) if l2 else 1.0
    for i in range(len(delta)):
        if l2:
            out[i] = delta[i] + h * np.float32(g[i] / size)
        else:
            sign = np.float32(1) if g[i] > 0 else np.float32(-1) if g[i] < 0 else np.float32(0)
            out[i] = min(max(delta[i] + h * sign, -radius), radius)
    if l2:
        shrink = eps / max(_size(out), eps)
        for i in range(len(out)):
            out[i] = out[i] * shrink


_TINY = float(np.finfo(np.float64).tiny)


@exact
def _with_momentum(g, velocity, momentum):  # type: ignore[no-untyped-def]
    """Add earlier gradients, each scaled to mean size one."""
    total = 0.0
    for x in g:
        total += abs(float(x))
    scale, weight = max(total / len(g), _TINY), np.float32(momentum)
    for i in range(len(g)):
        velocity[i] = weight * velocity[i] + np.float32(g[i] / scale)
        g[i] = velocity[i]


@entry
def steps_of(  # type: ignore[no-untyped-def]
    images, labels, plan, first, steps, targeted, delta, velocity, eps, step, decay, momentum, parts, l2, low, high,
    mean, scale, parameters, outputs, relus, classes, average, kind, cap, work, winners, logits, taps, last, notes
):  # fmt: skip
    """Steps of an attack, ``first`` and following of ``steps``, on the images of ``plan`` (steps, B).

    ``delta`` and ``velocity`` (784) are moved in place, and ``last`` becomes the last gradient, that of the mean loss.
    ``notes`` (steps, parts, 2) gets the largest entry of each gradient and the smallest loss, NaN if there was any.
    """
    count, members = plan.shape[1], len(parameters)
    for m in range(members):
        input_taps(parameters[m, W2 : W2 + 2400], 6, taps[m])
    work[:PLANE][:] = 0.0
    logits[:] = 0.0
    rows, block_labels = np.empty(LANES, np.int64), np.empty(LANES, np.int32)
    losses, out = np.empty(count + LANES, np.float32), np.empty(28 * 32, np.float32)
    totals, planes = np.empty((members, 4 * FIRST), np.float32), np.empty(6 * 32 * 64, np.float32)
    g, point = np.empty(784, np.float32), np.empty(784, np.float32)
    size = (count + parts - 1) // parts
    for i in range(len(plan)):
        h = step * eps
        if decay:
            h *= 1 - (first + i) / steps
        for n in range(784):
            point[n], last[n] = delta[n], 0.0
        for part in range(0, count, size):
            if part:
                _moved(point, g, h, eps, l2, point)
            index = plan[i, part : part + size]
            _gradient(
                images, index, labels, point, low, high, mean, scale, parameters, taps, outputs, relus, classes,
                average, kind, cap, work, winners, logits, rows, block_labels, losses, totals, planes, out, g
            )  # fmt: skip
            largest, least = np.float32(0), np.float32(math.inf)
            for x in g:
                if not abs(x) <= largest:
                    largest = abs(x)
            for x in losses[: len(index)]:
                if not x >= least:
                    least = x
            notes[i, part // size, 0], notes[i, part // size, 1] = largest, least
            if targeted:
                for n in range(784):
                    g[n] = -g[n]
            _finite(g)
            for n in range(784):
                last[n] += g[n]
        if momentum > 0:
            _with_momentum(last, velocity, momentum)
        _moved(delta, last, h, eps, l2, delta)
