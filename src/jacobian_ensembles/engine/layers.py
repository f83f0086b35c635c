"""A network's layers on a block of images, forward and back, as loops over vectors.

A block holds LANES images. Its arrays hold vectors, one after another: (channels, height, width) of them for planes,
(channels, windows, windows) for what belongs to a pooling window. ``winners``, of int32, says which of a window's four
pixels, row by row, was the first maximum. Weights are flat. The factories build each layer's loops for its sizes:
strides and the numbers of sums in registers must be literal.

Of four pixels only the winner has a gradient. So each image picks, of four taps, the one that joins its winner and the
pixel at hand: :func:`picked` needs 72 products where all pixels of a 5x5 kernel and its pooling need 100.
"""

from __future__ import annotations

from typing import Any

from jacobian_ensembles.engine.activations import activated
from jacobian_ensembles.engine.compiling import inlined, inner, variant
from jacobian_ensembles.engine.vectors import (
    LANES,
    broadcast,
    constant,
    correlate,
    load,
    load_tile,
    outer,
    picked,
    store,
    store_tile,
    strided,
    where,
    zeros,
    zeros2,
)


@inlined
def largest(sums):  # type: ignore[no-untyped-def]
    """The first maximum of a window's four pixels, and its position."""
    best, winner = sums[0], constant(0)
    for k in range(1, 4):
        more = sums[k] > best
        best, winner = where(more, sums[k], best), where(more, constant(k), winner)
    return best, winner


def convolution(channels: int, outputs: int, width: int, windows: int, together: int) -> Any:
    """Build a 5x5 convolution (no padding) with 2x2 max-pooling and activation.

    Args:
        channels: Of the input.
        outputs: Channels of the output.
        width: Of the input plane.
        windows: Pooling windows in a row of the output.
        together: Output channels at once; divides ``outputs``.

    Returns:
        ``layer(x, weight, bias, relu, out, winners)``.
    """
    plane, kernel = width * width, channels * 25

    @variant(inner, channels, outputs, width, windows, together)
    def layer(x, weight, bias, relu, out, winners):  # type: ignore[no-untyped-def]
        for py in range(windows):
            for px in range(windows):
                for o in range(0, outputs, together):
                    sums = zeros2(together, 4)
                    for c in range(channels):
                        for ky in range(5):
                            for kx in range(5):
                                at = c * plane + (2 * py + ky) * width + 2 * px + kx
                                square = load(x, at), load(x, at + 1), load(x, at + width), load(x, at + width + 1)
                                sums = outer(sums, weight, o * kernel + c * 25 + ky * 5 + kx, kernel, square)
                    for i in range(together):
                        best, winner = largest(sums[i])
                        at = ((o + i) * windows + py) * windows + px
                        store(winners, at, winner)
                        store(out, at, activated(best + broadcast(bias, o + i), relu))

    return layer


def tangent(channels: int, outputs: int, width: int, windows: int, together: int) -> Any:
    """Build the derivative of :func:`convolution` before its activation, in the direction of a change of its input.

    Args:
        channels: See :func:`convolution`.
        outputs: See :func:`convolution`.
        width: See :func:`convolution`.
        windows: See :func:`convolution`.
        together: See :func:`convolution`.

    Returns:
        ``layer(x, taps, winners, out)``; see :func:`tangent_taps` for the taps.
    """
    plane, area, taken = width * width, windows * windows, 4 * tap_outputs(outputs)

    @variant(inner, channels, outputs, width, windows, together)
    def layer(x, taps, winners, out):  # type: ignore[no-untyped-def]
        for py in range(windows):
            for px in range(windows):
                for o in range(0, outputs, together):
                    to = (o * windows + py) * windows + px
                    which, sums = strided(winners, to, area, zeros(together)), zeros(together)
                    for c in range(channels):
                        for y in range(6):
                            for k in range(6):
                                pixel = load(x, c * plane + (2 * py + y) * width + 2 * px + k)
                                sums = picked(sums, taps, (c * 36 + y * 6 + k) * taken + 4 * o, which, pixel)
                    for i in range(together):
                        store(out, to + i * area, sums[i])

    return layer


def tap_outputs(outputs: int) -> int:
    """Output channels in the table of :func:`tangent`: whole registers."""
    return -(-outputs // 4) * 4


@inner
def tangent_taps(weight, channels, out):  # type: ignore[no-untyped-def]
    """What joins each pixel of a window's patch and each winner, or zero: (O, C, 5, 5) to (C, 6, 6, O, 4)."""
    outputs = len(weight) // (25 * channels)
    taken = 4 * (-(-outputs // 4) * 4)
    for o in range(outputs):
        for c in range(channels):
            for y in range(6):
                for x in range(6):
                    for k in range(4):
                        ky, kx = y - k // 2, x - k % 2
                        inside = 0 <= ky < 5 and 0 <= kx < 5
                        at = ((c * 6 + y) * 6 + x) * taken + 4 * o + k
                        out[at] = weight[(o * channels + c) * 25 + ky * 5 + kx] if inside else 0.0


def input_gradient(channels: int, outputs: int, width: int, windows: int, before: int, together: int) -> Any:
    """Build the gradient of :func:`convolution` with respect to its input.

    Each 2x2 square of the input gathers from the pooling windows around it, at most three by three of them.

    Args:
        channels: Of the input.
        outputs: Channels of the output.
        width: Of the input plane, without padding.
        windows: Pooling windows in a row of the output.
        before: By how many windows the first one that reaches a square precedes the square's own row.
        together: Input channels at once; divides ``channels``.

    Returns:
        ``layer(p, winners, taps, out, row, start)``: from the gradients of the windows' maxima; ``out`` has rows of
        ``row`` vectors, and its first pixel is vector ``start``. See :func:`input_taps` for the taps.
    """
    squares, area = width // 2, windows * windows

    @variant(inner, channels, outputs, width, windows, before, together)
    def layer(p, winners, taps, out, row, start):  # type: ignore[no-untyped-def]
        for by in range(squares):
            for bx in range(squares):
                for c in range(0, channels, together):
                    sums = zeros2(together, 4)
                    for r in range(max(0, before - by), min(3, windows - by + before)):
                        for s in range(max(0, before - bx), min(3, windows - bx + before)):
                            window = (by - before + r) * windows + bx - before + s
                            for o in range(outputs):
                                at = o * area + window
                                tap = (((o * 3 + r) * 3 + s) * channels + c) * 16
                                sums = picked(sums, taps, tap, load(winners, at), load(p, at))
                    for i in range(together):
                        to = start + ((c + i) * width + 2 * by) * row + 2 * bx
                        store(out, to, sums[i][0])
                        store(out, to + 1, sums[i][1])
                        store(out, to + row, sums[i][2])
                        store(out, to + row + 1, sums[i][3])

    return layer


@inner
def input_taps(weight, channels, out):  # type: ignore[no-untyped-def]
    """What joins each pixel of a square and each winner of a window nearby: (O, C, 5, 5) to (O, 3, 3, C, 4, 4)."""
    for o in range(len(weight) // (25 * channels)):
        for r in range(3):
            for s in range(3):
                for c in range(channels):
                    for pixel in range(4):
                        for k in range(4):
                            ky, kx = 4 - 2 * r + pixel // 2 - k // 2, 4 - 2 * s + pixel % 2 - k % 2
                            inside = 0 <= ky < 5 and 0 <= kx < 5
                            at = ((((o * 3 + r) * 3 + s) * channels + c) * 4 + pixel) * 4 + k
                            out[at] = weight[(o * channels + c) * 25 + ky * 5 + kx] if inside else 0.0


@inlined
def split(v, winner):  # type: ignore[no-untyped-def]
    """A window's gradient as its four pixels get it: all of it to the winner."""
    nothing = constant(0.0)
    return (
        where(winner == 0, v, nothing),
        where(winner == 1, v, nothing),
        where(winner == 2, v, nothing),
        where(winner == 3, v, nothing),
    )


def weight_gradient(channels: int, outputs: int, width: int, windows: int) -> Any:
    """Build the gradient of :func:`convolution` with respect to its weights.

    Args:
        channels: Of the input.
        outputs: Channels of the output.
        width: Of the input plane.
        windows: Pooling windows in a row of the output.

    Returns:
        ``layer(p, winners, x, out)``: adds, image by image, to ``out`` (outputs, channels, 25).
    """
    plane, area = width * width, windows * windows

    def strip(height: int) -> Any:
        """For some rows of the kernel, as many as there are registers for."""

        @variant(inner, channels, outputs, width, windows, height)
        def rows(p, winners, x, out):  # type: ignore[no-untyped-def]
            sums = load_tile(out, 0, zeros2(height, 5))
            for py in range(windows):
                for px in range(windows):
                    f = py * windows + px
                    sums = correlate(sums, load(p, f), load(winners, f), x, 2 * py * width + 2 * px, width)
            store_tile(out, 0, sums)

        return rows

    whole, double, single = strip(5), strip(2), strip(1)

    @variant(inner, channels, outputs, width, windows)
    def layer(p, winners, x, out):  # type: ignore[no-untyped-def]
        for o in range(outputs):
            v, won = p[o * area :], winners[o * area :]
            for c in range(channels):
                image, to = x[c * plane :], out[(o * channels + c) * 25 :]
                if LANES == 16:
                    whole(v, won, image, to)
                else:
                    double(v, won, image, to)
                    double(v, won, image[2 * width :], to[10:])
                    single(v, won, image[4 * width :], to[20:])

    return layer


def linear(inputs: int, together: int) -> Any:
    """Build a linear layer without activation.

    Args:
        inputs: Features of the input.
        together: Outputs at once; divides their number.

    Returns:
        ``layer(weight, bias, x, out)``; the biases say how many outputs there are.
    """

    @variant(inner, inputs, together)
    def layer(weight, bias, x, out):  # type: ignore[no-untyped-def]
        for o in range(0, len(bias), together):
            sums = outer(zeros(together), bias, o, 1, constant(1.0))
            for k in range(0, inputs, 4):
                for j in range(4):
                    sums = outer(sums, weight, o * inputs + k + j, inputs, load(x, k + j))
            store_tile(out, o, sums)

    return layer


def linear_back(inputs: int, together: int) -> Any:
    """Build the gradient of :func:`linear` with respect to its input.

    Args:
        inputs: Features of the input.
        together: Of these at once; divides their number.

    Returns:
        ``layer(weight, p, outputs, out)``; the number of outputs is a multiple of four.
    """

    @variant(inner, inputs, together)
    def layer(weight, p, outputs, out):  # type: ignore[no-untyped-def]
        for k in range(0, inputs, together):
            sums = zeros(together)
            for o in range(0, outputs, 4):
                for j in range(4):
                    sums = outer(sums, weight, (o + j) * inputs + k, 1, load(p, o + j))
            store_tile(out, k, sums)

    return layer


def linear_weights(inputs: int, vectors: int, together: int) -> Any:
    """Build the gradient of :func:`linear` with respect to its weights, for many blocks at once.

    Args:
        inputs: Features of the input.
        vectors: As many times LANES of these at once.
        together: Outputs at once; divides their number.

    Returns:
        ``layer(p, features, rows, width, blocks, outputs, out, scratch)``: ``p`` (blocks, features) starts with what
        comes down to the outputs, flat ``rows`` (images, width) with the inputs; ``scratch`` is flat, too.
    """
    step = vectors * LANES

    @variant(inner, inputs, vectors, together)
    def layer(p, features, rows, width, blocks, outputs, out, scratch):  # type: ignore[no-untyped-def]
        for o in range(0, outputs, together):
            for k in range(0, inputs, step):
                sums = zeros2(together, vectors)
                for b in range(blocks):
                    for i in range(LANES):
                        row = load_tile(rows, (b * LANES + i) * width + k, zeros(vectors))
                        sums = outer(sums, p, (b * features + o) * LANES + i, LANES, row)
                for j in range(together):
                    to = (o + j) * inputs + k
                    if k + step <= inputs:
                        store_tile(out, to, sums[j])
                    else:
                        store_tile(scratch, 0, sums[j])
                        for rest in range(inputs - k):
                            out[to + rest] = scratch[rest]

    return layer
