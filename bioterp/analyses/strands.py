"""Does a feature fire alike on both strands of a place, or on one? (kernel and its words)

Places are stretches of 64 bp: what a model that reads in one direction says of a site lies to its right on either
strand, so the same base would never agree. With p and m stretches active on plus and minus, b of them on both, and
N in all, share = 2b / (p + m), chance = 2pm / N / (p + m), and the word hangs on (share − chance) / (1 − chance):
'both' from 0.5, 'one' up to 0.1, 'mixed' between. Fewer than 20 active stretches, or a chance level above 0.5,
leave it unsaid. Signs of the other strand that lie further off than a stretch are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.rows import Rows

STRETCH = 64  # bp
BITS = 64  # stretches that one word of bits holds
FEWEST = 20
BOTH, ONE, DENSE = 0.5, 0.1, 0.5


def pairs_of(rows: Rows) -> Array:
    """(k,) positions of items whose next one is the same place, of the same sample, on the other strand."""
    if rows.ndim != 1 or len(rows.items) < 2:
        return np.zeros(0, np.int64)
    start, end, step = rows.extents()
    sample = pd.factorize(rows.items["sample"])[0]
    same = np.ones(len(start) - 1, bool)
    for column in (start, end, rows.space_code, np.asarray(sample)):
        same &= column[:-1] == column[1:]
    found = np.flatnonzero(same & (step[:-1] == -step[1:]) & (step[:-1] != 0))
    # Three in a row would be two pairs of which one item is in both: every second is kept.
    kept: list[int] = []
    for at in found.tolist():
        if not kept or at > kept[-1] + 1:
            kept.append(at)
    return np.array(kept, np.int64)


@dataclass
class Strands:
    """Stretches each feature is active on: plus, minus, both (m,), and how many there are."""

    rows: Rows
    pairs: Array
    plus: Array
    minus: Array
    both: Array
    total: int = 0
    masks: Array = field(default_factory=lambda: np.zeros((2, 0), np.uint64))

    @classmethod
    def of(cls, rows: Rows, m: int) -> Strands | None:
        """None where no place was read on both strands."""
        pairs = pairs_of(rows)
        if not len(pairs):
            return None
        plus, minus, both = np.zeros((3, m), np.int64)
        return cls(rows, pairs, plus, minus, both, masks=np.zeros((2, m), np.uint64))

    def add(self, lo: int, hi: int, indptr: Array, indices: Array, data: Array) -> None:
        """Count the pairs of items that lie wholly in rows lo:hi, of which this is the CSR block."""
        offsets = self.rows.offsets
        first, last = np.searchsorted(offsets[self.pairs], [lo, hi])
        for item in self.pairs[first:last].tolist():
            if offsets[item + 2] > hi:
                continue
            places = []
            for one in (item, item + 1):
                _, start, _ = self.rows.cells(int(offsets[one]), int(offsets[one + 1]))
                places.append(start)
            origin = min(int(p.min()) for p in places) if len(places[0]) else 0
            stretch = [(p - origin) // STRETCH for p in places]
            self.total += len(np.intersect1d(stretch[0], stretch[1]))
            self._pair(int(offsets[item]) - lo, stretch, indptr, indices)

    def _pair(self, at: int, stretch: list[Array], indptr: Array, indices: Array) -> None:
        """Both strands of a place, 64 stretches at a time."""
        many = max(int(s.max(initial=-1)) for s in stretch) + 1
        begins = at, at + len(stretch[0])
        for low, _ in pairwise(range(0, many + BITS, BITS)):
            for side in (0, 1):
                _paint(stretch[side] - low, begins[side], indptr, indices, self.masks[side])
            _tally(self.masks, self.plus, self.minus, self.both)

    def columns(self) -> dict[str, Array]:
        active = self.plus + self.minus
        known = active >= FEWEST
        share = np.divide(2.0 * self.both, active, out=np.full(len(active), np.nan), where=known)
        expected = 2.0 * self.plus * self.minus / max(self.total, 1)
        return {
            "strand_share": share,
            "strand_chance": np.divide(expected, active, out=np.full(len(active), np.nan), where=known),
        }

    def words(self) -> list[str | None]:
        share, chance = self.columns().values()
        above = (share - chance) / np.where(chance < 1, 1 - chance, np.nan)
        told = np.where(above >= BOTH, "both", np.where(above <= ONE, "one", "mixed"))
        return [str(w) if a == a and c <= DENSE else None for w, a, c in zip(told, above, chance, strict=True)]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _paint(stretch: Array, begin: int, indptr: Array, indices: Array, mask: Array) -> None:
    for r in range(stretch.size):
        s = stretch[r]
        if 0 <= s < 64:
            bit = np.uint64(1) << np.uint64(s)
            for j in range(indptr[begin + r], indptr[begin + r + 1]):
                mask[indices[j]] |= bit


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _ones(word: Any) -> int:
    """How many bits of an unsigned word are set."""
    count = 0
    while word:
        word &= word - np.uint64(1)
        count += 1
    return count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tally(masks: Array, plus: Array, minus: Array, both: Array) -> None:
    """Count the bits and clear them."""
    for f in range(plus.size):
        p, m = masks[0, f], masks[1, f]
        if p or m:
            plus[f] += _ones(p)
            minus[f] += _ones(m)
            both[f] += _ones(p & m)
            masks[0, f], masks[1, f] = 0, 0
