"""Which rows a probe is fitted on: a sample that serves all terms, with what each row stands for.

A row is drawn with a probability of its own, larger where a rare term holds, and weighs its inverse: weighted sums
over the sample are unbiased for those over all rows (Horvitz & Thompson 1952). So no later correction of intercepts or
probabilities is needed, as it is when negatives are thinned without weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from bioterp.analyses.blocks import BATCH, BadCode, Read
from bioterp.arrays import Array
from bioterp.values import Intervals


@dataclass(frozen=True)
class Drawn:
    """Sampled rows, increasing (n,); weight (n,) how many rows each stands for; positive and known (n, T) bool;
    group and block (n,) codes of their items."""

    row: Array
    weight: Array
    positive: Array
    known: Array
    group: Array
    block: Array

    def __len__(self) -> int:
        return len(self.row)

    def take(self, at: Array) -> Drawn:
        """Some of them, by position."""
        return Drawn(*(getattr(self, name)[at] for name in self.__dataclass_fields__))


def draw(labels: Intervals, offsets: Array, group: Array, block: Array, most: Array, seed: int = 0) -> Drawn:
    """About most[g] rows of each group of items, at random by `seed`; group, block (items,); group −1 is left out.

    Half are for the positives of the terms, as many for each, as far as it has them; the rest are drawn evenly.
    """
    rows = int(offsets[-1])
    of_row = np.repeat(group.astype(np.int16), np.diff(offsets))
    chance = np.zeros(rows, np.float32)
    share = most / 2 / max(labels.columns, 1)
    for t in range(labels.columns):
        inside, _ = labels.mask(t)
        mine = of_row[inside]
        counts = np.bincount(mine[mine >= 0], minlength=len(most))
        wanted = np.append(np.minimum(share / np.maximum(counts, 1), 1), 0).astype(np.float32)
        chance[inside] = np.maximum(chance[inside], wanted[mine])  # the last is of group −1
    for g in range(len(most)):
        own = np.flatnonzero(of_row == g)
        chance[own] = np.maximum(chance[own], _even(chance[own], float(most[g])))
    chance[of_row < 0] = 0
    row = np.flatnonzero(np.random.default_rng(seed).random(rows, np.float32) < chance)
    positive, known = np.zeros((len(row), labels.columns), bool), np.zeros((len(row), labels.columns), bool)
    for t in range(labels.columns):
        is_positive, is_known = labels.mask(t)
        positive[:, t], known[:, t] = is_positive[row], is_known[row]
    item = np.searchsorted(offsets, row, side="right") - 1
    return Drawn(row, 1 / chance[row].astype(np.float64), positive, known, group[item], block[item])


def _even(chance: Array, most: float) -> float:
    """The probability to give every row at least, so that about `most` are drawn."""
    if len(chance) <= most:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(chance, middle).sum(dtype=np.float64) < most else (low, middle)
    return low


def gather(read: Read, row: Array) -> Any:
    """The values of these rows (increasing), read batch by batch: dense float32 or CSR."""
    pieces = []
    edges = np.flatnonzero(np.diff(row // BATCH, prepend=-1, append=-1))
    for lo, hi in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        own = row[lo:hi]
        first, last = int(own[0]), int(own[-1]) + 1
        pieces.append(read(first, last)[own - first])
        check_finite(pieces[-1], own)
    if not pieces:
        return read(0, 0)
    if scipy.sparse.issparse(pieces[0]):
        return scipy.sparse.vstack(pieces, format="csr").astype(np.float32)
    return np.concatenate(pieces).astype(np.float32, copy=False)


def check_finite(values: Any, row: Array) -> None:
    """Raise BadCode where a value, dense or CSR, of these rows is NaN or infinite."""
    sparse = scipy.sparse.issparse(values)
    held = values.data if sparse else values
    if np.isfinite(held).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(held.reshape(-1)))[0])
    if sparse:
        at, column = int(np.searchsorted(values.indptr, bad, side="right")) - 1, int(values.indices[bad])
    else:
        at, column = divmod(bad, values.shape[1])
    raise BadCode(int(row[at]), column, float(held.reshape(-1)[bad]))
