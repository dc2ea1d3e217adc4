"""Intervals onto Rows: the kernel behind `label`.

A cell an interval covers by half or more is positive, one it does not touch is negative, one in between
is unknown. An interval no longer than half a cell is in the cell that holds at least half of *it*, so
that a splice site exists on a 6-mer lattice. An instance belongs to the block of its midpoint: its cells
in rows of another split are unknown. A codon position (`pick`) is that of a cell's first base in the
direction of the CDS, for by cover no cell of three or more bases would have one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bioterp.annotations.lattice import Lattice, Touch
from bioterp.arrays import Array
from bioterp.values import NO_INSTANCES, UNKNOWN, Intervals


@dataclass(frozen=True)
class Targets:
    """What is to be painted, as columns of equal length.

    column: which column of the Field; group: 2 · contig code + minus strand of the rows it goes on;
    start, end: 0-based half-open, bp; plus: the feature's own strand is not '-'; frame, pick: codon
    positions or −1; source: the line of the terms table it comes from.
    """

    column: Array
    group: Array
    start: Array
    end: Array
    plus: Array
    frame: Array
    pick: Array
    source: Array

    def take(self, keep: Array) -> Targets:
        return Targets(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


def paint(
    lattice: Lattice, targets: Targets, table: pd.DataFrame, columns: int, circles: Array, known: Array | None
) -> Intervals:
    """Runs of rows with instance numbers.

    table: terms, for the names of instances; circles: (contigs,) length of each circular contig, 0 if
    linear; known: (k, 2) sorted disjoint runs of rows with a known label, None for all.
    """
    turned, home = turns(targets, circles, lattice)
    hits = lattice.touch(turned.group, turned.start, turned.end)
    belongs = lattice.home(hits.item, home[hits.interval])
    split = pd.factorize(lattice.rows.items["split"])[0]
    same = split[belongs] == split[hits.item]
    positive, first, last, unsure = decide(hits, turned.end - turned.start, same)
    start, stop = lattice.to_rows(hits.item[unsure[0]], unsure[1], unsure[2])
    unknown = [(turned.column[hits.interval[unsure[0]]], start, stop)]

    runs = _runs(lattice, turned, hits, positive, first, last)
    source, column, start, stop = (np.concatenate(part) for part in zip(*runs, strict=True))
    if known is not None:
        at, start, stop = clip(start, stop, known)
        source, column = source[at], column[at]
        gaps = np.stack([np.r_[0, known[:, 1]], np.r_[known[:, 0], len(lattice.rows)]], 1)
        gaps = gaps[gaps[:, 1] > gaps[:, 0]]
        every = np.repeat(np.arange(columns), len(gaps))
        unknown.append((every, np.tile(gaps[:, 0], columns), np.tile(gaps[:, 1], columns)))
    numbers, instances = number(source, column, targets, table)
    block = np.full(len(table), "", object)
    block[turned.source[hits.interval[::-1]]] = lattice.rows.items["block"].to_numpy()[belongs[::-1]]
    instances["block"] = block[instances.pop("source").to_numpy(np.int64)]
    blank = merge(*(np.concatenate(part) for part in zip(*unknown, strict=True)))
    return Intervals.of(
        np.r_[blank[0], column],
        np.r_[np.full(len(blank[0]), UNKNOWN), numbers],
        np.r_[blank[1], start],
        np.r_[blank[2], stop],
        len(lattice.rows),
        columns,
        instances[list(NO_INSTANCES)],
    )


def turns(targets: Targets, circles: Array, lattice: Lattice) -> tuple[Targets, Array]:
    """Targets on circles once per turn that reaches the rows, and the midpoint of each, (k, 3), one per turn."""
    length = circles[targets.group // 2]
    middle = (targets.start + targets.end - 1) // 2
    middle = np.where(length > 0, middle % np.maximum(length, 1), middle)
    home = np.stack([middle, middle + length, middle - length], 1)
    if not length.any():
        return targets, home
    low, high = int(lattice.low.min()), int(lattice.high.max())
    reach = max(abs(low), abs(high)) // int(length[length > 0].min()) + 2
    index, shift = [], []
    for turn in range(-min(reach, 4), min(reach, 4) + 1):
        moved = targets.start + turn * length, targets.end + turn * length
        use = np.flatnonzero(((length > 0) & (moved[1] > low) & (moved[0] < high)) | ((length == 0) & (turn == 0)))
        index.append(use)
        shift.append(turn * length[use])
    at, by = np.concatenate(index), np.concatenate(shift)
    turned = targets.take(at)
    moved_targets = Targets(turned.column, turned.group, turned.start + by, turned.end + by,
                            turned.plus, turned.frame, turned.pick, turned.source)  # fmt: skip
    return moved_targets, home[at]


def decide(hits: Touch, length: Array, same: Array) -> tuple[Array, Array, Array, tuple[Array, Array, Array]]:
    """Which cells are positive and which unknown.

    Returns (hit, first, last) of positive cells, half-open, and the same three of unknown cells.
    """
    size = length[hits.interval]
    single = hits.last - hits.first == 1
    width = hits.held / np.maximum(hits.cover, 1e-12)
    small = size[:, None] * 2 <= width
    yes = (hits.cover >= 0.5) | (small & (hits.held * 2 >= size[:, None]))
    first = hits.first + ~yes[:, 0]
    last = np.where(single, np.where(yes[:, 0], hits.last, first), hits.last - ~yes[:, 1])
    positive = np.flatnonzero(same & (last > first))
    left = np.flatnonzero(same & ~yes[:, 0])
    right = np.flatnonzero(same & ~yes[:, 1] & ~single)
    other = np.flatnonzero(~same)
    unknown = (
        np.r_[left, right, other],
        np.r_[hits.first[left], hits.last[right] - 1, hits.first[other]],
        np.r_[hits.first[left] + 1, hits.last[right], hits.last[other]],
    )
    return positive, first[positive], last[positive], unknown


def _runs(
    lattice: Lattice, targets: Targets, hits: Touch, positive: Array, first: Array, last: Array
) -> list[tuple[Array, Array, Array, Array]]:
    """(source, column, start row, stop row) of positive runs: whole ranges, and single cells for codon positions."""
    interval, item = hits.interval[positive], hits.item[positive]
    whole = targets.pick[interval] < 0
    at = interval[whole]
    start, stop = lattice.to_rows(item[whole], first[whole], last[whole])
    found = [(targets.source[at], targets.column[at].astype(np.int32), start, stop)]
    coded = np.flatnonzero(~whole)
    # One column at a time: a genome has a cell per codon and position, and the arrays below are that long.
    for column in np.unique(targets.column[interval[coded]]):
        use = coded[targets.column[interval[coded]] == column]
        size = last[use] - first[use]
        owner = np.repeat(use, size)
        cell = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size - first[use], size)
        low, high = lattice.bounds_of(item[owner], cell)
        i = interval[owner]
        base = np.where(targets.plus[i], low - targets.start[i], targets.end[i] - high)
        keep = (np.floor(base).astype(np.int64) + targets.frame[i]) % 3 == targets.pick[i]
        start, stop = lattice.to_rows(item[owner[keep]], cell[keep], cell[keep] + 1)
        found.append((targets.source[i[keep]], np.full(len(start), column, np.int32), start, stop))
    return found


def clip(start: Array, stop: Array, known: Array) -> tuple[Array, Array, Array]:
    """Runs cut to sorted disjoint runs `known`: (which run, start, stop)."""
    lo = np.searchsorted(known[:, 1], start, side="right")
    hi = np.searchsorted(known[:, 0], stop, side="left")
    count = np.maximum(hi - lo, 0)
    which = np.repeat(np.arange(len(start)), count)
    at = np.arange(len(which)) - np.repeat(np.cumsum(count) - count - lo, count)
    return which, np.maximum(start[which], known[at, 0]), np.minimum(stop[which], known[at, 1])


def merge(column: Array, start: Array, stop: Array) -> tuple[Array, Array, Array]:
    """Runs of each column made disjoint and sorted; touching runs become one."""
    if not len(column):
        return column, start, stop
    order = np.lexsort((start, column))
    column, start, stop = column[order], start[order], stop[order]
    key = column.astype(np.int64) * GAP
    reach = np.maximum.accumulate(stop + key)
    fresh = np.flatnonzero(np.r_[True, (start + key)[1:] > reach[:-1]])
    ends = np.r_[fresh[1:] - 1, len(reach) - 1]
    return column[fresh], start[fresh], reach[ends] - key[fresh]


GAP = 1 << 44  # more rows than any Field holds


def number(source: Array, column: Array, targets: Targets, table: pd.DataFrame) -> tuple[Array, pd.DataFrame]:
    """Instance numbers 1.. within each column, by contig and coordinate, for what has a positive cell."""
    span = len(table) + 1
    key = column.astype(np.int64) * span + source
    fresh = np.r_[True, key[1:] != key[:-1]] if len(key) else np.zeros(0, bool)
    keys = np.unique(key[fresh])
    owner, line = keys // span, keys % span
    rank = np.empty(len(table), np.int64)
    rank[np.lexsort((table["end"], table["start"], table["contig"]))] = np.arange(len(table))
    order = np.lexsort((rank[line], owner))
    begin = np.searchsorted(owner, owner)
    numbers = np.empty(len(keys), np.int32)
    numbers[order] = np.arange(len(keys)) - begin + 1
    at = np.searchsorted(keys, key)
    told = table.iloc[line[order]]
    instances = pd.DataFrame(
        {
            "term": owner[order].astype(np.int32),
            "instance": numbers[order],
            "source": line[order],
            **{name: told[name].to_numpy() for name in ("name", "contig", "start", "end", "strand")},
        }
    )
    return numbers[at], instances
