"""How much of each cell lies in which part of a volume (kernels; see arrays only).

Both lattices are told by affines from *edges* in index units. Where the axes of cells and voxels are parallel, in
whatever order and direction, a cell is cut at the voxels' edges and the shares are exact. Otherwise (oblique) a cell is
sampled at the middles of a regular pattern, at least `LEAST` points and two per voxel along each of its axes, and each
point counts for the voxel it falls in. What lies outside the volume is told apart: it is not background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError

# Affines are stored as float32, so edges nearer than this (in voxels) to a voxel's edge lie on it.
SNAP = 1 / 256
LEAST = 4
HIDDEN = -1  # a voxel about which nothing is known; counts as outside


@dataclass(frozen=True)
class Cover:
    """Shares of cells. Line j: `share[j]` of the cell `cell[j]` (C order) lies in voxels of the number `part[j]` ≥ 1.

    outside (cells,): the share outside the volume or in hidden voxels. Lines are sorted by cell.
    """

    cell: Array
    part: Array
    share: Array
    outside: Array


def cover(parts: Array, voxels: Array, cells: Array, shape: tuple[int, ...]) -> Cover:
    """parts: (x, y, z) int32, 0 = background, HIDDEN = unknown; voxels, cells: (4, 4) edges → mm; shape of cells."""
    through = between(voxels, cells)
    order = parallel(through, shape)
    if order is None:
        counts = samples(through)
        found = _sampled(parts, through, counts, np.array(shape, np.int64))
    else:
        low, cut = _window(through, order, shape, parts.shape)
        box = np.ascontiguousarray(parts[cut].transpose(order))
        found = _exact(box, *_pieces(through, order, shape, parts.shape, low))
    return Cover(*found)


def mean(volume: Array, voxels: Array, cells: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean of a (x, y, z) volume over each cell's part with a value, and the share of the cell that has none."""
    through = between(voxels, cells)
    order = parallel(through, shape)
    if order is None:
        total, seen = _sampled_mean(volume, through, samples(through), np.array(shape, np.int64))
    else:
        low, cut = _window(through, order, shape, volume.shape)
        box = np.ascontiguousarray(volume[cut].transpose(order))
        total, seen = _exact_mean(box, *_pieces(through, order, shape, volume.shape, low))
    return np.where(seen > 0, total / np.maximum(seen, 1e-300), np.nan), np.clip(1 - seen, 0, 1)


def between(voxels: Array, cells: Array) -> Array:
    """(3, 4) from cell edges to voxel edges, both in index units."""
    if not np.isfinite(voxels).all() or abs(np.linalg.det(voxels)) < 1e-12:
        raise InputError("the affine of a label volume cannot be inverted: two of its axes lie along each other")
    return np.asarray((np.linalg.inv(voxels) @ cells)[:3], np.float64)


def parallel(through: Array, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Which voxel axis each cell axis runs along; None when oblique by more than SNAP over the whole lattice."""
    steps: Array = np.abs(through[:, :3])
    order = steps.argmax(0)
    if len(set(order.tolist())) < 3:
        return None
    drift = steps * np.array(shape)
    drift[order, np.arange(3)] = 0
    return (int(order[0]), int(order[1]), int(order[2])) if drift.max() < SNAP else None


def samples(through: Array) -> Array:
    """(3,) points per cell axis where lattices are oblique."""
    reach: Array = np.abs(through[:, :3]).max(0)
    return np.asarray(np.maximum(LEAST, np.ceil(2 * reach)).astype(np.int64))


def _edges(through: Array, order: tuple[int, ...], shape: tuple[int, ...]) -> list[Array]:
    """Per cell axis: edges (n + 1,) of its cells along its voxel axis, set on voxel edges where they are near."""
    found = []
    for axis, (along, n) in enumerate(zip(order, shape, strict=True)):
        edges = through[along, axis] * np.arange(n + 1) + through[along, 3]
        whole, fine = np.rint(edges), abs(through[along, axis]) < 4 * SNAP  # cells so small would lose their width
        found.append(np.where((np.abs(edges - whole) < SNAP) & (not fine), whole, edges))
    return found


def _window(
    through: Array, order: tuple[int, ...], shape: tuple[int, ...], size: tuple[int, ...]
) -> tuple[list[int], tuple[slice, ...]]:
    """The first voxel the cells reach per cell axis, and the part of the volume they reach: a tile copies no more."""
    low, cut = [], [slice(0)] * 3
    for along, edges in zip(order, _edges(through, order, shape), strict=True):
        first = int(np.clip(np.floor(edges.min()), 0, size[along]))
        low.append(first)
        cut[along] = slice(first, int(np.clip(np.ceil(edges.max()), first, size[along])))
    return low, tuple(cut)


def _pieces(
    through: Array, order: tuple[int, ...], shape: tuple[int, ...], size: tuple[int, ...], low: list[int]
) -> tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array]:
    """Per cell axis, what its cells are cut into: offset (n + 1,), voxel (k,) (−1 outside), share (k,) of the cell."""
    found: list[Array] = []
    for along, first, edges in zip(order, low, _edges(through, order, shape), strict=True):
        begin, end = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
        a = np.floor(begin).astype(np.int64)
        count = np.maximum(np.ceil(end).astype(np.int64) - a, 1)
        offset = np.concatenate([[0], np.cumsum(count)])
        cell = np.repeat(np.arange(len(begin)), count)
        voxel = np.arange(len(cell)) - np.repeat(offset[:-1] - a, count)
        length = np.minimum(voxel + 1, end[cell]) - np.maximum(voxel, begin[cell])
        inside = (voxel >= 0) & (voxel < size[along])
        found += [offset, np.where(inside, voxel - first, -1), length / (end - begin)[cell]]
    return tuple(found)  # type: ignore[return-value]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _grown(array: Array, size: int) -> Array:
    fresh = np.empty(size, array.dtype)
    fresh[: array.size] = array
    return fresh


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put(seen: Array, shares: Array, count: int, part: int, share: float) -> int:
    """Add to a cell's short list of parts; gives its new length. Neighbouring voxels are mostly of one part."""
    for j in range(count - 1, -1, -1):
        if seen[j] == part:
            shares[j] += share
            return count
    seen[count], shares[count] = part, share
    return count + 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _exact(
    box: Array, ox: Array, vx: Array, sx: Array, oy: Array, vy: Array, sy: Array, oz: Array, vz: Array, sz: Array
) -> tuple[Array, Array, Array, Array]:
    nx, ny, nz = ox.size - 1, oy.size - 1, oz.size - 1
    outside = np.zeros(nx * ny * nz)
    cell, part, share = np.empty(1024, np.int64), np.empty(1024, np.int32), np.empty(1024)
    filled = 0
    most = np.max(ox[1:] - ox[:-1]) * np.max(oy[1:] - oy[:-1]) * np.max(oz[1:] - oz[:-1])
    seen, shares = np.empty(most, np.int32), np.empty(most)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                at, count, away = (x * ny + y) * nz + z, 0, 0.0
                for i in range(ox[x], ox[x + 1]):
                    for j in range(oy[y], oy[y + 1]):
                        both = sx[i] * sy[j]
                        for k in range(oz[z], oz[z + 1]):
                            if vx[i] < 0 or vy[j] < 0 or vz[k] < 0:
                                away += both * sz[k]
                                continue
                            here = box[vx[i], vy[j], vz[k]]
                            if here > 0:
                                count = _put(seen, shares, count, here, both * sz[k])
                            elif here < 0:
                                away += both * sz[k]
                outside[at] = away
                if filled + count > cell.size:
                    size = 2 * (filled + count)
                    cell, part, share = _grown(cell, size), _grown(part, size), _grown(share, size)
                for j in range(count):
                    cell[filled + j], part[filled + j], share[filled + j] = at, seen[j], shares[j]
                filled += count
    return cell[:filled], part[:filled], share[:filled], outside


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _at(through: Array, row: int, x: float, y: float, z: float, size: int) -> int:
    """The voxel along one axis that a point (in cell edges) falls in; −1 outside."""
    p = through[row, 0] * x + through[row, 1] * y + through[row, 2] * z + through[row, 3]
    if p < -SNAP or p > size + SNAP:
        return -1
    return min(max(int(np.floor(p)), 0), size - 1)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sampled(parts: Array, through: Array, counts: Array, shape: Array) -> tuple[Array, Array, Array, Array]:
    a, b, c = counts
    unit = 1.0 / (a * b * c)
    nx, ny, nz = shape
    outside = np.zeros(nx * ny * nz)
    cell, part, share = np.empty(1024, np.int64), np.empty(1024, np.int32), np.empty(1024)
    filled = 0
    seen, shares = np.empty(a * b * c, np.int32), np.empty(a * b * c)
    for at in range(nx * ny * nz):
        x, y, z = at // (ny * nz), at // nz % ny, at % nz
        count, away = 0, 0.0
        for s in range(a * b * c):
            px, py, pz = x + (s // (b * c) + 0.5) / a, y + (s // c % b + 0.5) / b, z + (s % c + 0.5) / c
            i = _at(through, 0, px, py, pz, parts.shape[0])
            j = _at(through, 1, px, py, pz, parts.shape[1])
            k = _at(through, 2, px, py, pz, parts.shape[2])
            here = HIDDEN if i < 0 or j < 0 or k < 0 else parts[i, j, k]
            if here > 0:
                count = _put(seen, shares, count, here, 1.0)
            elif here < 0:
                away += 1.0
        outside[at] = away * unit
        if filled + count > cell.size:
            size = 2 * (filled + count)
            cell, part, share = _grown(cell, size), _grown(part, size), _grown(share, size)
        for j in range(count):
            cell[filled + j], part[filled + j], share[filled + j] = at, seen[j], shares[j] * unit
        filled += count
    return cell[:filled], part[:filled], share[:filled], outside


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _exact_mean(
    box: Array, ox: Array, vx: Array, sx: Array, oy: Array, vy: Array, sy: Array, oz: Array, vz: Array, sz: Array
) -> tuple[Array, Array]:
    nx, ny, nz = ox.size - 1, oy.size - 1, oz.size - 1
    total, have = np.zeros(nx * ny * nz), np.zeros(nx * ny * nz)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                at = (x * ny + y) * nz + z
                for i in range(ox[x], ox[x + 1]):
                    for j in range(oy[y], oy[y + 1]):
                        for k in range(oz[z], oz[z + 1]):
                            if vx[i] >= 0 and vy[j] >= 0 and vz[k] >= 0:
                                value, share = box[vx[i], vy[j], vz[k]], sx[i] * sy[j] * sz[k]
                                if np.isfinite(value):
                                    total[at] += value * share
                                    have[at] += share
    return total, have


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sampled_mean(volume: Array, through: Array, counts: Array, shape: Array) -> tuple[Array, Array]:
    a, b, c = counts
    unit = 1.0 / (a * b * c)
    nx, ny, nz = shape
    total, have = np.zeros(nx * ny * nz), np.zeros(nx * ny * nz)
    for at in range(nx * ny * nz):
        x, y, z = at // (ny * nz), at // nz % ny, at % nz
        for s in range(a * b * c):
            px, py, pz = x + (s // (b * c) + 0.5) / a, y + (s // c % b + 0.5) / b, z + (s % c + 0.5) / c
            i = _at(through, 0, px, py, pz, volume.shape[0])
            j = _at(through, 1, px, py, pz, volume.shape[1])
            k = _at(through, 2, px, py, pz, volume.shape[2])
            if i >= 0 and j >= 0 and k >= 0 and np.isfinite(volume[i, j, k]):
                total[at] += volume[i, j, k] * unit
                have[at] += unit
    return total, have
