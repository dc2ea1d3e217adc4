"""The k largest of every row, exactly (kernel; sees arrays only)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from bioterp.arrays import Array

NEARLY = 0.9  # of the last row's k-th value: most rows have k values above it, and not many more


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def top_k(values: Array, k: int, scale: float) -> tuple[Array, Array, Array]:
    """values (n, m) float32 → CSR parts (data, indices, indptr) of the k largest of each row that are > 0, times scale.

    Columns increase. A heap holds the best so far, the worst of them in front, and turns nearly every column away
    with one comparison; it begins just below where the row before ended, or, if too few columns are above that, anew
    from 0. Of equal values the lower column stays, which torch.topk leaves open; NaN never does.
    """
    rows = values.shape[0]
    data, indices = np.empty(rows * k, np.float32), np.empty(rows * k, np.int32)
    indptr = np.zeros(rows + 1, np.int64)
    value, column = np.empty(k, np.float32), np.empty(k, np.int32)
    at, guess = 0, np.float32(0)
    for row in range(rows):
        held = _best_above(values[row], guess, value, column)
        if held < k and guess > 0:
            held = _best_above(values[row], np.float32(0), value, column)
        guess = np.float32(NEARLY) * value[0] if held == k else np.float32(0)
        _by_column(value, column, held)
        for i in range(held):
            code = value[i] * np.float32(scale)
            if code > 0:
                data[at], indices[at] = code, column[i]
                at += 1
        indptr[row + 1] = at
    return data[:at].copy(), indices[:at].copy(), indptr


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _best_above(line: Array, bar: Any, value: Array, column: Array) -> int:
    """Fill the heap with the largest of what is above `bar`; how many it holds."""
    held = 0
    for c in range(line.size):
        if line[c] > bar:
            held = _push(value, column, held, line[c], c)
            if held == value.size:
                bar = value[0]
    return held


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _push(value: Array, column: Array, held: int, v: float, c: int) -> int:
    """Take in a value of a higher column than any held, in place of the worst when the heap is full."""
    if held < value.size:
        i = held
        while i > 0 and v <= value[(i - 1) // 2]:  # of equals the later is the worse
            value[i], column[i] = value[(i - 1) // 2], column[(i - 1) // 2]
            i = (i - 1) // 2
        held += 1
    else:
        i = 0
        while 2 * i + 1 < held:
            j = 2 * i + 1
            if j + 1 < held:
                later = value[j + 1] == value[j] and column[j + 1] > column[j]
                j += value[j + 1] < value[j] or later
            if value[j] >= v:
                break
            value[i], column[i] = value[j], column[j]
            i = j
    value[i], column[i] = v, c
    return held


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _by_column(value: Array, column: Array, held: int) -> None:
    for i in range(1, held):
        v, c, j = value[i], column[i], i
        while j > 0 and column[j - 1] > c:
            value[j], column[j] = value[j - 1], column[j - 1]
            j -= 1
        value[j], column[j] = v, c
