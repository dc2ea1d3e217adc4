"""Concordance of scores with an outcome, within strata, with DeLong and bootstrap intervals (kernel; arrays only).

An AUROC is the share of (case, control) pairs in which the case scores higher, ties half. Scores of different folds
come from different fits and are not compared: only pairs within a stratum (a fold, a group within a fold) count. Pooled
over folds, scores of a probe that knows nothing fall below one half, for each fold is told by the mean of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats

from bioterp.arrays import Array


@dataclass(frozen=True)
class Pairs:
    """Counts of a stratum: won and all pairs, weighted."""

    won: float
    all: float


def pairs(score: Array, case: Array, weight: Array) -> Pairs:
    """Weighted (case, control) pairs of one stratum: score (n,), case (n,) bool, weight (n,) ≥ 0."""
    order = np.argsort(score, kind="stable")
    score, case, weight = score[order], case[order], weight[order]
    first = np.flatnonzero(np.append(True, score[1:] != score[:-1])) if len(score) else np.zeros(0, int)
    if not len(first):
        return Pairs(0.0, 0.0)
    yes, no = np.add.reduceat(weight * case, first), np.add.reduceat(weight * ~case, first)
    below = np.cumsum(no) - no
    return Pairs(float((yes * (below + no / 2)).sum()), float(yes.sum() * no.sum()))


def auroc(score: Array, case: Array, stratum: Array, weight: Array | None = None) -> float:
    """AUROC over the pairs within strata; NaN where no stratum holds both."""
    weight = np.ones(len(score)) if weight is None else weight
    told = [pairs(score[own], case[own], weight[own]) for own in _members(stratum)]
    every = sum(t.all for t in told)
    return sum(t.won for t in told) / every if every else np.nan


def _members(stratum: Array) -> list[Array]:
    return [np.flatnonzero(stratum == s) for s in np.unique(stratum)]


@dataclass(frozen=True)
class DeLong:
    """AUROCs (k,) of scores on the same people, and their covariance (k, k)."""

    auroc: Array
    covariance: Array

    def interval(self, at: int, level: float = 0.95) -> tuple[float, float]:
        """Of one AUROC, on the logit scale where that is defined: it cannot leave (0, 1)."""
        value, se = float(self.auroc[at]), float(np.sqrt(self.covariance[at, at]))
        reach = float(scipy.stats.norm.ppf(0.5 + level / 2))
        if not 0 < value < 1 or not np.isfinite(se):
            return np.nan, np.nan
        logit, spread = np.log(value / (1 - value)), se / value / (1 - value)
        ends = 1 / (1 + np.exp(-(logit + np.array([-1, 1]) * reach * spread)))
        return float(ends[0]), float(ends[1])

    def difference(self, a: int, b: int, level: float = 0.95) -> tuple[float, float, float, float]:
        """auroc[a] − auroc[b], its interval, and the two-sided p."""
        gap = float(self.auroc[a] - self.auroc[b])
        c = self.covariance
        se = float(np.sqrt(max(c[a, a] + c[b, b] - 2 * c[a, b], 0)))
        if se == 0:
            return gap, gap, gap, 1.0 if gap == 0 else np.nan
        reach = float(scipy.stats.norm.ppf(0.5 + level / 2)) * se
        return gap, gap - reach, gap + reach, float(2 * scipy.stats.norm.sf(abs(gap) / se))


def delong(scores: Array, case: Array, stratum: Array | None = None) -> DeLong:
    """DeLong, DeLong & Clarke-Pearson 1988 for scores (k, n) on the same people, case (n,) bool.

    With strata, each stratum's AUROC is weighted by its pairs, and so is its covariance.
    """
    stratum = np.zeros(scores.shape[1], int) if stratum is None else stratum
    value, covariance, total = np.zeros(len(scores)), np.zeros((len(scores), len(scores))), 0.0
    for own in _members(stratum):
        x, y = scores[:, own][:, case[own]], scores[:, own][:, ~case[own]]
        m, n = x.shape[1], y.shape[1]
        if m == 0 or n == 0:
            continue
        rank = scipy.stats.rankdata(np.concatenate([x, y], 1), axis=1)
        v10 = (rank[:, :m] - scipy.stats.rankdata(x, axis=1)) / n
        v01 = 1 - (rank[:, m:] - scipy.stats.rankdata(y, axis=1)) / m
        s10 = np.atleast_2d(np.cov(v10)) if m > 1 else np.full_like(covariance, np.nan)
        s01 = np.atleast_2d(np.cov(v01)) if n > 1 else np.full_like(covariance, np.nan)
        w = float(m * n)
        value += w * v10.mean(1)
        covariance += w**2 * (s10 / m + s01 / n)
        total += w
    if not total:
        return DeLong(np.full(len(scores), np.nan), np.full_like(covariance, np.nan))
    return DeLong(value / total, covariance / total**2)
