"""From the lattice a scan was stored on to the one a model wants: orientation, spacing, obliqueness.

Affines here are NIfTI's: voxel indices to voxel centres, in mm RAS+. Axes are only flipped and permuted where that
is enough, and the voxels are then the file's own; else they are interpolated linearly. The first centre of the new
lattice is the first centre of the old one in the new order of axes (as MONAI's Spacing and nibabel's
`vox2out_vox` have it), so that a lattice does not move when it is only made finer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from scipy.optimize import linear_sum_assignment

from bioterp.arrays import Array
from bioterp.errors import InputError

LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
STRAIGHT = 1e-3  # radians: axes nearer to the world's than this are taken to lie on them
SAME = 1e-3  # of a voxel: spacings nearer to each other than this are the same


@dataclass(frozen=True)
class Lattice:
    """Voxels per axis, and the (4, 4) affine from voxel indices to centres in mm RAS+."""

    shape: tuple[int, int, int]
    affine: Array


def parse_orientation(letters: str) -> Array:
    """(3, 2) world axis and sign of each array axis: 'RAS' → [[0, 1], [1, 1], [2, 1]]."""
    named = str(letters).upper()
    if len(named) != 3 or sorted(LETTERS[one][0] for one in named if one in LETTERS) != [0, 1, 2]:
        raise InputError(
            f"orientation is three letters, one of each pair L/R, A/P, I/S, such as RAS or LIA; got {letters!r}"
        )
    return np.array([LETTERS[one] for one in named])


def axes_of(affine: Array) -> Array:
    """(3, 2) nearest world axis and sign of each array axis; every world axis once."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    world, own = linear_sum_assignment(-np.abs(direction))
    found = np.empty((3, 2), np.int64)
    for axis, column in zip(world, own, strict=True):
        found[column] = axis, 1 if direction[axis, column] >= 0 else -1
    return found


def letters_of(affine: Array) -> str:
    """The nearest orientation of an affine, e.g. 'LIA'."""
    names = {value: key for key, value in LETTERS.items()}
    return "".join(names[int(axis), int(sign)] for axis, sign in axes_of(affine))


def obliqueness(affine: Array) -> float:
    """The largest angle, in radians, between an array axis and the world axis nearest to it."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.arccos(np.clip(np.abs(direction).max(0).min(), 0, 1)))


def oriented(lattice: Lattice, orientation: str) -> tuple[Lattice, Array]:
    """The same voxels in another order of axes; and the (3, 2) source axis and sign of each new axis."""
    wanted, own = parse_orientation(orientation), axes_of(lattice.affine)
    steps = np.empty((3, 2), np.int64)
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (world, sign) in enumerate(wanted):
        source = int(np.flatnonzero(own[:, 0] == world)[0])
        flip = int(sign * own[source, 1])
        steps[new] = source, flip
        change[source, new] = flip
        change[source, 3] = 0 if flip > 0 else lattice.shape[source] - 1
    shape = tuple(lattice.shape[source] for source in steps[:, 0])
    return Lattice(shape, lattice.affine @ change), steps  # type: ignore[arg-type]


def target(lattice: Lattice, orientation: str, spacing: tuple[float, float, float] | None, straighten: bool) -> Lattice:
    """The lattice a model is shown: no voxel is read for it.

    spacing: mm along the new axes; None keeps the scan's own. straighten: an oblique scan is laid on the world's
    axes, on the smallest box that holds all its voxel centres; else it keeps its own directions.
    """
    turned, _ = oriented(lattice, orientation)
    own = np.linalg.norm(turned.affine[:3, :3], axis=0)
    wanted = own if spacing is None else np.asarray(spacing, float)
    shape = np.array(turned.shape)
    if straighten and obliqueness(turned.affine) > STRAIGHT:
        axes = parse_orientation(orientation)
        corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape], indexing="ij")).reshape(3, -1)
        world = turned.affine[:3, :3] @ corners + turned.affine[:3, 3:]
        affine = np.eye(4)
        affine[:3, :3] = 0
        size = np.empty(3)
        for new, (axis, sign) in enumerate(axes):
            low, high = world[axis].min(), world[axis].max()
            affine[axis, new] = sign * wanted[new]
            affine[axis, 3] = low if sign > 0 else high
            size[new] = np.rint((high - low) / wanted[new]) + 1
        return Lattice(_shape(size), affine)
    if np.abs(wanted / own - 1).max() * shape.max() < SAME:
        return turned
    scale = np.diag([*(wanted / own), 1])
    return Lattice(_shape(np.rint((shape - 1) * own / wanted) + 1), turned.affine @ scale)


def bring(array: Array, source: Lattice, wanted: Lattice, fill: float | None = None, nearest: bool = False) -> Array:
    """(x, y, z) voxels on `source` → the same picture on `wanted`, float32 (or the array's type when `nearest`).

    Voxels that only change places are copied, not interpolated. Outside the source: `fill`, by default its minimum.
    Up to half a voxel beyond its last centres is inside: there the border voxel goes on (where axes are parallel).
    """
    exact = _permutation(source, wanted)
    if exact is not None:
        axes, flips = exact
        return np.ascontiguousarray(np.transpose(array, axes)[tuple(slice(None, None, f) for f in flips)])
    index = np.linalg.inv(source.affine) @ wanted.affine  # index in the new lattice → index in the old one
    values = array if nearest else np.asarray(array, np.float32)
    empty = (0 if nearest else float(np.nanmin(values))) if fill is None else fill
    matrix, offset = index[:3, :3], _snapped(index[:3, 3])
    own = np.abs(matrix).argmax(0)  # the source axis each new axis runs along
    along = np.zeros((3, 3))
    along[own, range(3)] = matrix[own, range(3)]
    straight = len(set(own.tolist())) == 3 and np.allclose(matrix, along)
    kind = {"order": 0 if nearest else 1, "mode": "nearest" if straight else "constant", "cval": empty}
    if np.allclose(matrix, np.diag(np.diag(matrix))):
        matrix = np.diag(matrix).copy()  # scipy goes axis by axis then, which is faster
    moved = np.asarray(
        scipy.ndimage.affine_transform(values, matrix, offset, output_shape=wanted.shape, prefilter=False, **kind)
    )
    for new, axis in enumerate(own.tolist()) if straight else ():
        at = along[axis, new] * np.arange(wanted.shape[new]) + offset[axis]
        beyond = (at < -0.5 - SAME) | (at > source.shape[axis] - 0.5 + SAME)
        moved[(*[slice(None)] * new, beyond)] = empty
    return moved


def extent(source: Lattice, wanted: Lattice) -> tuple[Array, Array]:
    """(3,) low and high voxels of `wanted`, half-open, between which centres lie in the source's box."""
    corners = np.array(np.meshgrid(*[[-0.5, n - 0.5] for n in source.shape], indexing="ij")).reshape(3, -1)
    index = np.linalg.inv(wanted.affine) @ source.affine
    at = index[:3, :3] @ corners + index[:3, 3:]
    low, high = np.ceil(at.min(1) - SAME).astype(int), np.floor(at.max(1) + SAME).astype(int) + 1
    return np.maximum(low, 0), np.minimum(high, wanted.shape)


def _snapped(offset: Array) -> Array:
    """Offsets within rounding of a whole voxel made whole: else the first plane counts as outside."""
    whole = np.rint(offset)
    return np.where(np.abs(offset - whole) < 1e-6, whole, offset)


def _permutation(source: Lattice, wanted: Lattice) -> tuple[list[int], list[int]] | None:
    """Axes and flips that turn one lattice into the other, if these alone do."""
    index = np.linalg.inv(source.affine) @ wanted.affine
    near = np.rint(index)
    matrix = near[:3, :3].astype(int)
    room = SAME / max(source.shape)
    if np.abs(index[:3, :3] - near[:3, :3]).max() > room or np.abs(index[:3, 3] - near[:3, 3]).max() > SAME:
        return None
    if not (np.abs(matrix).sum(0) == 1).all() or not (np.abs(matrix).sum(1) == 1).all():
        return None
    axes = [int(np.abs(matrix[:, new]).argmax()) for new in range(3)]
    flips = [int(matrix[axis, new]) for new, axis in enumerate(axes)]
    starts = [0 if flip > 0 else source.shape[axis] - 1 for axis, flip in zip(axes, flips, strict=True)]
    same = wanted.shape == tuple(source.shape[axis] for axis in axes)
    placed = all(near[axis, 3] == start for axis, start in zip(axes, starts, strict=True))
    return (axes, flips) if same and placed else None


def _shape(size: Array) -> tuple[int, int, int]:
    x, y, z = (max(int(n), 1) for n in size)
    return x, y, z
