"""One streaming pass of integer counts over codes and labels (kernel; sees arrays only).

For every group of rows (0 = select, 1 = test), term and feature the pass counts positions per activation bin
and instances per largest bin among their rows. Every precision, recall, F1, AUROC and AP at every bin edge
follows from these; they add over batches, shards and machines. All cells weigh the same for now, i.e. a
6-mer token counts as much as a single base.

Bin b of a feature holds the codes with exactly b of its edges strictly below them. The first edge is 0, so
bin 0 is the silent codes, and "active" at edge e means code > e.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
import scipy.sparse

from bioterp.analyses.runs import Pieces, Plan
from bioterp.arrays import Array

BINS = 32
BATCH = 65_536
PENDING = 2**24  # codes of unfinished instances kept before they are merged
Read = Callable[[int, int], Any]


@dataclass(frozen=True)
class Counts:
    """Additive integer counts of G groups, T terms, m features and B bins; bin 0 is derived, and kept 0 here.

    total (G, m, B) cells; positive and unknown (G, T, m, B) cells; instances (G, T, m, B); n_rows (G,);
    n_positive, n_unknown, n_instances (G, T).
    """

    total: Array
    positive: Array
    unknown: Array
    instances: Array
    n_rows: Array
    n_positive: Array
    n_unknown: Array
    n_instances: Array

    def __add__(self, other: Counts) -> Counts:
        """Counts of disjoint rows together; an instance must lie in one of the two."""
        return Counts(**{name: mine + getattr(other, name) for name, mine in vars(self).items()})


class BadCode(ValueError):
    """A code that is NaN, infinite or negative; `row` and `column` say where."""

    def __init__(self, row: int, column: int, value: float):
        super().__init__(f"code {value} in row {row}, column {column}")
        self.row, self.column, self.value = row, column, value


def as_csr(block: Any, first: int = 0) -> tuple[Array, Array, Array]:
    """indptr int64, indices int32, data float32 of codes, all > 0; raises BadCode for NaN, inf and negatives."""
    matrix = block if scipy.sparse.issparse(block) else scipy.sparse.csr_matrix(np.asarray(block, np.float32))
    matrix = matrix.tocsr()
    data = np.asarray(matrix.data, np.float32)
    silent, bad = _inspect(data)
    if bad >= 0:
        row = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
        raise BadCode(first + row, int(matrix.indices[bad]), float(data[bad]))
    if silent:
        matrix = matrix.copy()
        matrix.eliminate_zeros()
        data = np.asarray(matrix.data, np.float32)
    return np.asarray(matrix.indptr, np.int64), np.asarray(matrix.indices, np.int32), data


def stream(read: Read, batches: Array) -> Iterator[tuple[int, int, tuple[Array, Array, Array]]]:
    """(lo, hi, CSR arrays) batch by batch, the next being read while one is worked on."""
    spans = list(zip(batches[:-1].tolist(), batches[1:].tolist(), strict=True))
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_load, read, *span) for span in spans[:1]]
        for i, (lo, hi) in enumerate(spans):
            ahead += [pool.submit(_load, read, *span) for span in spans[i + 1 : i + 2]]
            yield lo, hi, ahead.pop(0).result()


def _load(read: Read, lo: int, hi: int) -> tuple[Array, Array, Array]:
    return as_csr(read(lo, hi), lo)


def count(read: Read, edges: Array, plan: Plan, threads: int = 2) -> Counts:
    """The counts of one pass over all rows.

    read(lo, hi) → codes of these rows; edges (m, B−1) float32, increasing, padded with +inf; the plan tells the
    batches. Terms are shared out to threads: every term's counts are its own, so the order cannot matter.
    """
    counter = Counter(edges, plan)
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for batch, (lo, _, block) in enumerate(stream(read, plan.batches)):
            counter.add(batch, lo, block, pool, threads)
    return counter.finish()


class Counter:
    """The running counts of one pass; one `add` per batch of the plan, then `finish`."""

    def __init__(self, edges: Array, plan: Plan):
        self.edges, self.plan = edges, plan
        self.m, self.bins = edges.shape[0], edges.shape[1] + 1
        self.groups, self.terms = plan.n_positive.shape
        dtype = np.uint32 if plan.n_rows.sum() < 2**32 else np.uint64
        shape = self.groups, self.terms, self.m * self.bins
        self.total = np.zeros((self.groups, 1, self.m * self.bins), dtype)
        self.positive, self.unknown, self.instances = (np.zeros(shape, dtype) for _ in range(3))
        self.pending: list[tuple[Array, Array]] = []

    def add(self, batch: int, lo: int, block: tuple[Array, Array, Array], pool: Executor, threads: int) -> None:
        """Count the rows of one batch, which begins at row lo."""
        indptr, indices, data = block
        keys = np.empty(len(data), np.int32)
        parts = np.linspace(0, len(data), 2 * threads + 1).astype(np.int64)
        list(pool.map(partial(_keys, indices, data, self.edges, keys), parts[:-1], parts[1:]))
        whole = pool.submit(_fill, indptr, keys, *_slice(self.plan.rows, batch, 1, 0), lo, self.total, 0)
        busy = [t for t in range(self.terms) if _busy(self.plan, batch, self.terms, t)]
        kept = pool.map(partial(self._term, batch, lo, indptr, keys), busy)
        self.pending += [pair for pair in kept if len(pair[0])]
        whole.result()
        if sum(len(unit) for unit, _ in self.pending) > PENDING:
            self.pending = [_largest(self.pending, self.bins)]

    def _term(self, batch: int, lo: int, indptr: Array, keys: Array, term: int) -> tuple[Array, Array]:
        plan, terms = self.plan, self.terms
        _fill(indptr, keys, *_slice(plan.positive, batch, terms, term), lo, self.positive, term)
        _fill(indptr, keys, *_slice(plan.unknown, batch, terms, term), lo, self.unknown, term)
        at, p = _span(plan.instances, batch, terms, term), plan.instances
        own = p.unit[at], p.open[at], p.group[at], p.start[at], p.stop[at]
        kept: tuple[Array, Array] = _instances(indptr, keys, *own, lo, self.instances, term, self.m, self.bins)
        return kept

    def finish(self) -> Counts:
        """The counts, instances seen in several batches included."""
        plan, shape = self.plan, (self.groups, self.terms, self.m, self.bins)
        if self.pending:
            unit, key = _largest(self.pending, self.bins)
            where = plan.instances.unit_group[unit], plan.instances.unit_term[unit], key
            np.add.at(self.instances, where, 1)
            self.pending = []
        return Counts(
            self.total.reshape(self.groups, self.m, self.bins),
            self.positive.reshape(shape),
            self.unknown.reshape(shape),
            self.instances.reshape(shape),
            plan.n_rows,
            plan.n_positive,
            plan.n_unknown,
            plan.n_instances,
        )


def _span(pieces: Pieces, batch: int, terms: int, term: int) -> slice:
    at = batch * terms + term
    return slice(int(pieces.offset[at]), int(pieces.offset[at + 1]))


def _slice(pieces: Pieces, batch: int, terms: int, term: int) -> tuple[Array, Array, Array]:
    at = _span(pieces, batch, terms, term)
    return pieces.group[at], pieces.start[at], pieces.stop[at]


def _busy(plan: Plan, batch: int, terms: int, term: int) -> bool:
    spans = (_span(p, batch, terms, term) for p in (plan.positive, plan.unknown, plan.instances))
    return any(span.stop > span.start for span in spans)


def _largest(pending: list[tuple[Array, Array]], bins: int) -> tuple[Array, Array]:
    """Of instances seen in several batches: one (unit, key) per unit and feature, with the largest bin."""
    unit, key = (np.concatenate(part) for part in zip(*pending, strict=True))
    order = np.lexsort((key, unit))
    unit, key = unit[order], key[order]
    feature = key // bins
    last = np.append((np.diff(unit) != 0) | (np.diff(feature) != 0), True)
    return unit[last], key[last]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _inspect(data: Array) -> tuple[bool, int]:
    """Whether any code is 0, and the position of the first that is NaN, infinite or negative (−1: none)."""
    silent = False
    for j in range(data.size):
        if not (data[j] >= 0 and data[j] < np.inf):
            return silent, j
        silent |= data[j] == 0
    return silent, -1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _keys(indices: Array, data: Array, edges: Array, keys: Array, first: int, last: int) -> None:
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
def _fill(
    indptr: Array, keys: Array, group: Array, start: Array, stop: Array, first: int, hist: Array, term: int
) -> None:
    """hist[group, term, key] += 1 for every active code in the runs; rows are counted from `first`."""
    for r in range(start.size):
        own = hist[group[r], term]
        for j in range(indptr[start[r] - first], indptr[stop[r] - first]):
            own[keys[j]] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _instances(
    indptr: Array,
    keys: Array,
    unit: Array,
    spread: Array,
    group: Array,
    start: Array,
    stop: Array,
    first: int,
    hist: Array,
    term: int,
    m: int,
    bins: int,
) -> tuple[Array, Array]:
    """Count each instance at the largest bin of every feature; of those with rows in other batches give (unit, key)."""
    best, touched = np.zeros(m, np.uint8), np.empty(m, np.int32)
    room, r = 0, 0
    while r < unit.size:
        inside, current, is_open = 0, unit[r], spread[r]
        while r < unit.size and unit[r] == current:
            inside += indptr[stop[r] - first] - indptr[start[r] - first]
            r += 1
        if is_open:
            room += min(inside, m)
    kept_unit, kept_key, kept = np.empty(room, np.int64), np.empty(room, np.int64), 0
    r = 0
    while r < unit.size:
        current, is_open, own, seen = unit[r], spread[r], hist[group[r], term], 0
        while r < unit.size and unit[r] == current:
            for j in range(indptr[start[r] - first], indptr[stop[r] - first]):
                feature = keys[j] // bins
                bin_ = keys[j] - feature * bins
                if best[feature] == 0:
                    touched[seen] = feature
                    seen += 1
                if bin_ > best[feature]:
                    best[feature] = bin_
            r += 1
        for i in range(seen):
            feature = touched[i]
            key = feature * bins + best[feature]
            best[feature] = 0
            if is_open:
                kept_unit[kept], kept_key[kept] = current, key
                kept += 1
            else:
                own[key] += 1
    return kept_unit[:kept], kept_key[:kept]
