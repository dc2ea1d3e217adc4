"""Counting dense codes, a tile of columns at a time (kernel; sees arrays only).

Every cell is binned once and counted once, in the histogram of its stratum (rows that are the same to every term);
terms then add up whole histograms. A tile's bins and histogram stay in the processor's cache.
"""

from __future__ import annotations

import numba
import numpy as np

from bioterp.analyses.painting import HIDDEN, POSITIVE, Runs, Strata
from bioterp.arrays import Array
from bioterp.values import UNKNOWN

TILE = 128  # columns: 128 × 32 bins × 4 bytes are 16 KiB
FEW = 24  # rows of a stratum that are counted directly rather than by a histogram of their own


def by_edge(edges: Array) -> Array:
    """(a multiple of 8, m): edge e of every column in a line, as `_bin` reads them; what is added is +inf."""
    lines = -(-edges.shape[1] // 8) * 8
    whole = np.full((lines, len(edges)), np.inf, np.float32)
    whole[: edges.shape[1]] = edges.T
    return whole


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_columns(
    runs: Runs,
    batch: int,
    first: int,
    block: Array,
    edges: Array,
    lo: int,
    hi: int,
    terms: Array,
    strata: Strata,
    group: Array,
    slot: Array,
    best: Array,
    total: Array,
    positive: Array,
    unknown: Array,
    instances: Array,
    bins: int,
) -> None:
    """Cells and instances of columns lo:hi in one batch, which begins at row `first`; bin 0 is left for later."""
    found = np.empty((block.shape[0], hi - lo), np.uint8)
    _bin(block, edges, lo, hi, found)
    _cells(found, lo, terms, strata, total, positive, unknown, bins)
    own = np.zeros(hi - lo, np.uint8)
    for t in terms:
        _instances(runs, t, batch, first, found, lo, group, slot, best, instances, bins, own)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _bin(block: Array, edges: Array, lo: int, hi: int, found: Array) -> None:
    """How many edges are strictly below each code. Every edge is compared, eight of them at a time, many columns at
    once: bisection takes fewer steps, but they wait for each other."""
    below = np.empty(hi - lo, np.int32)
    for r in range(block.shape[0]):
        code = block[r][lo:hi]
        below[:] = 0
        for e in range(0, edges.shape[0], 8):
            e0, e1, e2, e3 = edges[e][lo:hi], edges[e + 1][lo:hi], edges[e + 2][lo:hi], edges[e + 3][lo:hi]
            e4, e5, e6, e7 = edges[e + 4][lo:hi], edges[e + 5][lo:hi], edges[e + 6][lo:hi], edges[e + 7][lo:hi]
            for c in range(code.size):
                v = code[c]
                low = np.int32(e0[c] < v) + np.int32(e1[c] < v) + np.int32(e2[c] < v) + np.int32(e3[c] < v)
                high = np.int32(e4[c] < v) + np.int32(e5[c] < v) + np.int32(e6[c] < v) + np.int32(e7[c] < v)
                below[c] += low + high
        for c in range(code.size):
            found[r, c] = below[c]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cells(
    found: Array, lo: int, terms: Array, strata: Strata, total: Array, positive: Array, unknown: Array, bins: int
) -> None:
    columns = found.shape[1]
    hist, base = np.zeros(columns * bins, np.uint32), lo * bins
    for k in range(strata.group.size):
        rows, g = strata.order[strata.offset[k] : strata.offset[k + 1]], strata.group[k]
        if rows.size < FEW:
            _one_by_one(found, rows, total[g][base:], bins)
            for i in range(terms.size):
                if strata.kind[k, i] == POSITIVE:
                    _one_by_one(found, rows, positive[g, terms[i]][base:], bins)
                elif strata.kind[k, i] == HIDDEN:
                    _one_by_one(found, rows, unknown[g, terms[i]][base:], bins)
            continue
        hist[:] = 0
        _one_by_one(found, rows, hist, bins)
        _add(total[g][base:], hist)
        for i in range(terms.size):
            if strata.kind[k, i] == POSITIVE:
                _add(positive[g, terms[i]][base:], hist)
            elif strata.kind[k, i] == HIDDEN:
                _add(unknown[g, terms[i]][base:], hist)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _one_by_one(found: Array, rows: Array, hist: Array, bins: int) -> None:
    for r in rows:
        for c in range(found.shape[1]):
            hist[c * bins + found[r, c]] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add(whole: Array, part: Array) -> None:
    for j in range(part.size):
        whole[j] += part[j]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _instances(
    runs: Runs,
    term: int,
    batch: int,
    first: int,
    found: Array,
    lo: int,
    group: Array,
    slot: Array,
    best: Array,
    hist: Array,
    bins: int,
    own: Array,
) -> None:
    """Count each instance at the largest bin of every column, once its last rows are seen."""
    at, end, rows = runs.offset[term, batch], runs.offset[term, batch + 1], group.size
    base, hi = lo * bins, lo + own.size
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
            tops = best[slot[i], g][lo:hi] if is_open else own
            for k in range(at, until):
                run = runs.order[k]
                for r in range(max(runs.start[run] - first, 0), min(runs.stop[run] - first, rows)):
                    if group[r] == g:
                        _largest(tops, found[r])
            if not is_open:
                _settle(tops, hist[g, term][base:], bins)
        if is_open and runs.high[i] <= first + rows:
            for g in range(best.shape[1]):
                _settle(best[slot[i], g][lo:hi], hist[g, term][base:], bins)
        at = until


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _largest(tops: Array, line: Array) -> None:
    for c in range(tops.size):
        tops[c] = max(tops[c], line[c])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _settle(tops: Array, hist: Array, bins: int) -> None:
    """Count an instance, and make room for the next."""
    for c in range(tops.size):
        hist[c * bins + tops[c]] += 1
        tops[c] = 0
