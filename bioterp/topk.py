"""The k largest of every row, exactly, and all that are above a bar (kernels; see arrays only)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from bioterp.arrays import Array

NEARLY = 0.9  # of the k-th value that the last row would have at this size: most have k above it, and not many more
SOME = 1_024  # columns
HUGE = np.float32(1e30)
LESS = 0.7  # of a guess that was too high
GROUP = 64  # columns turned away at once when none of them is above the bar


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
        least, equal = np.float32(0), 0  # the k-th largest, and how many of its equals belong to the k
        if found >= k:
            padded = -(-found // GROUP) * GROUP
            high[found:padded] = 0
            least, equal = _kth(high[:padded], k)
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
def above(values: Array, bias: Array, bar: float) -> tuple[Array, Array, Array]:
    """values (n, m) + bias (m,) float32 → CSR parts (data, indices, indptr) of all that are > bar; columns increase."""
    rows, width = values.shape
    data, indices = np.empty(64 * rows + width, np.float32), np.empty(64 * rows + width, np.int32)
    indptr = np.zeros(rows + 1, np.int64)
    at, least = 0, np.float32(bar)
    for row in range(rows):
        if at + width > data.size:
            data = np.concatenate((data, np.empty(data.size + width, np.float32)))
            indices = np.concatenate((indices, np.empty(indices.size + width, np.int32)))
        at += _above(values[row], bias, least, data[at:], indices[at:])
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
    found, groups = 0, line.size // GROUP
    for g in range(groups):
        hits = np.int32(0)
        for c in range(GROUP):  # without a branch and of a fixed length: a handful of vector instructions
            hits += np.int32(line[g * GROUP + c] + bias[g * GROUP + c] > bar)
        if hits > 0:
            for c in range(g * GROUP, (g + 1) * GROUP):
                if line[c] + bias[c] > bar:
                    high[found], where[found] = line[c] + bias[c], c
                    found += 1
    for c in range(groups * GROUP, line.size):
        if line[c] + bias[c] > bar:
            high[found], where[found] = line[c] + bias[c], c
            found += 1
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _kth(values: Array, k: int) -> tuple[Any, int]:
    """The k-th largest of values ≥ 0, k of them > 0 or more, and how many equal to it are among the k largest.

    The bits of positive floats, read as integers, are in the order of the floats: the answer is found bit by bit, by
    counting, which takes vector instructions and no branches. A heap takes three times as long.
    """
    bits = values.view(np.int32)
    least = np.int32(0)
    for bit in range(30, -1, -1):
        trial = least | np.int32(1 << bit)
        if _count(bits, trial) >= k:
            least = trial
    more = _count(bits, least + np.int32(1))
    kth = np.empty(1, np.int32)
    kth[0] = least
    return kth.view(np.float32)[0], k - more


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(bits: Array, least: Any) -> Any:
    """How many are at least that; their number is a multiple of GROUP."""
    hits = np.int32(0)
    for g in range(bits.size // GROUP):
        for c in range(GROUP):
            hits += np.int32(bits[g * GROUP + c] >= least)
    return hits
