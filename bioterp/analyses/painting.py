"""What the rows of one batch are to the terms, painted from runs (kernel; sees arrays only)."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.values import UNKNOWN

POSITIVE, HIDDEN = 1, 2  # what a row is to a term; 0: negative


class Runs(NamedTuple):
    """The runs of labels and where those of a batch are, as kernels take them.

    order[offset[t, b]:offset[t, b+1]] are the numbers of the runs of term t with rows in batch b, increasing, so
    that the runs of an instance stand together. Instance i has the runs first[i]:first[i+1], in rows low[i]:high[i].
    """

    start: Array
    stop: Array
    instance: Array
    order: Array
    offset: Array
    first: Array
    low: Array
    high: Array


class Strata(NamedTuple):
    """Rows of a batch that are the same to every term and of one group, together: a histogram of them serves all terms.

    order[offset[k]:offset[k+1]] are the rows of stratum k; group (K,); kind (K, T) of it to each of the terms (T,)
    that have runs here. Rows of no group are left out.
    """

    order: Array
    offset: Array
    group: Array
    kind: Array


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def group_rows(edges: Array, group: Array, first: int, own: Array) -> None:
    """own[r] = group of row first + r."""
    s = np.searchsorted(edges, first, side="right") - 1
    for r in range(own.size):
        while edges[s + 1] <= first + r:
            s += 1
        own[r] = group[s]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def paint(runs: Runs, term: int, batch: int, first: int, mask: Array) -> None:
    """What each row of a batch, which begins at row `first`, is to a term. Unknown runs come first in a term, and
    a row that is positive by another run is known."""
    mask[:] = 0
    for at in range(runs.offset[term, batch], runs.offset[term, batch + 1]):
        run = runs.order[at]
        kind = HIDDEN if runs.instance[run] == UNKNOWN else POSITIVE
        for r in range(max(runs.start[run] - first, 0), min(runs.stop[run] - first, mask.size)):
            mask[r] = kind


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def stratify(masks: Array, group: Array) -> Strata:
    """The strata of a batch: masks (T, rows) as painted, group (rows,)."""
    terms, rows = masks.shape
    own, fresh = np.empty(rows, np.int64), np.empty(3 * rows + 3, np.int64)
    count = 0
    fresh[:] = -1
    for r in range(rows):  # groups first, renumbered as they come
        if group[r] < 0:
            own[r] = -1
            continue
        known = -1
        for k in range(count):
            if fresh[k] == group[r]:
                known = k
        if known < 0:
            known = count
            fresh[count] = group[r]
            count += 1
        own[r] = known
    for t in range(terms):  # then every term parts each stratum in up to three
        fresh[: 3 * count] = -1
        parts = 0
        for r in range(rows):
            if own[r] >= 0:
                at = own[r] * 3 + masks[t, r]
                if fresh[at] < 0:
                    fresh[at] = parts
                    parts += 1
                own[r] = fresh[at]
        count = parts
    offset = np.zeros(count + 1, np.int64)
    of_group, kind = np.empty(count, np.int64), np.empty((count, terms), np.uint8)
    for r in range(rows):
        if own[r] >= 0:
            k = own[r]
            if offset[k + 1] == 0:
                of_group[k] = group[r]
                kind[k] = masks[:, r]
            offset[k + 1] += 1
    offset = np.cumsum(offset)
    fill, order = offset[:-1].copy(), np.empty(offset[-1], np.int64)
    for r in range(rows):
        if own[r] >= 0:
            order[fill[own[r]]] = r
            fill[own[r]] += 1
    return Strata(order, offset, of_group, kind)
