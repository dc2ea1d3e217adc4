"""Which features of a dictionary are one: their decoder rows point the same way, and they fire together (kernel).

Only pairs that point the same way are counted, so that all rows can be: the matrix of all pairs is never made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from bioterp.analyses.directions import pairs_near
from bioterp.arrays import Array

ALIKE = 0.5  # decoder cosine from which two features may be one; random ones of 256 channels hardly pass 0.3
TOGETHER = 0.3  # Jaccard of their active cells from which they are


@dataclass
class Cofiring:
    """Counts of the pairs i < j in CSR form: ptr (m + 1,), other (k,), both (k,); cells each is active on (m,)."""

    ptr: Array
    other: Array
    both: Array
    active: Array
    stamp: Array
    rows: int = 0

    @classmethod
    def of(cls, decoder: Array, alike: float = ALIKE) -> Cofiring:
        first, second = pairs_near(decoder, alike)
        m = len(decoder)
        ptr = np.searchsorted(first, np.arange(m + 1)).astype(np.int64)
        return cls(ptr, second, np.zeros(len(second), np.int64), np.zeros(m, np.int64), np.full(m, -1, np.int64))

    def add(self, indptr: Array, indices: Array, data: Array) -> None:
        """Count the rows of a CSR block."""
        _count(indptr, indices, self.ptr, self.other, self.both, self.active, self.stamp, self.rows)
        self.rows += len(indptr) - 1

    def jaccard(self) -> Array:
        """(k,) of every pair that was counted; 0 where neither is ever active."""
        first = np.repeat(np.arange(len(self.active)), np.diff(self.ptr))
        either = self.active[first] + self.active[self.other] - self.both
        return np.asarray(np.divide(self.both, either, out=np.zeros(len(self.both)), where=either > 0))

    def clusters(self, together: float = TOGETHER) -> Array:
        """(m,) the smallest number among the features each is joined to by a chain of such pairs; −1 of the dead."""
        m = len(self.active)
        first = np.repeat(np.arange(m), np.diff(self.ptr))
        keep = self.jaccard() >= together
        edges = scipy.sparse.coo_matrix((np.ones(int(keep.sum())), (first[keep], self.other[keep])), (m, m))
        _, label = connected_components(edges, directed=False)
        smallest = np.full(label.max(initial=-1) + 1, m, np.int64)
        np.minimum.at(smallest, label, np.arange(m))
        return np.where(self.active > 0, smallest[label], -1)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(
    indptr: Array, indices: Array, ptr: Array, other: Array, both: Array, active: Array, stamp: Array, seen: int
) -> None:
    for r in range(indptr.size - 1):
        mark = seen + r
        for j in range(indptr[r], indptr[r + 1]):
            stamp[indices[j]] = mark
            active[indices[j]] += 1
        for j in range(indptr[r], indptr[r + 1]):
            f = indices[j]
            for e in range(ptr[f], ptr[f + 1]):
                both[e] += stamp[other[e]] == mark
