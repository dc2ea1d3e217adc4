"""Labels as runs of rows, cut where batches and splits change (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
class Pieces:
    """Runs that each lie in one batch and one group, sorted by (batch, term, unit, start).

    offset (batches·terms + 1,) points at the pieces of a batch and term. `unit` numbers the instances of a
    (term, group); `open` says that a unit has pieces in several batches. Position runs have unit −1.
    """

    group: Array
    start: Array
    stop: Array
    unit: Array
    open: Array
    offset: Array
    unit_term: Array
    unit_group: Array

    def totals(self, groups: int, terms: int) -> Array:
        """(groups, terms) units."""
        flat = self.unit_group.astype(np.int64) * terms + self.unit_term
        return np.bincount(flat, minlength=groups * terms).reshape(groups, terms)


@dataclass(frozen=True)
class Plan:
    """Everything the counting kernels need of labels."""

    batches: Array
    rows: Pieces
    positive: Pieces
    unknown: Pieces
    instances: Pieces
    n_rows: Array
    n_positive: Array
    n_unknown: Array
    n_instances: Array


def plan(labels: Intervals, edges: Array, group: Array, groups: int, size: int) -> Plan:
    """Cut labels for a pass in batches of `size` rows.

    edges (s+1,): rows where the group changes, from 0 to the number of rows; group (s,): 0 … groups−1, or −1
    for rows that are left out. n_rows (groups,), n_positive, n_unknown, n_instances (groups, terms) are totals.
    """
    n, terms = labels.shape
    batches = np.unique(np.append(np.arange(0, n, size), n))
    every = np.unique(np.concatenate([batches, edges]))
    segment_group = group[np.searchsorted(edges, every[:-1], side="right") - 1]
    segment_batch = np.searchsorted(batches, every[:-1], side="right") - 1
    where = _Segments(every, segment_group, segment_batch, len(batches) - 1)
    known = labels.instance != UNKNOWN
    runs = labels.term[known], labels.start[known], labels.stop[known]
    hidden = labels.term[~known], labels.start[~known], labels.stop[~known]
    positive_runs = difference(*runs, rows=n)
    unknown_runs = difference(*hidden, without=positive_runs, rows=n)
    positive, unknown = _pieces(*positive_runs, None, where, terms), _pieces(*unknown_runs, None, where, terms)
    instances = _pieces(*runs, labels.instance[known], where, terms)
    every_row = np.zeros(1, np.int32), np.zeros(1, np.int64), np.array([n])
    lengths = np.diff(edges)
    n_rows = np.array([lengths[group == g].sum() for g in range(groups)], np.int64)
    return Plan(
        batches,
        _pieces(*every_row, None, where, 1),
        positive,
        unknown,
        instances,
        n_rows,
        _rows_in(positive, groups, terms),
        _rows_in(unknown, groups, terms),
        instances.totals(groups, terms),
    )


def _rows_in(pieces: Pieces, groups: int, terms: int) -> Array:
    of_batch_and_term = np.repeat(np.arange(len(pieces.offset) - 1), np.diff(pieces.offset))
    total = np.zeros((groups, terms), np.int64)
    np.add.at(total, (pieces.group, of_batch_and_term % terms), pieces.stop - pieces.start)
    return total


@dataclass(frozen=True)
class _Segments:
    """Stretches of rows of one batch and one group: edges (s+1,), group and batch (s,), number of batches."""

    edges: Array
    group: Array
    batch: Array
    batches: int


def _pieces(term: Array, start: Array, stop: Array, instance: Array | None, where: _Segments, terms: int) -> Pieces:
    source, segment, lo, hi = cut(start, stop, where.edges)
    keep = where.group[segment] >= 0
    source, segment, lo, hi = source[keep], segment[keep], lo[keep], hi[keep]
    which, group, batch = term[source].astype(np.int64), where.group[segment], where.batch[segment]
    unit = np.full(len(source), -1, np.int64)
    unit_term = unit_group = np.zeros(0, np.int32)
    spread = np.zeros(len(source), bool)
    if instance is not None and len(source):
        keys = np.stack([which, group, instance[source]], 1)
        order = np.lexsort(keys.T[::-1])
        new = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(1)])
        unit[order] = np.cumsum(new) - 1
        unit_term, unit_group = keys[order[new], 0].astype(np.int32), keys[order[new], 1].astype(np.int32)
        first, last = np.full(len(unit_term), where.batches), np.full(len(unit_term), -1)
        np.minimum.at(first, unit, batch)
        np.maximum.at(last, unit, batch)
        spread = (first != last)[unit]
    order = np.lexsort((lo, unit, which, batch))
    offset = np.searchsorted((batch * terms + which)[order], np.arange(where.batches * terms + 1))
    return Pieces(
        group[order].astype(np.int64), lo[order], hi[order], unit[order], spread[order], offset, unit_term, unit_group
    )
