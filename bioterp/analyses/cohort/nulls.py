"""An outcome explained without any feature, ready to be asked what each feature adds (kernel; sees arrays only).

Least squares (Frisch & Waugh 1933; Lovell 1963): with Q an orthonormal basis of the covariates, the effect of a feature
x in the whole regression is that of its residual, U / V with U = x'e and V = x'x − |Q'x|². Logistic regression: the
score test (Rao 1948) has the same form with weights w = p(1 − p), e = y − p and Q a basis of √w times the covariates;
U / V is then one Newton step from no effect. So one kernel serves both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats

from bioterp.analyses.cohort.sums import Sums
from bioterp.arrays import Array

RANK = 1e-9  # a column that keeps less than this share of its length once others are taken out adds nothing
SPREAD = 1e-9  # a feature that keeps less than this share of its squares does not vary beside the covariates
STEPS = 60


@dataclass(frozen=True)
class Basis:
    """Covariates of some people. who (n,) bool; left (n, k): √w·Q, 0 elsewhere; weight (n,); mix (p, k): design @ mix
    = Q / √w on these people, and its continuation to others."""

    who: Array
    left: Array
    weight: Array
    mix: Array

    @property
    def rank(self) -> int:
        return int(self.left.shape[1])


@dataclass(frozen=True)
class Null:
    """One outcome beside its covariates. rest (n,): the residual y − fitted, 0 elsewhere; fitted coefficients (p,) on
    the design; rss: its sum of squares; df: degrees of freedom once a feature is in. linear: else logistic."""

    basis: Basis
    rest: Array
    coefficients: Array
    rss: float
    df: int
    linear: bool


def basis_of(design: Array, who: Array, weight: Array | None = None) -> Basis:
    """design (n, p), first column ones; people beyond `who` weigh nothing. Columns that add nothing are dropped."""
    n, p = design.shape
    w = np.where(who, 1.0 if weight is None else weight, 0.0)
    root = np.sqrt(w[who])
    tall = design[who] * root[:, None]
    length = np.sqrt((tall**2).sum(0))
    scaled = tall / np.where(length > 0, length, 1)
    q, r, order = scipy.linalg.qr(scaled, mode="economic", pivoting=True)
    size = np.abs(np.diag(r))
    rank = int((size > RANK).sum()) if len(size) else 0
    left = np.zeros((n, rank))
    left[who] = q[:, :rank] * root[:, None]
    mix = np.zeros((p, rank))
    if rank:
        inverse = scipy.linalg.solve_triangular(r[:rank, :rank], np.eye(rank))
        mix[order[:rank]] = inverse / length[order[:rank], None]
    return Basis(who, left, w, mix)


def linear(basis: Basis, y: Array) -> Null:
    """Least squares of y (n,) on the people of the basis."""
    inside = np.where(basis.who, y, 0.0)
    about = basis.left.T @ inside
    rest = inside - basis.left @ about
    rest -= basis.left @ (basis.left.T @ rest)
    return Null(basis, rest, basis.mix @ about, float(rest @ rest), int(basis.who.sum()) - basis.rank - 1, True)


def logistic(plain: Basis, design: Array, y: Array) -> Null:
    """Logistic regression of y (n,) in {0, 1} by Newton steps, halved where they overshoot.

    plain: the unweighted basis of the same people. Covariates that separate the classes run away; their people then
    weigh nothing, as they should, and steps stop once the likelihood stands still.
    """
    who = plain.who
    columns, target = plain.left[who], y[who]
    eta, beta, value = np.zeros(len(target)), np.zeros(plain.rank), -np.inf
    for _ in range(STEPS):
        p = scipy.special.expit(eta)
        gradient = columns.T @ (target - p)
        curve = (columns * (p * (1 - p))[:, None]).T @ columns
        step = np.linalg.lstsq(curve, gradient, rcond=1e-12)[0]
        for _ in range(20):
            ahead = columns @ (beta + step)
            likely = float(-np.logaddexp(0, np.where(target > 0, -ahead, ahead)).sum())
            if likely >= value - 1e-12:
                break
            step /= 2
        beta, eta, gained, value = beta + step, ahead, likely - value, likely
        if abs(gained) < 1e-11 * max(1.0, abs(value)):
            break
    p = np.zeros(len(y))
    p[who] = scipy.special.expit(eta)
    basis = basis_of(design, who, p * (1 - p))
    rest = np.where(who, y - p, 0.0)
    root = np.sqrt(basis.weight)
    unit = np.divide(rest, root, out=np.zeros(len(y)), where=root > 0)
    turned = np.divide(basis.left, root[:, None], out=np.zeros_like(basis.left), where=root[:, None] > 0)
    rest = rest - root * (turned @ (turned.T @ unit))  # exactly orthogonal, also where Newton stopped early
    return Null(basis, rest, plain.mix @ beta, np.nan, int(who.sum()) - basis.rank - 1, False)


@dataclass(frozen=True)
class Effects:
    """All (m,): the effect of each feature, its standard error, statistic and p; NaN where it does not vary."""

    beta: Array
    se: Array
    t: Array
    p: Array
    left: Array  # sum of squares of each feature that the covariates leave


def ask(sums: Sums, null: Null) -> None:
    sums.ask(null.basis.left, null.basis.weight)
    sums.ask(null.rest)


def effects(sums: Sums, null: Null) -> Effects:
    """What every feature adds to a null."""
    return told(sums.of(null.rest), remaining(sums, null.basis), null)


def remaining(sums: Sums, basis: Basis) -> Array:
    """(m,) squares of each feature that the covariates leave; NaN where none are left."""
    every = sums.squares(basis.weight)
    left: Array = every - (sums.of(basis.left) ** 2).sum(0)
    return np.where((left > SPREAD * every) & (every > 0), left, np.nan)


def told(score: Array, left: Array, null: Null) -> Effects:
    """From U and V to effects: t with null.df degrees of freedom, or normal scores of a logistic null."""
    beta = score / left
    if not null.linear:
        z = score / np.sqrt(left)
        return Effects(beta, 1 / np.sqrt(left), z, 2 * scipy.stats.norm.sf(np.abs(z)), left)
    if null.df < 1:
        nothing = np.full_like(beta, np.nan)
        return Effects(beta, nothing, nothing, nothing, left)
    noise = np.maximum(null.rss - score * beta, 0) / null.df
    se = np.sqrt(noise / left)
    t = np.divide(beta, se, out=np.where(np.isnan(beta), np.nan, np.copysign(np.inf, beta)), where=se > 0)
    return Effects(beta, se, t, 2 * scipy.stats.t.sf(np.abs(t), null.df), left)
