"""The k largest of every row, exactly, and all that are above a bar (kernels; see arrays only)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.hits import GROUP, bar_of, hits, lowest

NEARLY = 0.9  # of the k-th value that the last row would have at this size: most have k above it, and not many more
SOME = 1_024  # columns
HUGE = np.float32(1e30)
LESS = 0.7  # of a guess that was too high


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def top_k(values: Array, bias: Array, k: int, scale: float) -> tuple[Array, Array, Array]:
    """values (n, m) + bias (m,) float32 → CSR parts (data, indices, indptr) of the k largest of each row that are > 0.

    Data are times `scale`; columns increase. The bias is added on the way: a pass of its own would read and write every
    value once more, which costs 8 % of the product that made them. Only what is above a guess, just below where the row
    before ended, is looked at closely; if too few columns are, the row begins anew from less. Of equal values the lower
    column stays, which torch.topk leaves open; NaN never does.
    """
    rows, width = values.shape
    data, indices = np.empty(rows * k, np.float32), np.empty(rows * k, np.int32)
    indptr = np.zeros(rows + 1, np.int64)
    high, where = np.empty(width + GROUP, np.float32), np.empty(width, np.int32)
    at, ratio = 0, np.float32(0)
    for row in range(rows):
        size = _size(values[row], bias)
        guess = np.float32(NEARLY) * ratio * size
        if not 0 < guess < HUGE:  # the first row, or NaN or infinity among the values
            guess = np.float32(0)
        found = _above(values[row], bias, guess, high, where)
        while found < k and guess > 0:
            guess = np.float32(LESS) * guess if guess > np.float32(1e-6) else np.float32(0)
            found = _above(values[row], bias, guess, high, where)
        least, equal = np.float32(0), 0  # what the k largest reach, and how many of those that equal it belong to them
        if found >= k:
            padded = -(-found // GROUP) * GROUP
            high[found:padded] = 0
            least = cut(high[:padded], k, guess)
            equal = k - more(high[:padded], least)
        ratio = least / size if size > 0 else np.float32(0)
        for i in range(found):
            tied = high[i] == least and equal > 0
            if high[i] > least or tied:
                equal -= tied
                code = high[i] * np.float32(scale)
                if code > 0:
                    data[at], indices[at] = code, where[i]
                    at += 1
        indptr[row + 1] = at
    return data[:at].copy(), indices[:at].copy(), indptr


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def above(values: Array, bias: Array, bar: Any, scale: float) -> tuple[Array, Array, Array]:
    """values (n, m) + bias (m,) float32 → CSR parts (data, indices, indptr) of all that are > bar; columns increase.

    bar: float32, or (m,) of them, each column's own. Data are times `scale`.
    """
    rows, width = values.shape
    data, indices = np.empty(64 * rows + width, np.float32), np.empty(64 * rows + width, np.int32)
    indptr = np.zeros(rows + 1, np.int64)
    at = 0
    for row in range(rows):
        if at + width > data.size:
            data = np.concatenate((data, np.empty(data.size + width, np.float32)))
            indices = np.concatenate((indices, np.empty(indices.size + width, np.int32)))
        found = _above(values[row], bias, bar, data[at:], indices[at:])
        for i in range(at, at + found):
            data[i] *= np.float32(scale)
        at += found
        indptr[row + 1] = at
    return data[:at].copy(), indices[:at].copy(), indptr


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})  # type: ignore[untyped-decorator]
def _size(line: Array, bias: Array) -> Any:
    """Something in proportion to how large the values of a row are: the sum of some of them, without sign."""
    total = np.float32(0)
    for c in range(min(line.size, SOME)):
        total += abs(line[c] + bias[c])
    return total


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _above(line: Array, bias: Array, bar: Any, high: Array, where: Array) -> int:
    """What of line + bias is above `bar`, and its columns, to the fronts of `high` and `where`; how many there were."""
    found, whole = 0, line.size - line.size % GROUP
    for lo in range(0, whole, GROUP):
        bits = hits(line, bias, lo, bar)
        while bits:
            c = lo + lowest(bits)
            high[found], where[found] = line[c] + bias[c], c
            found += 1
            bits &= bits - np.uint64(1)
    for c in range(whole, line.size):
        if line[c] + bias[c] > bar_of(bar, c):
            high[found], where[found] = line[c] + bias[c], c
            found += 1
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cut(values: Array, k: int, below: Any) -> Any:
    """A bar that the k largest of values ≥ 0 reach, and no others but equals of the least of them; 0 if k are not > 0.

    values: float32, padded with 0 to a multiple of GROUP. below ≥ 0: what at least k of them reach, or 0. The bits of
    positive floats, read as integers, are in the order of the floats: the bar is found bit by bit, by counting, which
    takes vector instructions and no branches (a heap takes three times as long). Its first bits are those that `below`
    and the largest share; once exactly k reach it, it need not come nearer to the k-th largest.
    """
    bits = values.view(np.int32)
    ends = np.empty(1, np.float32)
    ends[0] = below
    least, reached, bit = ends.view(np.int32)[0], 0, np.int32(30)
    if least > 0:
        reached = _reach(bits, least)
    if reached > k:
        largest = np.int32(0)
        for i in range(bits.size):
            largest = max(largest, bits[i])
        while bit >= 0 and (least ^ largest) >> bit == 0:
            bit -= np.int32(1)
        least = least >> (bit + 1) << (bit + 1)
    while bit >= 0 and reached != k:
        trial = least | np.int32(1 << bit)
        n = _reach(bits, trial)
        if n >= k:
            least, reached = trial, n
        bit -= np.int32(1)
    ends.view(np.int32)[0] = least
    return ends[0]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def more(values: Array, bar: Any) -> int:
    """How many of values ≥ 0, padded as for `cut`, are more than a bar ≥ 0."""
    one = np.empty(1, np.float32)
    one[0] = bar
    return _reach(values.view(np.int32), one.view(np.int32)[0] + np.int32(1))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reach(bits: Array, least: Any) -> int:
    """How many are at least that; their number is a multiple of GROUP."""
    n = np.int32(0)
    for g in range(bits.size // GROUP):
        for c in range(GROUP):  # of a fixed length: a handful of vector instructions
            n += np.int32(bits[g * GROUP + c] >= least)
    return int(n)
