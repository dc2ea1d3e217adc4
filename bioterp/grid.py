"""Where cells are: `Grid`, the lattice of one item.

Coordinates are 0-based and half-open in base pairs, or millimetres RAS+. An affine here takes cell
*edges* in index units to coordinates, so cell i of a one-dimensional grid covers [a·i + b, a·(i+1) + b).
NIfTI speaks of voxel centres; `Grid.from_centers` converts at the door. The minus strand is a negative
step: the first cell is the one with the highest coordinate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError


@dataclass(frozen=True)
class Space:
    """A coordinate system: a contig in bp, a scan in mm, or the index of an array."""

    name: str
    unit: str = "bp"
    length: int | None = None
    circular: bool = False


class Grid:
    """The cells of one item.

    Parameters
    ----------
    space: the coordinate system the cells lie in.
    shape: cells per axis, (n,) integers, n ≥ 1.
    affine: (n+1, n+1), index edges → coordinates; None for irregular cells.
    bounds: (size, 2) start ≤ end of irregular one-dimensional cells, in the order of the array.
        Zero width is an insertion; gaps are deleted or masked.
    step: +1 or −1, the direction irregular cells are read in (−1 = minus strand).
    """

    __slots__ = ("_bounds", "affine", "shape", "space", "step")

    def __init__(
        self,
        space: Space,
        shape: Sequence[int],
        affine: Any = None,
        bounds: Any = None,
        step: int | None = None,
    ):
        self.space = space
        self.shape = tuple(int(s) for s in shape)
        if (affine is None) == (bounds is None):
            raise InputError("a Grid takes either an affine or bounds, and got both or neither")
        self.affine: Array | None = None
        self._bounds: Array | None = None
        if affine is not None:
            self.affine = np.asarray(affine, np.float64)
            wanted = (len(self.shape) + 1,) * 2
            if self.affine.shape != wanted:
                raise InputError(f"a Grid of shape {self.shape} needs an affine {wanted}, got {self.affine.shape}")
            if not np.isfinite(self.affine).all() or np.linalg.det(self.affine) == 0:
                raise InputError("the affine of a Grid must be finite and invertible")
            self.step = -1 if len(self.shape) == 1 and self.affine[0, 0] < 0 else 1
        else:
            self._bounds = np.asarray(bounds, np.int64).reshape(-1, 2)
            if self.shape != (len(self._bounds),):
                raise InputError(f"a Grid of shape {self.shape} got bounds for {len(self._bounds)} cells")
            if (self._bounds[:, 0] > self._bounds[:, 1]).any():
                raise InputError("irregular cells need start ≤ end; the minus strand is told by step=-1")
            self.step = 1 if step is None else int(step)

    @classmethod
    def line(cls, space: Space, start: int, end: int, strand: str = "+") -> Grid:
        """One cell per base of [start, end); on '-' the first cell is the last base."""
        affine = [[1, start], [0, 1]] if strand != "-" else [[-1, end], [0, 1]]
        return cls(space, (end - start,), affine)

    @classmethod
    def from_centers(cls, space: Space, shape: Sequence[int], affine: Any) -> Grid:
        """From an affine that takes cell *indices* to cell *centres* (NIfTI, DICOM): half a cell is moved here."""
        half = np.eye(len(shape) + 1)
        half[:-1, -1] = -0.5
        return cls(space, shape, np.asarray(affine, np.float64) @ half)

    def to_centers(self) -> Array:
        """The (n+1, n+1) affine from cell indices to cell centres, as NIfTI writes it."""
        half = np.eye(self.ndim + 1)
        half[:-1, -1] = 0.5
        return np.asarray(self._regular() @ half)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def strand(self) -> str:
        return "-" if self.step < 0 else "+"

    @property
    def bounds(self) -> Array:
        """(size, 2) start ≤ end per cell in one dimension; (size, n, 2) axis-aligned boxes in more."""
        if self._bounds is not None:
            return self._bounds
        affine = self._regular()
        if self.ndim == 1:
            edges = affine[0, 0] * np.arange(self.size + 1) + affine[0, 1]
            both = np.stack([edges[:-1], edges[1:]], 1)
            both = both[:, ::-1] if self.step < 0 else both
            whole = np.rint(both)
            return whole.astype(np.int64) if np.array_equal(whole, both) else both
        corners = np.stack(np.meshgrid(*[[0, 1]] * self.ndim, indexing="ij"), -1).reshape(-1, self.ndim)
        spread = corners @ affine[:-1, :-1].T
        low = self.index_to_world(self._indices())
        return np.stack([low + spread.min(0), low + spread.max(0)], -1)

    @property
    def centers(self) -> Array:
        """(size, n) coordinates of the cells' middles."""
        if self._bounds is not None:
            return np.asarray(self._bounds.mean(1, keepdims=True))
        return self.index_to_world(self._indices() + 0.5)

    def index_to_world(self, index: Array) -> Array:
        """(k, n) positions in index units → (k, n) coordinates."""
        affine = self._regular()
        return np.asarray(np.asarray(index, np.float64) @ affine[:-1, :-1].T + affine[:-1, -1])

    def locate(self, points: Any) -> Array:
        """The flat index of the cell each of (k, n) or (k,) coordinates falls in; −1 outside every cell."""
        points = np.asarray(points, np.float64).reshape(-1, self.ndim)
        if self.space.circular and self.space.length and self.ndim == 1:
            low = self.bounds[:, 0].min() if self.size else 0
            points = low + (points - low) % self.space.length
        if self._bounds is not None:
            return self._locate_irregular(points[:, 0])
        affine = self._regular()
        if self.ndim == 1:
            # Counted from the low end on both strands, so that cells are [start, end) exactly, also within rounding.
            width, low = abs(affine[0, 0]), min(affine[0, 1], affine[0, 1] + affine[0, 0] * self.size)
            count = np.floor((points - low) / width).astype(np.int64)
            index = self.size - 1 - count if self.step < 0 else count
        else:
            inverse = np.linalg.inv(affine)
            index = np.floor(points @ inverse[:-1, :-1].T + inverse[:-1, -1]).astype(np.int64)
        inside = ((index >= 0) & (index < np.array(self.shape))).all(1)
        flat = np.ravel_multi_index(tuple(np.where(inside, index.T, 0)), self.shape)
        return np.where(inside, flat, -1)

    def coarsen(self, factor: int | Sequence[int]) -> Grid:
        """Cells merged `factor` at a time per axis; the shape must be divisible."""
        factors = np.broadcast_to(np.asarray(factor, np.int64), (self.ndim,))
        if (np.array(self.shape) % factors).any():
            raise InputError(f"a Grid of shape {self.shape} cannot be coarsened by {factors.tolist()}: not divisible")
        scale = np.diag([*factors, 1]).astype(np.float64)
        return Grid(self.space, (np.array(self.shape) // factors).tolist(), self._regular() @ scale)

    def compose(self, cells: Grid) -> Grid:
        """Cells given on this grid's own index lattice, as a Grid in this grid's space."""
        if cells.affine is not None:
            if self.affine is None:
                return self._compose_irregular(cells)
            return Grid(self.space, cells.shape, self.affine @ cells.affine)
        if self.affine is None:
            return self._compose_irregular(cells)
        edges = self.index_to_world(cells.bounds.reshape(-1, 1)).reshape(-1, 2)
        return Grid(self.space, cells.shape, bounds=np.sort(np.rint(edges), 1), step=self.step * cells.step)

    def box(self, low: Sequence[int], high: Sequence[int]) -> Grid:
        """The cells from index `low` up to, not including, `high` along every axis, as a Grid of their own."""
        shift = np.eye(self.ndim + 1)
        shift[:-1, -1] = low
        return Grid(
            self.space, [max(int(b) - int(a), 0) for a, b in zip(low, high, strict=True)], self._regular() @ shift
        )

    def take(self, keep: Array) -> Grid:
        """The one-dimensional cells at the increasing positions `keep`; regular while they stay contiguous."""
        keep = np.asarray(keep)
        if self.affine is not None and len(keep) and keep[-1] - keep[0] + 1 == len(keep):
            shift = np.array([[1.0, float(keep[0])], [0.0, 1.0]])
            return Grid(self.space, (len(keep),), self.affine @ shift)
        return Grid(self.space, (len(keep),), bounds=self.bounds[keep], step=self.step)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid) or (self.space, self.shape, self.step) != (other.space, other.shape, other.step):
            return False
        if self.affine is not None and other.affine is not None:
            return bool(np.allclose(self.affine, other.affine))
        return self.ndim == 1 and np.array_equal(self.bounds, other.bounds)

    def __repr__(self) -> str:
        kind = "regular" if self.affine is not None else "irregular"
        return f"Grid({self.space.name}, {'×'.join(map(str, self.shape))} {kind} cells, {self.space.unit})"

    def _compose_irregular(self, cells: Grid) -> Grid:
        """Cells of whole array cells: each reaches from the first it holds to the last, over what is deleted."""
        inner = cells.bounds.astype(np.int64)
        ends = np.stack([self.bounds[inner[:, 0]], self.bounds[np.maximum(inner[:, 1] - 1, inner[:, 0])]], 1)
        bounds = np.stack([ends[:, :, 0].min(1), ends[:, :, 1].max(1)], 1)
        return Grid(self.space, cells.shape, bounds=bounds, step=self.step * cells.step)

    def _regular(self) -> Array:
        if self.affine is None:
            raise InputError("irregular cells have no affine; use bounds")
        return self.affine

    def _indices(self) -> Array:
        return np.stack(np.unravel_index(np.arange(self.size), self.shape), 1)

    def _locate_irregular(self, points: Array) -> Array:
        bounds = self.bounds
        order = np.argsort(bounds[:, 0], kind="stable")
        order = order[bounds[order, 0] < bounds[order, 1]]  # a zero-width cell holds no point
        at = np.searchsorted(bounds[order, 0], points, side="right") - 1
        found = np.where(at >= 0, order[np.maximum(at, 0)], 0) if len(order) else np.zeros(len(points), np.int64)
        inside = (at >= 0) & (points < bounds[found, 1]) if len(order) else np.zeros(len(points), bool)
        return np.where(inside, found, -1)
