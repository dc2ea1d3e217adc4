"""What a feature tells of people it has not seen, beyond the confounders (kernel; sees arrays only).

Fold by fold, outcome and feature are fitted on the other folds. With x̃ the feature less what the covariates say of it,
e the held-out residual and β the effect, all by coefficients of the other folds, the squared error falls by
2β x̃'e − β² x̃'x̃. The same with weights p(1 − p) is the fall of the deviance of a logistic model, to second order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special

from bioterp.analyses.cohort import nulls
from bioterp.analyses.cohort.nulls import Null
from bioterp.analyses.cohort.sums import Sums
from bioterp.arrays import Array


@dataclass(frozen=True)
class Fold:
    """A null of the other folds, and what it says of this one: rest (n,), weight (n,), carried (n, k), 0 elsewhere."""

    null: Null
    rest: Array
    weight: Array
    carried: Array
    cross: Array
    unit: Array


def fold_of(null: Null, design: Array, y: Array, held: Array) -> Fold:
    """held (n,) bool: the people of the fold; null: fitted on others."""
    eta = design @ null.coefficients
    fitted = eta if null.linear else scipy.special.expit(eta)
    rest = np.where(held, y - fitted, 0.0)
    weight = held.astype(np.float64) if null.linear else np.where(held, fitted * (1 - fitted), 0.0)
    unit = np.where(held[:, None], design @ null.basis.mix, 0.0)
    return Fold(null, rest, weight, unit * weight[:, None], unit.T @ (unit * weight[:, None]), unit)


def ask(sums: Sums, fold: Fold) -> None:
    nulls.ask(sums, fold.null)
    sums.ask(fold.carried, fold.weight)
    sums.ask(fold.rest)


def gain(sums: Sums, folds: list[Fold], total: float) -> Array:
    """(m,) share of `total` (held-out deviance about the mean) by which features lower it beyond the covariates."""
    fallen = np.zeros(len(sums.spread))
    for fold in folds:
        along = sums.of(fold.null.basis.left)
        beta = sums.of(fold.null.rest) / nulls.remaining(sums, fold.null.basis)
        score = sums.of(fold.rest) - (fold.unit.T @ fold.rest) @ along
        square = sums.squares(fold.weight) - 2 * (along * sums.of(fold.carried)).sum(0)
        square += (along * (fold.cross @ along)).sum(0)
        # A feature that does not vary in the other folds is given no effect, and gains nothing here.
        fallen = fallen + np.where(np.isnan(beta), 0.0, 2 * beta * score - beta**2 * np.maximum(square, 0))
    return fallen / total if total > 0 else np.full(len(fallen), np.nan)


def deviance(folds: list[tuple[Array, Array]], y: Array, linear: bool) -> float:
    """Of held-out people about the mean of the others. folds: (people fitted on, people held out), both (n,) bool."""
    total = 0.0
    for who, held in folds:
        mean = float(y[who].mean())
        if linear:
            total += float(((y[held] - mean) ** 2).sum())
        else:
            mean = min(max(mean, 1e-12), 1 - 1e-12)
            total -= 2 * float((y[held] * np.log(mean) + (1 - y[held]) * np.log1p(-mean)).sum())
    return total


def deal(blocks: Array, who: Array, folds: int, seed: int) -> Array:
    """(n,) the fold of each person, −1 beyond `who`. blocks (n,) int: never divided; dealt at random, evenly."""
    names = np.unique(blocks[who])
    order = np.random.default_rng(seed).permutation(len(names))
    number = np.empty(len(names), np.int64)
    number[order] = np.arange(len(names)) % folds
    return np.where(who, number[np.minimum(np.searchsorted(names, blocks), len(names) - 1)], -1)
