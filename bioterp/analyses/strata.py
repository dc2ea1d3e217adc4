"""Rows put into strata of like covariates, and counts by block and stratum (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bioterp.analyses.counting import Read
from bioterp.analyses.parts import Part
from bioterp.arrays import Array

UNKNOWN = 65_535  # the level of a covariate that is not known
_BATCH = 262_144


def values_on(read: Read, part: Part, columns: int) -> Array:
    """(columns, n) float32 covariates of a part's rows."""
    found, at = np.empty((columns, len(part)), np.float32), 0
    for start, stop in part.merged().tolist():
        for lo in range(start, stop, _BATCH):
            hi = min(lo + _BATCH, stop)
            found[:, at : at + hi - lo] = np.asarray(read(lo, hi), np.float32).T
            at += hi - lo
    return found


def cuts_of(values: Array, bins: int) -> Array:
    """(≤ bins − 1,) increasing cuts that part these values into bins of like size; equal values stay together."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(0, np.float32)
    cuts = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="lower"))
    return np.asarray(cuts[cuts > known.min()], np.float32)


def levels_of(values: Array, cuts: Array | None) -> Array:
    """(n,) uint16 level of each value: its bin, or for a class (no cuts) the class itself; NaN is UNKNOWN."""
    known = ~np.isnan(values)
    level = np.full(len(values), UNKNOWN, np.uint16)
    level[known] = values[known] if cuts is None else np.searchsorted(cuts, values[known], side="right")
    return level


def strata_of(levels: Sequence[Array], sizes: Sequence[int]) -> Array:
    """(n,) int64 stratum of each row, one number per combination of levels below `sizes`; −1 where one is unknown."""
    stratum = np.zeros(len(levels[0]), np.int64)
    known = np.ones(len(stratum), bool)
    for level, size in zip(levels, sizes, strict=True):
        stratum = stratum * size + level
        known &= level != UNKNOWN
    return np.where(known, stratum, -1)


@dataclass(frozen=True)
class Layout:
    """Where rows are counted: a cell is a stratum of a block.

    cell (n,) int32 of each row, −1 where its stratum is unknown; stratum and block (C,) of each cell, renumbered from
    0; numbers (K,) the stratum numbers they were given by, increasing; blocks: how many.
    """

    cell: Array
    stratum: Array
    block: Array
    numbers: Array
    blocks: int

    @classmethod
    def of(cls, stratum: Array, block: Array) -> Layout:
        """stratum (n,) int64, −1 for none; block (n,) codes."""
        known = stratum >= 0
        numbers, own = np.unique(stratum[known], return_inverse=True)
        blocks = int(block.max()) + 1 if len(block) else 0
        pair = block[known].astype(np.int64) * max(len(numbers), 1) + own.reshape(-1)
        held = np.flatnonzero(np.bincount(pair)) if len(pair) else np.zeros(0, np.int64)
        cell = np.full(len(stratum), -1, np.int32)
        cell[known] = np.searchsorted(held, pair)
        size = max(len(numbers), 1)
        return cls(cell, (held % size).astype(np.int64), (held // size).astype(np.int64), numbers, blocks)

    @property
    def strata(self) -> int:
        return len(self.numbers)

    def count(self, rows: Array) -> Array:
        """(C,) float64 how many of these rows, numbers or a mask, lie in each cell."""
        own = self.cell[rows]
        return np.bincount(own[own >= 0], minlength=len(self.stratum)).astype(np.float64)

    def by_stratum(self, counts: Array) -> Array:
        """(K,) counts of cells (C,) added up over blocks."""
        return np.bincount(self.stratum, counts, minlength=self.strata)

    def by_block(self, counts: Array) -> Array:
        """(blocks,) counts of cells added up over strata."""
        return np.bincount(self.block, counts, minlength=self.blocks)
