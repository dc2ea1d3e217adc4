"""Codes of every subject held against the labels of every other: the null of F1 of scans (kernel; sees arrays only)."""

from __future__ import annotations

import itertools

import numba
import numpy as np

from bioterp.analyses.parts import Term
from bioterp.analyses.permuting import Exchange
from bioterp.analyses.shifts import Null
from bioterp.arrays import Array

EXACT = 2**17  # points summed at a time: whole numbers up to 2**24 are exact in float32, and a blurred point has 64


class Meeting:
    """One term on one exchange: what of it does not depend on the feature."""

    def __init__(self, exchange: Exchange, term: Term):
        self.exchange = exchange
        masks = [exchange.blur(exchange.paint(np.flatnonzero(mask))) for mask in (term.positive, term.known)]
        self.labels = np.concatenate(masks)
        self.instances = _instances(exchange, term)
        self.positives, _, self.held = self.count(np.arange(len(term.known)))

    def count(self, rows: Array) -> Array:
        """(3, n, n) points of active rows that are positive, and known, and instances met: codes of s, labels of r."""
        exchange, active = self.exchange, self.exchange.paint(rows)
        met = np.zeros((exchange.n_scans, 2 * exchange.n_scans))
        for at in range(0, active.shape[1], EXACT):
            met += active[:, at : at + EXACT] @ self.labels[:, at : at + EXACT].T
        a, b, pair = exchange.partners
        tp, known = (
            np.bincount(pair, met[a, b + side * exchange.n_scans], minlength=exchange.n**2) for side in range(2)
        )
        hits = np.zeros(exchange.n**2, np.int64)
        _hit(active, a, b, pair, *self.instances, hits)
        return np.stack([tp, known, hits]).astype(np.int64).reshape(3, exchange.n, exchange.n)

    def null(self, counts: Array, f1: float | None = None) -> tuple[Null, float]:
        """The null of F1 over all draws, and the mean instance recall.

        f1: of the cells themselves. Where points stand for cells the mean is given on its scale: `mean` / F1 is the
        same for both.
        """
        tp, known, hits = counts
        each = _over(self.exchange.draws, tp, known + self.positives, hits, self.held)
        met, below, recall = each[:, 0], each[:, 1], each[:, 2] / np.maximum(each[:, 3], 1)
        draws = len(each)
        by_chance = float(recall.mean()) if self.held.any() else np.nan
        if not below[0]:
            return Null(np.nan, np.nan, np.nan, draws), by_chance
        drawn = 2 * met / np.maximum(below, 1)
        mean, sd = float(drawn.mean()), float(drawn.std())
        reached = int((met * below[0] >= met[0] * below).sum())  # whole numbers, so that ties are ties
        z = (float(drawn[0]) - mean) / sd if sd > 1e-15 else np.nan
        if f1 is not None and met[0] and (self.exchange.fine or self.exchange.partial):
            mean = min(mean * f1 / float(drawn[0]), 1.0)
        return Null(mean, z, reached / draws, draws), by_chance


def _instances(exchange: Exchange, term: Term) -> tuple[Array, Array, Array]:
    """The points of each scan's instances: first (scans+1,) of its instances, start (i+1,) of their points, points.

    An instance with cells in several scans is one in each.
    """
    ends = np.append(term.first, len(term.start)).tolist()
    scan = exchange.scan_of[term.start]
    held: list[tuple[int, Array]] = []
    for a, b in itertools.pairwise(ends):
        for own in np.unique(scan[a:b]).tolist():
            runs = a + np.flatnonzero(scan[a:b] == own)
            spans = zip(exchange.first[term.start[runs]], exchange.first[term.stop[runs]], strict=True)
            held.append((own, np.concatenate([exchange.point[lo:hi] for lo, hi in spans])))
    held.sort(key=lambda one: one[0])
    first = np.searchsorted([one[0] for one in held], np.arange(exchange.n_scans + 1))
    start = np.cumsum([0, *(len(one[1]) for one in held)])
    return first.astype(np.int64), start, np.concatenate([np.zeros(0, np.int32), *(one[1] for one in held)])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _hit(active: Array, a: Array, b: Array, pair: Array, first: Array, start: Array, point: Array, hits: Array) -> None:
    for k in range(a.size):
        for i in range(first[b[k]], first[b[k] + 1]):
            for j in range(start[i], start[i + 1]):
                if active[a[k], point[j]]:
                    hits[pair[k]] += 1
                    break


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _over(draws: Array, tp: Array, below: Array, hits: Array, held: Array) -> Array:
    """(K, 4) sums of each table over the pairs of each permutation."""
    found = np.zeros((draws.shape[0], 4), np.int64)
    for k in range(draws.shape[0]):
        for s in range(draws.shape[1]):
            r = draws[k, s]
            found[k, 0] += tp[s, r]
            found[k, 1] += below[s, r]
            found[k, 2] += hits[s, r]
            found[k, 3] += held[s, r]
    return found
