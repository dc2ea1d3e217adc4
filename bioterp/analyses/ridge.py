"""Ridge probes of few rows and many channels: one decomposition serves every target and every penalty (kernel).

Classes are told by regression on their indicators, which is Fisher's discriminant up to scale (Hastie, Tibshirani &
Friedman, ESL §4.2): what is asked of a probe here is an order of people, not a probability. The penalty is chosen per
target by generalised cross-validation (Golub, Heath & Wahba 1979) on the rows it is fitted on, so nothing that is
scored has a say in it. Degrees of freedom count 1.4 times (Kim & Gu 2004): with nearly as many channels as rows the
plain score has its least value where the fit goes through every row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import sklearn.utils.extmath

from bioterp.arrays import Array

MOST = 1024  # directions kept of larger data
INFLATED = 1.4
PENALTIES = np.logspace(-6, 4, 41)  # times the mean squared singular value


@dataclass(frozen=True)
class Basis:
    """Rows in their own principal coordinates: mean and sd (d,), axes (d, r), and u (n, r), s (r,) of the fit rows."""

    mean: Array
    sd: Array
    axes: Array
    u: Array
    s: Array

    @classmethod
    def of(cls, x: Array, seed: int = 0) -> Basis:
        """Of rows x (n, d); channels are scaled to unit variance, constant ones are left out of every direction.

        Where both n and d pass MOST only the MOST largest directions are kept (Halko, Martinsson & Tropp 2011).
        """
        x = np.asarray(x, np.float64)
        mean, sd = x.mean(0), x.std(0)
        sd = np.where(sd > 1e-12 * np.maximum(np.abs(mean), 1e-300), sd, np.inf)
        z = (x - mean) / sd
        if min(z.shape) > MOST:
            u, s, vt = sklearn.utils.extmath.randomized_svd(z, MOST, random_state=seed)
        elif z.shape[1] > 2 * len(z):  # through the small Gram matrix: half the digits, which a penalty does not miss
            values, u = np.linalg.eigh(z @ z.T)
            u, s = u[:, ::-1], np.sqrt(np.maximum(values[::-1], 0))
            kept = s > 1e-6 * s[0]
            u, s = u[:, kept], s[kept]
            vt = (z.T @ u / s).T
        else:
            u, s, vt = scipy.linalg.svd(z, full_matrices=False, lapack_driver="gesdd")
        held = s > 1e-10 * max(s[0] if len(s) else 0.0, 1e-300)
        return cls(mean, sd, vt[held].T, u[:, held], s[held])

    def coordinates(self, x: Array) -> Array:
        """(n, r) of other rows."""
        return np.asarray(((x - self.mean) / self.sd) @ self.axes)


def fit(basis: Basis, y: Array, known: Array | None = None) -> tuple[Array, Array]:
    """(intercept (t,), weights (r, t)) on a basis' coordinates, from targets y (n, t), each with its own penalty.

    known (n,) bool leaves rows out of the fit; the basis may have been made with them, for it knows no target.
    """
    if known is not None and not known.all():
        # The coordinates of the rows that are left are no longer orthogonal; they are decomposed again.
        rows = basis.u[known] * basis.s
        mean = rows.mean(0)
        u, s, vt = scipy.linalg.svd(rows - mean, full_matrices=False)
        held = s > 1e-10 * max(s[0] if len(s) else 0.0, 1e-300)
        middle, inner = _solve(u[:, held], s[held], y[known])
        weights = vt[held].T @ inner
        return np.asarray(middle - mean @ weights), np.asarray(weights)
    return _solve(basis.u, basis.s, y)


def _solve(u: Array, s: Array, y: Array) -> tuple[Array, Array]:
    n = len(y)
    middle = y.mean(0)
    centred = y - middle
    along = u.T @ centred  # (r, t)
    outside = np.maximum((centred**2).sum(0) - (along**2).sum(0), 0.0)
    level = (s**2).mean() if len(s) else 1.0
    best, chosen = np.full(y.shape[1], np.inf), np.zeros(y.shape[1])
    for penalty in PENALTIES * level:
        keep = s**2 / (s**2 + penalty)
        free = n - 1 - INFLATED * keep.sum()
        if free <= 0:
            continue
        gcv = (((1 - keep)[:, None] * along) ** 2).sum(0) + outside
        gcv = gcv / free**2
        better = gcv < best
        best[better], chosen[better] = gcv[better], penalty
    chosen[chosen == 0] = PENALTIES[-1] * level
    return middle, np.asarray(s[:, None] / (s[:, None] ** 2 + chosen) * along)


@dataclass(frozen=True)
class Kernel:
    """A Gaussian kernel by landmarks (Williams & Seeger 2001): what a probe can see that is not linear.

    landmarks (k, r) in a basis' coordinates, root (k, k), width: 1 / (median squared distance).
    """

    landmarks: Array
    root: Array
    width: float

    @classmethod
    def of(cls, coordinates: Array, seed: int = 0, landmarks: int = 300) -> Kernel:
        """From the coordinates (n, r) of the fit rows."""
        draw = np.random.default_rng(seed)
        chosen = coordinates[draw.choice(len(coordinates), min(landmarks, len(coordinates)), replace=False)]
        between = _squares(chosen, chosen)
        upper = between[np.triu_indices(len(chosen), 1)]
        middle = float(np.median(upper)) if len(upper) else 0.0
        width = 1 / middle if middle > 0 else 1.0
        values, vectors = np.linalg.eigh(np.exp(-width * between))
        held = values > 1e-10 * values[-1]
        return cls(chosen, vectors[:, held] / np.sqrt(values[held]), width)

    def __call__(self, coordinates: Array) -> Array:
        """(n, ≤ k) features of rows."""
        return np.asarray(np.exp(-self.width * _squares(coordinates, self.landmarks)) @ self.root)


def _squares(a: Array, b: Array) -> Array:
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0))
