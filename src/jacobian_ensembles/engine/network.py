"""The LeNet in the engine's layers: where its parameters and a block's values lie, and both directions through it.

Parameters lie one piece after another in one vector, each from a multiple of 16 elements on, in the order of layers:
weight, bias. The last layer is padded with zeros to a multiple of four outputs, ``outputs`` below.

A block's values lie in arrays of vectors: ``a1`` the first layer's outputs, ``hidden`` the outputs of the three hidden
layers (400, 120 and 84 features), ``winners`` of the first and, from :data:`FIRST` on, the second pooling.
"""

from __future__ import annotations

from jacobian_ensembles.engine.activations import activated, slope
from jacobian_ensembles.engine.compiling import inlined, inner
from jacobian_ensembles.engine.layers import (
    convolution,
    input_gradient,
    linear,
    linear_back,
    split,
    tangent,
    weight_gradient,
)
from jacobian_ensembles.engine.memory import copy
from jacobian_ensembles.engine.vectors import (
    LANES,
    add_totals,
    broadcast,
    constant,
    fma,
    gather,
    load,
    store,
    where,
)

#: Vectors of a block: the padded image, the first layer's outputs, the hidden features, and an image's row of these.
PLANE, FIRST, HIDDEN, ROW = 32 * 32, 6 * 14 * 14, 604, 624
#: The hidden features of the last two hidden layers start here.
FC1, FC2 = 400, 520
#: Where the parameters' pieces start, and where those of the last layer's weights do.
W1, B1, W2, B2, W3, B3, W4, B4, W5 = 0, 160, 176, 2576, 2592, 50592, 50720, 60800, 60896
#: Elements of the tables of taps, from which images pick: of both input gradients and both tangents.
TAPS2, TAPS1, TANGENT1, TANGENT2 = 16 * 9 * 6 * 16, 6 * 9 * 16, 36 * 8 * 4, 6 * 36 * 16 * 4
#: The first and the last pixel's vector in the padded image.
CORNER = 2 * 32 + 2

_WIDE = LANES == 16
convolution1, convolution2 = convolution(1, 6, 32, 14, 3 if _WIDE else 2), convolution(6, 16, 14, 5, 4 if _WIDE else 2)
input_gradient1, input_gradient2 = input_gradient(1, 6, 28, 14, 1, 1), input_gradient(6, 16, 14, 5, 2, 3)
tangent1, tangent2 = tangent(1, 6, 32, 14, 6), tangent(6, 16, 14, 5, 16 if _WIDE else 4)
weight_gradient1, weight_gradient2 = weight_gradient(1, 6, 32, 14), weight_gradient(6, 16, 14, 5)
linear3, linear4, linear5 = linear(400, 12), linear(120, 12), linear(84, 4)
back3, back4, back5 = linear_back(400, 20 if _WIDE else 10), linear_back(120, 12), linear_back(84, 12)


@inner
def activate(z, relu):  # type: ignore[no-untyped-def]
    """Apply the activation in place."""
    for at in range(len(z)):
        store(z, at, activated(load(z, at), relu))


@inner
def through(q, a, relu, p):  # type: ignore[no-untyped-def]
    """Multiply by the activation's slope where its outputs are ``a``."""
    for at in range(len(q)):
        store(p, at, load(q, at) * slope(load(a, at), relu))


@inner
def times(p, mask):  # type: ignore[no-untyped-def]
    """Multiply in place by dropout's mask, if there is one."""
    for at in range(len(mask)):
        store(p, at, load(p, at) * load(mask, at))


@inner
def fill(images, rows, delta, low, high, mean, scale, plane):  # type: ignore[no-untyped-def]
    """A block of images (N, 784), at LANES row numbers, into the interior of a padded plane.

    A perturbation is added and the sum clipped; then follow the network's shift and scale.
    """
    least, most, shift, factor = constant(low), constant(high), constant(mean), constant(scale)
    for first in range(0, 784, LANES):
        pixels = gather(images, rows, 784, first)
        for j in range(LANES):
            n = first + j
            x = pixels[j] + broadcast(delta, n)
            x = where(x < least, least, x)
            x = where(x > most, most, x)
            store(plane, n // 28 * 32 + n % 28 + CORNER, (x - shift) * factor)


@inner
def forward(plane, parameters, outputs, relu, mask, a1, winners, hidden, dropped, logits):  # type: ignore[no-untyped-def]
    """Classify a block.

    ``mask`` is what dropout multiplies the last 204 hidden features by, or empty; ``dropped`` gets all hidden features
    after that, if there is one.
    """
    p = parameters
    h2, h3, h4 = hidden[:FC1], hidden[FC1:FC2], hidden[FC2:HIDDEN]
    convolution1(plane, p[W1:], p[B1:], relu, a1, winners)
    convolution2(a1, p[W2:], p[B2:], relu, h2, winners[FIRST:])
    linear3(p[W3:], p[B3 : B3 + 120], h2, h3)
    activate(h3, relu)
    if len(mask):
        copy(hidden[: len(dropped)], dropped)
        h3, h4 = dropped[FC1:FC2], dropped[FC2:HIDDEN]
        times(h3, mask[:120])
    linear4(p[W4:], p[B4 : B4 + 84], h3, hidden[FC2:HIDDEN])
    activate(hidden[FC2:HIDDEN], relu)
    if len(mask):
        copy(hidden[FC2:HIDDEN], h4)
        times(h4, mask[120:204])
    last = W5 + 84 * outputs
    linear5(p[W5:], p[last : last + outputs], h4, logits)


@inner
def backward(v, parameters, outputs, relu, mask, bend, a1, winners, hidden, taps2, q, p, q1, p1):  # type: ignore[no-untyped-def]
    """v^T J from the logits to the first layer.

    What arrives after the hidden features' activations goes to ``q``, what arrives before them to ``p``; those of the
    first layer go to ``q1`` and ``p1``. ``bend`` is added to ``p`` and, from vector HIDDEN on, to ``p1``; or it is
    empty.
    """
    w = parameters
    q2, q3, q4 = q[:FC1], q[FC1:FC2], q[FC2:HIDDEN]
    p2, p3, p4 = p[:FC1], p[FC1:FC2], p[FC2:HIDDEN]
    back5(w[W5:], v, outputs, q4)
    through(q4, hidden[FC2:HIDDEN], relu, p4)
    if len(mask):
        times(p4, mask[120:204])
    if len(bend):
        add(p4, bend[FC2:HIDDEN])
    back4(w[W4:], p4, 84, q3)
    through(q3, hidden[FC1:FC2], relu, p3)
    if len(mask):
        times(p3, mask[:120])
    if len(bend):
        add(p3, bend[FC1:FC2])
    back3(w[W3:], p3, 120, q2)
    through(q2, hidden[:FC1], relu, p2)
    if len(bend):
        add(p2, bend[:FC1])
    input_gradient2(p2, winners[FIRST:], taps2, q1, 14, 0)
    through(q1, a1, relu, p1)
    if len(bend):
        add(p1, bend[HIDDEN : HIDDEN + FIRST])


@inner
def add(p, more):  # type: ignore[no-untyped-def]
    """Add to ``p`` in place."""
    for at in range(len(more)):
        store(p, at, load(p, at) + load(more, at))


@inlined
def _pixels(p1, winners, f):  # type: ignore[no-untyped-def]
    """The four pixels' gradients in one window."""
    return split(load(p1, f), load(winners, f))


@inner
def add_pixel_totals(p1, winners, total):  # type: ignore[no-untyped-def]
    """Hand each window's gradient to its winner and add the sum over images: to (6, 14, 14, 4)."""
    for f in range(0, FIRST, 4):
        left = _pixels(p1, winners, f) + _pixels(p1, winners, f + 1)
        right = _pixels(p1, winners, f + 2) + _pixels(p1, winners, f + 3)
        add_totals(total, 4 * f, left + right)


#: Rows of the planes from which :func:`shared_gradient` gathers, with what a kernel may reach beyond them.
_WIDTH = 64


@inner
def shared_gradient(total, weight, planes, out):  # type: ignore[no-untyped-def]
    """The first layer's input gradient, of totals (6, 14, 14, 4): adds to ``out`` (28, 32), of which 28 x 28 count.

    The layer is linear: images are summed before it instead of after. ``planes`` has 6 * 32 * 64 elements.
    """
    planes[:] = 0.0
    for f in range(FIRST):
        c, y, x = f // 196, f // 14 % 14, f % 14
        for k in range(4):
            planes[(c * 32 + 2 * y + k // 2 + 2) * _WIDTH + 2 * x + k % 2 + 16] = total[4 * f + k]
    for y in range(28):
        for x in range(0, 32, LANES):
            sums = load(out, 32 * y + x)
            for c in range(6):
                for ky in range(5):
                    for kx in range(5):
                        at = (c * 32 + y + 4 - ky) * _WIDTH + x + 18 - kx
                        sums = fma(broadcast(weight, c * 25 + ky * 5 + kx), load(planes, at), sums)
            store(out, 32 * y + x, sums)


@inner
def add_sums(p, area, out):  # type: ignore[no-untyped-def]
    """Add up groups of ``area`` vectors, each group to one vector of ``out``."""
    for f in range(len(out)):
        sums = load(out, f)
        for at in range(f * area, (f + 1) * area):
            sums = sums + load(p, at)
        store(out, f, sums)
