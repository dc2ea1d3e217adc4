"""Least-squares concept erasure in closed form: nothing linear about a confounder is left (kernel; sees arrays only).

LEACE (Belrose et al. 2023, theorem 4.3) changes x as little as can be so that no linear function of it covaries with z:

    r(x) = x − Σxz (Σxzᵀ Σ⁻¹ Σxz)⁺ (Σ⁻¹ Σxz)ᵀ (x − μ)

which is their W⁺PW(x − μ) without a square root. For any invertible Σ the covariance of r(x) with z is zero on the rows
it was fitted on; only "as little as can be" hangs on Σ being the covariance of x. Where rows are few beside channels
the covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004), else noise of the sample would be
whitened and the eraser would forget the people, not the confounder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError

TINY = 1e-9  # share of the largest eigenvalue below which a direction is taken for none


@dataclass(frozen=True)
class Eraser:
    """A fitted erasure: mean (d,), left and right (d, r) with r(x) = x − (x − mean) right leftᵀ."""

    mean: Array
    left: Array
    right: Array

    def __call__(self, x: Array) -> Array:
        """x (n, d) without what covaries with the confounder, in the units of x."""
        return np.asarray(x - ((x - self.mean) @ self.right) @ self.left.T)

    @property
    def rank(self) -> int:
        """Directions that are taken away."""
        return int(self.right.shape[1])


class Moments:
    """Running moments of rows x (n, d) with concepts z (n, k), for data that are read in pieces."""

    def __init__(self, d: int, k: int):
        self.n = 0
        self.x, self.z = np.zeros(d), np.zeros(k)
        self.xx, self.xz = np.zeros((d, d)), np.zeros((d, k))

    def add(self, x: Array, z: Array) -> Moments:
        """Count more rows; they must be finite."""
        x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
        if not (np.isfinite(x).all() and np.isfinite(z).all()):
            raise InputError("moments are of finite numbers; rows that hold NaN or inf must be left out before")
        # Sums are kept about the running mean: of raw squares, digits are lost where the mean is large.
        n, m = self.n, len(x)
        if not m:
            return self
        mx, mz = x.mean(0), z.mean(0)
        dx, dz = mx - self.x, mz - self.z
        cx, cz = x - mx, z - mz
        share = n * m / (n + m)
        self.xx += cx.T @ cx + share * np.outer(dx, dx)
        self.xz += cx.T @ cz + share * np.outer(dx, dz)
        self.x += dx * m / (n + m)
        self.z += dz * m / (n + m)
        self.n = n + m
        return self

    def eraser(self, shrink: float = 0.0) -> Eraser:
        """The erasure of z; shrink in [0, 1) moves the covariance towards its mean variance."""
        if self.n < 2:
            raise InputError(f"an erasure is fitted on at least two rows; got {self.n}")
        cov = self.xx / self.n
        d = len(cov)
        level = np.trace(cov) / d
        shrunk = (1 - shrink) * cov + shrink * level * np.eye(d)
        values, vectors = np.linalg.eigh(shrunk)
        held = values > TINY * max(values[-1], 0.0)
        cross = self.xz / self.n
        inside = vectors[:, held]
        solved = inside @ ((inside.T @ cross) / values[held, None])
        return _eraser(self.x, cross, solved)


def erase(x: Array, z: Array, shrink: float | None = None) -> Eraser:
    """The erasure of z (n, k) from rows x (n, d) held in memory, also where d is larger than n.

    shrink=None takes Ledoit and Wolf's share. Raises InputError for rows that are not finite, or fewer than two.
    """
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    n, d = x.shape
    if shrink is None:
        shrink = ledoit_wolf(x)
    if d <= n or shrink == 0:
        return Moments(d, z.shape[1]).add(x, z).eraser(shrink)
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        raise InputError("an erasure is fitted on finite numbers; rows that hold NaN or inf must be left out before")
    mean = x.mean(0)
    centred, concept = x - mean, z - z.mean(0)
    cross = centred.T @ concept / n
    # (sI + c XᵀX)⁻¹ = (I − Xᵀ (s/c I + XXᵀ)⁻¹ X) / s: an n × n system in place of a d × d one (Woodbury).
    gram = centred @ centred.T
    ridge = shrink * np.trace(gram) / n / d
    weight = (1 - shrink) / n
    if ridge <= 0:
        return _eraser(mean, cross, cross)
    inner = np.linalg.solve(gram + np.eye(n) * ridge / weight, centred @ cross)
    return _eraser(mean, cross, (cross - centred.T @ inner) / ridge)


def _eraser(mean: Array, cross: Array, solved: Array) -> Eraser:
    """From Σxz and Σ⁻¹Σxz; directions of z that x knows nothing of are left out."""
    values, vectors = np.linalg.eigh(cross.T @ solved)
    held = values > TINY * max(values[-1], 0.0) if len(values) else np.zeros(0, bool)
    basis = vectors[:, held]
    return Eraser(mean, cross @ basis, solved @ basis / values[held] if held.any() else solved @ basis)


def ledoit_wolf(x: Array) -> float:
    """Ledoit & Wolf's (2004) optimal share of the identity, for rows x (n, d), through the n × n Gram matrix."""
    x = np.asarray(x, np.float64)
    n, d = x.shape
    centred = x - x.mean(0)
    gram = centred @ centred.T if n <= d else centred.T @ centred
    total = float((gram**2).sum()) / n**2  # ‖S‖² (the same through either Gram matrix)
    level = float(np.einsum("ij,ij->", centred, centred)) / n / d
    spread = total / d - level**2  # ‖S − mI‖² / d
    row = np.einsum("ij,ij->i", centred, centred)
    noise = (float((row**2).sum()) / n - total) / n / d
    if spread <= 0:
        return 1.0 - 1e-6
    return float(min(max(min(noise, spread) / spread, 0.0), 1.0 - 1e-6))
