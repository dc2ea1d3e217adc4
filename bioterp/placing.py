"""Where the cells of a scan lie within the scan, and whose scan it is.

Two people's scans share no coordinate system, so that "the same place" has to be said: here the scans are centred on
each other, and positions are counted in mm along each scan's own axes, taken in the order and direction of the axes
of the world they run closest to (left to right, back to front, foot to head). Nothing is turned or scaled. Scans of
one shape on one affine, e.g. in a template's space, lie on each other cell by cell.

The centre is that of the lattice of cells where every scan is one item. Scans in several tiles are centred by the box
of their file, told by the column `native` of the items, or without it by the box of all tiles there are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.rows import Rows

PARALLEL = 1e-3  # how far two unit vectors may differ and still be one direction


@dataclass(frozen=True)
class Places:
    """Lattices of items in mm from the centre of their scan, all (items, 3).

    shape: cells; axis: the axis of the world (0 to right, 1 to front, 2 to head) each array axis runs along; start:
    where its first edge lies on that axis; step: mm per cell, negative against it; half: half the extent of the
    scan's box, by axes of the world.
    """

    shape: Array
    axis: Array
    start: Array
    step: Array
    half: Array

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, items: Array) -> Places:
        return Places(*(np.asarray(getattr(self, name))[items] for name in self.__dataclass_fields__))

    def along(self, item: int, axis: int) -> Array:
        """Positions of the cells' middles along one array axis."""
        cells = np.arange(self.shape[item, axis]) + 0.5
        return np.asarray(self.start[item, axis] + self.step[item, axis] * cells)

    def centers(self, item: int) -> Array:
        """(cells, 3) positions of all cells of an item, by axes of the world."""
        lines = [self.along(item, axis) for axis in range(3)]
        found = np.empty((*(len(line) for line in lines), 3))
        for axis, line in enumerate(np.ix_(*lines)):
            found[..., self.axis[item, axis]] = line
        return found.reshape(-1, 3)


def places_of(rows: Rows) -> Places:
    """The place of every item. Raises InputError for rows that are not three-dimensional, or tiles out of line."""
    if rows.ndim != 3:
        raise InputError(f"places within a scan need three-dimensional rows; these have {rows.ndim} axes")
    n = len(rows.items)
    axis, step, start = np.zeros((n, 3), np.int64), np.zeros((n, 3)), np.zeros((n, 3))
    origin, low, high = np.zeros((n, 3)), np.zeros((n, 3)), np.zeros((n, 3))
    frames = np.zeros((n, 3, 3))
    scan = scans_of(rows)
    first = np.full(scan.max() + 1 if n else 0, -1)
    for i in range(n):
        frames[i], axis[i], step[i] = own_axes(rows.affines[i])
        if first[scan[i]] < 0:
            first[scan[i]] = i
        elif np.abs(frames[i] - frames[first[scan[i]]]).max() > PARALLEL:
            raise InputError(f"the tiles of scan {rows.items['sample'].iloc[i]!r} do not run along the same axes")
        origin[i] = np.linalg.solve(frames[first[scan[i]]], rows.affines[i, :3, 3])
        start[i] = origin[i][axis[i]]
        ends = np.stack([start[i], start[i] + step[i] * rows.shapes[i]])
        low[i, axis[i]], high[i, axis[i]] = ends.min(0), ends.max(0)
    centre, half = _boxes(rows, scan, first, frames, low, high)
    return Places(rows.shapes, axis, start - np.take_along_axis(centre, axis, 1), step, half)


def own_axes(affine: Array) -> tuple[Array, Array, Array]:
    """Frame (3, 3), unit directions as columns by axes of the world; axis (3,) and signed step (3,) of each array axis.

    Position p of the world is frame⁻¹ p along the scan's own axes.
    """
    columns = affine[:3, :3]
    length = np.linalg.norm(columns, axis=0)
    unit = columns / length
    world, array = linear_sum_assignment(-np.abs(unit))
    axis = np.empty(3, np.int64)
    axis[array] = world
    sign = np.where(unit[axis, np.arange(3)] < 0, -1.0, 1.0)
    frame = np.empty((3, 3))
    frame[:, axis] = unit * sign
    return frame, axis, sign * length


def _boxes(rows: Rows, scan: Array, first: Array, frames: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Centre and half extent (items, 3) of each item's scan, along its own axes."""
    told = [_native(text) for text in rows.items["native"]] if "native" in rows.items.columns else [None]
    tiled = len(first) < len(scan) or (rows.items["item"].astype(str) != rows.items["sample"].astype(str)).any()
    if tiled and all(one is not None for one in told):
        boxes = [_corners(frames[first[s]], *one) for s, one in zip(scan, told, strict=True) if one is not None]
        low, high = np.array([box[0] for box in boxes]), np.array([box[1] for box in boxes])
    else:
        least, most = np.full((len(first), 3), np.inf), np.full((len(first), 3), -np.inf)
        np.minimum.at(least, scan, low)
        np.maximum.at(most, scan, high)
        low, high = least[scan], most[scan]
    low, high = low.reshape(-1, 3), high.reshape(-1, 3)
    return (low + high) / 2, (high - low) / 2


def _native(text: Any) -> tuple[Array, Array] | None:
    """Shape (3,) and affine of voxel centres (4, 4) of a file, from its JSON; None where nothing is told."""
    geometry = native_of(text)
    if geometry is None:
        return None
    return np.asarray(geometry["shape"], np.float64)[:3], np.asarray(geometry["affine"], np.float64)


def native_of(text: Any) -> dict[str, Any] | None:
    """The column `native` of one item, read; None where nothing is told. Raises InputError when it is no geometry."""
    if not isinstance(text, str) or not text:
        return None
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        told = None
    if (
        not isinstance(told, dict)
        or np.shape(told.get("affine", ())) != (4, 4)
        or np.shape(told.get("shape", ()))[:1] < (3,)
    ):
        raise InputError(f"the column native must hold JSON with a shape and an affine (4, 4); got {text[:60]!r}")
    return told


def _corners(frame: Array, shape: Array, affine: Array) -> tuple[Array, Array]:
    corners = np.stack(np.meshgrid(*[[-0.5, n - 0.5] for n in shape], indexing="ij"), -1).reshape(-1, 3)
    along = np.linalg.solve(frame, (corners @ affine[:3, :3].T + affine[:3, 3]).T).T
    return along.min(0), along.max(0)


def scans_of(rows: Rows) -> Array:
    """(items,) int64 code of each item's scan."""
    return np.asarray(pd.factorize(rows.items["sample"].astype(str))[0], np.int64)


def subjects_of(rows: Rows) -> pd.Series:
    """The subject of each item: the column `subject`, or the sample where that says nothing."""
    sample = rows.items["sample"].astype(str)
    if "subject" not in rows.items.columns:
        return sample
    told = rows.items["subject"]
    return told.astype(str).where(told.notna() & (told.astype(str) != ""), sample)
