"""What may be among the largest of a product in bfloat16 (kernels; see arrays only).

A bfloat16 is the upper half of a float32: `bits` are theirs as int16, which for values ≥ 0 are in the order of the
values. So a row is first compared with a bar in sixteen bits, 64 columns at a time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.hits import GROUP
from bioterp.topk import cut

WORD = 8
NEARLY = np.float32(0.95)  # of the last row's limit, in units of the row's length: below most rows' own
LESS = np.float32(0.7)  # of a guess that was too high
ROUNDED = np.float32(0.003908)  # 2⁻⁸, what rounding a sum to bfloat16 changes of it, and the roundings of the bounds
SUMMED = np.float32(1e-6)  # of a bias: roundings of the sums it is in

_exact: Any = numba.njit(cache=True, nogil=True)


@_exact  # type: ignore[untyped-decorator]
def likely(
    bits: Array,
    own: Array,
    far: Array,
    tiny: Array,
    whole: Array,
    bias: Array,
    length: Array,
    left: Array,
    k: int,
) -> tuple[Array, Array]:
    """Columns and indptr of all that may be among the k largest of a row and > 0, or, with k 0, that may be > 0.

    bits (n, m) of the product. Value j of row i lies within own_i·length_j + far_i·left_j + tiny_i of the product, of
    which the bits are rounded. `whole` rows have no such bound: all their columns are taken.
    """
    rows, width = bits.shape
    groups = -(-width // GROUP)
    line, folded = np.full(groups * GROUP, -32768, np.int16), np.full(groups * GROUP, -32768, np.int16)
    most = _most(bias), _most(length), _most(left)
    bars, keys = np.empty(groups, np.float32), np.empty(groups, np.int16)
    marks, where = np.zeros(groups * GROUP, np.int8), np.empty(groups * GROUP + WORD, np.int32)
    low, high = np.empty(groups * GROUP, np.float32), np.empty(groups * GROUP, np.float32)
    column, indptr = np.empty(max(64, 3 * k) * rows + groups * GROUP, np.int32), np.zeros(rows + 1, np.int64)
    at: Any = 0
    share = np.float32(0)
    for row in range(rows):
        if at + width > column.size:
            column = np.concatenate((column, np.empty(column.size + width, np.int32)))
        if whole[row]:
            column[at : at + width] = np.arange(width)
            at += width
            indptr[row + 1] = at
            continue
        guess, least = share * far[row], np.float32(0)
        source = bits[row]
        if width % GROUP:
            line[:width] = source
            source = line
        while True:
            lowest = _bars(guess, own[row], far[row], tiny[row], most, bars, keys)
            ordered = source
            if lowest <= 0:  # below 0 the order of the bits is the other way round
                _fold(source, folded)
                ordered = folded
            found = _marked(ordered, keys, marks, where)
            while found > 0 and where[found - 1] >= width:
                found -= 1
            _ends(source, where[:found], own[row], far[row], tiny[row], bias, length, left, low, high)
            if 0 < k <= found:
                padded = -(-found // GROUP) * GROUP
                low[found:padded] = 0
                least = cut(low[:padded], k, np.float32(0))
            if least >= guess:
                break
            if found >= k:
                guess = least
            else:
                guess = LESS * guess if guess > np.float32(1e-6) * far[row] else np.float32(0)
        if far[row] > 0 and k > 0:
            share = NEARLY * least / far[row]
        for i in range(found):
            column[at] = where[i]
            at += np.int64((high[i] >= least) & (high[i] > 0))
        indptr[row + 1] = at
    return column[:at].copy(), indptr


@_exact  # type: ignore[untyped-decorator]
def _most(values: Array) -> Array:
    """The largest of each group."""
    groups = -(-values.size // GROUP)
    most = np.empty(groups, np.float32)
    for g in range(groups):
        most[g] = values[g * GROUP : min((g + 1) * GROUP, values.size)].max()
    return most


@_exact  # type: ignore[untyped-decorator]
def _bars(guess: Any, own: Any, far: Any, tiny: Any, most: Any, bars: Array, keys: Array) -> Any:
    """keys ← per group, the upper half, in order, of what a product must reach for its upper end to reach the guess."""
    bias, length, left = most
    for g in range(keys.size):
        bar = guess - bias[g] - own * length[g] - far * left[g] - tiny
        bars[g] = bar - np.float32(0.00392) * abs(bar) - np.float32(2) * SUMMED * (guess + abs(bias[g]))
    bits = bars.view(np.int32)
    lowest = np.int16(32767)
    for g in range(keys.size):
        b = bits[g]
        keys[g] = np.int16((b ^ ((b >> 31) & 0x7FFFFFFF)) >> 16)
        lowest = min(lowest, keys[g])
    return lowest


@_exact  # type: ignore[untyped-decorator]
def _fold(bits: Array, out: Array) -> None:
    """out ← integers in the order of the values, also of those below 0."""
    for c in range(bits.size):
        b = bits[c]
        out[c] = np.int16(b ^ ((b >> 15) & 0x7FFF))


@_exact  # type: ignore[untyped-decorator]
def _marked(source: Array, keys: Array, marks: Array, where: Array) -> int:
    """where ← columns that reach the bar of their group; how many.

    Comparing is a few vector instructions a group; then eight marks at a time are looked at as one number.
    """
    for g in range(keys.size):
        bar = keys[g]
        for c in range(GROUP):
            marks[g * GROUP + c] = np.int8(source[g * GROUP + c] >= bar)
    words = marks.view(np.int64)
    found: Any = 0
    for i in range(words.size):
        if words[i] != 0:
            for c in range(WORD):
                where[found] = i * WORD + c
                found += np.int64(marks[i * WORD + c])
    return int(found)


@_exact  # type: ignore[untyped-decorator]
def _ends(
    bits: Array,
    where: Array,
    own: Any,
    far: Any,
    tiny: Any,
    bias: Array,
    length: Array,
    left: Array,
    low: Array,
    high: Array,
) -> None:
    """low, high ← the ends between which the values at `where` lie; low at least 0."""
    for i in range(where.size):
        j = where[i]
        v = np.int32(np.int32(bits[j]) << 16).view(np.float32)
        slack = own * length[j] + far * left[j] + tiny + ROUNDED * abs(v) + SUMMED * abs(bias[j])
        high[i] = v + bias[j] + slack
        end = v + bias[j] - slack
        low[i] = end if end > 0 else np.float32(0)  # so for NaN
