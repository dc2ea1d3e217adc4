"""The rows of a genome in coordinate order, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import Intervals, Selection

# Files open at once: each pass over the field writes this many features (ulimit -n is often 1024).
AT_ONCE = 64
STRANDS = {"+": "plus", "-": "minus"}


@dataclass(frozen=True)
class Batch:
    """Cells of one contig in rising order: start, end (n,) int64, and values (n, k) float32."""

    contig: str
    start: Array
    end: Array
    values: Array


@dataclass(frozen=True)
class Piece:
    """The part of an item that lies, moved back by `shift`, inside its contig."""

    contig: str
    start: int
    item: int
    shift: int


class CoordinateOrder:
    """The order in which one-dimensional rows must be read so that coordinates rise.

    Contigs are sorted by name (what bedtools and bigWig indices expect). An item that runs past the
    origin of a circular contig is cut there and its overhang wrapped to the front.
    """

    def __init__(self, rows: Rows):
        if rows.ndim != 1:
            instead = "; export scans as nifti or h5ad" if rows.ndim == 3 else ""
            raise InputError(f"tracks need rows along a sequence; these rows have {rows.ndim} axes{instead}")
        rows.check_tiling()
        self.rows = rows
        self._start, self._end, self._step = rows.extents()
        self._sample = rows.items["sample"].astype(str).to_numpy()

    def tracks(self) -> list[tuple[str, str]]:
        """The (sample, strand) pairs that have rows; one pair is one file of a format without strands."""
        some = np.flatnonzero(self.rows.shapes[:, 0] > 0)
        found = dict.fromkeys(zip(self._sample[some], self._step[some], strict=True))
        return sorted((str(sample), "-" if step < 0 else "+") for sample, step in found)

    def lengths(self) -> dict[str, int | None]:
        """Contig → length in bp (None when it was never told), sorted by name."""
        known: dict[str, int | None] = {}
        for space in self.rows.spaces:
            if known.setdefault(space.name, space.length) != space.length:
                raise AlignmentError(f"contig {space.name!r} has two lengths: {known[space.name]} and {space.length}")
        return dict(sorted(known.items()))

    def pieces(self, sample: str, strand: str) -> list[Piece]:
        """The items of one track, cut at the origin of circular contigs and sorted."""
        sign = -1 if strand == "-" else 1
        mine = np.flatnonzero((self._sample == sample) & (self._step == sign) & (self.rows.shapes[:, 0] > 0))
        found = []
        for item in mine:
            space = self.rows.spaces[self.rows.space_code[item]]
            start, end = int(self._start[item]), int(self._end[item])
            if space.length is None or 0 <= start <= end <= space.length:
                found.append(Piece(space.name, start, int(item), 0))
                continue
            if not space.circular:
                name = self.rows.items["item"].iloc[item]
                raise InputError(
                    f"item {name!r} covers {space.name}:{start}-{end}, past the contig's {space.length} bp; "
                    "if the contig is circular, say so"
                )
            for turn in range(start // space.length, (max(end, start + 1) - 1) // space.length + 1):
                shift = turn * space.length
                found.append(Piece(space.name, max(start - shift, 0), int(item), shift))
        return sorted(found, key=lambda piece: (piece.contig, piece.start))

    def batches(
        self, field: Field, columns: Sequence[int], sample: str, strand: str, size: int = 65_536
    ) -> Iterator[Batch]:
        """The columns of a field on these rows, contig after contig, at most about `size` cells at a time.

        Zero-width cells hold no base and are left out.
        """
        for contig, pieces in groupby(self.pieces(sample, strand), key=lambda piece: piece.contig):
            reached = 0
            for chunks in _grouped(self._chunks(pieces, strand, size), size):
                batch = self._batch(field, columns, contig, chunks)
                if not len(batch.start):
                    continue
                if batch.start[0] < reached or (batch.start[1:] < batch.end[:-1]).any():
                    raise AlignmentError(f"rows of {contig} overlap or are out of order; a track needs each base once")
                reached = int(batch.end[-1])
                yield batch

    def _chunks(self, pieces: Iterator[Piece], strand: str, size: int) -> Iterator[tuple[Piece, int, int]]:
        """(piece, first, last) cell ranges within its item, so that coordinates rise and none is large."""
        for piece in pieces:
            cells = int(self.rows.shapes[piece.item, 0])
            edges = [*range(0, cells, size), cells]
            ranges = list(pairwise(edges))
            for lo, hi in reversed(ranges) if strand == "-" else ranges:
                yield piece, lo, hi

    def _batch(self, field: Field, columns: Sequence[int], contig: str, chunks: list[tuple[Piece, int, int]]) -> Batch:
        bounds, ranges = [], []
        for piece, lo, hi in chunks:
            cells = self.rows.grid(piece.item).take(np.arange(lo, hi)).bounds - piece.shift
            length = self.rows.spaces[self.rows.space_code[piece.item]].length
            bounds.append(np.clip(cells, 0, length))
            first = int(self.rows.offsets[piece.item])
            ranges.append((first + lo, first + hi))
        both = np.concatenate(bounds)
        block = Selection(field.data, np.array(ranges, np.int64)).read(0, len(both))
        values = dense(block, columns)
        keep = np.flatnonzero(both[:, 1] > both[:, 0])
        keep = keep[np.argsort(both[keep, 0], kind="stable")]
        return Batch(contig, both[keep, 0], both[keep, 1], values[keep])


def _grouped(chunks: Iterator[tuple[Piece, int, int]], size: int) -> Iterator[list[tuple[Piece, int, int]]]:
    """Lists of chunks that together hold about `size` cells."""
    waiting: list[tuple[Piece, int, int]] = []
    cells = 0
    for chunk in chunks:
        waiting.append(chunk)
        cells += chunk[2] - chunk[1]
        if cells >= size:
            yield waiting
            waiting, cells = [], 0
    if waiting:
        yield waiting


def dense(block: Any, columns: Sequence[int]) -> Array:
    """(n, k) float32 of the chosen columns of what a Field reads; labels become 1, 0 and NaN (unknown)."""
    if isinstance(block, Intervals):
        painted = np.zeros((block.rows, len(columns)), np.float32)
        for k, column in enumerate(columns):
            positive, known = block.mask(int(column))
            painted[:, k] = np.where(known, positive, np.nan)
        return painted
    if hasattr(block, "toarray"):
        return np.asarray(block[:, list(columns)].toarray(), np.float32)
    return np.asarray(block[:, list(columns)], np.float32)


def merged(start: Array, end: Array, values: Array) -> tuple[Array, Array, Array]:
    """Touching cells of one value as one interval; cells whose value is NaN become gaps.

    start, end: (n,) rising; values: (n,). Bases keep exactly the value they had.
    """
    keep = ~np.isnan(values)
    if not keep.all():
        start, end, values = start[keep], end[keep], values[keep]
    if not len(start):
        return start, end, values
    first = np.flatnonzero(np.concatenate([[True], (start[1:] != end[:-1]) | (values[1:] != values[:-1])]))
    return start[first], end[np.append(first[1:] - 1, len(end) - 1)], values[first]
