"""Counting the active cells of sparse codes (kernel; sees arrays only).

A cell's key is feature · B + bin, B being a power of two. Histograms are flat, for a term and group begin at
(group · terms + term) · m · B: an index is cheaper than a view, and one without a sign than one that might be
negative. These loops are all that the pass does.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from bioterp.analyses.painting import HIDDEN, POSITIVE, Runs, paint
from bioterp.arrays import Array
from bioterp.values import UNKNOWN

CHUNK = 1_024  # codes: their keys, and the codes, stay in the nearest cache


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def find_keys(indices: Array, data: Array, edges: Array, keys: Array, first: int, last: int) -> None:
    """keys[j] = feature · B + bin, uint32: the number of edges (m, B − 1) strictly below the code.

    By bisection, step by step for a thousand codes at a time: so no comparison waits for the one before, and what one
    finds is added rather than jumped on, for it cannot be guessed.
    """
    width, line = edges.shape[1], edges.reshape(-1)
    for begin in range(first, last, CHUNK):
        end, step = min(begin + CHUNK, last), (width + 1) >> 1
        for j in range(begin, end):
            keys[j] = indices[j] * width  # the first edge that may not be below
        while step > 0:
            for j in range(begin, end):
                middle = np.int64(keys[j]) + step
                keys[j] = middle if line[middle - 1] < data[j] else keys[j]
            step >>= 1
        for j in range(begin, end):
            keys[j] += np.uint32(indices[j])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_all(indptr: Array, keys: Array, group: Array, total: Array) -> None:
    """total[group, key] += 1 for every active cell; total (groups, m · B)."""
    for r in range(group.size):
        if group[r] >= 0:
            own = total[group[r]]
            for j in range(indptr[r], indptr[r + 1]):
                own[keys[j]] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_terms(
    runs: Runs,
    batch: int,
    first: int,
    indptr: Array,
    keys: Array,
    terms: Array,
    group: Array,
    slot: Array,
    best: Array,
    positive: Array,
    unknown: Array,
    instances: Array,
    bins: int,
) -> None:
    """Cells and instances of some terms in one batch, which begins at row `first`. Histograms (groups, T, m · B).

    A row is counted when the first run that covers it is met, and wiped from the mask, so that the runs alone are
    walked through and a row that two instances share counts once.
    """
    own, touched = np.zeros(best.shape[2], np.uint8), np.empty(best.shape[2] + 1, np.int32)
    mask = np.empty(group.size, np.uint8)
    for k in range(terms.size):
        paint(runs, terms[k], batch, first, mask)
        _unknown(runs, terms[k], batch, first, indptr, keys, group, unknown, mask)
        _instances(
            runs, terms[k], batch, first, indptr, keys, group, slot, best, positive, instances, bins, own, touched, mask
        )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _unknown(
    runs: Runs, term: int, batch: int, first: int, indptr: Array, keys: Array, group: Array, hist: Array, mask: Array
) -> None:
    """Count the unknown rows of a term: its runs without an instance come first."""
    for at in range(runs.offset[term, batch], runs.offset[term, batch + 1]):
        run = runs.order[at]
        if runs.instance[run] != UNKNOWN:
            break
        for r in range(max(runs.start[run] - first, 0), min(runs.stop[run] - first, group.size)):
            if mask[r] == HIDDEN and group[r] >= 0:
                mask[r] = 0
                own = hist[group[r], term]
                for j in range(indptr[r], indptr[r + 1]):
                    own[keys[j]] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _instances(
    runs: Runs,
    term: int,
    batch: int,
    first: int,
    indptr: Array,
    keys: Array,
    group: Array,
    slot: Array,
    best: Array,
    positive: Array,
    instances: Array,
    bins: int,
    own: Array,
    touched: Array,
    mask: Array,
) -> None:
    """Count the rows of each instance, and itself at the largest bin of every feature once its last rows are seen."""
    at, end, rows = runs.offset[term, batch], runs.offset[term, batch + 1], group.size
    terms, size, shift = positive.shape[1], positive.shape[2], _log2(bins)
    cells, hist = positive.reshape(-1), instances.reshape(-1)
    while at < end:
        if runs.instance[runs.order[at]] == UNKNOWN:
            at += 1
            continue
        i = np.searchsorted(runs.first, runs.order[at], side="right") - 1
        until = at
        lowest, highest = best.shape[1], -1
        while until < end and runs.order[until] < runs.first[i + 1]:
            run = runs.order[until]
            for r in range(max(runs.start[run] - first, 0), min(runs.stop[run] - first, rows)):
                if group[r] >= 0:
                    lowest, highest = min(lowest, group[r]), max(highest, group[r])
            until += 1
        is_open = runs.low[i] < first or runs.high[i] > first + rows
        for g in range(lowest, highest + 1):
            base, seen = np.uint64((g * terms + term) * size), np.uint64(0)
            tops = best[slot[i], g] if is_open else own
            for k in range(at, until):
                run = runs.order[k]
                r, last = max(runs.start[run] - first, 0), min(runs.stop[run] - first, rows)
                while r < last:
                    begin, kind = r, mask[r]
                    if group[r] != g:
                        r += 1
                        continue
                    while r < last and group[r] == g and mask[r] == kind:
                        mask[r] = 0
                        r += 1
                    lo, hi = indptr[begin], indptr[r]
                    seen = np.uint64(0) if is_open else seen
                    if kind == POSITIVE:
                        seen = _count(keys, lo, hi, shift, cells, base, tops, touched, seen)
                    else:
                        seen = _raise(keys, lo, hi, shift, tops, touched, seen)
            for k in range(np.uint64(0) if is_open else seen):
                feature = touched[k]
                hist[base + np.uint64((np.uint64(feature) << np.uint64(shift)) + np.uint64(tops[feature]))] += 1
                tops[feature] = 0
        if is_open and runs.high[i] <= first + rows:
            for g in range(best.shape[1]):
                base, tops = (g * terms + term) * size, best[slot[i], g]
                for feature in range(tops.size):
                    if tops[feature] > 0:
                        hist[base + (feature << shift) + tops[feature]] += 1
                        tops[feature] = 0
        at = until


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _raise(keys: Array, lo: int, hi: int, shift: int, tops: Array, touched: Array, seen: Any) -> Any:
    """tops[feature] = the larger of itself and the bin, for every key of a row; touched[:seen] are those above 0.

    Every feature is written to the end of `touched`, which moves on only when it is new: no jump to guess.
    """
    low = (1 << shift) - 1
    for j in range(lo, hi):
        feature, found = np.uint64(keys[j]) >> np.uint64(shift), np.uint8(np.uint64(keys[j]) & np.uint64(low))
        top = tops[feature]
        touched[seen] = feature
        seen += np.uint64(top == 0)
        tops[feature] = max(top, found)
    return seen


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(
    keys: Array, lo: int, hi: int, shift: int, cells: Array, base: Any, tops: Array, touched: Array, seen: Any
) -> Any:
    """`_raise`, and every key counted as a cell on the way."""
    low = (1 << shift) - 1
    for j in range(lo, hi):
        cells[base + np.uint64(keys[j])] += np.uint32(1)
        feature, found = np.uint64(keys[j]) >> np.uint64(shift), np.uint8(np.uint64(keys[j]) & np.uint64(low))
        top = tops[feature]
        touched[seen] = feature
        seen += np.uint64(top == 0)
        tops[feature] = max(top, found)
    return seen


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _log2(size: int) -> Any:
    shift = 0
    while (1 << shift) < size:
        shift += 1
    return shift
