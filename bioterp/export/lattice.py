"""Where the cells of 3-D rows lie in a scan: shared by the maps, the matrices and the pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from bioterp.arrays import Array
from bioterp.errors import AlignmentError, InputError
from bioterp.export.tracks import dense
from bioterp.field import Field
from bioterp.rows import Rows

# A centre on the border of two cells belongs to the one with the higher index, also within rounding.
SNAP = 1e-5
AT_ONCE = 4_000_000  # voxels whose cell is worked out in one piece
BATCH = 65_536


def check_volumes(rows: Rows, what: str) -> None:
    """Raise InputError unless these are the rows of scans."""
    if rows.ndim != 3:
        raise InputError(f"{what} needs rows of scans (3 axes, in mm); these rows have {rows.ndim} axes")


def items_by_scan(rows: Rows) -> dict[str, Array]:
    """Scan id → the positions of its items (one, or its tiles), scans in order of appearance."""
    sample = rows.items["sample"].astype(str).to_numpy()
    found: dict[str, list[int]] = {}
    for at, name in enumerate(sample):
        found.setdefault(name, []).append(at)
    return {name: np.array(places, np.int64) for name, places in found.items()}


def check_tiles(rows: Rows, scan: str, items: Array) -> None:
    """Raise AlignmentError when items of a scan share a place: a map or a picture could only show one of them."""
    if len(items) < 2:
        return
    shapes = rows.shapes[items].astype(np.float64)
    # The middles of the corner cells and of the whole: what overlaps holds one of them, for tiles share a lattice.
    at = np.stack(np.meshgrid(*[[0, 0.5, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    index = 0.5 + at * (shapes[:, None] - 1)
    affine = rows.affines[items]
    points = np.einsum("kij,kpj->kpi", affine[:, :3, :3], index) + affine[:, None, :3, 3]
    for k, back in enumerate(np.linalg.inv(affine)):
        inner = points @ back[:3, :3].T + back[:3, 3]
        held = ((inner > SNAP) & (inner < shapes[k] - SNAP)).all(2).any(1)
        held[k] = False
        if held.any():
            first, second = (rows.items["item"].iloc[int(items[j])] for j in sorted((k, int(held.argmax()))))
            raise AlignmentError(
                f"the items {first!r} and {second!r} of scan {scan!r} overlap; give every image, and every time point, "
                "a scan id of its own"
            )


def cell_numbers(rows: Rows, items: Sequence[int] | Array, affine: Array, shape: Sequence[int]) -> Array:
    """int32 of `shape`: which cell each voxel's centre lies in, −1 outside every cell.

    affine: (4, 4), voxel index → mm of the voxel's CENTRE. Cells are numbered over the items in the order given, each
    in C order, so that the number indexes what `columns_of` gives for the same items.
    """
    numbers = np.full(tuple(shape), -1, np.int32)
    first = 0
    for item in np.asarray(items).tolist():
        cells = rows.shapes[item]
        to_cell = np.linalg.inv(rows.affines[item]) @ affine
        low, high = _box(to_cell, cells, shape)
        if (low < high).all():
            step = max(1, AT_ONCE // max(int(np.prod(high[1:] - low[1:])), 1))
            for x in range(int(low[0]), int(high[0]), step):
                ranges = [(x, min(x + step, int(high[0]))), (low[1], high[1]), (low[2], high[2])]
                found = _within(to_cell, cells, [np.arange(lo, hi) for lo, hi in ranges])
                part = numbers[tuple(slice(int(lo), int(hi)) for lo, hi in ranges)]
                np.copyto(part, (found + first).astype(np.int32), where=found >= 0)
        first += int(np.prod(cells))
    return numbers


def _box(to_cell: Array, cells: Array, shape: Sequence[int]) -> tuple[Array, Array]:
    """The voxels, low ≤ index < high per axis, among which those inside the cells are."""
    corners = np.stack(np.meshgrid(*[[0, n] for n in cells], indexing="ij"), -1).reshape(-1, 3)
    back = np.linalg.inv(to_cell)
    at = corners @ back[:3, :3].T + back[:3, 3]
    low = np.clip(np.floor(at.min(0)), 0, shape).astype(np.int64)
    return low, np.clip(np.ceil(at.max(0)) + 1, 0, shape).astype(np.int64)


def _within(to_cell: Array, cells: Array, voxels: list[Array]) -> Array:
    """The flat cell number of every voxel of a block, −1 outside; axes that do not matter are only broadcast."""
    flat: Any = np.zeros((1, 1, 1), np.int64)
    inside: Any = np.ones((1, 1, 1), bool)
    for axis in range(3):
        at: Any = np.full((1, 1, 1), to_cell[axis, 3])
        for other, index in enumerate(voxels):
            if abs(to_cell[axis, other]) * (index[-1] + 1) > 1e-9:
                along = [-1 if k == other else 1 for k in range(3)]
                at = at + (to_cell[axis, other] * index).reshape(along)
        cell = np.floor(at + SNAP).astype(np.int64)
        inside = inside & (cell >= 0) & (cell < cells[axis])
        flat = flat * int(cells[axis]) + cell
    return np.broadcast_to(np.where(inside, flat, -1), tuple(len(index) for index in voxels))


def columns_of(field: Field, items: Sequence[int] | Array, columns: Sequence[int]) -> Any:
    """The chosen columns on the cells of these items, (cells, k): CSC when the field is sparse, else float32."""
    pieces: list[Any] = []
    for item in np.asarray(items).tolist():
        first, last = (int(field.rows.offsets[at]) for at in (item, item + 1))
        for lo in range(first, last, BATCH):
            block = field.read(lo, min(lo + BATCH, last))
            pieces.append(block[:, list(columns)] if scipy.sparse.issparse(block) else dense(block, columns))
    if not pieces:
        return np.zeros((0, len(columns)), np.float32)
    return scipy.sparse.vstack(pieces, "csc") if scipy.sparse.issparse(pieces[0]) else np.concatenate(pieces)


def one_column(values: Any, k: int) -> Array:
    """(cells,) float32 of column k of what `columns_of` gave."""
    if scipy.sparse.issparse(values):
        return np.asarray(values[:, [k]].toarray(), np.float32).ravel()
    return np.asarray(values[:, k], np.float32)
