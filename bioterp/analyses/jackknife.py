"""Delete-one-block intervals (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from bioterp.arrays import Array

MIN_BLOCKS = 4


@dataclass(frozen=True)
class Spread:
    """A jackknife standard error, its 95 % interval, the blocks behind it, and why it is NaN when it is."""

    se: float
    lo: float
    hi: float
    blocks: int
    reason: str = ""


def spread(left: Array, value: float, positives: Array, low: float = -np.inf, high: float = np.inf) -> Spread:
    """From the statistic without each block in turn, left (g,), to its interval around `value`.

    Quantiles are t's with g − 1 degrees of freedom; the interval is clipped to [low, high]. positives (g,) is
    what must lie in two blocks at least, or nothing can be said of how the statistic varies between blocks.
    """
    blocks = len(left)
    if blocks < MIN_BLOCKS:
        return Spread(np.nan, np.nan, np.nan, blocks, f"no interval: {blocks} blocks, at least {MIN_BLOCKS} needed")
    if (positives > 0).sum() < 2:
        return Spread(np.nan, np.nan, np.nan, blocks, "no interval: positives in fewer than two blocks")
    se = float(np.sqrt((blocks - 1) / blocks * ((left - left.mean()) ** 2).sum()))
    if not np.isfinite(se):
        return Spread(np.nan, np.nan, np.nan, blocks, "no interval: undefined when a block is left out")
    reach = float(scipy.stats.t.ppf(0.975, blocks - 1)) * se
    return Spread(se, max(value - reach, low), min(value + reach, high), blocks)


def jackknife(
    statistic: Callable[..., Array],
    counts: Sequence[Array],
    value: float,
    positives: Array,
    low: float = -np.inf,
    high: float = np.inf,
) -> Spread:
    """The `spread` of statistic(*totals), which works elementwise, from per-block counts (g,) that add up to totals.

    Blocks that hold nothing are left out.
    """
    held = np.sum([np.abs(c) for c in counts], axis=0) > 0
    left = np.asarray(statistic(*[c.sum() - c[held] for c in counts]))
    return spread(left, value, positives[held], low, high)
