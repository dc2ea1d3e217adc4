"""Correlations of codes with numbers: sums of one pass, and all shifts of one pair (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
import scipy.stats

from bioterp.analyses.shifts import Ring
from bioterp.arrays import Array


@dataclass
class Sums:
    """Additive sums of T signals and m features over the cells where each signal is known.

    n, y, yy (T,); x, xx, xy (T, m): cells, signal, its square; code, its square, their product.
    """

    n: Array
    y: Array
    yy: Array
    x: Array
    xx: Array
    xy: Array

    @classmethod
    def none(cls, terms: int, m: int) -> Sums:
        return cls(*(np.zeros(terms) for _ in range(3)), *(np.zeros((terms, m)) for _ in range(3)))

    def add(self, codes: Any, signal: Array) -> None:
        """Take in rows: codes (rows, m) sparse, signal (rows, T) float64 with NaN where it is unknown."""
        codes = scipy.sparse.csr_matrix(codes, dtype=np.float64)
        known = np.isfinite(signal)
        value = np.where(known, signal, 0)
        self.n += known.sum(0)
        self.y += value.sum(0)
        self.yy += (value**2).sum(0)
        turned = codes.T.tocsr()
        self.x += (turned @ known.astype(np.float64)).T
        self.xx += (turned.power(2) @ known.astype(np.float64)).T
        self.xy += (turned @ value).T

    def pearson(self) -> Array:
        """(T, m); NaN where the code or the signal does not vary."""
        return pearson(self.n[:, None], self.y[:, None], self.yy[:, None], self.x, self.xx, self.xy)


def pearson(n: Any, y: Any, yy: Any, x: Any, xx: Any, xy: Any) -> Array:
    """The correlation that sums tell, elementwise; NaN where a side varies no more than rounding does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        of_x, of_y = xx - x * x / n, yy - y * y / n
        found = (xy - x * y / n) / np.sqrt(of_x * of_y)
    varies = (of_x > 1e-10 * np.abs(xx)) & (of_y > 1e-10 * np.abs(yy))
    return np.where(varies, np.clip(found, -1, 1), np.nan)


def spearman(row: Array, code: Array, ranks: Array) -> float:
    """Rank correlation over n cells: codes (k,) > 0 in cells row (k,), all others silent and tied; ranks (n,) of the
    signal. Ties have their mean rank."""
    n, silent = len(ranks), len(ranks) - len(row)
    x = np.full(n, (silent + 1) / 2)
    x[row] = silent + scipy.stats.rankdata(code)
    found = pearson(n, ranks.sum(), (ranks**2).sum(), x.sum(), (x**2).sum(), x @ ranks)
    return float(found)


@dataclass(frozen=True)
class Turned:
    """A correlation against those of all shifts: mean, z, p of as large a magnitude, shifts."""

    mean: float
    z: float
    p: float
    shifts: int


class Turner:
    """One signal on a ring, against which features are turned."""

    def __init__(self, ring: Ring, signal: Array):
        """signal (n,) of the part's rows, NaN where it is unknown; slots without a cell are unknown too."""
        self.ring = ring
        known = np.isfinite(signal)
        value = np.where(known, signal, 0.0)
        self.n, self.y, self.yy = float(known.sum()), float(value.sum()), float((value**2).sum())
        self.known, self.signal = self._transform(known.astype(float)), self._transform(value)

    def _transform(self, of_rows: Array) -> Array:
        line = np.zeros((self.ring.strands, self.ring.size))
        line[self.ring.strand, self.ring.slot] = of_rows
        return np.asarray(scipy.fft.rfft(line, axis=1))

    def null(self, row: Array, code: Array) -> Turned:
        """Codes (k,) in part rows (k,), moved to every place. Shifts at which nothing varies count as 0."""
        whole = np.zeros(len(self.ring.slot))
        whole[row] = code
        x, xx = np.conj(self._transform(whole)), np.conj(self._transform(whole**2))
        size = self.ring.size

        def at_all(one: Array, other: Array) -> Array:
            return np.asarray(scipy.fft.irfft((one * other).sum(0), size))

        every = pearson(self.n, self.y, self.yy, at_all(x, self.known), at_all(xx, self.known), at_all(x, self.signal))
        if not np.isfinite(every[0]):
            return Turned(np.nan, np.nan, np.nan, size)
        every = np.nan_to_num(every)
        sd = float(every.std())
        reached = np.count_nonzero(np.abs(every) >= abs(every[0]) - 1e-9)
        z = float((every[0] - every.mean()) / sd) if sd > 1e-12 else np.nan
        return Turned(float(every.mean()), z, reached / size, size)
