"""Vectors as values in compiled Python: the words that the engine's loops are written in.

A vector holds one number for each of ``LANES`` images. It is a value like a float: ``h * (1 - a * a)`` works on whole
registers, comparisons give masks for :func:`where`. Nothing is left to a compiler's vectoriser. A *tile* is a tuple of
vectors, or a tuple of tuples: sums that stay in registers while a loop adds to them.

Arrays are flat or hold vectors, (n, LANES). Where a word reads or writes vectors of an array, ``at`` counts elements of
a flat one and vectors of the other; where it reads single numbers, elements. All words work inside compiled functions
only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from jacobian_ensembles.engine.emitting import (
    FLOAT,
    INT,
    INT64,
    KINDS,
    LANES,
    Emitter,
    floats,
    ints,
    mask,
    operate,
    word,
)

__all__ = ["LANES"]


@word(lambda array, at: KINDS[array.dtype])
def load(e, array, at):  # type: ignore[no-untyped-def]
    """The vector at an element of an array of float32 or int32."""
    return e.load(array, e.index(at, 1, 0), e.result.value)


@word(lambda array, at, value: types.void)
def store(e, array, at, value):  # type: ignore[no-untyped-def]
    """Write a vector to an array."""
    e.store(array, e.index(at, 1, 0), value)


@word(lambda array, at: floats)
def broadcast(e, array, at):  # type: ignore[no-untyped-def]
    """One element of an array, in all lanes."""
    return e.spread(e.load(array, e.index(at, 1), FLOAT))


@word(lambda x: ints if isinstance(x, types.Integer) else floats)
def constant(e, x):  # type: ignore[no-untyped-def]
    """One number in all lanes: an integer as int32, a float as float32."""
    return e.spread(e.context.cast(e.builder, x, e.kinds[0], types.int32 if e.result is ints else types.float32))


@word(lambda a, x, y: floats)
def fma(e, a, x, y):  # type: ignore[no-untyped-def]
    """``a * x + y``, rounded once."""
    return e.fused(a, x, y)


@word(lambda condition, a, b: a)
def where(e, condition, a, b):  # type: ignore[no-untyped-def]
    """In every lane, ``a`` if the condition holds there, else ``b``."""
    return e.builder.select(condition, a, b)


@word(lambda x: floats)
def sqrt(e, x):  # type: ignore[no-untyped-def]
    """The square root."""
    return e.call(f"llvm.sqrt.v{LANES}f32", floats.value, [x])


@word(lambda x: ints)
def rounded(e, x):  # type: ignore[no-untyped-def]
    """The nearest whole numbers, as int32."""
    whole = e.call(f"llvm.nearbyint.v{LANES}f32", floats.value, [x])
    return e.builder.fptosi(whole, ints.value)


@word(lambda x: floats)
def as_floats(e, x):  # type: ignore[no-untyped-def]
    """Whole numbers as float32."""
    return e.builder.sitofp(x, floats.value)


@word(lambda x: ints if x is floats else floats)
def bits(e, x):  # type: ignore[no-untyped-def]
    """The same bits, as int32 or float32."""
    return e.builder.bitcast(x, e.result.value)


@word(lambda x, count: ints)
def shifted(e, x, count):  # type: ignore[no-untyped-def]
    """Bits moved to the left, or to the right where ``count`` is negative; zeros follow."""
    count = e.context.cast(e.builder, count, e.kinds[1], types.int32)
    left, right = e.spread(count), e.spread(e.builder.neg(count))
    down = e.builder.icmp_signed("<", left, ir.Constant(ints.value, [0] * LANES))
    return e.builder.select(down, e.builder.lshr(x, right), e.builder.shl(x, left))


@word(lambda a: types.boolean)
def any_of(e, a):  # type: ignore[no-untyped-def]
    """Whether a mask holds anywhere."""
    whole = e.builder.bitcast(a, ir.IntType(LANES))
    return e.builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))


@word(lambda a: types.float32)
def total(e, a):  # type: ignore[no-untyped-def]
    """The sum over the lanes, by halves."""
    half = LANES // 2
    while half:
        a = e.builder.fadd(a, e.shuffle(a, a, [(lane + half) % LANES for lane in range(LANES)]))
        half //= 2
    return e.builder.extract_element(a, ir.Constant(INT, 0))


def _zeros(*counts: Any) -> Any:
    """The type of a tile; None where counts are not literal, which has numba try again with literals."""
    kind: Any = floats
    for count in reversed(counts):
        if not isinstance(count, types.IntegerLiteral):
            return None
        kind = types.UniTuple(kind, count.literal_value)
    return kind


@word(_zeros)
def zeros(e, count):  # type: ignore[no-untyped-def]
    """A tile of so many vectors of zeros."""
    return ir.Constant(e.context.get_value_type(e.result), None)


@word(_zeros)
def zeros2(e, count, each):  # type: ignore[no-untyped-def]
    """A tile of so many tuples of so many vectors of zeros."""
    return ir.Constant(e.context.get_value_type(e.result), None)


@word(lambda sums, weight, at, stride, values: sums)
def outer(e, sums, weight, at, stride, values):  # type: ignore[no-untyped-def]
    """Add an outer product: ``sums[i][j] += weight[at + i * stride] * values[j]``; ``values`` may be one vector."""
    at, stride = e.index(at, 2), e.index(stride, 3)
    added, old = e.items(values, e.kinds[4]), e.items(sums, e.kinds[0])
    new = []
    for i in range(len(old) // len(added)):
        factor = e.spread(e.load(weight, e.ahead(at, i, stride), FLOAT, 1))
        new += [e.fused(factor, v, old[i * len(added) + j]) for j, v in enumerate(added)]
    return e.tile(new)


@word(lambda sums, table, at, which, value: sums)
def picked(e, sums, table, at, which, value):  # type: ignore[no-untyped-def]
    """Add products with a tap per image: ``sums[i] += table[at + 4 * i + which[i]] * value``.

    ``which`` counts from 0 to 3, one vector for all sums or one for each. Whole registers of the table are read.
    """
    old, lanes = e.items(sums, e.kinds[0]), e.items(which, e.kinds[3])
    taps = e.picks(table, e.index(at, 2), lanes * len(old) if len(lanes) == 1 else lanes, 1)
    return e.tile([e.fused(value, tap, y) for tap, y in zip(taps, old, strict=True)])


@word(lambda sums, value, which, array, at, row: sums)
def correlate(e, sums, value, which, array, at, row):  # type: ignore[no-untyped-def]
    """Add what one pixel of four has in common with each shift of an image.

    ``sums[y][x] += value * array[at + (y + which // 2) * row + x + which % 2]``, with ``which`` from 0 to 3 per image.
    """
    at, row, b = e.index(at, 4, 3), e.index(row, 5, 3), e.builder
    height, width = e.kinds[0].count, e.kinds[0].dtype.count
    one = ir.Constant(ints.value, [1] * LANES)
    right, low = b.icmp_signed("==", b.and_(which, one), one), b.icmp_signed(">", which, one)
    new, above = e.items(sums, e.kinds[0]), list[Any]()
    for y in range(height + 1):
        line = [e.load(array, e.ahead(e.ahead(at, y, row), x, LANES), floats.value, 3) for x in range(width + 1)]
        line = [b.select(right, line[x + 1], line[x]) for x in range(width)]
        for x, pixel in enumerate(above):
            i = (y - 1) * width + x
            new[i] = e.fused(value, b.select(low, line[x], pixel), new[i])
        above = line
    return e.tile(new)


@word(lambda array, at, like: like)
def load_tile(e, array, at, like):  # type: ignore[no-untyped-def]
    """A tile shaped like another, from vectors that follow one another in an array."""
    at, count = e.index(at, 1, 0), len(e.items(like, e.kinds[2]))
    return e.tile([e.load(array, e.ahead(at, i, LANES), floats.value) for i in range(count)])


@word(lambda array, at, step, like: types.UniTuple(KINDS[array.dtype], like.count))
def strided(e, array, at, step, like):  # type: ignore[no-untyped-def]
    """As many vectors as a tile has, each ``step`` after the one before."""
    at, step = e.index(at, 1, 0), e.index(step, 2, 0)
    return e.tile([e.load(array, e.ahead(at, i, step), e.result.dtype.value) for i in range(e.result.count)])


@word(lambda array, at, tile: types.void)
def store_tile(e, array, at, tile):  # type: ignore[no-untyped-def]
    """Write a tile's vectors one after another."""
    for i, v in enumerate(e.items(tile, e.kinds[2])):
        e.store(array, e.ahead(e.index(at, 1, 0), i, LANES), v)


def _turned(e: Emitter, rows: list[Any]) -> list[Any]:
    """LANES vectors, transposed: lane i of vector j becomes lane j of vector i."""
    step = 1
    while step < LANES:
        low = [lane if not lane & step else LANES + (lane ^ step) for lane in range(LANES)]
        high = [lane | step if not lane & step else LANES + lane for lane in range(LANES)]
        new = list(rows)
        for i in range(LANES):
            if not i & step:
                new[i], new[i + step] = (e.shuffle(rows[i], rows[i + step], order) for order in (low, high))
        rows, step = new, 2 * step
    return rows


@word(lambda array, rows, width, at: types.UniTuple(floats, LANES))
def gather(e, array, rows, width, at):  # type: ignore[no-untyped-def]
    """LANES consecutive elements of LANES rows of an array, transposed: vector j holds element ``at + j`` of each row.

    Row i starts at ``rows[i] * width``, with ``rows`` int64.
    """
    width, at = e.index(width, 2), e.index(at, 3)
    found = []
    for i in range(LANES):
        row = e.load(rows, ir.Constant(INT64, i), INT64, 1)
        found.append(e.load(array, e.builder.add(e.builder.mul(row, width), at), floats.value))
    return e.tile(_turned(e, found))


@word(lambda array, width, at, tile: types.void)
def scatter(e, array, width, at, tile):  # type: ignore[no-untyped-def]
    """Write LANES vectors transposed: lane i of all to row i, from element ``at`` on; rows are ``width`` apart."""
    width, at = e.index(width, 1), e.index(at, 2)
    for i, v in enumerate(_turned(e, e.items(tile, e.kinds[3]))):
        e.store(array, e.ahead(at, i, width), v)


@word(lambda array, at, tile: types.void)
def add_totals(e, array, at, tile):  # type: ignore[no-untyped-def]
    """Add the sum over images of each of a tile's vectors to consecutive elements of an array.

    LANES vectors at a time are folded into one; what is missing to the next multiple counts as zeros and is written
    as such, so the array must have room for it.
    """
    at, vectors = e.index(at, 1), e.items(tile, e.kinds[2])
    vectors += [ir.Constant(floats.value, [0.0] * LANES)] * (-len(vectors) % LANES)
    for first in range(0, len(vectors), LANES):
        part, width = vectors[first : first + LANES], 1
        while len(part) > 1:  # groups of ``width`` lanes hold partial sums of as many vectors
            groups = range(0, LANES, 2 * width)
            low = [side + g + k for g in groups for side in (0, LANES) for k in range(width)]
            pairs = zip(part[::2], part[1::2], strict=True)
            high = [lane + width for lane in low]
            part = [e.builder.fadd(e.shuffle(a, b, low), e.shuffle(a, b, high)) for a, b in pairs]
            width *= 2
        here = e.ahead(at, first)
        e.store(array, here, e.builder.fadd(e.load(array, here, floats.value), part[0]))


def _same(kind: Any) -> Any:
    return kind


def _arithmetic(name: str) -> Callable[[Any, Any, Any, Any], Any]:
    return lambda b, kind, x, y: getattr(b, ("f" if kind is floats else "") + name)(x, y)


def _compare(sign: str) -> Callable[[Any, Any, Any, Any], Any]:
    """Comparisons with NaN are false, except that NaN differs from everything."""

    def emit(b: Any, kind: Any, x: Any, y: Any) -> Any:
        if kind is ints:
            return b.icmp_signed(sign, x, y)
        return (b.fcmp_unordered if sign == "!=" else b.fcmp_ordered)(sign, x, y)

    return emit


operate(operator.add, _arithmetic("add"), _same, floats, ints)
operate(operator.sub, _arithmetic("sub"), _same, floats, ints)
operate(operator.mul, _arithmetic("mul"), _same, floats)
operate(operator.truediv, _arithmetic("div"), _same, floats)
operate(operator.and_, lambda b, kind, x, y: b.and_(x, y), _same, mask, ints)
operate(operator.or_, lambda b, kind, x, y: b.or_(x, y), _same, mask, ints)
for _sign, _operator in (
    (">", operator.gt), ("<", operator.lt), ("<=", operator.le), (">=", operator.ge),
    ("==", operator.eq), ("!=", operator.ne),
):  # fmt: skip
    operate(_operator, _compare(_sign), lambda kind: mask, floats, ints)
