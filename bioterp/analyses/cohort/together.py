"""Which called features go together: calls are of blocks, and a block is one finding however many features read it.

Two called features are of one set when their squared correlation among people, beside what is adjusted for, is 0.5 or
more, or when a chain of such pairs joins them.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from bioterp.analyses.cohort.sums import Read, dense
from bioterp.arrays import Array

R2 = 0.5
MOST = 4_000  # called features that are held against each other, the first ones by p; the rest have no set
BATCH = 512


def sets_of(read: Read, who: Array, left: Array, p: Array, called: Array) -> Array:
    """(m,) int: the feature of the smallest p in the set of each called feature, −1 for all others.

    who (n,) bool: people; left (n, r): orthonormal columns of what is adjusted for; p (m,); called (m,) bool, one at
    least.
    """
    found = np.full(len(p), -1)
    order = np.flatnonzero(called)
    order = order[np.argsort(p[order], kind="stable")][:MOST]
    n = len(who)
    held = np.concatenate([dense(read(lo, min(lo + BATCH, n)))[:, order] for lo in range(0, n, BATCH)])
    values, basis = held[who].astype(np.float64), left[who]
    rest = values - basis @ (basis.T @ values)
    length = np.sqrt((rest**2).sum(0))
    rest = rest / np.where(length > 0, length, 1)
    together = scipy.sparse.csr_matrix((rest.T @ rest) ** 2 >= R2)
    label = connected_components(together, directed=False)[1]
    first = np.full(label.max() + 1, len(order))
    np.minimum.at(first, label, np.arange(len(order)))  # the order is that of p
    found[order] = order[first[label]]
    return found
