"""Voxels of an image brought together in cells that run along its axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.grid import Grid


def lie(cells: Grid, voxels: Grid, name: str) -> tuple[Array, list[Array], list[bool]]:
    """The array axis each cell axis runs along; by array axis the voxels lo:hi of each cell, (n, 2), and whether cells
    end in the middle of voxels, as those about a voxel do.

    A voxel is the cell's its middle lies in; a cell that holds no middle has the voxel its own middle lies in. Where
    cells end in the middle of a voxel, it counts half for either (`pool`), else their means would stand half a voxel
    beside them.
    """
    if cells.affine is None or voxels.affine is None:
        raise InputError(f"the cells of item {name!r} and the voxels of its scan must be regular lattices")
    to = np.linalg.solve(voxels.affine, cells.affine)
    axis = np.abs(to[:3, :3]).argmax(0)
    off = np.abs(to[:3, :3]) * np.array(cells.shape)
    off[axis, np.arange(3)] = 0
    if len(set(axis.tolist())) < 3 or off.max() > 0.5:
        raise InputError(f"the cells of item {name!r} do not run along the axes of its scan, as the source gives it")
    spans: list[Array] = [np.zeros((0, 2), np.int64)] * 3
    tied = [False] * 3
    for k, a in enumerate(axis.tolist()):
        edges = to[a, k] * np.arange(cells.shape[k] + 1) + to[a, 3]
        both = np.sort(np.stack([edges[:-1], edges[1:]], 1), 1)
        voxel = np.ceil(both - 0.5 - 1e-6).astype(np.int64)
        tied[a] = bool((np.abs(both - 0.5 - np.rint(both - 0.5)) < 1e-6).all())
        empty = voxel[:, 1] <= voxel[:, 0]
        middle = np.floor(both.mean(1) + 1e-6).astype(np.int64)
        spans[a] = np.where(empty[:, None], np.stack([middle, middle + 1], 1), voxel)
    return axis, spans, tied


def within(spans: Array, size: int) -> tuple[Array, Array]:
    """Which cells have voxels in an array of this size, and which voxels."""
    cut = np.clip(spans, 0, size)
    inside = np.flatnonzero(cut[:, 1] > cut[:, 0])
    return inside, cut[inside]


def pool(image: Array, cut: Sequence[Array], tied: Sequence[bool], by: Callable[..., Array]) -> Array:
    """One number per cell: axis after axis, which for means, least and largest is the same as box by box."""
    for axis, spans in enumerate(cut):
        lines = np.moveaxis(image, axis, 0)
        if tied[axis]:  # of every voxel and the next one first: the voxels at both ends of a cell then count half
            lines = by(np.stack([lines, np.concatenate([lines[1:], lines[-1:]])]), axis=0)
        image = np.moveaxis(np.stack([by(lines[lo:hi], axis=0) for lo, hi in spans]), 0, axis)
    return np.asarray(image, np.float64)
