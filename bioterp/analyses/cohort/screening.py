"""How much of every feature a candidate confounder explains, on people it has not seen too (kernel; arrays only).

A candidate is a few columns Z, ones among them. All numbers come from sums over people: Z'x by fold, the squares of x,
and for the conditional test those weighted with squared residuals of the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats

from bioterp.analyses.cohort.nulls import SPREAD, Basis, Null, basis_of
from bioterp.analyses.cohort.sums import Sums
from bioterp.arrays import Array


@dataclass(frozen=True)
class Candidate:
    """basis: Z orthonormal on the people who have it; parts: Z of each fold, 0 elsewhere; inside: people of each."""

    basis: Basis
    unit: Array
    parts: list[Array]
    inside: list[Array]


def candidate_of(columns: Array, who: Array, fold: Array) -> Candidate:
    """columns (n, k), ones first; fold (n,) int, −1 beyond `who`."""
    basis = basis_of(columns, who)
    folds = [who & (fold == f) for f in range(int(fold.max()) + 1)]
    parts = [np.where(own[:, None], basis.left, 0.0) for own in folds]
    return Candidate(basis, basis.left, parts, [own.astype(np.float64) for own in folds])


def ask(sums: Sums, one: Candidate) -> None:
    sums.ask(one.basis.left, one.basis.weight)
    for part, own in zip(one.parts, one.inside, strict=True):
        sums.ask(part, own)
        sums.ask(own)


@dataclass(frozen=True)
class Explained:
    """All (m,): share of variance explained, adjusted for the number of columns; that of people held out; F's p."""

    r2: Array
    r2_held_out: Array
    p: Array


def explained(sums: Sums, one: Candidate) -> Explained:
    """What a candidate says of every feature."""
    n, k = int(one.basis.who.sum()), one.basis.rank
    total = np.zeros(len(sums.spread))
    counts, mean = [], np.zeros(len(sums.spread))
    for own in one.inside:
        counts.append(own.sum())
        mean += sums.of(own)
    every = sums.squares(one.basis.weight)
    about = every - mean**2 / n
    about = np.where(about > SPREAD * every, about, np.nan)
    rest = every - (sums.of(one.basis.left) ** 2).sum(0)
    share = np.clip(1 - rest / about, 0, 1)
    df = n - k
    if df < 1 or k < 2:
        nothing = np.full_like(share, np.nan)
        return Explained(nothing, nothing, nothing)
    with np.errstate(divide="ignore"):
        p = scipy.stats.f.sf(share / (k - 1) / ((1 - share) / df), k - 1, df)
    lost = np.zeros_like(total)
    for part, own, count in zip(one.parts, one.inside, counts, strict=True):
        if count == 0 or count == n:
            continue
        others = one.unit.T @ one.unit - part.T @ part
        weights = np.linalg.pinv(others, rcond=1e-9) @ (sums.of(one.unit) - sums.of(part))
        square = sums.squares(own)
        lost += square - 2 * (weights * sums.of(part)).sum(0) + (weights * ((part.T @ part) @ weights)).sum(0)
        centre = (mean - sums.of(own)) / (n - count)
        total += square - 2 * centre * sums.of(own) + count * centre**2
    held = 1 - lost / np.where(total > 0, total, np.nan)
    return Explained(1 - (1 - share) * (n - 1) / df, np.where(np.isnan(share), np.nan, held), p)


@dataclass(frozen=True)
class Conditional:
    """Columns for the generalised covariance measure of one outcome given one set of covariates."""

    null: Null
    square: Array
    carried: Array
    unit: Array


def conditional_of(null: Null) -> Conditional:
    """null: least squares of the outcome on the covariates that are given."""
    square = null.rest**2
    return Conditional(null, square, null.basis.left * square[:, None], null.basis.left)


def ask_conditional(sums: Sums, one: Conditional) -> None:
    sums.ask(one.null.basis.left)
    sums.ask(one.null.rest)
    sums.ask(one.carried, one.square)


def conditional_p(sums: Sums, one: Conditional) -> Array:
    """(m,) p that feature and outcome are uncorrelated given the covariates, whatever their variances (GCM).

    Shah & Peters 2020: R = residual of x times residual of y, T = √n mean(R) / sd(R).
    """
    n = int(one.null.basis.who.sum())
    along = sums.of(one.null.basis.left)
    total = sums.of(one.null.rest)
    square = sums.squares(one.square) - 2 * (along * sums.of(one.carried)).sum(0)
    square += (along * ((one.unit.T @ one.carried) @ along)).sum(0)
    spread = square / n - (total / n) ** 2
    spread = np.where(spread > SPREAD * np.abs(sums.squares(one.square)) / max(n, 1), spread, np.nan)
    return np.asarray(2 * scipy.stats.norm.sf(np.abs(total / np.sqrt(n) / np.sqrt(spread))))
