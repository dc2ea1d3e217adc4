"""Covariates that labels tell: codon phase, and how far the nearest end of a feature is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.background import PHASES, Covariate
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import UNKNOWN, Intervals

EDGE_BINS = 20
NOWHERE = 1e9  # bp to an edge where the contig has none
_HIDDEN = 1 << len(PHASES)


def phase(rows: Rows, truth: Field) -> Covariate:
    """A class of 0 … 63: bit i is set where the cell has codon phase i on its own strand, bit 3 + i on the other.

    0 is no coding base on either strand. Genes that overlap out of frame set several bits, so that the class always
    tells every one of these labels. NaN where one of them is unknown.
    """
    names = truth.columns["name"].astype(str).tolist()
    if not any(name in names for name in PHASES[:3]):
        raise InputError(
            f"covariate 'phase' needs the terms {', '.join(PHASES[:3])} among the labels; label CDS records, whose "
            "codon phases become terms"
        )
    held = Phase(_intervals(truth, "phase"), [names.index(name) if name in names else -1 for name in PHASES])
    return Covariate([("phase", "class", 0)], held)


@dataclass
class Phase:
    """The container of `phase`, one byte per row."""

    labels: Intervals
    terms: list[int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.labels.rows, 1

    def read(self, lo: int, hi: int) -> Array:
        bits = self._bits[lo:hi]
        return np.where(bits & _HIDDEN, np.nan, bits).astype(np.float32)[:, None]

    @cached_property
    def _bits(self) -> Array:
        bits = np.zeros(self.labels.rows, np.uint8)
        for bit, term in enumerate(self.terms):
            if term < 0:
                continue
            runs = self.labels.runs(term)
            real = runs.instance != UNKNOWN
            _mark(bits, runs.start[~real], runs.stop[~real], _HIDDEN)
            _mark(bits, runs.start[real], runs.stop[real], 1 << bit)
        return bits


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mark(bits: Array, start: Array, stop: Array, bit: int) -> None:
    for run in range(start.size):
        for row in range(start[run], stop[run]):
            bits[row] |= bit


def edge(rows: Rows, truth: Field, term: str) -> Covariate:
    """bp from the cell's middle to the nearest start or end of an instance of a term, on its strand or of no strand.

    A contig without an instance is 1e9 bp from one. Raises InputError for a term that is not there.
    """
    column = truth.column(term)
    table = _intervals(truth, "edge").instances
    table = table[(table["term"] == column) & (table["instance"] != UNKNOWN)]
    ends: dict[tuple[str, str], Array] = {}
    for space in rows.spaces:
        for strand in "+-":
            own = table[(table["contig"] == space.name) & table["strand"].isin([strand, "."])]
            both = np.concatenate([own["start"].to_numpy(float), own["end"].to_numpy(float)])
            ends[space.name, strand] = np.sort(both)
    return Covariate([(f"edge:{term}", "number", EDGE_BINS)], Edge(rows, ends))


@dataclass(frozen=True)
class Edge:
    """The container of `edge`; ends: sorted coordinates by contig and strand."""

    rows: Rows
    ends: dict[tuple[str, str], Array]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), 1

    def read(self, lo: int, hi: int) -> Array:
        item, start, end = self.rows.cells(lo, hi)
        middle, found = (start + end) / 2, np.full(hi - lo, NOWHERE)
        space = self.rows.space_code[item]
        strand = np.where(self.rows.affines[item, 0, 0] < 0, "-", "+")
        for code in np.unique(space):
            for sign in "+-":
                own = np.flatnonzero((space == code) & (strand == sign))
                ends = self.ends[self.rows.spaces[code].name, sign]
                if len(own) and len(ends):
                    at = np.searchsorted(ends, middle[own])
                    before, after = ends[np.maximum(at - 1, 0)], ends[np.minimum(at, len(ends) - 1)]
                    found[own] = np.minimum(np.abs(middle[own] - before), np.abs(after - middle[own]))
        return found.astype(np.float32)[:, None]


def _intervals(truth: Field, name: str) -> Intervals:
    labels = truth.data.read(0, len(truth))
    if not isinstance(labels, Intervals):
        raise InputError(f"covariate {name!r} is told by interval labels; these are numbers")
    return labels
