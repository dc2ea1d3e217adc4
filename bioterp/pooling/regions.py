"""Which cells are in which region, and how much of each: the cells of items grouped by (item, region)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.export.matrix import read_regions
from bioterp.field import Field
from bioterp.pooling.summaries import Groups
from bioterp.rows import Rows
from bioterp.values import Intervals


class Regions:
    """names: of the regions; named: False where there is one, everywhere."""

    def __init__(self, rows: Rows, names: list[str], named: bool):
        self.rows, self.names, self.named = rows, names, named

    def groups(self, first: int, last: int, lo: int, hi: int) -> Groups:
        """Of the items first:last, whose cells are lo:hi."""
        item = np.repeat(np.arange(first, last), np.diff(self.rows.offsets[first : last + 1]))
        row, region, weight = self.members(item, lo, hi)
        return Groups.of(item[row], region, row, weight)

    def members(self, item: Array, lo: int, hi: int) -> tuple[Array, Array, Array]:
        """(row within lo:hi, region, weight) of every cell in a region."""
        return np.arange(hi - lo), np.zeros(hi - lo, np.int64), sizes(self.rows, item, lo, hi)


class Lines(Regions):
    """Lines of a BED, in reference coordinates; a strand, where given, restricts it."""

    def __init__(self, rows: Rows, table: pd.DataFrame):
        super().__init__(rows, [str(name) for name in table.index], True)
        if rows.ndim != 1:
            raise InputError(f"BED regions need rows along a sequence; these rows have {rows.ndim} axes")
        self.table = table
        self.strand = table["strand"].to_numpy() if "strand" in table.columns else np.full(len(table), ".")
        known = {space.name for space in rows.spaces}
        unknown = sorted(set(table["contig"]) - known)
        if len(unknown) == table["contig"].nunique():
            raise InputError(
                f"the regions are on {unknown[0]!r}, the rows on {', '.join(sorted(known)[:4])}; wanted alike"
            )

    def members(self, item: Array, lo: int, hi: int) -> tuple[Array, Array, Array]:
        _, start, end = self.rows.cells(lo, hi)
        space, minus = self.rows.space_code[item], self.rows.affines[item, 0, 0] < 0
        found: list[tuple[Array, Array, Array]] = []
        contig, begin, stop = (self.table[name].to_numpy() for name in ("contig", "start", "end"))
        for code in np.unique(space):
            here = np.flatnonzero(space == code)
            of, a, b = self.rows.spaces[code], start[here], end[here]
            if of.circular and of.length:
                turn = (a + b) // 2 // of.length * of.length
                a, b = a - turn, b - turn
            for i in np.flatnonzero((contig == of.name) & (begin <= b.max()) & (stop > a.min())):
                # An inserted base has no width, and is in the region that holds its place.
                share = np.where(
                    a == b, (a >= begin[i]) & (a < stop[i]), np.minimum(b, stop[i]) - np.maximum(a, begin[i])
                )
                if self.strand[i] in ("+", "-"):
                    share = np.where(minus[here] == (self.strand[i] == "-"), share, 0)
                hit = np.flatnonzero(share > 0)
                found.append((here[hit], np.full(len(hit), i), share[hit].astype(np.float64)))
        empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        row, region, weight = (np.concatenate(part) for part in zip(*(found or [empty]), strict=True))
        return row, region, weight


class Terms(Regions):
    """Terms of a label Field: a region is its positive cells."""

    def __init__(self, labels: Field):
        super().__init__(labels.rows, [str(name) for name in labels.columns["name"]], True)
        if not isinstance(labels.read(0, 0), Intervals):
            raise InputError("regions by label need terms; these labels are numbers")
        self.labels = labels

    def members(self, item: Array, lo: int, hi: int) -> tuple[Array, Array, Array]:
        size = sizes(self.rows, item, lo, hi)
        part = self.labels.read(lo, hi)
        rows = [np.flatnonzero(part.mask(term)[0]) for term in range(len(self.names))]
        region = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        row = np.concatenate(rows)
        return row, region, size[row]


def sizes(rows: Rows, item: Array, lo: int, hi: int) -> Array:
    """(hi − lo,) what a cell weighs: bp of reference, an inserted one 1; mm³; 1 without a lattice."""
    if rows.ndim == 1:
        _, start, end = rows.cells(lo, hi)
        return np.asarray(np.maximum(end - start, 1), np.float64)
    return np.asarray(np.abs(np.linalg.det(rows.affines[item][:, :-1, :-1])) if rows.ndim else np.ones(hi - lo))


def regions_of(codes: Field, regions: str | Path | pd.DataFrame | Field | None) -> Regions:
    """The regions asked for, on the rows of the codes."""
    if regions is None:
        return Regions(codes.rows, ["all"], False)
    if isinstance(regions, Field):
        codes.check_same_rows(regions)
        return Terms(regions)
    return Lines(codes.rows, read_regions(regions))
