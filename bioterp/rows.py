"""What the rows of a Field are: `Rows`, the lattices of many items held as columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import AlignmentError, InputError
from bioterp.grid import Grid, Space

KEYS = ("item", "sample", "block", "split")
SPLITS = ("train", "valid", "test")


def split_of(block: str, seed: int = 0) -> str:
    """'train' (60 %), 'valid' (20 %) or 'test' (20 %) by blake2 of the block's name and the seed.

    A hash and not a shuffle: a block keeps its split when other blocks come or go.
    """
    digest = hashlib.blake2b(f"{seed}:{block}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return "train" if share < 0.6 else "valid" if share < 0.8 else "test"


class Rows:
    """What the rows of a Field are: items in order, each with its cells in order.

    items: one line per item with `item`, `sample`, `block`, `split` and covariates.
    The grids are held as columns, so a million items cost megabytes: `spaces` and `space_code (n,)`,
    `shapes (n, d)`, `affines (n, d+1, d+1)`, and `bounds (cells, 2)` with `bounds_offset (n+1)` for the
    items whose cells are irregular. `d` = 0 says that rows are lattice-free (people, genes).
    """

    def __init__(
        self,
        items: pd.DataFrame,
        spaces: Sequence[Space],
        space_code: Array,
        shapes: Array,
        affines: Array,
        bounds: Array | None = None,
        bounds_offset: Array | None = None,
    ):
        missing = [key for key in KEYS if key not in items.columns]
        if missing:
            raise InputError(f"the items of Rows lack the columns {missing}; wanted {list(KEYS)}")
        self.items = items.reset_index(drop=True)
        self.spaces = tuple(spaces)
        n = len(items)
        self.space_code = np.asarray(space_code, np.int32)
        shapes = np.asarray(shapes, np.int64)
        self.shapes = shapes if shapes.ndim == 2 else shapes.reshape(n, -1)  # −1 cannot be told without items
        self.affines = np.asarray(affines, np.float64)
        self.bounds = np.zeros((0, 2), np.int64) if bounds is None else np.asarray(bounds, np.int64)
        self.bounds_offset = np.zeros(n + 1, np.int64) if bounds_offset is None else np.asarray(bounds_offset, np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.shapes.prod(1, dtype=np.int64))]).astype(np.int64)
        self._id: str | None = None

    @classmethod
    def from_grids(cls, items: pd.DataFrame, grids: Sequence[Grid]) -> Rows:
        """One Grid per line of `items`, all of the same dimension."""
        if len(items) != len(grids):
            raise InputError(f"Rows got {len(items)} items and {len(grids)} grids; wanted as many")
        ndim = grids[0].ndim if grids else 1
        if any(g.ndim != ndim for g in grids):
            raise InputError("the grids of one Rows must have the same number of axes")
        codes: dict[Space, int] = {}
        space_code = [codes.setdefault(g.space, len(codes)) for g in grids]
        affines = np.zeros((len(grids), ndim + 1, ndim + 1))
        pieces, lengths = [], [0]
        for i, grid in enumerate(grids):
            irregular = grid.affine is None
            affines[i] = np.diag([grid.step, 1]) if grid.affine is None else grid.affine
            lengths.append(grid.size if irregular else 0)
            if irregular:
                pieces.append(grid.bounds)
        shapes = np.array([g.shape for g in grids], np.int64).reshape(len(grids), ndim)
        bounds = np.concatenate(pieces) if pieces else None
        return cls(items, tuple(codes), np.array(space_code), shapes, affines, bounds, np.cumsum(lengths))

    @classmethod
    def free(cls, items: pd.DataFrame) -> Rows:
        """One lattice-free row per item: people, genes."""
        n = len(items)
        return cls(items, (Space("none", "none"),), np.zeros(n), np.zeros((n, 0)), np.ones((n, 1, 1)))

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of several shards, one after the other."""
        parts = [part for part in parts if len(part.items)] or parts[:1]  # a shard of nothing knows no axes
        if len(parts) == 1:
            return parts[0]
        codes: dict[Space, int] = {}
        space_code = []
        for part in parts:
            table = np.array([codes.setdefault(space, len(codes)) for space in part.spaces], np.int32)
            space_code.append(table[part.space_code])
        lengths = np.concatenate([np.diff(part.bounds_offset) for part in parts])
        return cls(
            pd.concat([part.items for part in parts], ignore_index=True),
            tuple(codes),
            np.concatenate(space_code),
            np.concatenate([part.shapes for part in parts]),
            np.concatenate([part.affines for part in parts]),
            np.concatenate([part.bounds for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]),
        )

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def ndim(self) -> int:
        return int(self.shapes.shape[1])

    @property
    def id(self) -> str:
        """A hash of what the rows are; two Fields must share it before they are compared."""
        if self._id is None:
            digest = hashlib.blake2b(digest_size=16)
            digest.update(self.items[list(KEYS)].astype(str).to_csv(index=False).encode())
            digest.update(json.dumps([vars(s) for s in self.spaces]).encode())
            for array in (self.space_code, self.shapes, self.affines, self.bounds, self.bounds_offset):
                digest.update(np.ascontiguousarray(array).tobytes())
            self._id = digest.hexdigest()
        return self._id

    def grid(self, i: int) -> Grid:
        """The Grid of item i."""
        space = self.spaces[self.space_code[i]]
        lo, hi = self.bounds_offset[i : i + 2]
        if hi > lo or (self.ndim == 1 and self.shapes[i, 0] == 0):
            return Grid(space, self.shapes[i], bounds=self.bounds[lo:hi], step=int(np.sign(self.affines[i, 0, 0])))
        return Grid(space, self.shapes[i], self.affines[i])

    def grids(self) -> Iterator[Grid]:
        return (self.grid(i) for i in range(len(self.items)))

    def take(self, items: Array) -> Rows:
        """The rows of the items at these positions, in this order."""
        items = np.asarray(items, np.int64)
        lengths = np.diff(self.bounds_offset)[items]
        pieces = [self.bounds[self.bounds_offset[i] : self.bounds_offset[i + 1]] for i in items[lengths > 0]]
        return Rows(
            self.items.iloc[items],
            self.spaces,
            self.space_code[items],
            self.shapes[items],
            self.affines[items],
            np.concatenate(pieces) if pieces else None,
            np.concatenate([[0], np.cumsum(lengths)]),
        )

    def items_in(self, split: str) -> Array:
        """Positions of the items of one split."""
        if split not in SPLITS:
            raise InputError(f"there is no split {split!r}; known: {', '.join(SPLITS)}")
        return np.flatnonzero((self.items["split"] == split).to_numpy())

    def item_of_rows(self) -> Array:
        """(len(rows),) int32: the item each row belongs to."""
        return np.repeat(np.arange(len(self.items), dtype=np.int32), np.diff(self.offsets))

    def cells(self, lo: int = 0, hi: int | None = None) -> tuple[Array, Array, Array]:
        """Of one-dimensional rows lo:hi: item (k,) int32, start (k,) and end (k,) int64 coordinates."""
        hi = len(self) if hi is None else hi
        first = int(np.searchsorted(self.offsets, lo, side="right")) - 1
        last = int(np.searchsorted(self.offsets, hi, side="left"))
        item = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(self.offsets[first : last + 1]))
        pieces = [self.grid(i).bounds for i in range(first, last)]
        both = np.concatenate(pieces) if pieces else np.zeros((0, 2), np.int64)
        cut = slice(lo - int(self.offsets[first]), hi - int(self.offsets[first]))
        return item[cut], both[cut, 0], both[cut, 1]

    def extents(self) -> tuple[Array, Array, Array]:
        """Per one-dimensional item: lowest start, highest end (int64) and step (±1)."""
        n = len(self.items)
        start, end = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for i in range(n):
            if self.bounds_offset[i + 1] > self.bounds_offset[i]:
                bounds = self.bounds[self.bounds_offset[i] : self.bounds_offset[i + 1]]
                start[i], end[i] = bounds[:, 0].min(), bounds[:, 1].max()
            elif self.shapes[i, 0]:
                edges = self.affines[i, 0, 1], self.affines[i, 0, 1] + self.affines[i, 0, 0] * self.shapes[i, 0]
                start[i], end[i] = round(min(edges)), round(max(edges))
        return start, end, np.sign(self.affines[:, 0, 0]).astype(np.int8)

    def check_tiling(self) -> None:
        """Raise AlignmentError when a locus of a sample and strand is in two items' cores."""
        if self.ndim != 1:
            return
        start, end, step = self.extents()
        where = pd.DataFrame({"sample": self.items["sample"], "space": self.space_code, "step": step})
        where = where.assign(start=start, end=end, item=self.items["item"]).sort_values(
            ["sample", "space", "step", "start", "end"], kind="stable"
        )
        same = (where[["sample", "space", "step"]].shift() == where[["sample", "space", "step"]]).all(axis=1)
        overlap = same & (where["start"] < where["end"].shift())
        if overlap.any():
            item = where.loc[overlap, "item"].iloc[0]
            raise AlignmentError(f"item {item!r} covers bases another item of its sample covers; cores must tile")

    def __repr__(self) -> str:
        return f"Rows({len(self)} rows of {len(self.items)} items, id {self.id[:8]})"
