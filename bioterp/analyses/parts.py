"""The second pass: chosen features on the rows of one split, block by block (kernel; sees arrays only).

Rows of the split are renumbered 0 … n−1 in their order ("part rows").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from bioterp.analyses.blocks import BATCH, Block, Read, stream
from bioterp.analyses.runs import cut, difference
from bioterp.arrays import Array
from bioterp.values import UNKNOWN, Intervals

ENTRIES = 40_000_000  # active codes held at once: 8 bytes each


@dataclass(frozen=True)
class Part:
    """Part of the rows: spans (k, 2) of all rows, one per item and increasing; block (k,) int codes of the items."""

    spans: Array
    block: Array

    @property
    def offsets(self) -> Array:
        """(k+1,) where each item begins among the part's rows."""
        return np.concatenate([[0], np.cumsum(self.spans[:, 1] - self.spans[:, 0])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def of_rows(self) -> Array:
        """(n,) int32 block code of each part row."""
        return np.repeat(self.block.astype(np.int32), self.spans[:, 1] - self.spans[:, 0])

    def merged(self) -> Array:
        """(j, 2) the spans with neighbours joined, for reading."""
        new = np.append(True, self.spans[1:, 0] != self.spans[:-1, 1])
        last = np.append(np.flatnonzero(new)[1:], len(self.spans)) - 1
        return np.stack([self.spans[new, 0], self.spans[last, 1]], 1) if len(self.spans) else self.spans

    def compact(self, row: Array) -> Array:
        """How many part rows lie before each of these rows."""
        at = np.searchsorted(self.spans[:, 0], row, side="right") - 1
        inside = np.minimum(row, self.spans[at, 1]) - self.spans[at, 0]
        return np.where(at < 0, 0, self.offsets[at] + inside)


@dataclass(frozen=True)
class Term:
    """One term on the rows of a part: positive and known (n,) bool; instance runs cut at items.

    first (i,) is where each instance's runs begin in start and stop; block (i,) the block of its first row.
    """

    positive: Array
    known: Array
    start: Array
    stop: Array
    first: Array
    block: Array


def term_on(part: Part, labels: Intervals, term: int) -> Term:
    """The runs of a term that lie in the part, in part rows."""
    runs = labels.runs(term)
    start, stop = part.compact(runs.start), part.compact(runs.stop)
    real = runs.instance != UNKNOWN
    positive, unknown = np.zeros(len(part), bool), np.zeros(len(part), bool)
    _paint(positive, *_merge(start[real], stop[real], len(part)))
    _paint(unknown, *_merge(start[~real], stop[~real], len(part)))
    keep = real & (stop > start)
    source, item, lo, hi = cut(start[keep], stop[keep], part.offsets)
    number = runs.instance[keep][source]
    order = np.lexsort((lo, number))
    number, item, lo, hi = number[order], item[order], lo[order], hi[order]
    first = np.flatnonzero(np.append(True, number[1:] != number[:-1])) if len(number) else np.zeros(0, np.int64)
    return Term(positive, positive | ~unknown, lo, hi, first, part.block[item[first]].astype(np.int32))


def _merge(start: Array, stop: Array, rows: int) -> tuple[Array, Array]:
    _, lo, hi = difference(np.zeros(len(start), np.int64), start, stop, rows=rows)
    return lo, hi


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _paint(mask: Array, start: Array, stop: Array) -> None:
    for r in range(start.size):
        mask[start[r] : stop[r]] = True


def active_rows(
    read: Read, part: Part, m: int, feature: Array, least: Array, size: Array | None = None
) -> Iterator[dict[int, tuple[Array, Array]]]:
    """Chunks of {feature: (part rows int32 increasing, codes float32)} with code > least.

    feature (k,) distinct columns; least (k,); size (k,) how many codes there will be, counted in a pass of
    its own when it is not given, or when it proves wrong: codes that are computed when read may differ in their last
    bit with the rows they are read with. As many features at a time as memory for ENTRIES codes allows.
    """
    slot, least = np.full(m, -1, np.int64), np.asarray(least, np.float32)
    feature = np.asarray(feature, np.int64)
    slot[feature] = np.arange(len(feature))
    spans = part.merged()
    counted = size is None
    if size is None:
        size = _sizes(read, spans, slot, feature, least)
    at = 0
    while at < len(feature):
        reach = np.cumsum(size[at:])
        count = max(int(np.searchsorted(reach, ENTRIES, side="right")), 1)
        chosen = np.arange(at, min(at + count, len(feature)))
        slot[:] = -1
        slot[feature[chosen]] = chosen
        fill = np.zeros(len(feature) + 1, np.int64)
        fill[chosen + 1] = size[chosen]
        begin = np.cumsum(fill)
        fill, end = begin[:-1].copy(), begin[1:]
        row, code = np.empty(begin[-1], np.int32), np.empty(begin[-1], np.float32)
        for first, block in _blocks(read, spans):
            if isinstance(block, tuple):
                _gather(*block, slot, least, first, fill, end, row, code)
            else:
                reach_of = int(chosen[0]), int(chosen[-1]) + 1
                _gather_dense(block, feature, *reach_of, least, first, fill, end, row, code)
        if (fill != end).any():
            if counted:
                raise RuntimeError("the same rows gave other codes when they were read again")
            slot[feature] = np.arange(len(feature))
            size, counted = _sizes(read, spans, slot, feature, least), True
            continue
        yield {int(feature[i]): (row[begin[i] : end[i]], code[begin[i] : end[i]]) for i in chosen}
        at = int(chosen[-1]) + 1


def _sizes(read: Read, spans: Array, slot: Array, feature: Array, least: Array) -> Array:
    """(k,) how many codes of each feature lie above its threshold."""
    size = np.zeros(len(feature), np.int64)
    for _, block in _blocks(read, spans):
        if isinstance(block, tuple):
            _tally(*block, slot, least, size)
        else:
            _tally_dense(block, feature, least, size)
    return size


def _blocks(read: Read, spans: Array) -> Iterator[tuple[int, Block]]:
    first = 0
    for start, stop in spans.tolist():
        for lo, hi, block in stream(read, np.append(np.arange(start, stop, BATCH), stop)):
            yield first, block
            first += hi - lo


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tally(indptr: Array, indices: Array, data: Array, slot: Array, least: Array, size: Array) -> None:
    for j in range(indptr[0], indptr[-1]):
        k = slot[indices[j]]
        if k >= 0 and data[j] > least[k]:
            size[k] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gather(
    indptr: Array,
    indices: Array,
    data: Array,
    slot: Array,
    least: Array,
    first: int,
    fill: Array,
    end: Array,
    row: Array,
    code: Array,
) -> None:
    """Fill the slots of each feature; what finds no room is only counted, beyond its end."""
    for r in range(indptr.size - 1):
        for j in range(indptr[r], indptr[r + 1]):
            k = slot[indices[j]]
            if k >= 0 and data[j] > least[k]:
                if fill[k] < end[k]:
                    row[fill[k]], code[fill[k]] = first + r, data[j]
                fill[k] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tally_dense(block: Array, feature: Array, least: Array, size: Array) -> None:
    for r in range(block.shape[0]):
        for k in range(feature.size):
            size[k] += block[r, feature[k]] > least[k]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gather_dense(
    block: Array,
    feature: Array,
    lo: int,
    hi: int,
    least: Array,
    first: int,
    fill: Array,
    end: Array,
    row: Array,
    code: Array,
) -> None:
    """Fill the slots of each feature; what finds no room is only counted, beyond its end."""
    for r in range(block.shape[0]):
        for k in range(lo, hi):
            if block[r, feature[k]] > least[k]:
                if fill[k] < end[k]:
                    row[fill[k]], code[fill[k]] = first + r, block[r, feature[k]]
                fill[k] += 1


@dataclass(frozen=True)
class Table:
    """Per-block counts of one pair, all (blocks,) int64, over known rows."""

    tp: Array
    fp: Array
    positives: Array
    known: Array
    hits: Array
    instances: Array

    @property
    def fn(self) -> Array:
        return self.positives - self.tp

    @property
    def tn(self) -> Array:
        return self.known - self.positives - self.fp


class Tabulator:
    """Tables of one term on one part; what does not depend on the feature is counted once."""

    def __init__(self, part: Part, term: Term, of_rows: Array):
        self.term, self.of_rows = term, of_rows
        self.blocks = int(part.block.max()) + 1 if len(part.block) else 0
        self.positives = np.bincount(of_rows[term.positive], minlength=self.blocks)
        self.known = np.bincount(of_rows[term.known], minlength=self.blocks)
        self.instances = np.bincount(term.block, minlength=self.blocks)

    def table(self, active: Array) -> Table:
        """active (k,) increasing part rows → the counts of this feature with the term."""
        term = self.term
        known = active[term.known[active]]
        block, positive = self.of_rows[known], term.positive[known]
        tp = np.bincount(block[positive], minlength=self.blocks)
        fp = np.bincount(block[~positive], minlength=self.blocks)
        inside = np.searchsorted(active, term.stop) - np.searchsorted(active, term.start)
        hit = np.add.reduceat(inside, term.first) > 0 if len(term.first) else np.zeros(0, bool)
        hits = np.bincount(term.block[hit], minlength=self.blocks)
        return Table(tp, fp, self.positives, self.known, hits, self.instances)
