"""What is lost when codes are turned back into activations: sums by block, which add up (kernel; sees arrays only)."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from bioterp.analyses.jackknife import Spread, spread
from bioterp.arrays import Array


class Sums:
    """Sums over rows, block by block, of which FVU, L0, density and γ are made; the sums of parts add up.

    blocks (g) groups of rows that an interval may leave out; width (m) features; shift (d,): any vector near the mean
    of the rows, taken away before squares are summed so that a large mean costs no digits.
    """

    def __init__(self, blocks: int, width: int, shift: Array):
        self.shift = np.asarray(shift, np.float64)
        self.rows = np.zeros(blocks, np.int64)
        self.error = np.zeros(blocks)  # Σ ‖x − x̂‖²
        self.total = np.zeros((blocks, len(self.shift)))  # Σ (x − shift)
        self.squares = np.zeros(blocks)  # Σ ‖x − shift‖²
        self.fired = np.zeros(width, np.int64)  # rows on which each feature is active

    def add(self, block: Array, x: Array, codes: Any, rebuilt: Array | None) -> None:
        """block (n,) 0 … g−1; x, rebuilt (n, d); codes (n, m), CSR or dense. Without rebuilt the error is unknown."""
        n = len(x)
        belongs = scipy.sparse.csr_matrix((np.ones(n), (block, np.arange(n))), shape=(len(self.rows), n))
        held = x - self.shift
        self.rows += np.bincount(block, minlength=len(self.rows))
        self.total += belongs @ held
        self.squares += belongs @ np.einsum("nd,nd->n", held, held)
        if rebuilt is None:
            self.error += belongs @ np.full(n, np.nan)
        else:
            left = x.astype(np.float64) - rebuilt
            self.error += belongs @ np.einsum("nd,nd->n", left, left)
        if scipy.sparse.issparse(codes):
            self.fired += np.bincount(codes.indices[codes.data != 0], minlength=len(self.fired))
        else:
            self.fired += np.count_nonzero(codes, axis=0)

    def merge(self, other: Sums) -> None:
        """Take in the sums of other rows, made with the same blocks and shift."""
        for name in ("rows", "error", "total", "squares", "fired"):
            getattr(self, name).__iadd__(getattr(other, name))

    @property
    def n(self) -> int:
        return int(self.rows.sum())

    @property
    def mean(self) -> Array:
        """(d,) float64: the mean of the rows."""
        return np.asarray(self.shift + self.total.sum(0) / max(self.n, 1))

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained: Σ ‖x − x̂‖² / Σ ‖x − mean of these rows‖²; NaN where rows do not vary."""
        return _ratio(float(self.error.sum()), _about_mean(self.squares.sum(), self.total.sum(0), self.n))

    def fvu_spread(self) -> Spread:
        """The delete-one-block jackknife interval of `fvu`; each time about the mean of the rows that stay."""
        held = np.flatnonzero(self.rows)
        total, squares, rows = self.total.sum(0), self.squares.sum(), self.n
        left = np.array(
            [
                _ratio(
                    self.error.sum() - self.error[b],
                    _about_mean(squares - self.squares[b], total - self.total[b], rows - self.rows[b]),
                )
                for b in held
            ]
        )
        return spread(left, self.fvu, self.rows[held], low=0)

    @property
    def l0(self) -> float:
        """Active features of a row, on average."""
        return float(self.fired.sum() / max(self.n, 1))

    @property
    def dead(self) -> float:
        """Fraction of the features that are active on none of the rows."""
        return float((self.fired == 0).mean())

    @property
    def gamma(self) -> float:
        """‖mean‖ / ‖σ‖, σ the standard deviations of the channels: how far from the origin the rows lie."""
        variance = _about_mean(self.squares.sum(), self.total.sum(0), self.n) / max(self.n, 1)
        return _ratio(float(np.linalg.norm(self.mean)), float(np.sqrt(variance)))


def _about_mean(squares: float, total: Array, rows: int) -> float:
    return max(float(squares) - float(total @ total) / max(int(rows), 1), 0.0)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def density_bins(fired: Array, rows: int, edges: Array) -> Array:
    """(b,) how many features are active on a share of the rows in (edges[i], edges[i+1]]; the dead are in none."""
    share = fired[fired > 0] / max(rows, 1)
    at = np.searchsorted(edges, share, side="left") - 1
    return np.bincount(np.clip(at, 0, len(edges) - 2), minlength=len(edges) - 1)
