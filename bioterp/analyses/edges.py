"""Bin edges per feature, from quantiles of its active codes (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from bioterp.analyses.counting import BINS, Read, stream
from bioterp.arrays import Array


def levels(bins: int = BINS) -> Array:
    """(bins − 2,) quantile levels: even up to 0.9, then closer and closer to 1.

    The upper tenth gets a third of the edges, because a feature of a rare term tells it apart only when it
    fires strongly; and they are ranks, so one outlier cannot set the scale.
    """
    tail = max((bins - 2) // 3, 1)
    even = np.linspace(0, 0.9, bins - 1 - tail)[1:]
    return np.concatenate([even, 1 - np.geomspace(0.08, 0.0005, tail)])


def sample_active(
    read: Read,
    spans: Array,
    m: int,
    size: int,
    most: int | None = None,
    tally: Callable[[Array, Array], None] | None = None,
) -> tuple[Array, Array]:
    """Active codes of each feature in the rows of `spans` (k, 2): values (m, cap) and how many (m,).

    All of them while a feature has at most `cap`; past that those whose (row, feature) hash is below a power of
    two chosen so that they fit: a random sample that depends on the data alone, not on batches.
    tally(indices, data), when given, sees every active code too.
    """
    cap = int(np.clip(2**24 // max(m, 1), 512, 8192)) if most is None else most
    values, hashes = np.zeros((m, cap), np.float32), np.zeros((m, cap), np.uint32)
    filled, level = np.zeros(m, np.int64), np.zeros(m, np.int64)
    for start, stop in spans.tolist():
        batches = np.append(np.arange(start, stop, size), stop)
        for lo, _, (indptr, indices, data) in stream(read, batches):
            if tally is not None:
                tally(indices, data)
            _sample(indptr, indices, data, lo, m, values, hashes, filled, level)
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
    cap = values.shape[1]
    for row in range(indptr.size - 1):
        for j in range(indptr[row], indptr[row + 1]):
            f = indices[j]
            h = np.uint64(first + row) * np.uint64(m) + np.uint64(f)  # splitmix64
            h = (h + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
            short = np.uint32(h >> np.uint64(32))
            while np.int64(short) < (np.int64(1) << (32 - level[f])):
                if filled[f] < cap:
                    values[f, filled[f]], hashes[f, filled[f]] = data[j], short
                    filled[f] += 1
                    break
                level[f] += 1  # full: halve the share of hashes that is kept
                kept = 0
                for i in range(cap):
                    if np.int64(hashes[f, i]) < (np.int64(1) << (32 - level[f])):
                        values[f, kept], hashes[f, kept] = values[f, i], hashes[f, i]
                        kept += 1
                filled[f] = kept
