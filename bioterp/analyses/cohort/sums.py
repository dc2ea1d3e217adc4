"""Sums over people of given columns times every feature, and of weights times its square (kernel; arrays only)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from bioterp.arrays import Array

BATCH = 512  # people: 67 MB of 16,384 features in float64
FIRST = 63  # people whose median is taken from every feature: odd, so that what is constant becomes exactly 0
Read = Callable[[int, int], Any]


class Sums:
    """Columns asked for, then what they give: `ask` as often as needed, `run` once, then `of` and `squares`.

    An array is known by its identity: what is asked for twice is worked out once.
    """

    def __init__(self, n: int):
        self.n = n
        self._asked: dict[tuple[int, bool], tuple[Array, int]] = {}
        self._size = {False: 0, True: 0}
        self._cells = np.zeros((n, 0))

    def divide(self, code: Array, cells: int) -> None:
        """code (n,) int: the group of each person, −1 for none; four moments of every feature are then kept of each."""
        self._cells = (code[:, None] == np.arange(cells)).astype(np.float64)

    def ask(self, left: Array | None = None, weight: Array | None = None) -> None:
        """left (n, k) or (n,): columns to multiply features with; weight (n,): of their squares."""
        for array, square in ((left, False), (weight, True)):
            if array is not None and (id(array), square) not in self._asked:
                self._asked[id(array), square] = array, self._size[square]
                self._size[square] += 1 if array.ndim == 1 else array.shape[1]

    def run(self, read: Read, m: int, who: Array) -> None:
        """Read all rows of an (n, m) matrix once. who (n,) bool: the people who count; others may be NaN.

        Afterwards: missing (m,) people among `who` whose value is NaN or infinite; spread (m,) sum of squares about
        `shift`, exactly 0 for a constant feature.
        """
        left, weight = self._columns(False), self._columns(True)
        self.shift = _middle(read, self.n, m, who)
        self._left, self._square = np.zeros((left.shape[1], m)), np.zeros((weight.shape[1], m))
        self.missing, self.spread = np.zeros(m, np.int64), np.zeros(m)
        self._powers = np.zeros((4, self._cells.shape[1], m))
        for lo in range(0, self.n, BATCH):
            hi = min(lo + BATCH, self.n)
            block, missing = self.block(read, lo, hi, who)
            self.missing += missing
            self._left += left[lo:hi].T @ block
            square = np.square(block)
            self._square += weight[lo:hi].T @ square
            self.spread += square.sum(0)
            if (cells := self._cells[lo:hi]).shape[1]:
                self._powers[0] += cells.T @ block
                self._powers[1] += cells.T @ square
                block *= square
                self._powers[2] += cells.T @ block
                np.square(square, out=square)
                self._powers[3] += cells.T @ square

    def block(self, read: Read, lo: int, hi: int, who: Array) -> tuple[Array, Array]:
        """Rows lo:hi less the shift, float64, with 0 for whom nothing is asked or known; (m,) how many are missing."""
        block = dense(read(lo, hi)).astype(np.float64)
        block -= self.shift
        block[~who[lo:hi]] = 0
        missing = np.zeros(block.shape[1], np.int64)
        if not np.isfinite(block.sum()):
            bad = ~np.isfinite(block)
            missing = bad.sum(0)
            block[bad] = 0
        return block, missing

    def of(self, left: Array) -> Array:
        """(k, m) sums of the columns of `left` times each feature; (m,) of a single column."""
        at = self._asked[id(left), False][1]
        return self._left[at] if left.ndim == 1 else self._left[at : at + left.shape[1]]

    def squares(self, weight: Array) -> Array:
        """(m,) sums of `weight` times the square of each feature."""
        found: Array = self._square[self._asked[id(weight), True][1]]
        return found

    def carriers(self, counted: Array) -> Array:
        """(groups, m) how many people of a group carry what varies in a feature: (Σd²)² / Σd⁴ of deviations from the
        group's mean. About k for a feature that k of many have, a third of the people for a normal one."""
        n = np.maximum((self._cells * counted[:, None]).sum(0), 1)[:, None]
        one, two, three, four = self._powers
        mean = one / n
        second = two - n * mean**2
        fourth = four - 4 * mean * three + 6 * mean**2 * two - 3 * n * mean**4
        fine = (second > 1e-9 * two) & (fourth > 0)
        return np.where(fine, second**2 / np.where(fine, fourth, 1), 0.0)

    def _columns(self, square: bool) -> Array:
        asked = [array.reshape(self.n, -1) for (_, kind), (array, _) in self._asked.items() if kind == square]
        return np.concatenate([*asked, np.zeros((self.n, 0))], axis=1)


def dense(block: Any) -> Array:
    """Rows as a dense array, whatever container they came from."""
    return np.asarray(block.toarray() if scipy.sparse.issparse(block) else block)


def _middle(read: Read, n: int, m: int, who: Array) -> Array:
    """(m,) a value near the middle of each feature, that some person has: sums of squares then lose no digits."""
    chosen = np.flatnonzero(who)[:FIRST]
    chosen = chosen[: len(chosen) - (len(chosen) + 1) % 2]  # an odd number
    if not len(chosen):
        return np.zeros(m)
    rows = dense(read(int(chosen[0]), int(chosen[-1]) + 1))[chosen - chosen[0]]
    middle = np.median(rows.astype(np.float64), axis=0)
    return np.where(np.isfinite(middle), middle, 0.0)
