"""Which of 64 columns are above a bar, or each above its own, as the bits of one number (kernel).

Of thousands of pre-activations some tens are kept. Vector instructions compare eight or sixteen at a time and can hand
on the outcome as bits, but no loop that numba compiles comes to that: it looks at columns one by one as soon as one of
a group is above the bar, which takes three to four times as long.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

GROUP = 64  # columns
LANES = 32  # compared in one go: 0.92 microseconds a row of 8,192; with 8 or 64 1.09 and 1.15

_WORD, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _hits(typingctx: Any, line: Any, bias: Any, at: Any, bar: Any) -> Any:
    """hits(line, bias, at, bar): bit c says whether line[at + c] + bias[at + c] > bar; NaN is not above anything.

    line, bias: float32, of at least at + 64 values (not checked); refused, when compiled, if not contiguous. bar: a
    float32, or an array like the others, of which column c has its own.
    """
    own = isinstance(bar, types.Array)
    for array in (line, bias, bar) if own else (line, bias):
        if not (isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"):
            raise TypingError(f"hits wants contiguous arrays of float32, not {array}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def load(n: int, place: Any) -> Any:
            data = context.make_array(signature.args[n])(context, builder, args[n]).data
            return builder.load(builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer()), align=4)

        def everywhere(value: Any) -> Any:
            none, lane = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
            first = builder.insert_element(none, value, ir.Constant(lane, 0))
            return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(lane, LANES), [0] * LANES))

        bits = ir.Constant(_WORD, 0)
        for lo in range(0, GROUP, LANES):
            place = builder.add(args[2], ir.Constant(_WORD, lo))
            bars = load(3, place) if own else everywhere(args[3])
            over = builder.fcmp_ordered(">", builder.fadd(load(0, place), load(1, place)), bars)
            some = builder.zext(builder.bitcast(over, ir.IntType(LANES)), _WORD)
            bits = builder.or_(bits, builder.shl(some, ir.Constant(_WORD, lo)))
        return bits

    return types.uint64(line, bias, types.intp, bar if own else types.float32), generate


def _lowest(typingctx: Any, bits: Any) -> Any:
    """lowest(bits): the place of the lowest bit that is set; bits is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def bar_of(bar: Any, c: int) -> Any:
    """The bar of column c: its own, or everybody's."""
    raise NotImplementedError("only compiled code calls this")


@overload(bar_of, inline="always", strict=False)  # strict: annotations would have to be equal, too
def _bar_of(bar: Any, c: Any) -> Any:
    return (lambda bar, c: bar[c]) if isinstance(bar, types.Array) else (lambda bar, c: bar)


hits: Any = intrinsic(_hits)
lowest: Any = intrinsic(_lowest)
