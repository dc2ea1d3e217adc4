"""Chosen pairs on rows they were not chosen on: counts by block and the null (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from bioterp.analyses import scoring
from bioterp.analyses.counting import Read
from bioterp.analyses.jackknife import Spread, jackknife
from bioterp.analyses.local_shifts import LocalNull, local_null
from bioterp.analyses.meeting import Meeting
from bioterp.analyses.parts import Part, Table, Tabulator, Term, active_rows, term_on
from bioterp.analyses.permuting import Exchange
from bioterp.analyses.shifts import Null, Ring, Side, f1_null, recall_null
from bioterp.arrays import Array
from bioterp.tables import NO_FEATURE
from bioterp.values import Intervals

Held = dict[int, tuple[Array, Array]]
_NOTHING = np.zeros(0, np.int32), np.zeros(0, np.float32)


@dataclass(frozen=True)
class Pairs:
    """What to score, all (S,): feature (−1: none was chosen, so no cell is active), term, edge and its threshold."""

    feature: Array
    term: Array
    edge: Array
    threshold: Array

    def __len__(self) -> int:
        return len(self.feature)


@dataclass(frozen=True)
class Scored:
    """One pair on one part.

    table: counts by block; null: of F1 under all shifts or permutations, None where there are none; expected: the means
    over them of TP and of active + positives, F1's two halves; recall_null: mean instance recall over them; fired:
    whether any cell is active; local: the null of shifts within blocks, where it was asked for and there is a ring.
    """

    table: Table
    null: Null | None
    expected: tuple[float, float]
    recall_null: float
    fired: bool
    local: LocalNull | None = None


def score(
    read: Read,
    labels: Intervals,
    part: Part,
    moves: Ring | Exchange | None,
    pairs: Pairs,
    total: Array,
    threads: int,
    locally: Collection[int] = (),
) -> Iterator[tuple[int, Scored]]:
    """(s, how pair s does) on the rows of a part, in one pass; term by term, in no order of s.

    moves: what the null is made of, the shifts of a ring or the exchange of subjects;
    total (m, B) counts the part's cells by feature and bin: memory is set aside by it. locally: the pairs, by their
    number, that are turned within blocks too.
    """
    feature, which = np.unique(pairs.feature, return_inverse=True)
    least, edge = np.full(len(feature), np.inf), np.full(len(feature), total.shape[1])
    np.minimum.at(least, which, pairs.threshold)
    np.minimum.at(edge, which, pairs.edge)
    real = feature != NO_FEATURE
    feature, least, edge = feature[real], least[real], edge[real]
    inside = np.arange(total.shape[1]) > edge[:, None]
    size = (total[feature].astype(np.int64) * inside).sum(1)
    of_rows, silent = part.of_rows(), [{NO_FEATURE: _NOTHING}]
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for held in chain(silent, active_rows(read, part, len(total), feature, least, size)):
            ready = np.isin(pairs.feature, list(held))
            for t in np.unique(pairs.term[ready]):
                own = np.flatnonzero(ready & (pairs.term == t)).tolist()
                term = term_on(part, labels, int(t))
                bench: _Bench | _Swaps
                if isinstance(moves, Exchange):
                    bench = _Swaps(part, term, of_rows, moves)
                else:
                    bench = _Bench(part, term, of_rows, moves, locally)
                yield from zip(own, pool.map(partial(bench.score, pairs, held), own), strict=True)


class _Bench:
    """One term on one part; what does not depend on the feature is worked out once."""

    def __init__(self, part: Part, term: Term, of_rows: Array, ring: Ring | None, locally: Collection[int]):
        self.term, self.ring, self.locally = term, ring, locally
        self.tabulator = Tabulator(part, term, of_rows)
        if ring is not None:
            self.positive, self.unknown = Side(ring.mask(term.positive)), Side(~ring.mask(term.known))
            first, last = ring.slot[term.start], ring.slot[term.stop - 1]
            ends = np.minimum(first, last).astype(np.int64), np.maximum(first, last).astype(np.int64) + 1
            self.runs = (ring.strand[term.start].astype(np.int64), *ends)

    def score(self, pairs: Pairs, held: Held, s: int) -> Scored:
        active = _active(pairs, held, s)
        table = self.tabulator.table(active)
        if self.ring is None:
            positives, fired = int(table.positives.sum()), int(table.tp.sum() + table.fp.sum())
            by_chance = float(scoring.ratio(float(fired * positives), float(table.known.sum())))
            return Scored(table, None, (by_chance, float(fired + positives)), np.nan, len(active) > 0)
        side = Side(self.ring.mask(active))
        null = f1_null(side, self.positive, self.unknown)
        # Round the whole ring every active cell meets every slot of its strand once: no shift need be counted.
        tp, hidden = (float(side.totals @ term.totals) / self.ring.size for term in (self.positive, self.unknown))
        expected = tp, side.total + self.positive.total - hidden
        by_chance = recall_null(side, *self.runs, self.term.first)
        local = local_null(side, self.positive, self.unknown, self.ring.edges) if s in self.locally else None
        return Scored(table, null, expected, by_chance, len(active) > 0, local)


class _Swaps:
    """One term on one part of scans."""

    def __init__(self, part: Part, term: Term, of_rows: Array, exchange: Exchange):
        self.tabulator, self.meeting = Tabulator(part, term, of_rows), Meeting(exchange, term)

    def score(self, pairs: Pairs, held: Held, s: int) -> Scored:
        active = _active(pairs, held, s)
        table = self.tabulator.table(active)
        tp, below = int(table.tp.sum()), int((table.tp + table.fp + table.positives).sum())
        f1 = float(scoring.ratio(2 * tp, below))
        null, by_chance = self.meeting.null(self.meeting.count(active), f1)
        return Scored(table, null, (null.mean * below / 2, float(below)), by_chance, len(active) > 0)


def _active(pairs: Pairs, held: Held, s: int) -> Array:
    """The rows where the feature of pair s is above its threshold."""
    active, value = held[int(pairs.feature[s])]
    return active[value > np.float32(pairs.threshold[s])]


@dataclass(frozen=True)
class Figures:
    """What a table of counts by block says: the columns of the detection table it fills, and F1's interval."""

    columns: dict[str, float]
    spread: Spread

    @classmethod
    def of(cls, table: Table) -> Figures:
        tp, fp, positives = int(table.tp.sum()), int(table.fp.sum()), int(table.positives.sum())
        known, instances = int(table.known.sum()), int(table.instances.sum())
        precision, recall = scoring.ratio(tp, tp + fp), scoring.ratio(tp, positives)
        instance_recall = scoring.ratio(int(table.hits.sum()), instances)
        f1 = float(scoring.f1_of(np.array(tp), np.array(tp + fp), positives))
        spread = f1_spread(table, f1)
        columns = {
            "n_cells": positives,
            "n_instances": instances,
            "prevalence": float(scoring.ratio(positives, known)),
            "precision": float(precision),
            "recall": float(recall),
            "f1": f1,
            "f1_lo": spread.lo,
            "f1_hi": spread.hi,
            "instance_recall": float(instance_recall),
            "instance_f1": float(scoring.harmonic(np.nan_to_num(precision), instance_recall)),
            "n_blocks": spread.blocks,
        }
        return cls(columns, spread)

    def notes(self, table: Table, where: str) -> list[str]:
        """What a reader must know of these numbers."""
        found = [self.spread.reason]
        if table.positives.sum() == table.known.sum():
            found.append(f"every known {where} cell is positive")
        return found


def f1_spread(table: Table, f1: float) -> Spread:
    """The block jackknife of F1 on one pair's table."""

    def of(tp: Array, fp: Array, positives: Array) -> Array:
        return scoring.f1_of(tp, tp + fp, positives)

    return jackknife(of, (table.tp, table.fp, table.positives), f1, table.positives, 0.0, 1.0)
