"""The shift null within blocks: for pairs whose density changes along the genome (kernel; sees arrays only).

A ring of all test cells holds a pair against shifts that carry a feature of one isochore onto another. Where both
sides follow what changes slowly (GC, distance to a telomere), that alone makes them meet more often than under such
shifts. Here every block is a ring of its own, turned by a shift of its own: what a block holds of the feature and of
the term stays in it, and only where within the block is asked. The shifts of all blocks form a group of their product,
so p is as exact as that of one ring where the pair is stationary *within* blocks; its floor is that of the draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from bioterp.analyses.shifts import Side, correlate
from bioterp.arrays import Array

DRAWS = 9_999  # random shifts of all blocks, beside the identity
SEED = 20_260


@dataclass(frozen=True)
class LocalNull:
    """F1 against shifts within blocks.

    expected: F1's mean halves, TP and active + positives, over all of them; p: share of the draws, identity included,
    with F1 at least as large; draws: how many.
    """

    expected: tuple[float, float]
    p: float
    draws: int


def local_null(feature: Side, positive: Side, unknown: Side, edges: Array, draws: int = DRAWS) -> LocalNull:
    """The null of F1 when each stretch edges[i]:edges[i+1] of the ring is turned by itself.

    The draws are those of a fixed seed, the same for every pair. NaN where no known cell is active or positive.
    """
    tp, hidden = _by_stretch(feature, positive, edges), _by_stretch(feature, unknown, edges)
    lengths = np.diff(edges)
    rng = np.random.default_rng(SEED)
    met, lost = np.zeros(draws + 1, np.int64), np.zeros(draws + 1, np.int64)
    mean_tp = mean_lost = 0.0
    for i, length in enumerate(lengths.tolist()):
        if not length:
            continue
        shift = np.append(0, rng.integers(0, length, draws))
        own_tp, own_lost = tp[edges[i] : edges[i + 1]], hidden[edges[i] : edges[i + 1]]
        met += own_tp[shift]
        lost += own_lost[shift]
        mean_tp += float(own_tp.mean())
        mean_lost += float(own_lost.mean())
    below = feature.total + positive.total - lost
    expected = mean_tp, feature.total + positive.total - mean_lost
    if not below[0]:
        return LocalNull(expected, np.nan, draws + 1)
    return LocalNull(expected, _reached(met, below) / (draws + 1), draws + 1)


def _by_stretch(feature: Side, term: Side, edges: Array) -> Array:
    """(edges[-1],) the counts of every shift of each stretch, one stretch after the other."""
    found = np.zeros(int(edges[-1]), np.int64)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        a, b = feature.mask[:, start:stop], term.mask[:, start:stop]
        if a.any() and b.any():
            found[start:stop] = a.sum() if b.all() else correlate(Side(a), Side(b))
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reached(met: Array, below: Array) -> int:
    """How many draws have met / below at least as large as the first, in integers, so that ties are ties."""
    found = 0
    for i in range(met.size):
        found += met[i] * below[0] >= met[0] * below[i]
    return found
