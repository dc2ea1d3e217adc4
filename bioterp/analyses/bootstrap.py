"""Intervals by resampling blocks (kernel; sees arrays only).

Blocks are drawn with replacement, contig by contig, so that every draw has as many blocks of each contig as there
are (Bickel et al. 2010 resample segments within regions alike in the same way). The interval is BCa (Efron 1987), whose
acceleration comes from leaving out blocks. A percentile interval of few blocks is too short twice over: a resampled
variance lacks (n − 1)/n, and the normal quantile stands in for t's. Both are put right by drawing the percentiles
further out (Hesterberg 2015); what is left of the fault is measured in `benchmarks/evidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats

from bioterp.analyses.jackknife import MIN_BLOCKS, Spread
from bioterp.arrays import Array

DRAWS = 1_999
SEED = 1_987
LEVEL = 0.95


def resampled(strata: Array, draws: int = DRAWS, seed: int = SEED) -> Array:
    """(draws, g) how often each block is drawn; strata (g,) are codes. Strata of one block are drawn from together."""
    _, code, size = np.unique(strata, return_inverse=True, return_counts=True)
    code = np.where(size[code] == 1, len(size), code)
    rng = np.random.default_rng(seed)
    times = np.empty((draws, len(code)), np.int64)
    for stratum in np.unique(code):
        own = np.flatnonzero(code == stratum)
        times[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), draws)
    return times


def bootstrap(
    statistic: Callable[..., Array],
    counts: Sequence[Array],
    strata: Array,
    positives: Array,
    low: float = -np.inf,
    high: float = np.inf,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Spread:
    """The 95 % BCa interval of statistic(*totals), which works elementwise, from counts (g,) of blocks.

    strata (g,): contigs of the blocks, as codes; positives (g,) must lie in two blocks at least. Blocks that hold
    nothing are left out, and so are draws in which the statistic is undefined, of which there may be 5 %. The interval
    is clipped to [low, high]; se is the standard deviation of the draws.
    """
    held = np.sum([np.abs(c) for c in counts], axis=0) > 0
    own = [np.asarray(c)[held] for c in counts]
    blocks = int(held.sum())
    if blocks < MIN_BLOCKS:
        return Spread(np.nan, np.nan, np.nan, blocks, f"no interval: {blocks} blocks, at least {MIN_BLOCKS} needed")
    if (np.asarray(positives)[held] > 0).sum() < 2:
        return Spread(np.nan, np.nan, np.nan, blocks, "no interval: positives in fewer than two blocks")
    times = resampled(np.asarray(strata)[held], draws, seed)
    drawn = np.asarray(statistic(*[times @ c for c in own]), np.float64)
    left = np.asarray(statistic(*[c.sum() - c for c in own]), np.float64)
    value = float(statistic(*[np.asarray(c.sum()) for c in own]))
    real = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not np.isfinite(left).all() or len(real) < 0.95 * draws:
        return Spread(np.nan, np.nan, np.nan, blocks, "no interval: undefined in some draws of blocks")
    lo, hi = np.clip(np.quantile(real, bca(real, left, value)), low, high)
    return Spread(float(real.std()), float(lo), float(hi), blocks)


def bca(drawn: Array, left: Array, value: float) -> tuple[float, float]:
    """The two shares of the draws between which the interval lies; left (g,): the statistic without each block."""
    n = len(left)
    reach = float(scipy.stats.t.isf((1 - LEVEL) / 2, n - 1)) * np.sqrt(n / (n - 1))
    below = ((drawn < value).sum() + (drawn == value).sum() / 2) / len(drawn)
    edge = 0.5 / len(drawn)  # no draw on one side must not send the interval to infinity
    bias = float(scipy.stats.norm.ppf(min(max(below, edge), 1 - edge)))
    away = left.mean() - left
    square = float((away**2).sum())
    skew = float((away**3).sum() / (6 * square**1.5)) if square > 0 else 0.0
    ends = [bias + sign * reach for sign in (-1, 1)]
    # Beyond the pole of 1 − a(z₀ + z) the formula turns back; the last draw is what is meant there.
    shares = [
        float(scipy.stats.norm.cdf(bias + end / (1 - skew * end))) if 1 - skew * end > 1e-9 else float(end > 0)
        for end in ends
    ]
    return shares[0], shares[1]
