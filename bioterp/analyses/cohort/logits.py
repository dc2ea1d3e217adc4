"""Exact logistic effects of single features: Newton, and Firth's where classes are separated (kernel; arrays only).

Firth 1993: the likelihood times the square root of its information has a finite maximum always, and less bias. Its p is
that of the penalised likelihood ratio, its interval the profile's (Heinze & Schemper 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from bioterp.arrays import Array

STILL = 1e-10
CHI = float(scipy.stats.chi2.ppf(0.95, 1)) / 2


@dataclass(frozen=True)
class Logit:
    """beta, se, 95 % interval and p of one feature; how: 'logistic' (Wald's interval and p) or 'firth'."""

    beta: float
    se: float
    lo: float
    hi: float
    p: float
    how: str


def exact(covariates: Array, x: Array, y: Array) -> Logit:
    """The effect of x (n,) on y (n,) in {0, 1} beside covariates (n, k) of full rank, an intercept among them."""
    scale = float(x.std())
    if not scale > 0:
        return Logit(np.nan, np.nan, np.nan, np.nan, np.nan, "constant")
    design = np.column_stack([covariates, (x - x.mean()) / scale])
    beta, ok = newton(design, y)
    if ok:
        p = scipy.special.expit(design @ beta)
        cover = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
        b, se = float(beta[-1]) / scale, float(np.sqrt(cover[-1, -1])) / scale
        far = float(scipy.stats.norm.ppf(0.975)) * se
        return Logit(b, se, b - far, b + far, float(2 * scipy.stats.norm.sf(abs(b / se))), "logistic")
    return _firth(design, y, scale)


def newton(design: Array, y: Array) -> tuple[Array, bool]:
    """Coefficients, and whether they are a maximum: False where classes are (nearly) separated."""
    beta = np.zeros(design.shape[1])
    for _ in range(30):
        p = scipy.special.expit(design @ beta)
        w = p * (1 - p)
        curve = (design * w[:, None]).T @ design
        if np.linalg.cond(curve) > 1e13:
            return beta, False
        step = np.linalg.solve(curve, design.T @ (y - p))
        beta = beta + step
        if np.abs(design @ beta).max() > 35:
            return beta, False
        if np.abs(step).max() < STILL * max(1.0, float(np.abs(beta).max())):
            return beta, True
    return beta, False


def firth(design: Array, y: Array) -> Array:
    """Firth's coefficients (k,) on a design (n, k) of any rank: of those that fit alike, the shortest.

    The penalty does not hang on the coordinates, so the fit is made where they are orthogonal and of one scale.
    """
    u, s, vt = np.linalg.svd(design, full_matrices=False)
    held = s > 1e-10 * s[0]
    scale = np.sqrt(len(design))
    return np.asarray(vt[held].T @ (penalised(u[:, held] * scale, y)[0] * scale / s[held]))


def _firth(design: Array, y: Array, scale: float) -> Logit:
    full, best = penalised(design, y)
    if best <= -1e299:
        return Logit(np.nan, np.nan, np.nan, np.nan, np.nan, "failed")
    p = scipy.special.expit(design @ full)
    cover = np.linalg.pinv((design * (p * (1 - p))[:, None]).T @ design)
    b, se = float(full[-1]), float(np.sqrt(cover[-1, -1]))
    without = penalised(design, y, 0.0, full)[1]
    ratio = max(2 * (best - without), 0.0)
    ends = [_end(design, y, full, best, b, sign * se) for sign in (-1, 1)]
    return Logit(b / scale, se / scale, ends[0] / scale, ends[1] / scale, float(scipy.stats.chi2.sf(ratio, 1)), "firth")


def _end(design: Array, y: Array, full: Array, best: float, b: float, step: float) -> float:
    """Where the profile likelihood has fallen by half of chi-square's 95 % point."""

    def above(at: float) -> float:
        return penalised(design, y, at, full)[1] - best + CHI

    far = b + 2 * step
    for _ in range(12):
        if above(far) < 0:
            return float(scipy.optimize.brentq(above, *sorted((b, far)), xtol=1e-6 * abs(step)))
        far = b + 2 * (far - b)
    return float(np.copysign(np.inf, step))


def penalised(design: Array, y: Array, held: float | None = None, start: Array | None = None) -> tuple[Array, float]:
    """Coefficients that maximise log likelihood + log|information| / 2, and the maximum; the last may be held.

    By quasi-Newton steps: Fisher scoring creeps where classes are separated, for the penalty is then most of the slope.
    """
    free = slice(None) if held is None else slice(-1)
    beta = np.zeros(design.shape[1]) if start is None else start.copy()
    if held is not None:
        beta[-1] = held

    def lost(part: Array) -> tuple[float, Array]:
        beta[free] = part
        value, slope = _value(design, y, beta)
        return -value, -slope[free]

    if len(beta[free]):
        found = scipy.optimize.minimize(lost, beta[free].copy(), jac=True, method="BFGS", options={"gtol": 1e-7})
        beta[free] = found.x
    return beta, _value(design, y, beta)[0]


def _value(design: Array, y: Array, beta: Array) -> tuple[float, Array]:
    """The penalised log likelihood and its slope (k,)."""
    eta = design @ beta
    p = scipy.special.expit(eta)
    w = p * (1 - p)
    curve = (design * w[:, None]).T @ design
    sign, size = np.linalg.slogdet(curve)
    if sign <= 0:
        return -1e300, np.zeros(len(beta))
    lever = w * np.einsum("ij,ij->i", design @ np.linalg.inv(curve), design)
    return float(-np.logaddexp(0, (1 - 2 * y) * eta).sum() + size / 2), design.T @ (y - p + lever * (0.5 - p))
