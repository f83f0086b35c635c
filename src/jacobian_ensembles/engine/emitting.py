"""How the engine's words become instructions: vectors as types of numba's, and what emits code for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba does not compile, because NUMBA_DISABLE_JIT is set. Unset it.")

_FEATURES = set((getattr(config, "CPU_FEATURES", None) or get_host_cpu_features()).split(","))
#: Images side by side, one register of float32: 16 with AVX-512, 8 with AVX2, 4 elsewhere.
LANES = 16 if "+avx512f" in _FEATURES else 8 if {"+avx2", "+fma"} <= _FEATURES else 4
_PERMUTE = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}.get(LANES)
# a multiply-add is fused where the processor can do that; elsewhere asking for it would call the C library
_FMA = "llvm.fma" if LANES > 4 else "llvm.fmuladd"
FLOAT, INT, BIT = ir.FloatType(), ir.IntType(32), ir.IntType(1)
INT64 = ir.IntType(64)


class Vector(types.Type):
    """LANES elements of one type, as a type of numba's."""

    def __init__(self, element: ir.Type) -> None:
        self.value = ir.VectorType(element, LANES)
        super().__init__(f"Vector({element} x {LANES})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.value)


#: One float32 an image; one int32; and one truth value.
floats, ints, mask = Vector(FLOAT), Vector(INT), Vector(BIT)
KINDS = {types.float32: floats, types.int32: ints}


def word(result: Callable[..., Any]) -> Callable[..., Any]:
    """Make an intrinsic of a generator of instructions, whose result type follows from its arguments' types."""

    def make(emit: Callable[..., Any]) -> Any:
        def typed(_: Any, *kinds: Any) -> Any:
            kind = result(*kinds)
            if kind is None:
                return None

            def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                found = emit(Emitter(context, builder, signature), *args)
                return context.get_dummy_value() if found is None else found

            return kind(*kinds), code

        return intrinsic(functools.wraps(emit)(typed))

    return make


class Emitter:
    """What the words have in common: addresses, loads, and tiles taken apart and put together."""

    def __init__(self, context: Any, builder: Any, signature: Any) -> None:
        self.context, self.builder, self.kinds, self.result = context, builder, signature.args, signature.return_type

    def index(self, value: Any, place: int, array: int | None = None) -> Any:
        """An argument as an integer; in elements, if it counts those or vectors of another argument, an array."""
        found = self.context.cast(self.builder, value, self.kinds[place], types.intp)
        if array is not None and self.kinds[array].ndim == 2:
            found = self.builder.mul(found, ir.Constant(INT64, LANES))
        return found

    def address(self, array: Any, at: Any, kind: ir.Type, place: int = 0) -> Any:
        """The address of a value of a kind at an element of the array that is argument number ``place``."""
        known = self.kinds[place]
        data = self.context.make_array(known)(self.context, self.builder, array).data
        element = self.context.get_data_type(known.dtype)
        pointer = self.builder.gep(data, [at], inbounds=True, source_etype=element)
        return self.builder.bitcast(pointer, ir.PointerType(kind))

    def load(self, array: Any, at: Any, kind: ir.Type, place: int = 0) -> Any:
        """What lies at an element of an array."""
        # buffers are aligned to whole registers, but nothing here would break if one were not
        return self.builder.load(self.address(array, at, kind, place), align=4, typ=kind)

    def store(self, array: Any, at: Any, value: Any) -> None:
        """Write to an element of the first argument, an array, and those behind it."""
        self.builder.store(value, self.address(array, at, value.type), align=4)

    def ahead(self, at: Any, steps: int, stride: Any = 1) -> Any:
        """``at + steps * stride``."""
        if isinstance(stride, int):
            return self.builder.add(at, ir.Constant(INT64, steps * stride)) if steps else at
        return self.builder.add(at, self.builder.mul(stride, ir.Constant(INT64, steps))) if steps else at

    def spread(self, value: Any) -> Any:
        """One number in all lanes."""
        kind = ir.VectorType(value.type, LANES)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
        return self.shuffle(one, one, [0] * LANES)

    def shuffle(self, a: Any, b: Any, lanes: Iterable[int]) -> Any:
        """Lanes of two vectors, the second's counted on from the first's."""
        order = list(lanes)
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, len(order)), order))

    def fused(self, a: Any, x: Any, y: Any) -> Any:
        """``a * x + y``."""
        kind = floats.value
        return self.call(f"{_FMA}.v{LANES}f32", kind, [a, x, y])

    def call(self, name: str, kind: ir.Type, args: list[Any]) -> Any:
        """Call an instruction that LLVM knows as a function."""
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
            taps = [self.spread(self.load(table, self.ahead(at, 4 * i + k), FLOAT, place)) for k in range(4)]
            tap = taps[0]
            for k in (1, 2, 3):
                here = self.builder.icmp_signed("==", lanes, ir.Constant(ints.value, [k] * LANES))
                tap = self.builder.select(here, taps[k], tap)
            found.append(tap)
        return found


def operate(sign: Any, emit: Callable[[Any, Any, Any, Any], Any], result: Callable[[Any], Any], *kinds: Vector) -> None:
    """Give vectors of some kinds an operator of Python's; a number beside a vector stands for it in all lanes.

    Args:
        sign: The operator, a function of the module ``operator``.
        emit: Makes the instruction, from a builder, the vectors' kind and two vectors.
        result: The kind of the result, from that of the vectors.
        *kinds: Of which vectors.
    """

    @infer_global(sign)
    class _Typed(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            kind = args[0] if isinstance(args[0], Vector) else args[-1]
            if len(args) == 2 and kind in kinds and all(a is kind or isinstance(a, types.Number) for a in args):
                return signature(result(kind), *args)
            return None

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0] if isinstance(signature.args[0], Vector) else signature.args[1]
        e = Emitter(context, builder, signature)
        number = types.float32 if kind is floats else types.int32
        both = [
            value if known is kind else e.spread(context.cast(builder, value, known, number))
            for value, known in zip(args, signature.args, strict=True)
        ]
        return emit(builder, kind, *both)

    for kind in kinds:
        for places in ((kind, kind), (kind, types.Number), (types.Number, kind)):
            lower_builtin(sign, *places)(code)
