"""Cells of a group → one number per feature: kernels on dense arrays and CSR codes alike.

A group is the cells of one item in one region. Sparse codes have no negative values: what is not stored is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from bioterp.arrays import Array


@dataclass(frozen=True)
class Groups:
    """item, region (g,): which group; size (g,): weight of its cells together; count (g,): how many there are.

    row, group, weight (k,): cell `row` of the block is in a group with this weight; sorted by group.
    """

    item: Array
    region: Array
    size: Array
    count: Array
    row: Array
    group: Array
    weight: Array

    @classmethod
    def of(cls, item: Array, region: Array, row: Array, weight: Array) -> Groups:
        """From one entry per cell and region."""
        order = np.lexsort((row, region, item))
        item, region, row, weight = item[order], region[order], row[order], weight[order]
        fresh = np.r_[True, (np.diff(item) != 0) | (np.diff(region) != 0)] if len(item) else np.zeros(0, bool)
        group = np.cumsum(fresh) - 1
        n = int(fresh.sum())
        return cls(
            item[fresh],
            region[fresh],
            np.bincount(group, weight, n),
            np.bincount(group, minlength=n),
            row,
            group,
            weight,
        )

    def __len__(self) -> int:
        return len(self.item)

    def matrix(self, rows: int) -> Any:
        """(g, rows) CSR of weights."""
        return scipy.sparse.csr_matrix((self.weight, (self.group, self.row)), (len(self), rows))


def mean(block: Any, groups: Groups) -> Any:
    """(g, m) sums of cells times their weights: means once they are divided by the size."""
    return groups.matrix(block.shape[0]) @ block


def fraction(block: Any, groups: Groups) -> Any:
    """(g, m) weight of the cells above 0."""
    return groups.matrix(block.shape[0]) @ (block > 0).astype(np.float64)


def largest(block: Any, groups: Groups) -> Any:
    """(g, m) largest value of each group."""
    if not scipy.sparse.issparse(block):
        starts = np.flatnonzero(np.r_[True, np.diff(groups.group) != 0])
        return np.maximum.reduceat(np.asarray(block)[groups.row], starts, axis=0)
    key, value, shape = _stored(block, groups)
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    fresh = np.flatnonzero(np.r_[True, np.diff(key) != 0]) if len(key) else np.zeros(0, np.int64)
    peaks = np.maximum.reduceat(value, fresh) if len(fresh) else value
    return scipy.sparse.csr_matrix((peaks, (key[fresh] // shape[1], key[fresh] % shape[1])), shape)


def top_mean(block: Any, groups: Groups, share: float) -> Any:
    """(g, m) mean of the largest `share` of the group's cells, at least one, times the group's size."""
    wanted = np.array([max(1, math.ceil(round(share * n, 9))) for n in groups.count], np.int64)
    if not scipy.sparse.issparse(block):
        dense, made = np.asarray(block), np.zeros((len(groups), block.shape[1]))
        cuts = np.r_[np.flatnonzero(np.r_[True, np.diff(groups.group) != 0]), len(groups.group)]
        for g, k in enumerate(wanted):
            part = dense[groups.row[cuts[g] : cuts[g + 1]]]
            made[g] = np.partition(part, len(part) - k, axis=0)[len(part) - k :].mean(0, dtype=np.float64)
        return made * groups.size[:, None]
    key, value, shape = _stored(block, groups)
    order = np.lexsort((-value, key))
    key, value = key[order], value[order].astype(np.float64)
    begin = np.searchsorted(key, key)
    group = key // shape[1]
    use = np.arange(len(key)) - begin < wanted[group]  # zeros fill up what is missing
    scaled = value[use] * (groups.size / wanted)[group[use]]
    return scipy.sparse.csr_matrix((scaled, (group[use], key[use] % shape[1])), shape)


def _stored(block: Any, groups: Groups) -> tuple[Array, Array, tuple[int, int]]:
    """Stored values of CSR codes, once per group of their cell: key group · m + column, value; and (g, m)."""
    picked = block[groups.row]
    group = np.repeat(groups.group.astype(np.int64), np.diff(picked.indptr))
    shape = len(groups), int(block.shape[1])
    return group * shape[1] + picked.indices, picked.data, shape
