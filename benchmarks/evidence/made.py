"""Made-up sparse codes and tracks of the size the evidence is measured at, the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from bioterp.arrays import Array
from bioterp.values import Intervals

ROWS, FEATURES, ACTIVE, TERMS, INSTANCES = 2_000_000, 8_192, 32, 60, 266_000


@dataclass(frozen=True)
class Made:
    """Codes (rows, features) CSR, `active` of them active in every row; labels; group (rows,): 1 is test."""

    codes: scipy.sparse.csr_matrix
    labels: Intervals
    edges: Array
    group: Array

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    def read(self, lo: int, hi: int) -> scipy.sparse.csr_matrix:
        """Rows lo:hi, without a copy."""
        at = self.codes.indptr[lo : hi + 1]
        block = scipy.sparse.csr_matrix((hi - lo, self.codes.shape[1]), dtype=np.float32)
        cut = slice(int(at[0]), int(at[-1]))
        block.data, block.indices, block.indptr = self.codes.data[cut], self.codes.indices[cut], at - at[0]
        return block


def made(
    rows: int = ROWS,
    features: int = FEATURES,
    active: int = ACTIVE,
    terms: int = TERMS,
    instances: int = INSTANCES,
    seed: int = 0,
) -> Made:
    """Codes in runs, with popular and rare features, and tracks that know nothing of them.

    Each of `active` slots holds one of its own features/active features, drawn by a log-normal popularity (sd 1.5),
    and keeps it for a run of mean length 4; levels are gamma(2). Tracks hold as many instances each, of geometric
    length with a mean from 3 to 100 cells (6 % of the cells on average), anywhere but not across blocks. Every fifth
    block of 10,000 rows is test.
    """
    rng = np.random.default_rng(seed)
    each = features // active
    indices = np.empty((rows, active), np.int32)
    for slot in range(active):
        share = rng.lognormal(0, 1.5, each)
        drawn = np.searchsorted(np.cumsum(share / share.sum()), rng.random(rows)).astype(np.int32)
        fresh = rng.random(rows) < 0.25
        fresh[0] = True
        indices[:, slot] = slot * each + np.minimum(drawn, each - 1)[np.maximum.accumulate(fresh * np.arange(rows))]
    data = rng.standard_gamma(2, rows * active, np.float32) + np.float32(1e-3)
    codes = scipy.sparse.csr_matrix((rows, features), dtype=np.float32)
    codes.data, codes.indices = data, indices.reshape(-1)
    codes.indptr = np.arange(rows + 1, dtype=np.int64) * active
    term = np.repeat(np.arange(terms), instances // terms)
    mean = np.geomspace(3, 100, terms)[rng.permutation(terms)][term]
    edges = np.append(np.arange(0, rows, 10_000), rows)
    start = rng.integers(0, rows, len(term))
    stop = np.minimum(start + rng.geometric(1 / mean), edges[np.searchsorted(edges, start, side="right")])
    number = np.arange(len(term)) % (instances // terms) + 1
    labels = Intervals.of(term, number, start, stop, rows, terms)
    return Made(codes, labels, edges, (np.arange(len(edges) - 1) % 5 == 4).astype(np.int64))
