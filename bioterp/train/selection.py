"""Which features of a batch are active: the k largest of every row, or the k·b largest of all b rows.

A selection sees pre-activations in tiles of rows, made one after another and forgotten: (rows, features) is never held
whole. Both are exact. Parts are CSR (codes, columns, indptr), columns increasing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.train.products import Parts, Seen
from bioterp.train.world import World

LOWER = 0.9  # of the last batch's limit: nearly always below the next one's, and not many more values


class RowTopK:
    """The k largest positive pre-activations of every row."""

    def __init__(self, k: int):
        self.k = k

    def run(self, tiles: Callable[[Callable[[Seen], Parts]], list[Parts]], rows: int, world: World) -> Parts:
        """tiles(pick) applies pick to what is seen of the pre-activations of each tile of rows."""
        return stack(tiles(lambda seen: seen.top(self.k)))


class BatchTopK:
    """The k·b largest positive pre-activations of a batch of b rows, over all processes.

    `limit`, the least of them in the batch before, says which values are worth keeping at all; if they turn out to be
    too few, the batch is looked at again.
    """

    def __init__(self, k: int):
        self.k, self.limit = k, 0.0

    def run(self, tiles: Callable[[Callable[[Seen], Parts]], list[Parts]], rows: int, world: World) -> Parts:
        """As for rows; `rows` of this process."""
        wanted = self.k * int(world.sum(np.array([rows], np.int64))[0])
        bar = LOWER * self.limit
        if bar == 0:  # the first batch: no row's 4k best, nearly always, and much less to hold than all of them
            first = stack(tiles(lambda seen: seen.top(min(4 * self.k, seen.width))))
            bar = LOWER * _least(world.gather(first[0]), wanted)
        while True:
            parts = stack(tiles(functools.partial(_above, bar=bar)))
            values = world.gather(parts[0])
            if bar == 0 or sum(map(len, values)) >= wanted:
                break
            bar = LOWER * bar if bar > 1e-6 else 0.0
        self.limit = _least(values, wanted)
        return _kept(parts, self.limit)


def _above(seen: Seen, bar: float) -> Parts:
    return seen.above(bar)


def _least(values: list[Array], wanted: int) -> float:
    """The `wanted`-th largest of all values, or the least when there are fewer."""
    every = np.concatenate(values)
    if not len(every):
        return 0.0
    at = max(len(every) - wanted, 0)
    return float(np.partition(every, at)[at])


def _kept(parts: Parts, limit: float) -> Parts:
    codes, columns, indptr = parts
    keep = codes >= np.float32(limit)
    before = np.concatenate([[0], np.cumsum(keep)])
    return codes[keep], columns[keep], before[indptr]


def stack(parts: list[Parts]) -> Parts:
    """The parts of consecutive tiles as one."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part[0]) for part in parts)])
    indptr = [np.zeros(1, np.int64), *(part[2][1:] + end for part, end in zip(parts, ends, strict=False))]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), np.concatenate(indptr)


SELECTIONS: dict[str, Any] = {"topk": RowTopK, "batchtopk": BatchTopK, "matryoshka": BatchTopK}
