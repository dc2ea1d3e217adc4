"""Association of a feature with a term within strata: odds, excess, and both without each block (kernel; arrays only).

All counts are of cells (C,) of a `Layout`: tp active positives, active, positive, known. In a stratum they make a
table of a = tp, b = active − tp, c = positive − tp, d = known − positive − b. The common odds ratio of Mantel and
Haenszel is Σ ad/n over Σ bc/n; the score of Cochran, Mantel and Haenszel is Σ a − active·positive/n: by how much the
active positives exceed what the strata alone lead to expect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats

from bioterp.analyses.jackknife import Spread, spread
from bioterp.analyses.scoring import ratio
from bioterp.analyses.strata import Layout
from bioterp.arrays import Array


@dataclass(frozen=True)
class Association:
    """log2 of the common odds ratio, and F1 above its stratum-conditional chance, with their block jackknife.

    z is the excess over its standard error, p from Student's t with as many degrees of freedom as blocks less one.
    """

    log2_odds: float
    odds: Spread
    excess: float
    above: Spread
    z: float
    p: float
    chance: float


def associate(layout: Layout, tp: Array, active: Array, positive: Array, known: Array) -> Association:
    """The association of one pair, from its counts per cell (C,)."""
    total = [layout.by_stratum(one) for one in (tp, active, positive, known)]
    parts = _parts(*total)
    without = _parts(
        *(whole[layout.stratum] - own for whole, own in zip(total, (tp, active, positive, known), strict=True))
    )
    # A block is left out of its own strata; in all others nothing changes.
    left = [
        all_.sum() - layout.by_block(all_[layout.stratum] - less) for all_, less in zip(parts, without, strict=True)
    ]
    held = layout.by_block(known) > 0
    positives = layout.by_block(positive)[held]
    value = _log2_odds(parts[0].sum(), parts[1].sum())
    odds = spread(_log2_odds(left[0], left[1])[held], float(value), positives)
    below = total[1].sum() + total[2].sum()
    below_left = below - layout.by_block(active + positive)
    excess = float(ratio(2 * parts[2].sum(), below))
    above = spread(np.nan_to_num(ratio(2 * left[2], below_left))[held], excess, positives, -1.0, 1.0)
    z = float(ratio(excess, above.se)) if above.se > 1e-15 else np.nan
    p = float(2 * scipy.stats.t.sf(abs(z), above.blocks - 1)) if np.isfinite(z) else np.nan
    chance = float(ratio(2 * (total[0].sum() - parts[2].sum()), below))
    return Association(float(value), odds, excess, above, z, p, chance)


def _parts(tp: Array, active: Array, positive: Array, known: Array) -> tuple[Array, Array, Array]:
    """Per stratum: ad/n and bc/n of the odds ratio, and the score a − expected; 0 where a stratum holds nothing."""
    n = np.maximum(known, 1)
    fp, fn = active - tp, positive - tp
    return tp * (known - positive - fp) / n, fp * fn / n, tp - active * positive / n


def _log2_odds(top: Array, bottom: Array) -> Array:
    """NaN where one of the two is 0 (or what rounding left of 0): there is no finite ratio."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    fine = (top > 1e-9) & (bottom > 1e-9)
    return np.where(fine, np.log2(np.where(fine, top, 1) / np.where(fine, bottom, 1)), np.nan)


def informative(layout: Layout, positive: Array, known: Array) -> float:
    """The share of positives that lie in strata with negatives: the others say nothing within strata."""
    yes, every = layout.by_stratum(positive), layout.by_stratum(known)
    return float(ratio(yes[every > yes].sum(), yes.sum()))


@dataclass(frozen=True)
class Rates:
    """What covariates alone say of a term: the positive share per stratum where it was learnt, `rest` where not."""

    numbers: Array
    rate: Array
    rest: float

    @classmethod
    def of(cls, layout: Layout, positive: Array, known: Array) -> Rates:
        """One row of the overall share is added to each stratum, so that small strata do not say 0 or 1."""
        yes, every = layout.by_stratum(positive), layout.by_stratum(known)
        rest = float(np.nan_to_num(ratio(yes.sum(), every.sum())))
        return cls(layout.numbers, (yes + rest) / (every + 1), rest)

    def on(self, numbers: Array) -> Array:
        """(K,) the rates of these strata."""
        if not len(self.numbers):
            return np.full(len(numbers), self.rest)
        at = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[at] == numbers, self.rate[at], self.rest)
