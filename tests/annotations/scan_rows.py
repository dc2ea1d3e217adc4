"""Rows of scans to label, without an adapter, and label volumes on disk written by nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from bioterp.grid import Grid, Space
from bioterp.rows import Rows, split_of


def scan_rows(*cells: tuple[str, tuple[int, ...], np.ndarray], **columns) -> Rows:
    """(scan, shape, affine of the cells' EDGES → mm) per item; several items of one scan are its tiles."""
    names = [scan for scan, _, _ in cells]
    items = pd.DataFrame(
        {
            "item": [f"{scan}:{names[:i].count(scan)}" for i, scan in enumerate(names)],
            "sample": names,
            "block": [f"block-{scan}" for scan in names],
            "split": [split_of(scan) for scan in names],
            **columns,
        }
    )
    return Rows.from_grids(items, [Grid(Space(scan, "mm"), shape, affine) for scan, shape, affine in cells])


def like(scan: str, shape: tuple[int, ...], centres: np.ndarray, stride: int = 1) -> Rows:
    """Cells of stride³ voxels of an image, its affine of voxel CENTRES given."""
    half = np.eye(4)
    half[:3, 3] = -0.5
    edges = np.asarray(centres, float) @ half @ np.diag([stride, stride, stride, 1.0])
    return scan_rows((scan, tuple(n // stride for n in shape), edges))


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """A NIfTI with sform and qform set."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.to_filename(path)
    return path


def states(field, name: str) -> np.ndarray:
    """(rows,) 1 positive, 0 negative, −1 unknown."""
    positive, known = field.values.mask(field.column(name))
    return np.where(positive, 1, np.where(known, 0, -1))


def spin(x: float, y: float, z: float) -> np.ndarray:
    """A rotation about the three axes, angles in degrees."""
    a, b, c = np.deg2rad([x, y, z])
    one = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    two = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    three = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return one @ two @ three


def affine_of(turn: np.ndarray, spacing, origin) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = turn * np.asarray(spacing, float)
    out[:3, 3] = origin
    return out


def dense_cover(array, centres, edges, shape, value, per_axis=20):
    """(cells,) share of a value and share outside, by `per_axis`³ points a cell and the nearest voxel centre.

    Nothing of the package: NIfTI's own convention (voxel i is what lies nearest to its centre), cell by cell.
    """
    inverse = np.linalg.inv(centres)
    steps = (np.arange(per_axis) + 0.5) / per_axis
    pattern = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    found, outside = [], []
    for cell in np.ndindex(*shape):
        mm = nibabel.affines.apply_affine(edges, pattern + cell)
        voxel = np.rint(nibabel.affines.apply_affine(inverse, mm)).astype(int)
        inside = ((voxel >= 0) & (voxel < array.shape)).all(1)
        here = array[tuple(voxel[inside].T)]
        found.append((here == value).sum() / len(mm))
        outside.append((~inside).mean())
    return np.array(found), np.array(outside)
