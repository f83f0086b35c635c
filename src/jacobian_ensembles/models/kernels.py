"""A LeNet's convolutions on a CPU: loops that numba compiles to vector instructions, on NumPy arrays.

Images are the innermost axis, ``LANES`` at a time, so that every instruction works on whole registers however many
channels a layer has. The compiler unrolls the body of each loop over images and therefore needs literal strides: the
factories below build each layer's loops for its sizes. Only multiplication and addition are fused; sums keep their
order, so equal patches of an image give equal numbers and tie in pooling as they do in ``max_pool2d``.

A block of images has the shape (channels, height, width, LANES), flattened; what belongs to a pooling window has the
window's position instead of height and width. ``winners`` says which of a window's four pixels, row by row, was the
first maximum. ``hidden`` holds the outputs of a block's last three hidden layers, one after another: 400, 120 and 84
features. The two convolutions and three linear layers are numbered 1 to 5.

Arguments shared by the functions called from Python:
    x, mean, scale: Images (N, 784), what is subtracted from them, and what they are multiplied by after that.
    parameters: Weights and biases of layers 1 to 5 in one vector; the last has a multiple of four outputs.
    relu: Whether the activation is ReLU; otherwise it is tanh.
    masks: What dropout multiplies ``hidden`` by, in blocks; empty for no dropout.
    a1, won1, won2, hidden: What :func:`forward` kept.
    v: Like the logits of :func:`forward`.
    bends1, bends: What the slopes of the first and of the last three activations add to the gradient of v^T J u before
        these activations; in blocks, or empty.
    dw1, db1, dw2: Gradients of the convolutions' parameters, flat; added to. That of the second bias is the sum of what
        comes down.
    down, up, at: What comes down before the last three activations and what goes up after them, (604, images), written
        from image ``at`` on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit
from numba.core.codegen import get_host_cpu_features

_chosen = getattr(config, "CPU_FEATURES", None)  # by the user
#: Whether vectors have 512 bits, which also means twice as many registers.
_WIDE = "+avx512f" in (_chosen or get_host_cpu_features())
if _WIDE and _chosen is None:
    # on Intel processors LLVM would use vectors of half that length, with which these loops take 1.4 times as long
    config.CPU_FEATURES = f"{get_host_cpu_features()},-prefer-256-bit"  # type: ignore[attr-defined]
#: Both fill whole registers; narrow registers also allow 40, which divides the attack's batch of 200.
LANES = 32 if _WIDE else 40
ZERO, ONE = np.float32(0), np.float32(1)
_FUSED: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
#: Sums over images may be taken in vector order: fixed for a processor, whatever else is computed alongside.
_REORDERED = _FUSED | {"fastmath": {"contract", "nsz", "reassoc"}}
_inner = njit(**_FUSED)
_inlined = njit(forceinline=True, **_FUSED)
_sums = njit(**_REORDERED)


def _variant(compile_: Any, *constants: int) -> Any:
    """Compile a function that is built around constants, under a name of its own.

    Code that separate processes compiled and kept is linked by name: if all variants shared one name, a function would
    run another's code.
    """

    def compiled(function: Any) -> Any:
        function.__qualname__ += "_" + "_".join(map(str, constants))
        return compile_(function)

    return compiled


def _entry(function: Any) -> Any:
    """Compile for Python to call, once for all processes if numba finds a place to keep the code."""
    try:
        return njit(cache=True, nogil=True, **_FUSED)(function)
    except RuntimeError:
        return njit(nogil=True, **_FUSED)(function)


@_inlined
def _tanh(z):  # type: ignore[no-untyped-def]
    """A ratio of polynomials, as good as float32 allows; the C library's tanh would keep the loop from vectorising."""
    z = min(max(z, np.float32(-7.9988117)), np.float32(7.9988117))  # beyond this, tanh is 1 in float32
    s = z * z
    p = np.float32(-2.76076847742355e-16)
    p = p * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928875436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06)
    q = q * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    q = q * s + np.float32(4.89352518554385e-03)
    return z * p / q


def _pooled_convolution(channels: int, outputs: int, width: int, windows: int) -> Any:
    """Build a 5x5 convolution (no padding) followed by 2x2 max-pooling.

    Args:
        channels: Of the input.
        outputs: Channels of the output.
        width: Of the input plane.
        windows: Pooling windows in a row of the output.

    Returns:
        ``layer(x, weight, bias, out, winners, given)``, before the activation. With ``given`` winners it is the layer's
        tangent: the same pixels are chosen again, and no bias is added.
    """
    plane, row = width * width * LANES, width * LANES

    @_variant(_inlined, channels, outputs, width, windows)
    def rows(x, w, i, first, end, s0, s1, s2, s3):  # type: ignore[no-untyped-def]
        for ky in range(first, end):
            for kx in range(5):
                tap = w[ky * 5 + kx]
                s0 += tap * x[ky * row + kx * LANES + i]
                s1 += tap * x[ky * row + (kx + 1) * LANES + i]
                s2 += tap * x[(ky + 1) * row + kx * LANES + i]
                s3 += tap * x[(ky + 1) * row + (kx + 1) * LANES + i]
        return s0, s1, s2, s3

    @_variant(_inlined, channels, outputs, width, windows)
    def window(x, w, i, s0, s1, s2, s3):  # type: ignore[no-untyped-def]
        if _WIDE:
            return rows(x, w, i, 0, 5, s0, s1, s2, s3)
        # narrow registers wait for one another less when each pixel has two sums
        r0, r1, r2, r3 = rows(x, w, i, 2, 5, ZERO, ZERO, ZERO, ZERO)
        s0, s1, s2, s3 = rows(x, w, i, 0, 2, s0, s1, s2, s3)
        return s0 + r0, s1 + r1, s2 + r2, s3 + r3

    @_variant(_inner, channels, outputs, width, windows)
    def layer(x, weight, bias, out, winners, given):  # type: ignore[no-untyped-def]
        sums, last = np.empty(4 * LANES, np.float32), channels - 1
        t0, t1, t2, t3 = sums[:LANES], sums[LANES:], sums[2 * LANES :], sums[3 * LANES :]
        for py in range(windows):
            for px in range(windows):
                patch = x[2 * py * row + 2 * px * LANES :]
                for o in range(outputs):
                    sums[:] = ZERO
                    for c in range(last):
                        xs, w = patch[c * plane :], weight[(o * channels + c) * 25 :]
                        for i in range(LANES):
                            t0[i], t1[i], t2[i], t3[i] = window(xs, w, i, t0[i], t1[i], t2[i], t3[i])
                    f = ((o * windows + py) * windows + px) * LANES
                    to, won, b = out[f:], winners[f:], bias[o]
                    xs, w = patch[last * plane :], weight[(o * channels + last) * 25 :]
                    if given:
                        for i in range(LANES):
                            s, s1, s2, s3 = rows(xs, w, i, 0, 5, t0[i], t1[i], t2[i], t3[i])
                            upper, lower = s1 if won[i] > 0 else s, s3 if won[i] > 2 else s2
                            to[i] = lower if won[i] > 1 else upper
                    else:
                        for i in range(LANES):
                            s, s1, s2, s3 = window(xs, w, i, t0[i], t1[i], t2[i], t3[i])
                            k = ZERO
                            if s1 > s:
                                s, k = s1, np.float32(1)
                            if s2 > s:
                                s, k = s2, np.float32(2)
                            if s3 > s:
                                s, k = s3, np.float32(3)
                            won[i] = k
                            to[i] = s + b

    return layer


def _input_gradient(channels: int, outputs: int, width: int, windows: int, before: int, unroll: int) -> Any:
    """Build the input gradient of a 5x5 convolution.

    Each 2x2 block of the input gathers from the pooling windows around it, at most three by three of them. Which taps
    join a block and a window depends only on their distance, so each of nine cases has its own loop and no tap is idle.

    Args:
        channels: Of the input.
        outputs: Channels of the output.
        width: Of the input plane, without padding.
        windows: Pooling windows in a row of the output.
        before: By how many windows the first one that reaches a block precedes the block's own row.
        unroll: Output channels to unroll; divides ``outputs``.

    Returns:
        ``gradient(pixels, weight, out)``, from a block's gradients (outputs, window, 4, LANES) of all pixels.
    """
    row, plane = width * LANES, width * width * LANES
    next_output, next_kernel = windows * windows * 4 * LANES, channels * 25

    @_variant(_inlined, channels, outputs, width, windows, before, unroll)
    def gather(g, w, sums, r, s):  # type: ignore[no-untyped-def]
        for i in range(LANES):
            s0, s1, s2, s3 = sums[i], sums[LANES + i], sums[2 * LANES + i], sums[3 * LANES + i]
            for j in range(unroll):
                for dy in range(2):
                    for dx in range(2):
                        v = g[j * next_output + (2 * dy + dx) * LANES + i]
                        ky, kx, at = 4 - 2 * r - dy, 4 - 2 * s - dx, j * next_kernel
                        if ky >= 0 and kx >= 0:
                            s0 += v * w[at + ky * 5 + kx]
                        if ky >= 0 and kx < 4:
                            s1 += v * w[at + ky * 5 + kx + 1]
                        if ky < 4 and kx >= 0:
                            s2 += v * w[at + ky * 5 + kx + 5]
                        if ky < 4 and kx < 4:
                            s3 += v * w[at + ky * 5 + kx + 6]
            sums[i], sums[LANES + i], sums[2 * LANES + i], sums[3 * LANES + i] = s0, s1, s2, s3

    @_variant(_inner, channels, outputs, width, windows, before, unroll)
    def gradient(pixels, weight, out):  # type: ignore[no-untyped-def]
        sums = np.empty(4 * LANES, np.float32)
        for by in range(width // 2):
            for bx in range(width // 2):
                for c in range(channels):
                    sums[:] = ZERO
                    for o in range(0, outputs, unroll):
                        w = weight[(o * channels + c) * 25 :]
                        for r in range(max(0, before - by), min(3, windows - by + before)):
                            for s in range(max(0, before - bx), min(3, windows - bx + before)):
                                g = pixels[((o * windows + by - before + r) * windows + bx - before + s) * 4 * LANES :]
                                if r == 0:
                                    if s == 0:
                                        gather(g, w, sums, 0, 0)
                                    elif s == 1:
                                        gather(g, w, sums, 0, 1)
                                    else:
                                        gather(g, w, sums, 0, 2)
                                elif r == 1:
                                    if s == 0:
                                        gather(g, w, sums, 1, 0)
                                    elif s == 1:
                                        gather(g, w, sums, 1, 1)
                                    else:
                                        gather(g, w, sums, 1, 2)
                                elif s == 0:
                                    gather(g, w, sums, 2, 0)
                                elif s == 1:
                                    gather(g, w, sums, 2, 1)
                                else:
                                    gather(g, w, sums, 2, 2)
                    to = out[c * plane + 2 * by * row + 2 * bx * LANES :]
                    for i in range(LANES):
                        to[i], to[LANES + i] = sums[i], sums[LANES + i]
                        to[row + i], to[row + LANES + i] = sums[2 * LANES + i], sums[3 * LANES + i]

    return gradient


def _weight_gradient(channels: int, outputs: int, width: int, windows: int, unroll: int) -> Any:
    """Build the weight gradient of a 5x5 convolution (no padding).

    Args:
        channels: Of the input.
        outputs: Channels of the output.
        width: Of the input plane.
        windows: Pooling windows in a row of the output.
        unroll: Windows to unroll; divides ``windows``.

    Returns:
        ``gradient(pixels, x, out)``, which adds to ``out`` a block's gradient, summed over images and pixels;
        ``pixels`` holds the gradients (outputs, window, 4, LANES) of all pixels.
    """
    row, plane = width * LANES, width * width * LANES

    @_variant(_inner, channels, outputs, width, windows, unroll)
    def gradient(pixels, x, out):  # type: ignore[no-untyped-def]
        sums = np.empty(25 * LANES, np.float32)
        for o in range(outputs):
            for c in range(channels):
                sums[:] = ZERO
                for py in range(windows):
                    for px in range(0, windows, unroll):
                        g = pixels[((o * windows + py) * windows + px) * 4 * LANES :]
                        for ky in range(5):
                            xs, t = x[c * plane + (2 * py + ky) * row + 2 * px * LANES :], sums[5 * ky * LANES :]
                            for i in range(LANES):
                                t0, t1, t2 = t[i], t[LANES + i], t[2 * LANES + i]
                                t3, t4 = t[3 * LANES + i], t[4 * LANES + i]
                                for j in range(unroll):
                                    for dy in range(2):
                                        for dx in range(2):
                                            v = g[(4 * j + 2 * dy + dx) * LANES + i]
                                            t0 += v * xs[dy * row + (2 * j + dx) * LANES + i]
                                            t1 += v * xs[dy * row + (2 * j + dx + 1) * LANES + i]
                                            t2 += v * xs[dy * row + (2 * j + dx + 2) * LANES + i]
                                            t3 += v * xs[dy * row + (2 * j + dx + 3) * LANES + i]
                                            t4 += v * xs[dy * row + (2 * j + dx + 4) * LANES + i]
                                t[i], t[LANES + i], t[2 * LANES + i] = t0, t1, t2
                                t[3 * LANES + i], t[4 * LANES + i] = t3, t4
                for k in range(25):
                    out[(o * channels + c) * 25 + k] += _total(sums[k * LANES : (k + 1) * LANES])

    return gradient


def _product(step: int, next_input: int, unroll: int) -> Any:
    """Build the matrix product of a linear layer.

    Args:
        step: Offset to the weights of the next output.
        next_input: Offset to those of the next input.
        unroll: Inputs to unroll; divides their number.

    Returns:
        ``product(weight, x, out)``, which adds to ``out``. The number of outputs must be a multiple of four.
    """

    @_variant(_inner, step, next_input, unroll)
    def product(weight, x, out):  # type: ignore[no-untyped-def]
        for o in range(0, len(out) // LANES, 4):
            t = out[o * LANES :]
            for k in range(0, len(x) // LANES, unroll):
                xs, w = x[k * LANES :], weight[o * step + k * next_input :]
                for i in range(LANES):
                    s0, s1, s2, s3 = t[i], t[LANES + i], t[2 * LANES + i], t[3 * LANES + i]
                    for j in range(unroll):
                        v = xs[j * LANES + i]
                        s0 += w[j * next_input] * v
                        s1 += w[j * next_input + step] * v
                        s2 += w[j * next_input + 2 * step] * v
                        s3 += w[j * next_input + 3 * step] * v
                    t[i], t[LANES + i], t[2 * LANES + i], t[3 * LANES + i] = s0, s1, s2, s3

    return product


@_sums
def _total(values):  # type: ignore[no-untyped-def]
    total = ZERO
    for i in range(len(values)):
        total += values[i]
    return total


_layer1, _layer2 = _pooled_convolution(1, 6, 32, 14), _pooled_convolution(6, 16, 14, 5)
_input_gradient1 = _input_gradient(1, 6, 28, 14, 1, 3)
_input_gradient2 = _input_gradient(6, 16, 14, 5, 2, 4 if _WIDE else 2)
_weight_gradient1, _weight_gradient2 = _weight_gradient(1, 6, 32, 14, 2), _weight_gradient(6, 16, 14, 5, 5)
_up3, _up4, _up5 = _product(400, 1, 5), _product(120, 1, 6), _product(84, 1, 6)
_down3, _down4, _down5 = _product(1, 400, 6), _product(1, 120, 6), _product(1, 84, 4)
# sizes of a block's padded images, first layer's outputs and ``hidden``; where the linear layers' outputs start in it
_PLANE, _FIRST, HIDDEN = 32 * 32 * LANES, 6 * 14 * 14 * LANES, 604 * LANES
_AT3, _AT4 = 400 * LANES, 520 * LANES


@_inner
def _activate(z, relu):  # type: ignore[no-untyped-def]
    """Apply the activation in place."""
    for i in range(len(z)):
        z[i] = (ZERO if z[i] < 0 else z[i]) if relu else _tanh(z[i])


@_inner
def _fill(x, first, mean, scale, plane):  # type: ignore[no-untyped-def]
    """Copy a block of images (B, 784) into padded planes; the last image stands in for those that are missing."""
    for y in range(28):
        for i in range(LANES):
            image, to = x[min(first + i, len(x) - 1)], plane[(32 * (y + 2) + 2) * LANES + i :]
            for k in range(28):
                to[k * LANES] = (image[28 * y + k] - mean) * scale


@_inner
def _unpool(p, winners, pixels):  # type: ignore[no-untyped-def]
    """Hand each window's gradient to the pixel that won it: (features, LANES) -> (features, 4, LANES)."""
    for f in range(len(winners) // LANES):
        g, won, to = p[f * LANES :], winners[f * LANES :], pixels[4 * f * LANES :]
        for i in range(LANES):
            v, k = g[i], won[i]
            to[i] = v if k == 0 else ZERO
            to[LANES + i] = v if k == 1 else ZERO
            to[2 * LANES + i] = v if k == 2 else ZERO
            to[3 * LANES + i] = v if k == 3 else ZERO


@_sums
def _unpool_summed(p, winners, total):  # type: ignore[no-untyped-def]
    """The same, summed over a block's images and added to planes (6, 28, 32)."""
    for c in range(6):
        for y in range(14):
            for x in range(14):
                f = ((c * 14 + y) * 14 + x) * LANES
                g, won = p[f : f + LANES], winners[f : f + LANES]
                s0, s1, s2, s3 = ZERO, ZERO, ZERO, ZERO
                for i in range(LANES):
                    v, k = g[i], won[i]
                    s0 += v if k == 0 else ZERO
                    s1 += v if k == 1 else ZERO
                    s2 += v if k == 2 else ZERO
                    s3 += v if k == 3 else ZERO
                at = (c * 28 + 2 * y) * 32 + 2 * x
                total[at] += s0
                total[at + 1] += s1
                total[at + 32] += s2
                total[at + 33] += s3


@_inner
def _through(q, a, mask, bend, relu, p):  # type: ignore[no-untyped-def]
    """Back through an activation: multiply by its slope and dropout's mask, then add the effect of the slope's change.

    Not in place: where arrays overlap, the compiled loop takes one number at a time.
    """
    for i in range(len(q)):
        p[i] = q[i] * ((ONE if a[i] > 0 else ZERO) if relu else ONE - a[i] * a[i])
    if len(mask):
        for i in range(len(q)):
            p[i] *= mask[i]
    if len(bend):
        for i in range(len(q)):
            p[i] += bend[i]


@_inner
def _bend(bend, a, q, t):  # type: ignore[no-untyped-def]
    """What tanh's slope 1 - a^2, which changes by -2a, adds to the gradient of v^T J u; a ReLU's does not change."""
    for i in range(len(bend)):
        bend[i] -= 2 * a[i] * q[i] * t[i]


@_inner
def _block(array, block):  # type: ignore[no-untyped-def]
    """A block of an array; empty if the array is."""
    return array[block] if len(array) else np.empty(0, np.float32)


@_inner
def _pull_linear(v, hidden, mask, bend, weights, relu, q, p):  # type: ignore[no-untyped-def]
    """v^T J through the linear layers: ``q`` after the last three activations, ``p`` before them."""
    q[:] = ZERO
    _down5(weights[8], v, q[_AT4:])
    _through(q[_AT4:], hidden[_AT4:], mask[_AT4:], bend[_AT4:], relu, p[_AT4:])
    _down4(weights[6], p[_AT4:], q[_AT3:_AT4])
    _through(q[_AT3:_AT4], hidden[_AT3:_AT4], mask[_AT3:_AT4], bend[_AT3:_AT4], relu, p[_AT3:_AT4])
    _down3(weights[4], p[_AT3:_AT4], q[:_AT3])
    _through(q[:_AT3], hidden[:_AT3], mask[:_AT3], bend[:_AT3], relu, p[:_AT3])


@_inner
def _pull_convolutions(p, a1, won1, won2, weights, relu, q1, p1, pixels1, pixels2, u):  # type: ignore[no-untyped-def]
    """Continue v^T J to the images, keeping what arrives at each stage on the way."""
    _unpool(p, won2, pixels2)
    _input_gradient2(pixels2, weights[2], q1)
    _through(q1, a1, q1[:0], q1[:0], relu, p1)
    _unpool(p1, won1, pixels1)
    _input_gradient1(pixels1, weights[0], u)


@_inner
def _store(block, columns, at):  # type: ignore[no-untyped-def]
    """Copy a block's features, each to its row of ``columns`` (features, images), from image ``at`` on."""
    for f in range(len(columns)):
        to, here = columns[f, at:], block[f * LANES :]
        for i in range(LANES):
            to[i] = here[i]


@_inner
def _set_bias(out, bias):  # type: ignore[no-untyped-def]
    for f in range(len(bias)):
        out[f * LANES : (f + 1) * LANES] = bias[f]


@_inner
def _masked(hidden, mask, at, end, out):  # type: ignore[no-untyped-def]
    """A hidden layer's outputs after dropout."""
    for i in range(at, end):
        out[i] = hidden[i] * mask[i] if len(mask) else hidden[i]


@_inner
def _split(parameters):  # type: ignore[no-untyped-def]
    """Weight and bias of each layer, from one vector: it reaches compiled code much faster than a tuple of ten."""
    classes = (len(parameters) - 60856) // 85
    p, last = parameters, 60856 + 84 * classes
    convolutions = p[:150], p[150:156], p[156:2556], p[2556:2572]
    return (*convolutions, p[2572:50572], p[50572:50692], p[50692:60772], p[60772:60856], p[60856:last], p[last:])


@_entry
def forward(x, mean, scale, parameters, relu, masks, keep):  # type: ignore[no-untyped-def]
    """Classify.

    Returns:
        The logits; then, if wanted (``keep``), what the other kernels need: the first layer's outputs, both
        convolutions' winners, and ``hidden``. All of it in blocks (blocks, features * LANES).
    """
    weights, blocks = _split(parameters), (len(x) + LANES - 1) // LANES
    kept = blocks if keep else 1
    plane, dropped = np.zeros(_PLANE, np.float32), np.empty(HIDDEN, np.float32)
    a1, won1 = np.empty((kept, _FIRST), np.float32), np.empty((kept, _FIRST), np.float32)
    won2, hidden = np.empty((kept, 400 * LANES), np.float32), np.empty((kept, HIDDEN), np.float32)
    logits = np.empty((blocks, len(weights[9]) * LANES), np.float32)
    for block in range(blocks):
        k = block if keep else 0
        h, mask, out = hidden[k], _block(masks, block), logits[block]
        _fill(x, block * LANES, mean, scale, plane)
        _layer1(plane, weights[0], weights[1], a1[k], won1[k], False)
        _activate(a1[k], relu)
        _layer2(a1[k], weights[2], weights[3], h, won2[k], False)
        _activate(h[:_AT3], relu)
        _set_bias(h[_AT3:], weights[5])
        _up3(weights[4], h[:_AT3], h[_AT3:_AT4])
        _activate(h[_AT3:_AT4], relu)
        _masked(h, mask, _AT3, _AT4, dropped)
        _set_bias(h[_AT4:], weights[7])
        _up4(weights[6], dropped[_AT3:_AT4], h[_AT4:])
        _activate(h[_AT4:], relu)
        _masked(h, mask, _AT4, HIDDEN, dropped)
        _set_bias(out, weights[9])
        _up5(weights[8], dropped[_AT4:], out)
    return logits, a1, won1, won2, hidden


@_entry
def input_gradient_sum(v, a1, won1, won2, hidden, parameters, relu, masks):  # type: ignore[no-untyped-def]
    """v^T J, summed over all images: (28, 28), for normalised images.

    The first layer is linear, so the images are summed before its input gradient instead of after.
    """
    weights = _split(parameters)
    q, p, none = np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32), np.empty(0, np.float32)
    pixels2, q1, p1 = np.empty(4 * _AT3, np.float32), np.empty(_FIRST, np.float32), np.empty(_FIRST, np.float32)
    total, out = np.zeros(6 * 28 * 32 + 32, np.float32), np.zeros(33 * 40, np.float32)
    for block in range(len(v)):
        _pull_linear(v[block], hidden[block], _block(masks, block), none, weights, relu, q, p)
        _unpool(p, won2[block], pixels2)
        _input_gradient2(pixels2, weights[2], q1)
        _through(q1, a1[block], none, none, relu, p1)
        _unpool_summed(p1, won1[block], total)
    for y in range(28):
        for c in range(6):
            for k in range(25):
                tap, g, to = weights[0][25 * c + k], total[(28 * c + y) * 32 :], out[(y + k // 5) * 40 + k % 5 :]
                for i in range(32):
                    to[i] += tap * g[i]
    return out.reshape(33, 40)[2:30, 2:30].copy()


@_entry
def input_gradient(v, a1, won1, won2, hidden, parameters, relu, masks):  # type: ignore[no-untyped-def]
    """v^T J of every image: (B, 784), for normalised images."""
    weights = _split(parameters)
    q, p, none = np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32), np.empty(0, np.float32)
    pixels1, pixels2 = np.empty(4 * _FIRST, np.float32), np.empty(4 * _AT3, np.float32)
    q1, p1, u = np.empty(_FIRST, np.float32), np.empty(_FIRST, np.float32), np.empty((784, LANES), np.float32)
    out = np.empty((len(v) * LANES, 784), np.float32)
    for block in range(len(v)):
        _pull_linear(v[block], hidden[block], _block(masks, block), none, weights, relu, q, p)
        flat = u.reshape(-1)
        _pull_convolutions(p, a1[block], won1[block], won2[block], weights, relu, q1, p1, pixels1, pixels2, flat)
        out[block * LANES : (block + 1) * LANES] = u.T
    return out


@_entry
def tangent(  # type: ignore[no-untyped-def]
    v, a1, won1, won2, hidden, parameters, relu, masks, scale, bends1, bends, dw1, dw2, down, up, at
):
    """Go down to u = J^T v and, with it, up to J u, collecting the gradients of v^T J u with u held constant.

    Returns:
        The sum of v^T J u, which equals that of ||u||^2.
    """
    weights = _split(parameters)
    p, t = np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32)
    q, none, square = np.empty(HIDDEN, np.float32), np.empty(0, np.float32), ZERO
    pixels1, pixels2 = np.empty(4 * _FIRST, np.float32), np.empty(4 * _AT3, np.float32)
    q1, p1, t1 = np.empty(_FIRST, np.float32), np.empty(_FIRST, np.float32), np.empty(_FIRST, np.float32)
    z1, z = np.empty(_FIRST, np.float32), np.empty(HIDDEN, np.float32)  # what goes up, before the activations
    u, plane, ju = np.empty(784 * LANES, np.float32), np.zeros(_PLANE, np.float32), np.empty(v.shape[1], np.float32)
    row = 28 * LANES
    for block in range(len(v)):
        a, h, mask = a1[block], hidden[block], _block(masks, block)
        _pull_linear(v[block], h, mask, none, weights, relu, q, p)
        _pull_convolutions(p, a, won1[block], won2[block], weights, relu, q1, p1, pixels1, pixels2, u)
        for y in range(28):
            to, here = plane[(32 * (y + 2) + 2) * LANES :], u[y * row :]
            for i in range(row):
                to[i] = here[i] * (scale * scale)
        _layer1(plane, weights[0], weights[1], z1, won1[block], True)
        _through(z1, a, none, none, relu, t1)
        _layer2(t1, weights[2], weights[3], z, won2[block], True)
        _weight_gradient1(pixels1, plane, dw1)
        _weight_gradient2(pixels2, t1, dw2)
        _through(z[:_AT3], h[:_AT3], mask[:_AT3], none, relu, t[:_AT3])
        z[_AT3:] = ZERO
        _up3(weights[4], t[:_AT3], z[_AT3:_AT4])
        _through(z[_AT3:_AT4], h[_AT3:_AT4], mask[_AT3:_AT4], none, relu, t[_AT3:_AT4])
        _up4(weights[6], t[_AT3:_AT4], z[_AT4:])
        _through(z[_AT4:], h[_AT4:], mask[_AT4:], none, relu, t[_AT4:])
        ju[:] = ZERO
        _up5(weights[8], t[_AT4:], ju)
        for i in range(len(ju)):
            square += v[block, i] * ju[i]
        if not relu:
            _bend(bends1[block], a, q1, t1)
            _bend(bends[block], h, q, t)
        _store(p, down, at + block * LANES)
        _store(t, up, at + block * LANES)
    return square


@_entry
def parameter_gradients(  # type: ignore[no-untyped-def]
    v, a1, won1, won2, hidden, parameters, relu, masks, x, mean, scale, bends1, bends, dw1, db1, dw2, down, up, at
):
    """The convolutions' parameter gradients."""
    weights = _split(parameters)
    p, q, dropped = np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32)
    pixels1, pixels2 = np.empty(4 * _FIRST, np.float32), np.empty(4 * _AT3, np.float32)
    q1, p1 = np.empty(_FIRST, np.float32), np.empty(_FIRST, np.float32)
    plane, none = np.zeros(_PLANE, np.float32), np.empty(0, np.float32)
    for block in range(len(v)):
        mask = _block(masks, block)
        _pull_linear(v[block], hidden[block], mask, _block(bends, block), weights, relu, q, p)
        _store(p, down, at + block * LANES)
        _masked(hidden[block], mask, 0, HIDDEN, dropped)
        _store(dropped, up, at + block * LANES)
        _unpool(p, won2[block], pixels2)
        _input_gradient2(pixels2, weights[2], q1)
        _through(q1, a1[block], none, _block(bends1, block), relu, p1)
        for c in range(6):
            db1[c] += _total(p1[c * 196 * LANES : (c + 1) * 196 * LANES])
        _unpool(p1, won1[block], pixels1)
        _fill(x, block * LANES, mean, scale, plane)
        _weight_gradient1(pixels1, plane, dw1)
        _weight_gradient2(pixels2, a1[block], dw2)
