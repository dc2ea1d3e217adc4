"""Many p at once: corrected for their number, and what their bulk says of confounding (kernel; sees arrays only)."""

from __future__ import annotations

import numpy as np
import scipy.stats

from bioterp.arrays import Array

POINTS = 200


def corrected(p: Array, method: str) -> Array:
    """q of the p that are known: 'bh' (Benjamini & Hochberg 1995) or 'by' (Benjamini & Yekutieli 2001)."""
    q = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = scipy.stats.false_discovery_control(p[known], method=method)
    return q


def lambda_gc(p: Array) -> float:
    """Median chi-square of one degree of freedom over its median without association (Devlin & Roeder 1999)."""
    known = p[np.isfinite(p)]
    if not len(known):
        return float("nan")
    return float(scipy.stats.chi2.isf(np.median(known), 1) / scipy.stats.chi2.median(1))


def quantiles(p: Array) -> Array:
    """(points, 4) of a QQ plot: expected and observed −log10 p, and the 95 % range of each observed one by chance.

    All of the smallest p, then ever fewer of the others: at most POINTS.
    """
    known = np.sort(p[np.isfinite(p)])
    n = len(known)
    if not n:
        return np.zeros((0, 4))
    rank = np.unique(np.round(np.geomspace(1, n, POINTS)).astype(np.int64))
    ends = scipy.stats.beta.ppf([[0.975], [0.025]], rank, n + 1 - rank)
    smallest = np.nextafter(0, 1)
    points = np.stack([rank / (n + 1), known[rank - 1], *ends], 1)
    return np.asarray(-np.log10(np.maximum(points, smallest)))


def normal_scores(y: Array) -> Array:
    """Ranks turned into normal quantiles (Blom 1958: (rank − 3/8) / (n + 1/4)); ties share their mean rank."""
    out = np.full(y.shape, np.nan)
    known = np.isfinite(y)
    out[known] = scipy.stats.norm.ppf((scipy.stats.rankdata(y[known]) - 0.375) / (known.sum() + 0.25))
    return out


def shuffled(rest: Array, who: Array, strata: Array, times: int, seed: int) -> Array:
    """(n, times) residuals permuted among the people of a stratum (Freedman & Lane 1983), 0 beyond `who`."""
    rng = np.random.default_rng(seed)
    out = np.zeros((len(rest), times))
    for stratum in np.unique(strata[who]):
        own = np.flatnonzero(who & (strata == stratum))
        for k in range(times):
            out[own, k] = rest[rng.permutation(own)]
    return out


def exceeded(t: Array, drawn: Array) -> tuple[Array, Array]:
    """p of |t| (m,) against |drawn| (times, m): each feature's own, and of the largest of all (Westfall & Young 1993).

    The identity counts as one draw (Phipson & Smyth 2010).
    """
    own = (1 + (np.abs(drawn) >= np.abs(t) - 1e-12).sum(0)) / (len(drawn) + 1)
    largest = np.nanmax(np.abs(drawn), axis=1, initial=0.0)
    beyond = len(largest) - np.searchsorted(np.sort(largest), np.abs(t) - 1e-12, side="left")
    most = (1 + beyond) / (len(drawn) + 1)
    return np.where(np.isnan(t), np.nan, own), np.where(np.isnan(t), np.nan, most)
