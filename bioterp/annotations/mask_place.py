"""Where a label volume lies beside its scan."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np

from bioterp.annotations.scan_sources import Labels
from bioterp.arrays import Array
from bioterp.grid import Grid
from bioterp.rows import Rows


def edges_of(grid: Grid) -> Array:
    """The affine from edges; label volumes and scans are always regular."""
    assert grid.affine is not None
    return grid.affine


def meet(one: Grid, other: Grid) -> bool:
    """Whether the boxes around two lattices overlap in mm."""
    (a, b), (c, d) = box_of([one]), box_of([other])
    return bool((np.minimum(b, d) - np.maximum(a, c) > 1e-3).all())


def box_of(grids: Sequence[Grid]) -> tuple[Array, Array]:
    corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = np.concatenate([grid.index_to_world(corners * np.array(grid.shape)) for grid in grids])
    return points.min(0), points.max(0)


def extent(grids: Sequence[Grid]) -> str:
    low, high = box_of(grids)
    return " × ".join(f"{a:.0f}…{b:.0f}" for a, b in zip(low, high, strict=True))


def moved(rows: Rows, items: Array, labels: Labels) -> list[str]:
    """A word of warning when the label has the image's shape and stands elsewhere: mostly a lost header.

    What is compared is the box of voxel centres: the same box stored with other axes is where it should be.
    """
    told = rows.items["native"].iloc[int(items[0])] if "native" in rows.items.columns else None
    if not isinstance(told, str):
        return []
    native = json.loads(told)
    if list(native["shape"]) != list(labels.layers[0].shape):
        return []
    theirs = np.asarray(native["affine"], np.float64)
    last = np.array(native["shape"]) - 1
    ends = np.array([[*at, 1.0] for at in itertools.product(*((0, n) for n in last))])
    mine, own = ((ends @ affine.T)[:, :3] for affine in (labels.affine, theirs))
    far = float(max(np.linalg.norm(mine.min(0) - own.min(0)), np.linalg.norm(mine.max(0) - own.max(0))))
    if far < 0.5 * np.linalg.norm(theirs[:3, :3], axis=0).min():
        return []
    return [f"its label has the image's shape and another affine (up to {far:.1f} mm away); the label's own is used"]
