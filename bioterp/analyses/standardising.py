"""Columns made ready for a penalised fit, and coefficients brought back (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from bioterp.arrays import Array

ROTATED = 2_048  # dense columns up to which the principal axes are found: 2 s, and it grows with the cube
CONSTANT = 1e-12  # variance / mean square below which a column is called constant


@dataclass(frozen=True)
class Standard:
    """z = ((x − mean) / sd) · axes: columns of variance 1, dense ones along their principal axes (None = as they are).

    mean, sd, variance (d,) of the weighted rows, sd = 0 where a column is constant; curvature (d,) the variance of
    each column of z. CSR columns are scaled and not centred: a free intercept makes that the same fit.
    """

    mean: Array
    sd: Array
    curvature: Array
    axes: Array | None

    @classmethod
    def of(cls, x: Any, weight: Array) -> Standard:
        """x (n, d) dense or CSR float; weight (n,)."""
        share = weight / weight.sum()
        if scipy.sparse.issparse(x):
            mean = np.asarray(x.T @ share).ravel()
            square = np.asarray(x.power(2).T @ share).ravel()
            sd = _sd(square - mean**2, square)
            return cls(mean, sd, (sd > 0).astype(np.float64), None)
        mean = share @ x.astype(np.float64, copy=False) if x.dtype == np.float64 else np.asarray(_mean(x, share))
        centred = x - mean.astype(x.dtype)
        square = np.einsum("nd,nd,n->d", centred, centred, share.astype(x.dtype)).astype(np.float64)
        sd = _sd(square, square + mean**2)
        if x.shape[1] > ROTATED:
            return cls(mean, sd, (sd > 0).astype(np.float64), None)
        z = centred * _inverse(sd).astype(x.dtype)
        spread = np.asarray((z * share.astype(x.dtype)[:, None]).T @ z, np.float64)
        values, axes = scipy.linalg.eigh(spread)
        return cls(mean, sd, np.maximum(values, 0), axes)

    def forward(self, x: Any) -> Any:
        """Rows as the fit sees them."""
        if scipy.sparse.issparse(x):
            return x @ scipy.sparse.diags_array(_inverse(self.sd).astype(x.dtype), format="csr")
        z = (x - self.mean.astype(x.dtype)) * _inverse(self.sd).astype(x.dtype)
        return z if self.axes is None else z @ self.axes.astype(x.dtype)

    def back(self, coef: Array, intercept: Array, sparse: bool) -> tuple[Array, Array]:
        """Coefficients (d, Q) and intercepts (Q,) of z as those of x."""
        own = coef if self.axes is None else self.axes @ coef
        own = own * _inverse(self.sd)[:, None]
        return own, intercept - (0 if sparse else self.mean @ own)


def _mean(x: Array, share: Array) -> Array:
    """In blocks, so that no float64 copy of everything is made."""
    return np.asarray(
        np.sum([share[i : i + 8192] @ x[i : i + 8192].astype(np.float64) for i in range(0, len(x), 8192)], axis=0)
    )


def _sd(variance: Array, square: Array) -> Array:
    return np.sqrt(np.where(variance > CONSTANT * square, variance, 0.0))


def _inverse(sd: Array) -> Array:
    return np.where(sd > 0, 1 / np.where(sd > 0, sd, 1.0), 0.0)
