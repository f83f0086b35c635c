"""Vectors as values in compiled Python: the words that the engine's loops are written in.

A vector holds one number for each of ``LANES`` images. It is a value like a float: ``h * (1 - a * a)`` works on whole
registers, comparisons give masks for :func:`where`. Nothing is left to a compiler's vectoriser. A *tile* is a tuple of
vectors, or a tuple of tuples: sums that stay in registers while a loop adds to them.

Arrays are flat or hold vectors, (n, LANES). Where a word reads or writes vectors of an array, ``at`` counts elements of
a flat one and vectors of the other; where it reads single numbers, elements. All words work inside compiled functions
only.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, overload, register_model

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba does not compile, because NUMBA_DISABLE_JIT is set. Unset it.")

_FEATURES = set((getattr(config, "CPU_FEATURES", None) or get_host_cpu_features()).split(","))
#: Images side by side, one register of float32: 16 with AVX-512, 8 with AVX2, 4 elsewhere.
LANES = 16 if "+avx512f" in _FEATURES else 8 if {"+avx2", "+fma"} <= _FEATURES else 4
#: Registers that may hold sums; the others hold what is added.
SUMS = 24 if LANES == 16 else 12
_PERMUTE = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}.get(LANES)
# a multiply-add is fused where the processor can do that; elsewhere asking for it would call the C library
_FMA = "llvm.fma" if LANES > 4 else "llvm.fmuladd"
_FLOAT, _INT, _BIT = ir.FloatType(), ir.IntType(32), ir.IntType(1)
_INT64 = ir.IntType(64)


class Vector(types.Type):
    """LANES elements of one type, as a type of numba's."""

    def __init__(self, element: ir.Type) -> None:
        self.value = ir.VectorType(element, LANES)
        super().__init__(f"Vector({element} x {LANES})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.value)


#: One float32 an image; one int32; and one truth value.
floats, ints, mask = Vector(_FLOAT), Vector(_INT), Vector(_BIT)
_KINDS = {types.float32: floats, types.int32: ints}


def _word(result: Callable[..., Any]) -> Callable[..., Any]:
    """Make an intrinsic of a generator of instructions, whose result type follows from its arguments' types."""

    def make(emit: Callable[..., Any]) -> Any:
        def typed(_: Any, *kinds: Any) -> Any:
            kind = result(*kinds)
            if kind is None:
                return None

            def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                found = emit(_Emitter(context, builder, signature), *args)
                return context.get_dummy_value() if found is None else found

            return kind(*kinds), code

        return intrinsic(functools.wraps(emit)(typed))

    return make


class _Emitter:
    """What the words have in common: addresses, loads, and tiles taken apart and put together."""

    def __init__(self, context: Any, builder: Any, signature: Any) -> None:
        self.context, self.builder, self.kinds, self.result = context, builder, signature.args, signature.return_type

    def index(self, value: Any, place: int, array: int | None = None) -> Any:
        """An argument as an integer; in elements, if it counts those or vectors of another argument, an array."""
        found = self.context.cast(self.builder, value, self.kinds[place], types.intp)
        if array is not None and self.kinds[array].ndim == 2:
            found = self.builder.mul(found, ir.Constant(_INT64, LANES))
        return found

    def address(self, array: Any, at: Any, kind: ir.Type, place: int = 0) -> Any:
        """The address of a value of a kind at an element of the array that is argument number ``place``."""
        known = self.kinds[place]
        data = self.context.make_array(known)(self.context, self.builder, array).data
        element = self.context.get_data_type(known.dtype)
        pointer = self.builder.gep(data, [at], inbounds=True, source_etype=element)
        return self.builder.bitcast(pointer, ir.PointerType(kind))

    def load(self, array: Any, at: Any, kind: ir.Type, place: int = 0) -> Any:
        # buffers are aligned to whole registers, but nothing here would break if one were not
        return self.builder.load(self.address(array, at, kind, place), align=4, typ=kind)

    def store(self, array: Any, at: Any, value: Any) -> None:
        self.builder.store(value, self.address(array, at, value.type), align=4)

    def ahead(self, at: Any, steps: int, stride: Any = 1) -> Any:
        """``at + steps * stride``."""
        if isinstance(stride, int):
            return self.builder.add(at, ir.Constant(_INT64, steps * stride)) if steps else at
        return self.builder.add(at, self.builder.mul(stride, ir.Constant(_INT64, steps))) if steps else at

    def spread(self, value: Any) -> Any:
        """One number in all lanes."""
        kind = ir.VectorType(value.type, LANES)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
        return self.shuffle(one, one, [0] * LANES)

    def shuffle(self, a: Any, b: Any, lanes: Iterable[int]) -> Any:
        order = list(lanes)
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, len(order)), order))

    def fused(self, a: Any, x: Any, y: Any) -> Any:
        """``a * x + y``."""
        kind = floats.value
        return self.call(f"{_FMA}.v{LANES}f32", kind, [a, x, y])

    def call(self, name: str, kind: ir.Type, args: list[Any]) -> Any:
        known = ir.FunctionType(kind, [arg.type for arg in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, known, name), args)

    def items(self, tile: Any, kind: Any) -> list[Any]:
        """A tile's vectors, of nested tuples too; a vector's only one."""
        if isinstance(kind, Vector):
            return [tile]
        parts = cgutils.unpack_tuple(self.builder, tile, kind.count)
        return [v for part, inner in zip(parts, kind.types, strict=True) for v in self.items(part, inner)]

    def tile(self, values: list[Any], kind: Any = None) -> Any:
        """Vectors as a tile of a type; by default, the result's."""
        kind = kind or self.result
        if isinstance(kind, Vector):
            return values.pop(0)
        return self.context.make_tuple(self.builder, kind, [self.tile(values, inner) for inner in kind.types])

    def picks(self, table: Any, at: Any, which: list[Any], place: int) -> list[Any]:
        """For vector i and every lane, one of the four numbers of an array that follow element ``at + 4 * i``."""
        found = []
        for i, lanes in enumerate(which):
            if _PERMUTE:  # a register holds the numbers of LANES / 4 vectors
                among = i % (LANES // 4)
                if not among:
                    register = self.load(table, self.ahead(at, 4 * i), floats.value, place)
                lanes = self.builder.add(lanes, ir.Constant(ints.value, [4 * among] * LANES))
                found.append(self.call(_PERMUTE, floats.value, [register, lanes]))
                continue
            taps = [self.spread(self.load(table, self.ahead(at, 4 * i + k), _FLOAT, place)) for k in range(4)]
            tap = taps[0]
            for k in (1, 2, 3):
                here = self.builder.icmp_signed("==", lanes, ir.Constant(ints.value, [k] * LANES))
                tap = self.builder.select(here, taps[k], tap)
            found.append(tap)
        return found


@_word(lambda array, at: _KINDS[array.dtype])
def load(e, array, at):  # type: ignore[no-untyped-def]
    """The vector at an element of an array of float32 or int32."""
    return e.load(array, e.index(at, 1, 0), e.result.value)


@_word(lambda array, at, value: types.void)
def store(e, array, at, value):  # type: ignore[no-untyped-def]
    """Write a vector to an array."""
    e.store(array, e.index(at, 1, 0), value)


@_word(lambda array, at: floats)
def broadcast(e, array, at):  # type: ignore[no-untyped-def]
    """One element of an array, in all lanes."""
    return e.spread(e.load(array, e.index(at, 1), _FLOAT))


@_word(lambda x: ints if isinstance(x, types.Integer) else floats)
def constant(e, x):  # type: ignore[no-untyped-def]
    """One number in all lanes: an integer as int32, a float as float32."""
    return e.spread(e.context.cast(e.builder, x, e.kinds[0], types.int32 if e.result is ints else types.float32))


@_word(lambda a, x, y: floats)
def fma(e, a, x, y):  # type: ignore[no-untyped-def]
    """``a * x + y``, rounded once."""
    return e.fused(a, x, y)


@_word(lambda condition, a, b: a)
def where(e, condition, a, b):  # type: ignore[no-untyped-def]
    """In every lane, ``a`` if the condition holds there, else ``b``."""
    return e.builder.select(condition, a, b)


@_word(lambda x: ints)
def rounded(e, x):  # type: ignore[no-untyped-def]
    """The nearest whole numbers, as int32."""
    whole = e.call(f"llvm.nearbyint.v{LANES}f32", floats.value, [x])
    return e.builder.fptosi(whole, ints.value)


@_word(lambda x: floats)
def as_floats(e, x):  # type: ignore[no-untyped-def]
    """Whole numbers as float32."""
    return e.builder.sitofp(x, floats.value)


@_word(lambda x: ints if x is floats else floats)
def bits(e, x):  # type: ignore[no-untyped-def]
    """The same bits, as int32 or float32."""
    return e.builder.bitcast(x, e.result.value)


@_word(lambda x, count: ints)
def shifted(e, x, count):  # type: ignore[no-untyped-def]
    """Bits moved to the left, or to the right where ``count`` is negative; zeros follow."""
    count = e.context.cast(e.builder, count, e.kinds[1], types.int32)
    left, right = e.spread(count), e.spread(e.builder.neg(count))
    down = e.builder.icmp_signed("<", left, ir.Constant(ints.value, [0] * LANES))
    return e.builder.select(down, e.builder.lshr(x, right), e.builder.shl(x, left))


@_word(lambda a: types.boolean)
def any_of(e, a):  # type: ignore[no-untyped-def]
    """Whether a mask holds anywhere."""
    whole = e.builder.bitcast(a, ir.IntType(LANES))
    return e.builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))


@_word(lambda a: types.float32)
def total(e, a):  # type: ignore[no-untyped-def]
    """The sum over the lanes, by halves."""
    half = LANES // 2
    while half:
        a = e.builder.fadd(a, e.shuffle(a, a, [(lane + half) % LANES for lane in range(LANES)]))
        half //= 2
    return e.builder.extract_element(a, ir.Constant(_INT, 0))


def _zeros(*counts: Any) -> Any:
    """The type of a tile; None where counts are not literal, which has numba try again with literals."""
    kind: Any = floats
    for count in reversed(counts):
        if not isinstance(count, types.IntegerLiteral):
            return None
        kind = types.UniTuple(kind, count.literal_value)
    return kind


@_word(_zeros)
def zeros(e, count):  # type: ignore[no-untyped-def]
    """A tile of so many vectors of zeros."""
    return ir.Constant(e.context.get_value_type(e.result), None)


@_word(_zeros)
def zeros2(e, count, each):  # type: ignore[no-untyped-def]
    """A tile of so many tuples of so many vectors of zeros."""
    return ir.Constant(e.context.get_value_type(e.result), None)


@_word(lambda sums, weight, at, stride, values: sums)
def outer(e, sums, weight, at, stride, values):  # type: ignore[no-untyped-def]
    """Add an outer product: ``sums[i][j] += weight[at + i * stride] * values[j]``; ``values`` may be one vector."""
    at, stride = e.index(at, 2), e.index(stride, 3)
    added, old = e.items(values, e.kinds[4]), e.items(sums, e.kinds[0])
    new = []
    for i in range(len(old) // len(added)):
        factor = e.spread(e.load(weight, e.ahead(at, i, stride), _FLOAT, 1))
        new += [e.fused(factor, v, old[i * len(added) + j]) for j, v in enumerate(added)]
    return e.tile(new)


@_word(lambda sums, table, at, which, value: sums)
def picked(e, sums, table, at, which, value):  # type: ignore[no-untyped-def]
    """Add products with a tap per image: ``sums[i] += table[at + 4 * i + which[i]] * value``.

    ``which`` counts from 0 to 3, one vector for all sums or one for each. Whole registers of the table are read.
    """
    old, lanes = e.items(sums, e.kinds[0]), e.items(which, e.kinds[3])
    taps = e.picks(table, e.index(at, 2), lanes * len(old) if len(lanes) == 1 else lanes, 1)
    return e.tile([e.fused(value, tap, y) for tap, y in zip(taps, old, strict=True)])


@_word(lambda sums, values, array, at, row: sums)
def correlate(e, sums, values, array, at, row):  # type: ignore[no-untyped-def]
    """Add what four pixels have in common with each shift of an image.

    ``sums[y][x] += values[dy][dx] * array[at + (y + dy) * row + x + dx]``, over dy and dx in (0, 1).
    """
    at, row = e.index(at, 3, 2), e.index(row, 4, 2)
    height, width = e.kinds[0].count, e.kinds[0].dtype.count
    new, pixels = e.items(sums, e.kinds[0]), e.items(values, e.kinds[1])
    for y in range(height + 1):
        for x in range(width + 1):
            v = e.load(array, e.ahead(e.ahead(at, y, row), x, LANES), floats.value, 2)
            for dy in (0, 1):
                for dx in (0, 1):
                    if 0 <= y - dy < height and 0 <= x - dx < width:
                        i = (y - dy) * width + x - dx
                        new[i] = e.fused(pixels[2 * dy + dx], v, new[i])
    return e.tile(new)


@_word(lambda array, at, like: like)
def load_tile(e, array, at, like):  # type: ignore[no-untyped-def]
    """A tile shaped like another, from vectors that follow one another in an array."""
    at, count = e.index(at, 1, 0), len(e.items(like, e.kinds[2]))
    return e.tile([e.load(array, e.ahead(at, i, LANES), floats.value) for i in range(count)])


@_word(lambda array, at, step, like: types.UniTuple(_KINDS[array.dtype], like.count))
def strided(e, array, at, step, like):  # type: ignore[no-untyped-def]
    """As many vectors as a tile has, each ``step`` after the one before."""
    at, step = e.index(at, 1, 0), e.index(step, 2, 0)
    return e.tile([e.load(array, e.ahead(at, i, step), e.result.dtype.value) for i in range(e.result.count)])


@_word(lambda array, at, tile: types.void)
def store_tile(e, array, at, tile):  # type: ignore[no-untyped-def]
    """Write a tile's vectors one after another."""
    for i, v in enumerate(e.items(tile, e.kinds[2])):
        e.store(array, e.ahead(e.index(at, 1, 0), i, LANES), v)


def _turned(e: _Emitter, rows: list[Any]) -> list[Any]:
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


@_word(lambda array, rows, width, at: types.UniTuple(floats, LANES))
def gather(e, array, rows, width, at):  # type: ignore[no-untyped-def]
    """LANES consecutive elements of LANES rows of an array, transposed: vector j holds element ``at + j`` of each row.

    Row i starts at ``rows[i] * width``, with ``rows`` int64.
    """
    width, at = e.index(width, 2), e.index(at, 3)
    found = []
    for i in range(LANES):
        row = e.load(rows, ir.Constant(_INT64, i), _INT64, 1)
        found.append(e.load(array, e.builder.add(e.builder.mul(row, width), at), floats.value))
    return e.tile(_turned(e, found))


@_word(lambda array, width, at, tile: types.void)
def scatter(e, array, width, at, tile):  # type: ignore[no-untyped-def]
    """Write LANES vectors transposed: lane i of all to row i, from element ``at`` on; rows are ``width`` apart."""
    width, at = e.index(width, 1), e.index(at, 2)
    for i, v in enumerate(_turned(e, e.items(tile, e.kinds[3]))):
        e.store(array, e.ahead(at, i, width), v)


@_word(lambda array, at, tile: types.void)
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


def _binary(sign: Any, emit: Callable[[Any, Any, Any, Any], Any], result: Callable[[Any], Any], *kinds: Any) -> None:
    """Give vectors of some kinds an operator of Python's; a number beside a vector stands for it in all lanes."""

    @_word(lambda a, b: result(a))
    def word(e, a, b):  # type: ignore[no-untyped-def]
        return emit(e.builder, e.kinds[0], a, b)

    @overload(sign)
    def operate(a, b):  # type: ignore[no-untyped-def]
        if a in kinds and b is a:
            return lambda a, b: word(a, b)
        if a is floats and isinstance(b, types.Number):
            return lambda a, b: word(a, constant(np.float32(b)))
        if b is floats and isinstance(a, types.Number):
            return lambda a, b: word(constant(np.float32(a)), b)
        if a is ints and isinstance(b, types.Integer):
            return lambda a, b: word(a, constant(b))
        return None


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


_binary(operator.add, _arithmetic("add"), _same, floats, ints)
_binary(operator.sub, _arithmetic("sub"), _same, floats, ints)
_binary(operator.mul, _arithmetic("mul"), _same, floats)
_binary(operator.truediv, _arithmetic("div"), _same, floats)
for _sign, _operator in (
    (">", operator.gt), ("<", operator.lt), ("<=", operator.le), (">=", operator.ge),
    ("==", operator.eq), ("!=", operator.ne),
):  # fmt: skip
    _binary(_operator, _compare(_sign), lambda kind: mask, floats, ints)
_binary(operator.and_, lambda b, kind, x, y: b.and_(x, y), _same, mask, ints)
_binary(operator.or_, lambda b, kind, x, y: b.or_(x, y), _same, mask, ints)
