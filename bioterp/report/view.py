"""A scan as a radiologist holds it: planes with the patient's right on the left, in mm, with letters that say so."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from bioterp.arrays import Array
from bioterp.export.lattice import cell_numbers
from bioterp.grid import Grid
from bioterp.rows import Rows

# Plane → the axis it cuts, the axis across, the axis up; of a scan whose axes run right, anterior, superior.
PLANES = {"sagittal": (0, 1, 2), "coronal": (1, 0, 2), "axial": (2, 0, 1)}
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
NAMES = "xyz"


@dataclass(frozen=True)
class Cut:
    """What one picture shows, as it is drawn: rows downwards, columns to the right, each pixel `pixel` mm.

    cells: (h, w) number of the cell each pixel's middle lies in, −1 in none; at: the point cut through, in mm from the
    left and from the top; letters: left, right, top, bottom; text: the plane's place.
    """

    image: Array
    cells: Array
    pixel: tuple[float, float]
    at: tuple[float, float]
    letters: tuple[str, str, str, str]
    plane: str
    text: str

    @property
    def width(self) -> float:
        return float(self.image.shape[1] * self.pixel[0])

    @property
    def height(self) -> float:
        return float(self.image.shape[0] * self.pixel[1])


class View:
    """A scan with its axes turned to run right, anterior and superior; voxels are moved, never interpolated.

    array: (c, x, y, z), of which the first channel is shown; grid: of its voxels; rows, items: the cells on it.
    """

    def __init__(self, array: Array, grid: Grid, rows: Rows, items: Array):
        affine = np.asarray(grid.affine, np.float64)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        cosines = affine[:3, :3] / spacing
        # The permutation whose axes run most along those of the world: a true one also for oblique scans.
        order = max(permutations(range(3)), key=lambda p: sum(abs(cosines[k, p[k]]) for k in range(3)))
        turned = np.asarray(array[0]).transpose(order)
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        for new, old in enumerate(order):
            if cosines[new, old] < 0:
                turned = np.flip(turned, new)
                to_old[old, new], to_old[old, 3] = -1, grid.shape[old]  # edges: n − e, with no half voxel to lose
            else:
                to_old[old, new] = 1
        self.array, self.affine = turned, affine @ to_old
        self.spacing = spacing[list(order)]
        self.rows, self.items = rows, items
        aligned = np.abs(np.diag(self.affine[:3, :3] / self.spacing))
        self.tilt = float(np.degrees(np.arccos(np.clip(aligned.min(), 0, 1))))
        self.window = window(turned)

    def window_at(self, point: Array, side: float) -> tuple[float, float]:
        """Greys as one would set them to look at a place: 2nd to 98th percentile of a cube of so many mm around it.

        At least a quarter as wide as the scan's own window, so that noise is not made to look like tissue.
        """
        middle = (np.linalg.inv(self.affine) @ [*point, 1])[:3]
        half = np.maximum(side / 2 / self.spacing, 1)
        cube = tuple(
            slice(int(np.clip(np.floor(m - h), 0, n)), int(np.clip(np.ceil(m + h), 0, n)))
            for m, h, n in zip(middle, half, self.array.shape, strict=True)
        )
        values = np.asarray(self.array[cube], np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            return self.window
        low, high = (float(v) for v in np.percentile(values, [2, 98]))
        low = max(low, self.window[0])
        lacking = (self.window[1] - self.window[0]) / 4 - (high - low)
        if lacking > 0:
            low, high = low - lacking / 2, high + lacking / 2
        return low, high

    def cut(self, plane: str, point: Array, side: float | None = None) -> Cut:
        """The plane through a point (mm RAS+); side = only a square of so many mm around the point."""
        through, across, up = PLANES[plane]
        index = (np.linalg.inv(self.affine) @ [*point, 1])[:3]
        low, high = np.zeros(3, np.int64), np.array(self.array.shape, np.int64)
        if side is not None:
            half = np.maximum(np.rint(side / 2 / self.spacing), 1).astype(np.int64)
            middle = np.floor(index).astype(np.int64)
            low, high = middle - half, middle + half + 1
        at = int(np.clip(np.floor(index[through]), 0, self.array.shape[through] - 1))
        low[through], high[through] = at, at + 1
        shift = np.eye(4)
        shift[:3, 3] = low + 0.5
        cells = cell_numbers(self.rows, self.items, self.affine @ shift, (high - low).tolist())
        width, height = (high[across] - low[across]) * self.spacing[across], (high[up] - low[up]) * self.spacing[up]
        mine = ((index[across] - low[across]) * self.spacing[across], (index[up] - low[up]) * self.spacing[up])
        return Cut(
            self._seen(self._region(low, high), through, across),
            self._seen(cells, through, across),
            (float(self.spacing[across]), float(self.spacing[up])),
            (float(width - mine[0]), float(height - mine[1])),
            (ENDS[across][1], ENDS[across][0], ENDS[up][1], ENDS[up][0]),
            plane,
            f"{NAMES[through]} {whole(point[through])} mm",
        )

    def _region(self, low: Array, high: Array) -> Array:
        """Voxels low:high; what lies outside the scan is as dark as its window begins."""
        inner = [
            slice(max(int(a), 0), max(min(int(b), n), 0)) for a, b, n in zip(low, high, self.array.shape, strict=True)
        ]
        pad = [(min(max(-int(a), 0), int(b - a)), min(max(int(b) - n, 0), int(b - a)))
               for a, b, n in zip(low, high, self.array.shape, strict=True)]  # fmt: skip
        part = np.nan_to_num(np.asarray(self.array[tuple(inner)], np.float32), nan=self.window[0])
        return np.pad(part, pad, constant_values=self.window[0])

    @staticmethod
    def _seen(block: Array, through: int, across: int) -> Array:
        """A slab one voxel thick as it is looked at: the high end of `across` on the left, that of the other on top."""
        flat = block.squeeze(through)  # (across, up), for across comes before up in every plane
        return np.ascontiguousarray(flat[::-1, ::-1].T)


def whole(value: float) -> str:
    """mm without decimals, with a real minus and no '−0'."""
    return f"{round(float(value)) + 0}".replace("-", "−")


def window(array: Array, most: int = 500_000) -> tuple[float, float]:
    """A whole scan's greys: 1st to 99.5th percentile of the voxels that are not background (the lowest value)."""
    values = np.asarray(array).ravel()
    values = values[:: max(1, len(values) // most)]
    values = values[np.isfinite(values)]
    inside = values[values > values.min()] if len(values) else values
    if not len(inside):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(inside, [1, 99.5]))
    return (low, high) if high > low else (low, low + 1)


def outline(mask: Array, pixel: tuple[float, float]) -> Array:
    """(n, 2, 2) line pieces, in mm from the left and top, along the pixel edges where a mask begins or ends.

    Where the picture ends nothing is drawn: what goes on there is not known.
    """
    padded = np.pad(mask.astype(bool), 1, mode="edge")
    pieces = []
    row, column = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])  # edges between a row and the one above
    pieces.append(np.stack([np.stack([column, row], 1), np.stack([column + 1, row], 1)], 1))
    row, column = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    pieces.append(np.stack([np.stack([column, row], 1), np.stack([column, row + 1], 1)], 1))
    return np.asarray(np.concatenate(pieces) * np.array(pixel), np.float64)
