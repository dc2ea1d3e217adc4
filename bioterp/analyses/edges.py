"""Bin edges per feature, from quantiles of its active codes (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np

from bioterp.analyses.blocks import Block, Read, stream, tiles
from bioterp.analyses.counting import BINS
from bioterp.arrays import Array

LEAST = 1 << 17  # rows that edges are learnt from, when there are as many
SHARE = 16  # … or one in so many, when that is more
SLICE = 512  # neighbouring rows that are read together
TILE = 64  # columns of a dense block that a thread samples at a time


def levels(bins: int = BINS) -> Array:
    """(bins − 2,) quantile levels: even up to 0.9, then closer and closer to 1.

    The upper tenth gets a third of the edges, because a feature of a rare term tells it apart only when it
    fires strongly; and they are ranks, so one outlier cannot set the scale.
    """
    tail = max((bins - 2) // 3, 1)
    even = np.linspace(0, 0.9, bins - 1 - tail)[1:]
    return np.concatenate([even, 1 - np.geomspace(0.08, 0.0005, tail)])


def thinned(spans: Array, least: int = LEAST, share: int = SHARE, size: int = SLICE) -> Array:
    """(k, 2) ranges of rows that stand for those of `spans`: at most the larger of `least` rows and one in `share`.

    Codes may be computed when they are read; to read all rows for their edges alone would double that work. The rows
    are parted evenly, and of each part a slice is taken at a place drawn once and for all: evenly spaced slices could
    meet the same strand, or slice of a scan, every time.
    """
    length = spans[:, 1] - spans[:, 0]
    rows = int(length.sum())
    slices = max(least, rows // share) // size
    if rows <= max(least, rows // share) or not slices:
        return spans
    step = rows / slices
    at = (np.arange(slices) * step + np.random.default_rng(0).random(slices) * (step - size)).astype(np.int64)
    ends = np.cumsum(length)
    source = np.searchsorted(ends, at, side="right")
    start = spans[source, 0] + at - (ends - length)[source]
    return np.stack([start, np.minimum(start + size, spans[source, 1])], 1)


def sample_active(
    read: Read,
    spans: Array,
    m: int,
    size: int,
    most: int | None = None,
    tally: Callable[[Block], None] | None = None,
    threads: int = 2,
) -> tuple[Array, Array]:
    """Active codes of each feature in the rows of `spans` (k, 2): values (m, cap) and how many (m,).

    All of them while a feature has at most `cap`; past that those whose (row, feature) hash is below a power of
    two chosen so that they fit: a random sample that depends on the data alone, not on batches.
    tally(block), when given, sees every block too. Dense blocks are shared out to threads by columns.
    """
    cap = int(np.clip(2**24 // max(m, 1), 512, 8192)) if most is None else most
    values, hashes = np.zeros((m, cap), np.float32), np.zeros((m, cap), np.uint32)
    filled, level = np.zeros(m, np.int64), np.zeros(m, np.int64)
    own = values, hashes, filled, level
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for start, stop in spans.tolist():
            for lo, _, block in stream(read, np.append(np.arange(start, stop, size), stop)):
                if tally is not None:
                    tally(block)
                if isinstance(block, tuple):
                    _sample(*block, lo, m, *own)
                else:
                    list(pool.map(partial(_sample_dense, block, lo, m, *own), *zip(*tiles(m, TILE), strict=True)))
    return values, filled


def bin_edges(values: Array, filled: Array, bins: int = BINS) -> Array:
    """(m, bins − 1) float32: 0, then the quantiles of a sample, each an observed code, without repeats, then +inf.

    Tied codes fall into one bin because an edge is itself an observed code and bins open just above it.
    """
    at = levels(bins)
    edges = np.full((len(values), bins - 1), np.inf, np.float32)
    edges[:, 0] = 0
    for feature in np.flatnonzero(filled):
        seen = np.sort(values[feature, : filled[feature]])
        picked = np.unique(seen[np.floor(at * (len(seen) - 1)).astype(np.int64)])
        picked = picked[picked < seen[-1]]  # nothing is above the largest code
        edges[feature, 1 : len(picked) + 1] = picked
    return edges


def bin_means(values: Array, filled: Array, edges: Array) -> Array:
    """(m, B) float64 mean code of each bin in the sample that made `edges`; 0 for silence, the lower edge of a bin
    that the sample has nothing in."""
    m, bins = len(edges), edges.shape[1] + 1
    means = np.zeros((m, bins))
    means[:, 1:] = np.where(np.isfinite(edges), edges, 0)
    for feature in np.flatnonzero(filled):
        seen = values[feature, : filled[feature]].astype(np.float64)
        at = np.searchsorted(edges[feature], seen, side="left")
        count = np.bincount(at, minlength=bins)
        own = np.flatnonzero(count)
        means[feature, own] = np.bincount(at, seen, bins)[own] / count[own]
    return means


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sample(
    indptr: Array,
    indices: Array,
    data: Array,
    first: int,
    m: int,
    values: Array,
    hashes: Array,
    filled: Array,
    level: Array,
) -> None:
    for row in range(indptr.size - 1):
        for j in range(indptr[row], indptr[row + 1]):
            f = indices[j]
            _keep(f, data[j], _hash(first + row, m, f), values, hashes, filled, level)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sample_dense(
    block: Array,
    first: int,
    m: int,
    values: Array,
    hashes: Array,
    filled: Array,
    level: Array,
    lo: int,
    hi: int,
) -> None:
    """Columns lo:hi. Once samples are full few hashes pass, so they are looked at before the codes."""
    for row in range(block.shape[0]):
        for f in range(lo, hi):
            short = _hash(first + row, m, f)
            if np.int64(short) >> (32 - level[f]) == 0 and block[row, f] > 0:
                _keep(f, block[row, f], short, values, hashes, filled, level)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _hash(row: int, m: int, f: int) -> Any:
    """The upper half of splitmix64 of the cell's number."""
    h = np.uint64(row) * np.uint64(m) + np.uint64(f)
    h = (h + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return np.uint32(h >> np.uint64(32))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _keep(f: int, value: float, short: int, values: Array, hashes: Array, filled: Array, level: Array) -> None:
    cap = values.shape[1]
    while np.int64(short) < (np.int64(1) << (32 - level[f])):
        if filled[f] < cap:
            values[f, filled[f]], hashes[f, filled[f]] = value, short
            filled[f] += 1
            break
        level[f] += 1  # full: halve the share of hashes that is kept
        kept = 0
        for i in range(cap):
            if np.int64(hashes[f, i]) < (np.int64(1) << (32 - level[f])):
                values[f, kept], hashes[f, kept] = values[f, i], hashes[f, i]
                kept += 1
        filled[f] = kept
