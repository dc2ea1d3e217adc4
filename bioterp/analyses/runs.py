"""Labels as runs of rows: unions and differences of them, and an index by batch (kernel; sees arrays only).

What the counting kernels need of a batch (which rows are positive, which rows an instance has) is painted from
the runs when the batch is worked on. Made for all batches at once it would be many times the labels' own size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from bioterp.analyses.painting import HIDDEN, POSITIVE, Runs, group_rows, paint
from bioterp.arrays import Array
from bioterp.values import UNKNOWN, Intervals


def difference(
    term: Array, start: Array, stop: Array, without: tuple[Array, Array, Array] | None = None, rows: int = 0
) -> tuple[Array, Array, Array]:
    """Disjoint sorted runs that cover, term by term, the first runs but not those of `without`.

    term (k,) int, start and stop (k,) int64 with stop ≤ rows. Runs may overlap and come in any order.
    """
    none = np.zeros(0, np.int64)
    other = (none, none, none) if without is None else without
    width = np.int64(rows + 1)  # terms are laid out one after the other, so one sweep serves all
    ours, theirs = np.asarray(term, np.int64) * width, np.asarray(other[0], np.int64) * width
    at = np.concatenate([ours + start, ours + stop, theirs + other[1], theirs + other[2]])
    k, j = len(start), len(other[1])
    step = np.concatenate([np.ones(k), -np.ones(k), np.zeros(2 * j)]).astype(np.int32)
    hidden = np.concatenate([np.zeros(2 * k), np.ones(j), -np.ones(j)]).astype(np.int32)
    order = np.argsort(at, kind="stable")
    at, step, hidden = at[order], np.cumsum(step[order]), np.cumsum(hidden[order])
    inside = np.flatnonzero((step[:-1] > 0) & (hidden[:-1] == 0) & (at[1:] > at[:-1]))
    lo, hi = at[inside], at[inside + 1]
    joined = np.flatnonzero(np.concatenate([[True], lo[1:] != hi[:-1]])) if len(lo) else none
    lo, hi = lo[joined], hi[np.append(joined[1:], len(hi)) - 1] if len(lo) else hi
    return (lo // width).astype(np.int32), lo % width, hi - lo // width * width


def cut(start: Array, stop: Array, edges: Array) -> tuple[Array, Array, Array, Array]:
    """Runs cut at `edges` (sorted, first 0, last ≥ every stop): source run, segment, start, stop of each piece."""
    first = np.searchsorted(edges, start, side="right") - 1
    last = np.searchsorted(edges, stop, side="left") - 1
    counts = np.maximum(last - first + 1, 0)
    source = np.repeat(np.arange(len(start)), counts)
    within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    segment = first[source] + within
    return source, segment, np.maximum(start[source], edges[segment]), np.minimum(stop[source], edges[segment + 1])


@dataclass(frozen=True)
class Plan:
    """Everything the counting kernels need of labels: n_… are totals, the rest is for one batch at a time.

    edges (s+1,) and group (s,) are stretches of rows; opens and closes (k,) the instances with rows in several
    batches by the batch that has their first rows and their last, from opens_at[b] and closes_at[b] on.
    """

    batches: Array
    edges: Array
    group: Array
    runs: Runs
    opens: Array
    opens_at: Array
    closes: Array
    closes_at: Array
    n_rows: Array
    n_positive: Array
    n_unknown: Array
    n_instances: Array

    def opening(self, batch: int) -> Array:
        """Instances that begin in a batch and go on in another."""
        return self.opens[self.opens_at[batch] : self.opens_at[batch + 1]]

    def closing(self, batch: int) -> Array:
        """Instances that began in another batch and end in this one."""
        return self.closes[self.closes_at[batch] : self.closes_at[batch + 1]]

    def groups_of(self, batch: int) -> Array:
        """(rows of the batch,) int16 group of each row."""
        own = np.empty(int(self.batches[batch + 1] - self.batches[batch]), np.int16)
        group_rows(self.edges, self.group, self.batches[batch], own)
        return own


def plan(labels: Intervals, edges: Array, group: Array, groups: int, size: int) -> Plan:
    """Index labels for a pass in batches of `size` rows.

    edges (s+1,): rows where the group changes, from 0 to the number of rows; group (s,): 0 … groups−1, or −1
    for rows that are left out. n_rows (groups,), n_positive, n_unknown, n_instances (groups, terms) are totals.
    """
    n, terms = labels.shape
    batches = np.unique(np.append(np.arange(0, n, size), n)).astype(np.int64)
    edges, group = np.asarray(edges, np.int64), np.asarray(group, np.int64)
    new = (labels.term[1:] != labels.term[:-1]) | (labels.instance[1:] != labels.instance[:-1])
    first = np.append(np.flatnonzero(np.append(True, new)) if len(labels.term) else np.zeros(0, int), len(labels.term))
    low = labels.start[first[:-1]]
    high = np.maximum.reduceat(labels.stop, first[:-1]) if len(low) else low
    order, offset = _by_batch(labels, terms, batches, size)
    runs = Runs(labels.start, labels.stop, labels.instance, order, offset, first.astype(np.int64), low, high)
    of_term = labels.term[first[:-1]]
    present = np.zeros((len(low), groups), bool)
    _present(runs, edges, group, present)
    n_instances = np.stack([np.bincount(of_term[own], minlength=terms) for own in present.T]).astype(np.int64)
    n_positive, n_unknown = np.zeros((groups, terms), np.int64), np.zeros((groups, terms), np.int64)
    _rows_in(runs, batches, edges, group, n_positive, n_unknown)
    lengths = np.diff(edges)
    n_rows = np.array([lengths[group == g].sum() for g in range(groups)], np.int64)
    begin, end = low // size, (high - 1) // size
    several = np.flatnonzero((begin < end) & (labels.instance[first[:-1]] != UNKNOWN))
    opens, closes = (several[np.argsort(at[several], kind="stable")] for at in (begin, end))
    every = np.arange(len(batches))
    ends = np.searchsorted(begin[opens], every), np.searchsorted(end[closes], every)
    tables = opens, ends[0], closes, ends[1]
    return Plan(batches, edges, group, runs, *tables, n_rows, n_positive, n_unknown, n_instances)


def _by_batch(labels: Intervals, terms: int, batches: Array, size: int) -> tuple[Array, Array]:
    """`order` and `offset` of Runs: 4 bytes a run, made term by term."""
    orders, offset = [np.zeros(0, np.int32)], np.zeros((terms, len(batches)), np.int64)
    begin = np.searchsorted(labels.term, np.arange(terms + 1))
    for t in range(terms):
        start, stop = labels.start[begin[t] : begin[t + 1]], labels.stop[begin[t] : begin[t + 1]]
        batch = (start // size).astype(np.int32)
        number = np.arange(len(start), dtype=np.int32)
        across = np.flatnonzero((stop - 1) // size > batch)
        if len(across):  # the few runs that lie in several batches are named in each
            source, more, _, _ = cut(start[across], stop[across], batches)
            later = more > batch[across[source]]
            batch = np.append(batch, more[later].astype(np.int32))
            number = np.append(number, across[source[later]].astype(np.int32))
        by = np.lexsort((number, batch))
        offset[t] = sum(map(len, orders)) + np.searchsorted(batch[by], np.arange(len(batches)))
        orders.append(number[by] + np.int32(begin[t]))
    return np.concatenate(orders), offset


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rows_in(runs: Runs, batches: Array, edges: Array, group: Array, positive: Array, unknown: Array) -> None:
    """How many rows of each group are positive and unknown to each term."""
    for b in range(batches.size - 1):
        own = np.empty(batches[b + 1] - batches[b], np.int16)
        mask = np.empty(own.size, np.uint8)
        group_rows(edges, group, batches[b], own)
        for t in range(runs.offset.shape[0]):
            if runs.offset[t, b + 1] > runs.offset[t, b]:
                paint(runs, t, b, batches[b], mask)
                for r in range(mask.size):
                    if mask[r] > 0 and own[r] >= 0:
                        positive[own[r], t] += mask[r] == POSITIVE
                        unknown[own[r], t] += mask[r] == HIDDEN


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _present(runs: Runs, edges: Array, group: Array, present: Array) -> None:
    """Which instances have rows in which groups."""
    for i in range(present.shape[0]):
        for run in range(runs.first[i], runs.first[i + 1]):
            if runs.instance[run] != UNKNOWN:
                s = np.searchsorted(edges, runs.start[run], side="right") - 1
                while s < group.size and edges[s] < runs.stop[run]:
                    if group[s] >= 0:
                        present[i, group[s]] = True
                    s += 1
