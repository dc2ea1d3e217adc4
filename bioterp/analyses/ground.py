"""What covariates make of the rows: strata on test rows, and what they alone say of a term, learnt on train rows.

Quantiles and rates are those of train; nothing is learnt on test but which strata there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.analyses.adjusting import Rates, informative
from bioterp.analyses.alignment import part_of, part_where
from bioterp.analyses.parts import Part, Term, term_on
from bioterp.analyses.sampling import some_items
from bioterp.analyses.strata import UNKNOWN, Layout, cuts_of, levels_of, strata_of, values_on
from bioterp.analyses.within import areas_by_rate, match
from bioterp.arrays import Array
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import Intervals

LEARNT = 4_000_000  # train rows that quantiles and rates are learnt on: whole items, drawn by a fixed seed
DETERMINED = 0.1  # with fewer of its positives beside a negative, a term is told by the covariates themselves

Names = tuple[str, ...]


class Ground:
    """Covariates on the rows of test and of train (of valid where there is no train)."""

    def __init__(self, covariates: Field, test: Part, of_rows: Array):
        rows, columns = covariates.rows, covariates.columns
        self.names: Names = tuple(dict.fromkeys(columns["covariate"].astype(str)))
        self.own = {name: np.flatnonzero(columns["covariate"] == name).tolist() for name in self.names}
        self.test, self.of_rows = test, of_rows
        self.learn = _learning(rows)
        read, many = covariates.read, len(columns)
        learnt, there = values_on(read, self.learn, many), values_on(read, test, many)
        self.levels: list[tuple[Array, Array]] = []  # of each column, on train and on test
        self.sizes: list[int] = []
        for c, (kind, bins) in enumerate(zip(columns["kind"], columns["bins"], strict=True)):
            cuts = cuts_of(learnt[c], int(bins)) if kind == "number" else None
            both = levels_of(learnt[c], cuts), levels_of(there[c], cuts)
            self.levels.append(both)
            self.sizes.append(1 + max([int(one[one != UNKNOWN].max(initial=0)) for one in both]))
        items = np.searchsorted(rows.offsets, test.spans[:, 0], side="right") - 1
        self.contig = np.repeat(rows.space_code[items].astype(np.int64), np.diff(test.offsets))
        self._layouts: dict[Names, tuple[Layout, Layout]] = {}

    def layouts(self, names: Names) -> tuple[Layout, Layout]:
        """Of train rows and of test rows, by these covariates together."""
        if names not in self._layouts:
            columns = [c for name in names for c in self.own[name]]
            sizes = [self.sizes[c] for c in columns]
            blocks = np.zeros(len(self.learn), np.int64), self.of_rows
            made = [strata_of([self.levels[c][k] for c in columns], sizes) for k in (0, 1)]
            self._layouts[names] = Layout.of(made[0], blocks[0]), Layout.of(made[1], blocks[1])
        return self._layouts[names]

    def stratum(self, names: Names) -> Array:
        """(n,) int64 stratum of each test row, 0 … K−1; −1 where it is unknown."""
        layout = self.layouts(names)[1]
        padded = np.append(layout.stratum, -1)
        return np.asarray(padded[layout.cell])


def _learning(rows: Rows) -> Part:
    split = "train" if (rows.items["split"] == "train").any() else "valid"
    wanted = np.zeros(len(rows.items), bool)
    wanted[some_items(rows, split, LEARNT)] = True
    return part_where(rows, wanted, np.zeros(len(rows.items), np.int64))


@dataclass(frozen=True)
class Adjustment:
    """One term on test under one set of covariates; what does not depend on the feature is worked out once.

    positive, known (C,) counts per cell; share of positives in strata with negatives; alone: AUROC and AP of the
    covariates; matched: rows of positives and of negatives of the same stratum and contig.
    """

    names: Names
    layout: Layout
    stratum: Array
    positive: Array
    known: Array
    share: float
    alone: tuple[float, float]
    matched: tuple[Array, Array]

    @property
    def held(self) -> Array:
        """(2, K) positives and negatives of each stratum."""
        yes = self.layout.by_stratum(self.positive)
        return np.stack([yes, self.layout.by_stratum(self.known) - yes])


class Terms:
    """The terms of a labelling on a ground, one at a time."""

    def __init__(self, ground: Ground, labels: Intervals):
        self.ground, self.labels = ground, labels

    def adjustments(self, number: int, seed: int = 0) -> tuple[Term, list[Adjustment], str]:
        """The term on test; its adjustment by all covariates that do not determine it, then by each alone; a note.

        Where every covariate determines it, the first is by all of them.
        """
        ground = self.ground
        term, learnt = term_on(ground.test, self.labels, number), term_on(ground.learn, self.labels, number)
        shares = {name: self._share(term, (name,)) for name in ground.names}
        free = tuple(name for name in ground.names if not shares[name] < DETERMINED)
        told = [name for name in ground.names if name not in free]
        main = free or ground.names
        sets = [main, *[(name,) for name in ground.names if (name,) != main]]
        made = [self._adjustment(term, learnt, names, number + seed * 1_000_003) for names in sets]
        parts = [f"{name} left out: {shares[name]:.1%} of the positives have a negative like them" for name in told]
        return term, made, "; ".join(parts) if free else ""

    def _share(self, term: Term, names: Names) -> float:
        layout = self.ground.layouts(names)[1]
        return informative(layout, layout.count(term.positive), layout.count(term.known))

    def _adjustment(self, term: Term, learnt: Term, names: Names, seed: int) -> Adjustment:
        before, layout = self.ground.layouts(names)
        rates = Rates.of(before, before.count(learnt.positive), before.count(learnt.known))
        positive, known = layout.count(term.positive), layout.count(term.known)
        yes = layout.by_stratum(positive)
        alone = areas_by_rate(rates.on(layout.numbers), yes, layout.by_stratum(known) - yes)
        stratum = self.ground.stratum(names)
        contigs = int(self.ground.contig.max(initial=0)) + 1
        group = np.where(stratum >= 0, stratum * contigs + self.ground.contig, -1)
        matched = match(group, term.positive, term.known, seed)
        share = informative(layout, positive, known)
        return Adjustment(names, layout, stratum, positive, known, share, alone, matched)


def test_ground(covariates: Field) -> tuple[Part, Array, Ground]:
    """The test rows, the block of each, and the ground."""
    test = part_of(covariates.rows, "test")
    of_rows = test.of_rows()
    return test, of_rows, Ground(covariates, test, of_rows)


def shown(names: Names) -> str:
    """'gc + phase'."""
    return " + ".join(names)
