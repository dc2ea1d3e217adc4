"""Lengths of rows, products of chosen pairs, and the largest of these (kernels; see arrays only)."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.hits import GROUP
from bioterp.topk import cut, more

UP = 1 + 1e-6

_exact: Any = numba.njit(cache=True, nogil=True)
_quick: Any = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})


@_quick  # type: ignore[untyped-decorator]
def lengths(full: Array, half: Array) -> tuple[Array, Array]:
    """full (n, d) float32 and the bits of its neighbour → ‖row‖ and ‖row − neighbour‖ (n,), rounded up.

    Processors take a bfloat16 below the normal numbers for 0, so it counts as 0. The sums are float64: squares of
    small numbers must not vanish.
    """
    length, left = np.empty(len(full), np.float32), np.empty(len(full), np.float32)
    for r in range(len(full)):
        row, bits = full[r], half[r]
        squares, lost = 0.0, 0.0
        for c in range(row.size):
            wide = np.int32(np.int32(bits[c]) << 16)
            near = wide.view(np.float32) * np.float32((wide & 0x7F800000) != 0)
            v = np.float64(row[c])
            w = np.float64(row[c] - near)  # exact: the two are neighbours
            squares += v * v
            lost += w * w
        # ‖neighbour‖ ≤ ‖row‖ + ‖row − neighbour‖
        length[r], left[r] = (math.sqrt(squares) + math.sqrt(lost)) * UP, math.sqrt(lost) * UP
    return length, left


@_exact  # type: ignore[untyped-decorator]
def products(indptr: Array, column: Array, x: Array, encoder: Array, bias: Array, names: Array) -> Array:
    """x_row · encoder_name + bias_name, name that of the column, of every pair in float32.

    The pairs are taken column by column: the encoder is read once, and the rows of a tile stay in the cache.
    """
    starts = np.zeros(names.size + 1, np.int64)
    for i in range(column.size):
        starts[column[i] + 1] += 1
    for j in range(names.size):
        starts[j + 1] += starts[j]
    at = starts[:-1].copy()
    rows, place = np.empty(column.size, np.int32), np.empty(column.size, np.int32)
    for r in range(indptr.size - 1):
        for i in range(indptr[r], indptr[r + 1]):
            j = column[i]
            rows[at[j]], place[at[j]] = r, i
            at[j] += 1
    value = np.empty(column.size, np.float32)
    for j in range(names.size):
        own, more = encoder[names[j]], bias[names[j]]
        last = starts[j + 1] - 1
        for i in range(starts[j], last + 1, 2):
            also = min(i + 1, last)
            one, two = _dots(x[rows[i]], x[rows[also]], own)
            value[place[i]], value[place[also]] = one + more, two + more
    return value


@_quick  # type: ignore[untyped-decorator]
def _dots(a: Array, b: Array, own: Array) -> tuple[Any, Any]:
    """a · own and b · own: one walk along `own` for both. What a gives does not depend on b."""
    one, two = np.float32(0), np.float32(0)
    for c in range(own.size):
        one += a[c] * own[c]
        two += b[c] * own[c]
    return one, two


@_exact  # type: ignore[untyped-decorator]
def best(indptr: Array, column: Array, value: Array, k: int, scale: float) -> tuple[Array, Array, Array]:
    """CSR parts (data, indices, indptr) of the k largest of each row that are > 0, times scale; ties as in `top_k`."""
    rows = indptr.size - 1
    data, indices = np.empty(rows * k, np.float32), np.empty(rows * k, np.int32)
    ends = np.zeros(rows + 1, np.int64)
    held = np.empty(0, np.float32)
    at = 0
    for row in range(rows):
        lo, n = indptr[row], indptr[row + 1] - indptr[row]
        padded = -(-n // GROUP) * GROUP
        if padded > held.size:
            held = np.empty(2 * padded, np.float32)
        for i in range(n):
            held[i] = value[lo + i] if value[lo + i] > 0 else np.float32(0)
        held[n:padded] = 0
        least, spare = np.float32(0), 0
        if n >= k:
            least = cut(held[:padded], k, np.float32(0))
            spare = k - more(held[:padded], least)  # for its equals, the lower columns first
        for i in range(n):
            tied = held[i] == least and spare > 0
            if held[i] > least or tied:
                spare -= tied
                code = held[i] * np.float32(scale)
                if code > 0:
                    data[at], indices[at] = code, column[lo + i]
                    at += 1
        ends[row + 1] = at
    return data[:at].copy(), indices[:at].copy(), ends


@_exact  # type: ignore[untyped-decorator]
def over(indptr: Array, column: Array, value: Array, bars: Array, scale: float) -> tuple[Array, Array, Array]:
    """CSR parts of the pairs whose value is > the bar of their column, times scale."""
    data, indices, ends = np.empty(value.size, np.float32), column.copy(), np.zeros_like(indptr)
    at: Any = 0
    for row in range(indptr.size - 1):
        for i in range(indptr[row], indptr[row + 1]):
            data[at], indices[at] = value[i] * np.float32(scale), column[i]
            at += np.int64(value[i] > bars[column[i]])
        ends[row + 1] = at
    return data[:at].copy(), indices[:at].copy(), ends
