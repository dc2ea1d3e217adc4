"""One streaming pass of integer counts over codes and labels (kernel; sees arrays only).

For every group of rows (0 = select, 1 = test), term and feature the pass counts positions per activation bin
and instances per largest bin among their rows. Every precision, recall, F1, AUROC and AP at every bin edge
follows from these; they add over batches, shards and machines. All cells weigh the same for now, i.e. a
6-mer token counts as much as a single base.

Bin b of a feature holds the codes with exactly b of its edges strictly below them. The first edge is 0, so
bin 0 is the silent codes, and "active" at edge e means code > e.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np

from bioterp.analyses import dense_counts, sparse_counts
from bioterp.analyses.blocks import BATCH, BadCode, Block, Csr, Read, stream, tiles
from bioterp.analyses.painting import Runs, paint, stratify
from bioterp.analyses.runs import Plan
from bioterp.arrays import Array

__all__ = ["BATCH", "BINS", "BadCode", "Counter", "Counts", "Read", "count", "stream"]
BINS = 32


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


def count(read: Read, edges: Array, plan: Plan, threads: int = 2) -> Counts:
    """The counts of one pass over all rows.

    read(lo, hi) → codes of these rows; edges (m, B−1) float32, increasing, padded with +inf; the
    plan tells the batches. Sparse codes are shared out to threads by terms, dense ones by columns: what a thread
    counts is its own, so the order cannot matter.
    """
    counter = Counter(edges, plan)
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for batch, (lo, _, block) in enumerate(stream(read, plan.batches)):
            counter.add(batch, lo, block, pool, threads)
    return counter.finish()


class Counter:
    """The running counts of one pass; one `add` per batch of the plan, in order, then `finish`."""

    def __init__(self, edges: Array, plan: Plan):
        self.asked = edges.shape[1] + 1
        self.m, self.bins = edges.shape[0], 1 << (self.asked - 1).bit_length()  # keys are made of a power of two
        more = ((0, 0), (0, self.bins - self.asked))
        self.edges = np.pad(np.asarray(edges, np.float32), more, constant_values=np.inf)
        self.plan, self.by_edge = plan, dense_counts.by_edge(self.edges)
        self.groups, self.terms = plan.n_positive.shape
        dtype = np.uint32 if plan.n_rows.sum() < 2**32 else np.uint64
        shape = self.groups, self.terms, self.m * self.bins
        self.total = np.zeros((self.groups, self.m * self.bins), dtype)
        self.positive, self.unknown, self.instances = (np.zeros(shape, dtype) for _ in range(3))
        self.open, self.silent_too = Open(plan, self.m), False

    def add(self, batch: int, lo: int, block: Block, pool: Executor, threads: int) -> None:
        """Count the rows of one batch, which begins at row lo."""
        offset = self.plan.runs.offset
        busy = np.flatnonzero(offset[:, batch + 1] > offset[:, batch])
        group = self.plan.groups_of(batch)
        self.open.begin(batch)
        if isinstance(block, tuple):
            self._sparse(batch, lo, block, busy, group, pool, threads)
        else:
            self._dense(batch, lo, block, busy, group, pool, threads)
        self.open.end(batch)

    def _sparse(self, batch: int, lo: int, block: Csr, busy: Array, group: Array, pool: Executor, threads: int) -> None:
        indptr, indices, data = block
        keys = np.empty(len(data), np.uint32)
        parts = np.linspace(0, len(data), 2 * threads + 1).astype(np.int64)
        list(pool.map(partial(sparse_counts.find_keys, indices, data, self.edges, keys), parts[:-1], parts[1:]))
        whole = pool.submit(sparse_counts.add_all, indptr, keys, group, self.total)
        hists = self.positive, self.unknown, self.instances

        def of_terms(first: int) -> None:
            own = slice(first, None, 4 * threads)
            held = self.open.slot, self.open.best
            sparse_counts.add_terms(self.plan.runs, batch, lo, indptr, keys, busy[own], group, *held, *hists, self.bins)

        list(pool.map(of_terms, range(min(4 * threads, len(busy)))))
        whole.result()

    def _dense(
        self, batch: int, lo: int, block: Array, busy: Array, group: Array, pool: Executor, threads: int
    ) -> None:
        self.silent_too = True
        masks = np.empty((len(busy), len(group)), np.uint8)
        _paint_all(self.plan.runs, busy, batch, lo, masks)
        strata = stratify(masks, group)
        hists = self.total, self.positive, self.unknown, self.instances

        def of_columns(span: tuple[int, int]) -> None:
            held = self.open.slot, self.open.best
            dense_counts.add_columns(
                self.plan.runs, batch, lo, block, self.by_edge, *span, busy, strata, group, *held, *hists, self.bins
            )

        list(pool.map(of_columns, tiles(self.m, dense_counts.TILE)))

    def finish(self) -> Counts:
        """The counts; what the dense kernel left in the silent bin is taken out.

        Only then: pages of memory that nothing was ever counted in (those of `unknown`, often) are never taken.
        """
        plan, shape = self.plan, (self.groups, self.terms, self.m, self.bins)
        for hist in (self.total, self.positive, self.unknown, self.instances) if self.silent_too else ():
            hist[..., :: self.bins] = 0
        kept = slice(0, self.asked)  # bins beyond infinity hold nothing
        return Counts(
            self.total.reshape(self.groups, self.m, self.bins)[..., kept],
            self.positive.reshape(shape)[..., kept],
            self.unknown.reshape(shape)[..., kept],
            self.instances.reshape(shape)[..., kept],
            plan.n_rows,
            plan.n_positive,
            plan.n_unknown,
            plan.n_instances,
        )


class Open:
    """The largest bins so far, (groups, m) bytes, of each instance that began in one batch and ends in a later one."""

    def __init__(self, plan: Plan, m: int):
        self.plan = plan
        self.slot = np.full(len(plan.runs.low), -1, np.int32)
        self.best = np.zeros((0, len(plan.n_rows), m), np.uint8)
        self.free: list[int] = []

    def begin(self, batch: int) -> None:
        """Make room for the instances that begin in a batch and go on."""
        new = self.plan.opening(batch)
        if len(new) > len(self.free):
            size = len(self.best)
            more = max(len(new) - len(self.free), size // 2)
            self.best = np.concatenate([self.best, np.zeros((more, *self.best.shape[1:]), np.uint8)])
            self.free += range(size, size + more)
        for instance in new:
            self.slot[instance] = self.free.pop()

    def end(self, batch: int) -> None:
        """Take back the room of those that ended; the kernels have counted and cleared it."""
        self.free += self.slot[self.plan.closing(batch)].tolist()


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _paint_all(runs: Runs, terms: Array, batch: int, first: int, masks: Array) -> None:
    for k in range(terms.size):
        paint(runs, terms[k], batch, first, masks[k])
