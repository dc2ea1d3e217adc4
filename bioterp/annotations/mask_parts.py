"""Connected components of label volumes, what cells are to terms, and runs of rows (kernels; see arrays only)."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import pandas as pd

from bioterp.arrays import Array

HALF = 0.5 - 1e-9
NEIGHBOURS = {6: 1, 18: 2, 26: 3}  # how many of its three indices a neighbour may differ in


def components(codes: Array, connectivity: int, base: int = 0) -> tuple[Array, pd.DataFrame]:
    """Components of each code ≥ 1 in (x, y, z) int32 codes; −1 stays −1.

    Returns the volume of component numbers, base + 1 …, by code and first voxel, and one line per component: term
    (code − 1), within (its number within the term, 1 …), voxels, and i, j, k, the mean index of its voxels.
    """
    steps = np.array(
        [
            step
            for step in np.ndindex(3, 3, 3)
            if step < (1, 1, 1) and sum(at != 1 for at in step) <= NEIGHBOURS[connectivity]
        ],
        np.int64,
    )
    parts, code, voxels, total = _join(codes, steps - 1)
    order = np.argsort(code, kind="stable")
    rank = np.empty(len(order) + 1, np.int32)
    rank[order + 1] = np.arange(len(order)) + base + 1
    _renumber(parts, rank)
    code, voxels, centre = code[order], voxels[order], (total / np.maximum(voxels, 1)[:, None])[order]
    within = np.arange(len(code)) - np.searchsorted(code, code) + 1
    told = {"term": code.astype(np.int64) - 1, "within": within, "voxels": voxels}
    return parts, pd.DataFrame({**told, **dict(zip("ijk", centre.T, strict=True))})


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _root(parent: Array, at: int) -> int:
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _join(codes: Array, steps: Array) -> tuple[Array, Array, Array, Array]:
    """All codes at once by union and find: parts 1 … by first voxel; of each its code, voxels and summed indices."""
    nx, ny, nz = codes.shape
    parts = np.empty(codes.shape, np.int32)
    parent = np.zeros(1024, np.int32)
    count = 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                code = codes[x, y, z]
                if code <= 0:
                    parts[x, y, z] = code
                    continue
                mine = 0
                for s in range(steps.shape[0]):
                    i, j, k = x + steps[s, 0], y + steps[s, 1], z + steps[s, 2]
                    if i < 0 or j < 0 or k < 0 or j >= ny or k >= nz or codes[i, j, k] != code:
                        continue
                    if mine == 0:
                        mine = parts[i, j, k]
                    elif parts[i, j, k] != mine:
                        one, other = _root(parent, mine), _root(parent, parts[i, j, k])
                        parent[max(one, other)] = min(one, other)
                if mine == 0:
                    count += 1
                    mine = count
                    if count >= parent.size:
                        grown = np.zeros(2 * parent.size, np.int32)
                        grown[: parent.size] = parent
                        parent = grown
                    parent[count] = count
                parts[x, y, z] = mine
    final = np.zeros(count + 1, np.int32)
    found = 0
    for at in range(1, count + 1):  # a root has the lowest number of its component, so it comes first
        if parent[at] == at:
            found += 1
            final[at] = found
        else:
            final[at] = final[_root(parent, at)]
    own, voxels, total = np.zeros(found, np.int32), np.zeros(found, np.int64), np.zeros((found, 3))
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                if parts[x, y, z] > 0:
                    at = final[parts[x, y, z]]
                    parts[x, y, z] = at
                    own[at - 1] = codes[x, y, z]
                    voxels[at - 1] += 1
                    total[at - 1, 0] += x
                    total[at - 1, 1] += y
                    total[at - 1, 2] += z
    return parts, own, voxels, total


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _renumber(parts: Array, rank: Array) -> None:
    for x in range(parts.shape[0]):
        for y in range(parts.shape[1]):
            for z in range(parts.shape[2]):
                if parts[x, y, z] > 0:
                    parts[x, y, z] = rank[parts[x, y, z]]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def decide(cell: Array, part: Array, share: Array, term: Array, keep: Array) -> tuple[Array, Array, Array, Array]:
    """Positive (cell, component) and unknown (cell, term), both in the order of cells, from lines sorted by cell.

    term, keep: of each component (number − 1) its term and whether it is large enough to make a cell positive.
    A positive cell belongs to the component most of it lies in, of equal ones to the last.
    """
    n = cell.size
    yes_cell, yes_part = np.empty(n, np.int64), np.empty(n, np.int32)
    no_cell, no_term = np.empty(n, np.int64), np.empty(n, np.int64)
    yes, no, lo = 0, 0, 0
    while lo < n:
        hi = lo + 1
        while hi < n and cell[hi] == cell[lo]:
            hi += 1
        for a in range(lo, hi):
            mine = term[part[a] - 1]
            first = True
            for b in range(lo, a):
                first = first and term[part[b] - 1] != mine
            if not first:
                continue
            total, most, best = 0.0, -1.0, 0
            for b in range(a, hi):
                at = part[b] - 1
                if term[at] == mine and keep[at]:
                    total += share[b]
                    if share[b] > most or (share[b] == most and part[b] > best):
                        most, best = share[b], part[b]
            if total >= HALF:
                yes_cell[yes], yes_part[yes] = cell[a], best
                yes += 1
            else:
                no_cell[no], no_term[no] = cell[a], mine
                no += 1
        lo = hi
    return yes_cell[:yes].copy(), yes_part[:yes].copy(), no_cell[:no].copy(), no_term[:no].copy()


def distinct(array: Array) -> Array:
    """Sorted distinct whole numbers, some planes at a time."""
    found = np.zeros(0, np.int64)
    for part in _planes(array):
        low, high = int(part.min()), int(part.max())
        if high - low > 1 << 20:
            new = np.unique(part).astype(np.int64)
        else:
            new = np.flatnonzero(np.bincount((part - low).ravel())) + low
        found = np.union1d(found, new)
    return found


def recode(array: Array, values: Array, told: Array) -> Array:
    """int32 with told[i] in the place of values[i], which are sorted and all there are."""
    out = np.empty(array.shape, np.int32)
    dense = len(values) > 0 and values[-1] - values[0] <= 1 << 20
    if dense:
        lookup = np.zeros(int(values[-1] - values[0]) + 1, np.int32)
        lookup[values - values[0]] = told
    for part, into in zip(_planes(array), _planes(out), strict=True):
        into[...] = lookup[part - values[0]] if dense else told[np.searchsorted(values, part)]
    return out


def _planes(array: Array) -> Iterator[Array]:
    """Views of a few planes each, so that what is made of them stays small beside the volume."""
    step = max(1, (1 << 22) // max(int(np.prod(array.shape[1:])), 1))
    return (array[at : at + step] for at in range(0, array.shape[0] if array.size else 0, step))


def runs(key: Array, row: Array) -> tuple[Array, Array, Array]:
    """Runs (key, start, stop) of consecutive rows with one key, from lines in the order they are to be looked at."""
    if not len(row):
        return key, row, row
    first = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (row[1:] != row[:-1] + 1)])
    last = np.r_[first[1:], len(row)] - 1
    return key[first], row[first], row[last] + 1
