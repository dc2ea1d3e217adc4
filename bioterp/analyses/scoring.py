"""From histograms to scores at every bin edge (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.analyses.counting import Counts
from bioterp.arrays import Array


@dataclass(frozen=True)
class Pair:
    """Bins of one group and term: positive, negative and instances (m, B) with the silent bin filled in."""

    positive: Array
    negative: Array
    instances: Array

    @property
    def n_positive(self) -> int:
        return int(self.positive[0].sum()) if len(self.positive) else 0

    @property
    def n_known(self) -> int:
        return self.n_positive + (int(self.negative[0].sum()) if len(self.negative) else 0)


def of_term(counts: Counts, group: int, term: int) -> Pair:
    """The three histograms of a term, int64. Unknown rows are in neither positives nor negatives."""
    return of_groups(counts, [group], term)


def of_groups(counts: Counts, groups: list[int], term: int) -> Pair:
    """The histograms of a term in several groups together, which hold disjoint rows."""

    def summed(active: Array, total: Array) -> Array:
        return _whole(active[groups].sum(0, dtype=np.int64), int(total[groups].sum()))

    positive = summed(counts.positive[:, term], counts.n_positive[:, term])
    unknown = summed(counts.unknown[:, term], counts.n_unknown[:, term])
    every = summed(counts.total, counts.n_rows)
    instances = summed(counts.instances[:, term], counts.n_instances[:, term])
    return Pair(positive, every - positive - unknown, instances)


def _whole(active: Array, total: int) -> Array:
    active[:, 0] = total - active[:, 1:].sum(1)
    return active


def above(hist: Array) -> Array:
    """(m, B) → (m, B): how many lie in bin b or higher."""
    return np.asarray(np.cumsum(hist[:, ::-1], 1)[:, ::-1])


def ratio(top: Array | float, bottom: Array | float) -> Array:
    """top / bottom, NaN where the bottom is 0."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    empty = np.full(np.broadcast(top, bottom).shape, np.nan)
    return np.asarray(np.divide(top, bottom, out=empty, where=bottom != 0))


def f1_of(tp: Array, active: Array, positives: Array | float) -> Array:
    """2 TP / (active + positives): the harmonic mean of precision and recall, NaN when both are empty."""
    return ratio(2.0 * np.asarray(tp), np.asarray(active) + positives)


def f1_curves(pair: Pair) -> tuple[Array, Array]:
    """F1 and its chance level at every edge, both (m, B−1); edge e is the lower end of bin e+1.

    Chance: the mean over all circular shifts of TP is active × positive / known when no row is unknown; then
    F1's denominator does not move and this is its exact shift mean. Otherwise it is close, and used to choose.
    """
    tp = above(pair.positive)[:, 1:]
    active = tp + above(pair.negative)[:, 1:]
    expected = ratio(active * float(pair.n_positive), float(pair.n_known))
    return f1_of(tp, active, pair.n_positive), f1_of(expected, active, pair.n_positive)


def auroc(pair: Pair) -> Array:
    """(m,) area under the ROC curve; codes in one bin are ties and count half."""
    higher = above(pair.positive) - pair.positive
    wins = (pair.negative * (higher + 0.5 * pair.positive)).sum(1)
    return ratio(wins, pair.positive.sum(1).astype(np.float64) * pair.negative.sum(1))


def average_precision(pair: Pair) -> Array:
    """(m,) Σ over bins, highest first, of the recall gained × the precision reached (sklearn's definition)."""
    tp = above(pair.positive)
    precision = np.nan_to_num(ratio(tp, tp + above(pair.negative)))
    return ratio((pair.positive * precision).sum(1), pair.positive.sum(1))


def mutual_information(pair: Pair) -> Array:
    """(m,) bits that the bin of a cell's code tells of its label, from the counts as they are.

    Counts of N cells that know nothing of each other tell about (filled bins − 1) / (2 N ln 2) bits all the same.
    """
    joint = np.stack([pair.positive, pair.negative]).astype(np.float64)
    known = joint.sum((0, 2))
    apart = joint.sum(2, keepdims=True) * joint.sum(0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = joint * np.log2(joint * known[:, None] / apart)
    return np.maximum(ratio(np.nan_to_num(bits).sum((0, 2)), known), np.where(known > 0, 0.0, np.nan))


def contrast(pair: Pair, means: Array) -> Array:
    """(m,) mean code of positive cells less that of negative ones, each code taken as the mean (m, B) of its bin."""
    inside, outside = (
        ratio((hist * means).sum(1), hist.sum(1).astype(np.float64)) for hist in (pair.positive, pair.negative)
    )
    return np.asarray(inside - outside)


def harmonic(a: Array | float, b: Array | float) -> Array:
    """2ab / (a + b); 0 when both are 0, NaN when either is."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.where((a == 0) & (b == 0), 0.0, ratio(2 * a * b, a + b))
