"""Rows seen from their coordinates: which cells of which items an interval touches (one dimension).

Items are looked up by one sorted key (contig and strand, coordinate), cells of regular items by index
arithmetic, cells of irregular items by binary search. In an item, cells are counted in *coordinate*
order; on the minus strand `to_rows` turns them around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.rows import Rows

GROUP = 1 << 42  # coordinates stay below this, so (group, coordinate) is one sortable integer
ZERO = 1 << 40  # windows over the origin of a circle may begin below 0


@dataclass(frozen=True)
class Touch:
    """One line per (interval, item) that overlap: cells first:last (coordinate order, half-open) of the
    item, and the share of the first and of the last cell the interval covers, and of the interval they hold."""

    interval: Array
    item: Array
    first: Array
    last: Array
    cover: Array  # (k, 2)
    held: Array  # (k, 2), in bp


class Lattice:
    """The cells of one-dimensional Rows, ready for interval look-ups."""

    def __init__(self, rows: Rows):
        if rows.ndim != 1:
            raise InputError(f"annotations are painted on rows along a sequence; these rows have {rows.ndim} axes")
        self.rows = rows
        n = len(rows.items)
        self.cells = rows.shapes[:, 0]
        step, shift = rows.affines[:, 0, 0], rows.affines[:, 0, 1]
        self.minus = step < 0
        self.width = np.abs(step)
        far = shift + step * self.cells
        self.irregular = np.diff(rows.bounds_offset) > 0
        low, high = np.minimum(shift, far), np.maximum(shift, far)
        if self.irregular.any():
            at = rows.bounds_offset[:-1][self.irregular]
            # Offsets of irregular items alone are increasing and cover `bounds` without gaps.
            low[self.irregular] = np.minimum.reduceat(rows.bounds[:, 0], at)
            high[self.irregular] = np.maximum.reduceat(rows.bounds[:, 1], at)
        self.low, self.high = low, np.where(self.cells > 0, high, low)
        self.group = rows.space_code.astype(np.int64) * 2 + self.minus
        self.by_start = np.lexsort((self.high, self.low, self.group))
        key = self._key(self.group, self.low)[self.by_start]
        self.start_key = key
        self.end_key = np.maximum.accumulate(self._key(self.group, self.high)[self.by_start]) if n else key
        self._irregular_keys()

    @staticmethod
    def _key(group: Array, at: Array) -> Array:
        return group * GROUP + ZERO + np.floor(at).astype(np.int64)

    def _irregular_keys(self) -> None:
        """Cells of irregular items in coordinate order, as (item, coordinate) keys."""
        rows = self.rows
        items = np.flatnonzero(self.irregular)
        size = self.cells[items]
        begin = rows.bounds_offset[:-1][items]
        item = np.repeat(items, size)
        within = np.arange(len(item)) - np.repeat(np.cumsum(size) - size, size)
        turned = np.where(self.minus[item], np.repeat(size, size) - 1 - within, within)
        bounds = rows.bounds[np.repeat(begin, size) + turned]
        self.cell_low, self.cell_high = bounds[:, 0], bounds[:, 1]
        self.cell_begin = np.zeros(len(rows.items), np.int64)
        self.cell_begin[items] = np.cumsum(size) - size
        self.low_key, self.high_key = self._key(item, self.cell_low), self._key(item, self.cell_high)
        odd = (np.diff(self.low_key) < 0) | (np.diff(self.high_key) < 0)
        if odd.any():
            name = rows.items["item"].iloc[int(item[int(np.flatnonzero(odd)[0])])]
            raise InputError(f"the cells of item {name!r} overlap or are out of order; they must follow each other")

    def touch(self, group: Array, start: Array, end: Array) -> Touch:
        """Overlaps of intervals [start, end) on `group` (2 · contig code + on the minus strand) with items."""
        lo = np.searchsorted(self.end_key, self._key(group, start), side="right")
        hi = np.searchsorted(self.start_key, self._key(group, end), side="left")
        count = np.maximum(hi - lo, 0)
        interval = np.repeat(np.arange(len(start)), count)
        item = self.by_start[np.arange(len(interval)) - np.repeat(np.cumsum(count) - count - lo, count)]
        s, e = start[interval].astype(np.float64), end[interval].astype(np.float64)
        keep = (self.high[item] > s) & (self.low[item] < e) & (e > s) & (self.group[item] == group[interval])
        interval, item, s, e = interval[keep], item[keep], s[keep], e[keep]
        first = np.floor((s - self.low[item]) / self.width[item]).astype(np.int64)
        last = np.ceil((e - self.low[item]) / self.width[item]).astype(np.int64)
        odd = self.irregular[item]
        if odd.any():
            o = item[odd]
            first[odd] = np.searchsorted(self.high_key, self._key(o, s[odd]), side="right") - self.cell_begin[o]
            last[odd] = np.searchsorted(self.low_key, self._key(o, e[odd]), side="left") - self.cell_begin[o]
        first, last = np.maximum(first, 0), np.minimum(last, self.cells[item])
        keep = last > first  # an interval in a gap between cells touches the item, and none of its cells
        interval, item, first, last, s, e = (a[keep] for a in (interval, item, first, last, s, e))
        cover, held = np.empty((len(item), 2)), np.empty((len(item), 2))
        for side, cell in enumerate((first, last - 1)):
            low, high = self.bounds_of(item, cell)
            held[:, side] = np.minimum(e, high) - np.maximum(s, low)
            # An insertion inside the interval has no width and is covered whole.
            cover[:, side] = np.where(high > low, held[:, side] / np.maximum(high - low, 1e-12), 1.0)
        return Touch(interval, item, first, last, cover, held)

    def bounds_of(self, item: Array, cell: Array) -> tuple[Array, Array]:
        """(low, high) coordinates of cells (coordinate order) of items."""
        low = self.low[item] + cell * self.width[item]
        high = low + self.width[item]
        odd = self.irregular[item]
        if odd.any():
            at = self.cell_begin[item[odd]] + cell[odd]
            low[odd], high[odd] = self.cell_low[at], self.cell_high[at]
        return low, high

    def to_rows(self, item: Array, first: Array, last: Array) -> tuple[Array, Array]:
        """Row numbers (start, stop) of cells first:last (coordinate order) of items."""
        offset = self.rows.offsets[:-1][item]
        minus = self.minus[item]
        start = offset + np.where(minus, self.cells[item] - last, first)
        return start, start + (last - first)

    def home(self, item: Array, points: Array) -> Array:
        """Of each (item, point): the item of the same contig, strand and sample that holds the point, else the
        nearest. points (k, a): a circle's point is given once per turn, and the best turn counts."""
        if not hasattr(self, "_home"):
            sample = pd.factorize(self.rows.items["sample"])[0]
            kin = pd.factorize(self.group * (int(sample.max(initial=0)) + 1) + sample)[0].astype(np.int64)
            order = np.lexsort((self.low, kin))
            order = order[self.cells[order] > 0]  # an item without cells is nobody's home
            self._home = kin, order, self._key(kin, self.low)[order]
        kin, order, key = self._home
        best, distance = item.copy(), np.full(len(item), np.inf)
        for turn in range(points.shape[1]):
            point = points[:, turn]
            at = np.searchsorted(key, self._key(kin[item], point), side="right") - 1
            for near in (at, at + 1):
                found = order[np.clip(near, 0, len(order) - 1)]
                away = np.maximum(np.maximum(self.low[found] - point, point + 1 - self.high[found]), 0)
                better = (kin[found] == kin[item]) & (away < distance)
                best, distance = np.where(better, found, best), np.where(better, away, distance)
        return best
