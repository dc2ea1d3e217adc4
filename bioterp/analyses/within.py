"""Ranking within strata: pairs of a positive and a negative count only when they share one (kernel; arrays only)."""

from __future__ import annotations

import numba
import numpy as np

from bioterp.analyses.ranking import Ranked, area, precision_area
from bioterp.analyses.scoring import ratio
from bioterp.arrays import Array

MATCHED = 5_000  # positives drawn for a matched set


def auroc_within(row: Array, code: Array, stratum: Array, positive: Array, known: Array, held: Array) -> float:
    """The share of pairs within strata in which the positive has the larger code, ties half.

    row (k,) and code (k,) > 0: active cells, largest code first; all other cells are silent. stratum (n,), −1: left
    out; positive, known (n,) bool; held (2, K) positives and negatives of each stratum. NaN where no stratum has both.
    """
    wins = _wins(row, code, stratum, positive, known, held[0].astype(np.float64), held[1].astype(np.float64))
    return float(ratio(wins, float((held[0].astype(np.float64) * held[1]).sum())))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _wins(row: Array, code: Array, stratum: Array, positive: Array, known: Array, yes: Array, no: Array) -> float:
    """Walks down the codes; in one tie the positives and negatives of each stratum meet half."""
    size = yes.size
    above_yes, above_no, tie_yes, tie_no = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    touched = np.empty(row.size, np.int64)
    wins, i = 0.0, 0
    while i < row.size:
        many, j = 0, i
        while j < row.size and code[j] == code[i]:
            s = stratum[row[j]]
            if s >= 0 and known[row[j]]:
                if tie_yes[s] + tie_no[s] == 0:
                    touched[many] = s
                    many += 1
                if positive[row[j]]:
                    tie_yes[s] += 1
                else:
                    tie_no[s] += 1
            j += 1
        for t in range(many):
            s = touched[t]
            wins += tie_yes[s] * (no[s] - above_no[s] - tie_no[s] / 2)
            above_yes[s] += tie_yes[s]
            above_no[s] += tie_no[s]
            tie_yes[s], tie_no[s] = 0, 0
        i = j
    for s in range(size):
        wins += (yes[s] - above_yes[s]) * (no[s] - above_no[s]) / 2
    return wins


def match(group: Array, positive: Array, known: Array, seed: int, most: int = MATCHED) -> tuple[Array, Array]:
    """Rows (j,) of positives, at most `most` of them by chance, and as many of negatives, each of the same group.

    group (n,) int64, −1: left out. Negatives of a group are dealt out in random order, again from the first when there
    are fewer than positives. Positives of groups without a negative are left out.
    """
    rng = np.random.default_rng(seed)
    usable = known & (group >= 0)
    yes, no = np.flatnonzero(usable & positive), np.flatnonzero(usable & ~positive)
    no = no[np.lexsort((rng.random(len(no)), group[no]))]
    of_no = group[no]
    first, last = np.searchsorted(of_no, group[yes], side="left"), np.searchsorted(of_no, group[yes], side="right")
    yes, first, last = yes[last > first], first[last > first], last[last > first]
    if len(yes) > most:
        some = np.sort(rng.choice(len(yes), most, replace=False))
        yes, first, last = yes[some], first[some], last[some]
    order = np.argsort(group[yes], kind="stable")
    own = group[yes][order]
    begin = np.flatnonzero(np.append(True, own[1:] != own[:-1])) if len(own) else np.zeros(0, np.int64)
    size = np.diff(np.append(begin, len(own)))
    turn = np.empty(len(yes), np.int64)
    turn[order] = np.arange(len(own)) - np.repeat(begin, size)
    return yes, no[first + turn % (last - first)] if len(yes) else yes


def auroc(positives: Array, negatives: Array) -> float:
    """The area under the ROC curve of two samples, ties half."""
    if not len(positives) or not len(negatives):
        return np.nan
    told = np.append(np.ones(len(positives), bool), np.zeros(len(negatives), bool))
    ranked = Ranked.of(np.concatenate([positives, negatives]), told)
    return area(ranked.positive, ranked.negative)


def areas_by_rate(rate: Array, positive: Array, negative: Array) -> tuple[float, float]:
    """AUROC and AP of a score that is one number per stratum (K,), from the counts there."""
    distinct, which = np.unique(-rate, return_inverse=True)
    yes, no = (np.bincount(which.reshape(-1), one, minlength=len(distinct)) for one in (positive, negative))
    return area(yes, no), precision_area(yes, no)
