"""Counting the active cells of sparse codes (kernel; sees arrays only)."""

from __future__ import annotations

import numba
import numpy as np

from bioterp.analyses.painting import POSITIVE, Runs
from bioterp.arrays import Array
from bioterp.values import UNKNOWN


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def find_keys(indices: Array, data: Array, edges: Array, keys: Array, first: int, last: int) -> None:
    """keys[j] = feature·B + bin, the bin by bisection: the number of edges strictly below the code."""
    width = edges.shape[1]
    for j in range(first, last):
        feature, value = indices[j], data[j]
        lo, hi = 0, width
        while lo < hi:
            middle = (lo + hi) // 2
            if edges[feature, middle] < value:
                lo = middle + 1
            else:
                hi = middle
        keys[j] = feature * (width + 1) + lo


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_all(indptr: Array, keys: Array, group: Array, total: Array) -> None:
    """total[group, key] += 1 for every active cell."""
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
    masks: Array,
    group: Array,
    slot: Array,
    best: Array,
    positive: Array,
    unknown: Array,
    instances: Array,
    bins: int,
) -> None:
    """Cells and instances of some terms in one batch, which begins at row `first`."""
    own, touched = np.zeros(best.shape[2], np.uint8), np.empty(best.shape[2], np.int32)
    for k in range(terms.size):
        t = terms[k]
        for r in range(group.size):
            if masks[k, r] > 0 and group[r] >= 0:
                hist = positive[group[r], t] if masks[k, r] == POSITIVE else unknown[group[r], t]
                for j in range(indptr[r], indptr[r + 1]):
                    hist[keys[j]] += 1
        _instances(runs, t, batch, first, indptr, keys, group, slot, best, instances, bins, own, touched)


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
    hist: Array,
    bins: int,
    own: Array,
    touched: Array,
) -> None:
    """Count each instance at the largest bin of every feature, once its last rows are seen."""
    at, end, rows = runs.offset[term, batch], runs.offset[term, batch + 1], group.size
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
            tops, seen = (best[slot[i], g] if is_open else own), 0
            for k in range(at, until):
                run = runs.order[k]
                for r in range(max(runs.start[run] - first, 0), min(runs.stop[run] - first, rows)):
                    if group[r] == g:
                        for j in range(indptr[r], indptr[r + 1]):
                            feature = keys[j] // bins
                            bin_ = keys[j] - feature * bins
                            if bin_ > tops[feature]:
                                if tops[feature] == 0 and not is_open:
                                    touched[seen] = feature
                                    seen += 1
                                tops[feature] = bin_
            for k in range(seen):
                hist[g, term, touched[k] * bins + tops[touched[k]]] += 1
                tops[touched[k]] = 0
        if is_open and runs.high[i] <= first + rows:
            for g in range(best.shape[1]):
                for feature in range(best.shape[2]):
                    hist[g, term, feature * bins + best[slot[i], g, feature]] += 1
                    best[slot[i], g, feature] = 0
        at = until
