"""ComBat fitted on train people, applied to others: each batch's location and scale, shrunk (kernel; sees arrays only).

Johnson, Li & Rabinovic 2007, parametric empirical Bayes; as Fortin et al. 2018 for imaging measures. The features are
standardised by one linear model of batches and covariates fitted on train; each batch's shift γ and scale δ² are
shrunk towards their distribution over features. The outcome is never among the covariates: what is kept for its
sake in train could not be kept in test, where it is unknown.
A batch that train has not seen is told from its own rows, with the train fit fixed: their values are used, their
outcomes are not. With fewer rows than LEAST it is left as it came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError

LEAST = 5  # rows from which a scale can be told
_STEPS, _CLOSE = 100, 1e-6


@dataclass(frozen=True)
class Combat:
    """A fitted harmonisation.

    mean (m,) and slope (c, m) of the common model, sd (m,) of what it leaves, covariates' mean centre (c,);
    shift (b, m) and scale (b, m) of each batch of `batches`, in units of sd.
    """

    batches: tuple[str, ...]
    mean: Array
    slope: Array
    centre: Array
    sd: Array
    shift: Array
    scale: Array

    def __call__(self, x: Array, batch: Array, covariates: Array | None = None) -> Array:
        """x (n, m) with each row's batch (n,) of names taken out; covariates (n, c) as they were fitted."""
        expected, z = self._standard(x, covariates)
        for name in np.unique(batch):
            own = np.flatnonzero(batch == name)
            if name in self.batches:
                at = self.batches.index(name)
                shift, scale = self.shift[at], self.scale[at]
            elif len(own) >= LEAST:
                shift, scale = _shrunk(z[own])
            else:
                continue
            z[own] = (z[own] - shift) / np.sqrt(scale)
        return np.asarray(z * self.sd + expected)

    def _standard(self, x: Array, covariates: Array | None) -> tuple[Array, Array]:
        more = np.zeros((len(x), 0)) if covariates is None else np.asarray(covariates, float)
        expected = self.mean + (more - self.centre) @ self.slope
        return expected, (np.asarray(x, float) - expected) / self.sd


def combat(x: Array, batch: Array, covariates: Array | None = None) -> Combat:
    """Fit on rows x (n, m) with batch (n,) of names and covariates (n, c) whose effects are kept.

    Batches of fewer than LEAST rows are left as they came. Raises InputError for values that are not finite, and
    where fewer than two batches are large enough.
    """
    x = np.asarray(x, np.float64)
    more = np.zeros((len(x), 0)) if covariates is None else np.asarray(covariates, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(more).all()):
        raise InputError("ComBat is fitted on finite numbers; rows that hold NaN or inf must be left out before")
    names, code = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    size = np.bincount(code)
    large = np.flatnonzero(size >= LEAST)
    if len(large) < 2:
        raise InputError(f"ComBat needs two batches of {LEAST} rows or more; got sizes {size.tolist()}")
    centre = more.mean(0)
    design = np.concatenate([np.eye(len(names))[code], more - centre], 1)
    fitted = np.linalg.lstsq(design, x, rcond=None)[0]
    mean = size @ fitted[: len(names)] / len(x)
    slope = fitted[len(names) :]
    sd = np.sqrt(((x - design @ fitted) ** 2).mean(0))
    sd[sd == 0] = 1.0  # a feature that batch and covariates tell whole has nothing to scale
    made = Combat((), mean, slope, centre, sd, np.zeros((0, x.shape[1])), np.ones((0, x.shape[1])))
    z = made._standard(x, more)[1]
    told = [_shrunk(z[code == b]) for b in large]
    known = tuple(str(names[b]) for b in large)
    return Combat(known, mean, slope, centre, sd, np.stack([t[0] for t in told]), np.stack([t[1] for t in told]))


def _shrunk(z: Array) -> tuple[Array, Array]:
    """(m,) shift and (m,) scale of one batch's standardised rows, by their posterior means."""
    n = len(z)
    shift = z.mean(0)
    scale = z.var(0, ddof=1)
    varies = scale > 0
    if varies.sum() < 2:  # nothing to shrink towards
        return shift, np.where(varies, scale, 1.0)
    # The prior: shifts are normal over features, scales inverse gamma; both by moments.
    middle, width = shift[varies].mean(), shift[varies].var(ddof=1)
    m, s2 = scale[varies].mean(), scale[varies].var(ddof=1)
    if s2 <= 0 or width <= 0:
        return shift, np.where(varies, scale, 1.0)
    a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    g, d = shift[varies].copy(), scale[varies].copy()
    for _ in range(_STEPS):
        new_g = (n * width * shift[varies] + d * middle) / (n * width + d)
        new_d = (0.5 * ((z[:, varies] - new_g) ** 2).sum(0) + b) / (n / 2 + a - 1)
        moved = max(np.abs(new_g - g).max(), np.abs(new_d / d - 1).max())
        g, d = new_g, new_d
        if moved < _CLOSE:
            break
    scale = np.ones_like(scale)
    scale[varies], shift[varies] = d, g
    return shift, scale
