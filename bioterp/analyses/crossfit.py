"""Terms too rare for a test split: every block is scored by a choice made without its fold (kernel of detection).

Fold by fold the feature and its threshold are chosen on all other folds, and the fold is scored by them; the
counts of all folds are then added up. No cell is scored by a choice that has seen it, and every instance counts.

The p needs care. The pooled score of such a procedure varies more than its mask under shifts does: a feature that
happens to fit two folds is chosen for each because of the other, so their scores rise together (Bengio &
Grandvalet 2004). Held against the shifts of the pooled mask, independent pairs of the test worlds pass in 11 % of
cases at 5 %, and in 5 % at 1 %. Within one fold, though, the choice is fixed by other rows, so that the fold's own
shift p is valid; folds are combined by a rule that holds however they depend on each other (Rüger 1978).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bioterp.analyses import scoring
from bioterp.analyses.choosing import TIE, best_edges
from bioterp.analyses.counting import Counts
from bioterp.analyses.heldout import Pairs, Scored
from bioterp.analyses.parts import Table
from bioterp.analyses.runs import cut
from bioterp.arrays import Array
from bioterp.tables import NO_FEATURE
from bioterp.values import UNKNOWN, Intervals


def folds_of(block: Sequence[str], side: Array, folds: int) -> Array:
    """(items,) int64 folds: the test items (side 1) are the last one, folds − 1; −1 where side is −1.

    The blocks of train and valid (side 0) are dealt out to the others like cards, in the order of the blake2 hash
    of their names: by chance, always in the same way, and as many to each as can be.
    """
    names = sorted({str(name) for name, own in zip(block, side, strict=True) if own == 0}, key=digest)
    dealt = {name: i % (folds - 1) for i, name in enumerate(names)}
    number = {-1: -1, 1: folds - 1}
    pairs = zip(block, side.tolist(), strict=True)
    return np.array([dealt[str(name)] if own == 0 else number[own] for name, own in pairs], np.int64)


def digest(name: str) -> bytes:
    return hashlib.blake2b(f"fold:{name}".encode(), digest_size=8).digest()


def instances_in(labels: Intervals, edges: Array, group: Array, groups: int) -> Array:
    """(groups, terms) int64 instances with rows in each group; edges (s+1,) and group (s,) as `plan` takes them."""
    found = np.zeros((groups, labels.columns), np.int64)
    for t in range(labels.columns):
        runs = labels.runs(t)
        real = runs.instance != UNKNOWN
        source, segment, _, _ = cut(runs.start[real], runs.stop[real], edges)
        pair = group[segment] * np.int64(2**32) + runs.instance[real][source]
        held = np.unique(pair[group[segment] >= 0]) >> 32
        found[:, t] = np.bincount(held, minlength=groups)
    return found


def at_home(labels: Intervals, terms: Array, edges: Array, group: Array) -> Intervals:
    """The labels with every instance of these terms in one fold, the one that holds most of it.

    Its rows in other folds become unknown: else a choice made on one end of a gene would be told on the other.
    """
    kept, added = np.ones(len(labels.term), bool), []
    for t in terms.tolist():
        runs, first = labels.runs(t), int(np.searchsorted(labels.term, t))
        source, segment, lo, hi = cut(runs.start, runs.stop, edges)
        number, fold = runs.instance[source], group[segment]
        names, which = np.unique(number, return_inverse=True)
        cells = np.zeros((len(names), int(group.max()) + 2), np.int64)
        np.add.at(cells, (which, fold), hi - lo)  # fold −1 is the last column
        abroad = (number != UNKNOWN) & (fold != cells[:, :-1].argmax(1)[which])
        if abroad.any():
            kept[first : first + len(runs.term)] = False
            added.append((np.full(len(lo), t), np.where(abroad, UNKNOWN, number), lo, hi))
    if not added:
        return labels
    old = labels.term[kept], labels.instance[kept], labels.start[kept], labels.stop[kept]
    term, number, lo, hi = (np.concatenate([o, *new]) for o, new in zip(old, zip(*added, strict=True), strict=True))
    return Intervals.of(term, number, lo, hi, labels.rows, labels.columns, labels.instances)


@dataclass(frozen=True)
class Choices:
    """For one term what each fold is scored by, told from the others, all (K,).

    feature (−1 where no feature is above chance there), edge and threshold; F1 there and its chance level.
    """

    term: int
    feature: Array
    edge: Array
    threshold: Array
    f1: Array
    chance: Array

    @property
    def made(self) -> Array:
        return np.flatnonzero(self.feature != NO_FEATURE)

    def favourite(self) -> int:
        """The feature that was chosen in most folds; of several the one further above chance there."""
        above: dict[int, tuple[int, float]] = {}
        for i in self.made.tolist():
            times, total = above.get(int(self.feature[i]), (0, 0.0))
            above[int(self.feature[i])] = times + 1, total + float(self.f1[i] - self.chance[i])
        return max(sorted(above), key=lambda f: above[f]) if above else NO_FEATURE


def choose_without_each(counts: Counts, edges: Array, term: int, objective: str) -> Choices:
    """The best feature and edge for a term on all groups but one, for each one."""
    folds = len(counts.n_rows)
    feature, edge = np.full(folds, NO_FEATURE), np.zeros(folds, np.int64)
    f1, chance = np.full(folds, np.nan), np.full(folds, np.nan)
    for fold in range(folds):
        others = [other for other in range(folds) if other != fold]
        at, best, expected = best_edges(scoring.of_groups(counts, others, term), objective)
        above = np.where(best > 0, best - expected, -np.inf)
        top = int(above.argmax())
        if above[top] > TIE:
            feature[fold], edge[fold], f1[fold], chance[fold] = top, at[top], best[top], expected[top]
    threshold = np.where(feature == NO_FEATURE, np.nan, edges[feature, edge])
    return Choices(term, feature, edge, threshold, f1, chance)


def pairs_in(choices: Sequence[Choices], fold: int) -> Pairs:
    """What to score on the rows of one fold."""
    columns = [[getattr(c, name)[fold] for c in choices] for name in ("feature", "edge", "threshold")]
    feature, edge, threshold = columns
    term = [c.term for c in choices]
    return Pairs(np.array(feature, np.int64), np.array(term, np.int64), np.array(edge, np.int64), np.array(threshold))


def pooled(tables: Sequence[Table], blocks: int) -> Table:
    """Tables of disjoint rows, on the same codes of blocks, added up to (blocks,)."""
    names = list(Table.__dataclass_fields__)
    total = {name: np.zeros(blocks, np.int64) for name in names}
    for table in tables:
        for name in names:
            held = getattr(table, name)
            total[name][: len(held)] += held
    return Table(**total)


def chance(scored: Sequence[Scored]) -> tuple[float, float]:
    """F1 and instance recall of the pooled counts by chance, when each fold is shifted, or permuted, within itself.

    F1's is the ratio of the means of its two halves: its exact mean where no cell is unknown.
    """
    tp, below = (sum(each.expected[i] for each in scored) for i in (0, 1))
    instances = [int(each.table.instances.sum()) for each in scored]
    hit = [n * each.recall_null for n, each in zip(instances, scored, strict=True) if n]
    return float(scoring.ratio(2 * tp, below)), float(scoring.ratio(sum(hit), sum(instances)))


def combined(scored: Sequence[Scored]) -> float:
    """One p of the folds that hold positives: K/r times the r-th smallest, r = more than half of these K folds.

    It holds for p's that depend on each other in any way: should they all be uniform, no more than K·t of them lie
    below t on average, so that at least r do with a probability of at most K·t/r (Rüger 1978; Vovk & Wang 2020).
    """
    return _of_folds([each.null.p for each in scored if each.null is not None and each.table.positives.any()])


def locally(scored: Sequence[Scored]) -> tuple[float, float]:
    """F1 of the pooled counts by chance when each block is turned by itself, and the folds' p of that, combined."""
    nulls = [(each.local, each.table) for each in scored if each.local is not None]
    tp, below = (sum(null.expected[i] for null, _ in nulls) for i in (0, 1))
    return float(scoring.ratio(2 * tp, below)), _of_folds([null.p for null, table in nulls if table.positives.any()])


def _of_folds(found: Sequence[float]) -> float:
    p = np.sort(found)
    p = p[np.isfinite(p)]
    if not len(p):
        return np.nan
    most = len(p) // 2 + 1
    return min(float(p[most - 1]) * len(p) / most, 1.0)


def told(choices: Choices, folds: Sequence[int], why: str) -> str:
    """The note of a cross-fitted row."""
    chosen = ["none" if choices.feature[i] == NO_FEATURE else str(int(choices.feature[i])) for i in folds]
    return f"cross-fitted over {len(folds)} folds: {why}; chosen per fold: {', '.join(chosen)}"
