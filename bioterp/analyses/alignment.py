"""From fields to the arrays the kernels see, and from their errors back to items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from bioterp.analyses.blocks import BATCH, BadCode, Block, batch_rows
from bioterp.analyses.counting import Counts, count
from bioterp.analyses.edges import bin_edges, bin_means, sample_active, thinned
from bioterp.analyses.parts import Part
from bioterp.analyses.permuting import Exchange
from bioterp.analyses.runs import plan
from bioterp.analyses.shifts import Ring
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.placing import Places, subjects_of
from bioterp.rows import Rows
from bioterp.values import Intervals

GROUPS = {"train": 0, "valid": 0, "test": 1}


def checked_labels(codes: Field, truth: Field) -> Intervals:
    """The interval labels of `truth`, on the same rows as `codes`."""
    codes.check_same_rows(truth)
    labels = truth.data.read(0, len(truth))
    if not isinstance(labels, Intervals):
        raise InputError(
            f"these labels are numbers ({truth.shape[1]} columns), and detection needs intervals: "
            "turn a signal into intervals with a cut-off, or leave these columns out"
        )
    return labels


@contextmanager
def guarded(codes: Field) -> Iterator[None]:
    """Tell of a NaN, infinite or negative code by the name of its item and feature."""
    try:
        yield
    except BadCode as bad:
        item = int(np.searchsorted(codes.rows.offsets, bad.row, side="right")) - 1
        name, column = codes.rows.items["item"].iloc[item], codes.columns["name"].iloc[bad.column]
        cell = bad.row - int(codes.rows.offsets[item])
        remedy = (
            "encode neurons and directions through a Dictionary, which splits signs"
            if bad.value < 0
            else ("look for an overflow in the activations of that item, or leave it out")
        )
        raise InputError(
            f"column {column!r} holds {bad.value} at item {name!r}, cell {cell}; codes must be finite and ≥ 0: {remedy}"
        ) from None


def sides_of(rows: Rows) -> Array:
    """(items,) int64: 0 in train and valid, 1 in test, −1 in neither. Raises InputError when a side is empty."""
    need_split(rows, ("train", "valid"), "choose features and thresholds on")
    need_split(rows, ("test",), "report numbers from")
    return np.asarray(rows.items["split"].map(GROUPS).fillna(-1), np.int64)


def count_codes(
    codes: Field, labels: Intervals, threads: int = 2, size: int | None = None, group: Array | None = None
) -> tuple[Counts, Array]:
    """Counts of (train + valid, test), or of the groups 0 … G−1 of items (−1: left out), and the bin edges (m, B−1).

    The edges are learnt on a sample of train, from the codes alone; no label is looked at. `size` is the rows of a
    batch, None for what suits the codes: no count depends on it.
    """
    counts, edges, _ = count_binned(codes, labels, threads, size, group)
    return counts, edges


def count_binned(
    codes: Field, labels: Intervals, threads: int = 2, size: int | None = None, group: Array | None = None
) -> tuple[Counts, Array, Array]:
    """`count_codes`, and the mean code (m, B) of each bin in the sample."""
    items = codes.rows.items
    group = sides_of(codes.rows) if group is None else group
    edges, between = changes(codes.rows.offsets, group)
    learnt = "train" if (items["split"] == "train").any() else "valid"
    spans = thinned(spans_of(codes.rows, (items["split"] == learnt).to_numpy()))
    active, m = [0], codes.shape[1]

    def tally(block: Block) -> None:
        active[0] += len(block[2]) if isinstance(block, tuple) else int(np.count_nonzero(block))

    with guarded(codes):
        values, filled = sample_active(codes.read, spans, m, size or BATCH, tally=tally, threads=threads)
        bins = bin_edges(values, filled)
        size = size or batch_rows(active[0], int(np.diff(spans).sum()), m)
        cut = plan(labels, edges, between, int(group.max()) + 1, size)
        return count(codes.read, bins, cut, threads), bins, bin_means(values, filled, bins)


def need_split(rows: Rows, names: tuple[str, ...], purpose: str) -> None:
    """Raise InputError unless some item with cells has one of these splits."""
    cells = np.diff(rows.offsets)
    if not (rows.items["split"].isin(names).to_numpy() & (cells > 0)).any():
        raise InputError(
            f"no rows in {' or '.join(names)} to {purpose}: with {rows.items['block'].nunique()} blocks none fell "
            "there; use smaller blocks, another split seed, or more sequence"
        )


def changes(offsets: Array, group: Array) -> tuple[Array, Array]:
    """Rows where the group of items changes (s+1,), and the group between (s,)."""
    full = np.flatnonzero(np.diff(offsets) > 0)
    group = group[full]
    new = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    return np.append(offsets[full[new]], offsets[-1]).astype(np.int64), group[new]


def spans_of(rows: Rows, wanted: Array) -> Array:
    """(k, 2) ranges of rows of the wanted items, neighbours joined."""
    edges, inside = changes(rows.offsets, wanted.astype(np.int64))
    spans = np.stack([edges[:-1], edges[1:]], 1)
    return np.asarray(spans[inside == 1])


def part_of(rows: Rows, split: str | None) -> Part:
    """The rows of one split (all for None), with the block of each item as a code."""
    wanted = np.ones(len(rows.items), bool) if split is None else (rows.items["split"] == split).to_numpy()
    part = part_where(rows, wanted, np.arange(len(rows.items)))
    block = pd.factorize(rows.items["block"].iloc[part.block])[0]
    return Part(part.spans, np.asarray(block, np.int64))


def part_where(rows: Rows, wanted: Array, block: Array) -> Part:
    """The rows of the wanted items (items,) bool that have cells, with the codes block (items,) of their blocks."""
    items = np.flatnonzero(wanted & (np.diff(rows.offsets) > 0))
    return Part(np.stack([rows.offsets[items], rows.offsets[items + 1]], 1), np.asarray(block, np.int64)[items])


def ring_of(rows: Rows, part: Part) -> Ring:
    """All cells of a part in genomic order, strands side by side, contigs one after the other."""
    items = _items_of(rows, part)
    start, _, step = rows.extents()
    sample: Any = pd.factorize(rows.items["sample"].iloc[items])[0]
    space = rows.space_code[items].astype(np.int64)
    cells = np.diff(rows.offsets)[items]
    return Ring.lay(sample, space, part.block, start[items], step[items], cells)


def subjects_in(rows: Rows, part: Part) -> int:
    """How many subjects the items of a part are of."""
    return int(subjects_of(rows).iloc[_items_of(rows, part)].nunique())


def exchange_of(rows: Rows, part: Part, places: Places) -> Exchange:
    """The scans of a part and their subjects, to be permuted; the rows' id decides how."""
    items = _items_of(rows, part)
    scan: Any = pd.factorize(rows.items["sample"].iloc[items])[0]
    subject: Any = pd.factorize(subjects_of(rows).iloc[items])[0]
    lattice = places.take(items)
    axes = lattice.shape, lattice.axis, lattice.start, lattice.step
    return Exchange(part.offsets, scan, subject, *axes, seed=int(rows.id[:16], 16))


def _items_of(rows: Rows, part: Part) -> Array:
    return np.asarray(np.searchsorted(rows.offsets, part.spans[:, 0], side="right") - 1)
