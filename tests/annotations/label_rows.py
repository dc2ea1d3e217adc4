"""Rows to label, without an adapter, and where a label is positive."""

from __future__ import annotations

import pandas as pd

from bioterp.grid import Grid, Space
from bioterp.rows import Rows, split_of


def tiled(
    space: Space, window: int, cell: int = 1, strands: str = "+-", block: int = 50_000, length: int | None = None
) -> Rows:
    """Windows over [0, length) of a contig, as the DNA adapter makes them."""
    items, grids = [], []
    for strand in strands:
        for low in range(0, length or space.length or 0, window):
            high = min(low + window, length or space.length or 0)
            cells = (high - low) // cell
            name = f"{space.name}:{low // block}"
            items.append((f"{space.name}:{low}-{high}{strand}", space.name, name, split_of(name)))
            affine = [[cell, low], [0, 1]] if strand == "+" else [[-cell, low + cells * cell], [0, 1]]
            grids.append(Grid(space, (cells,), affine))
    return Rows.from_grids(pd.DataFrame(items, columns=["item", "sample", "block", "split"]), grids)


def one_split(rows: Rows) -> Rows:
    """The same rows, all in the split 'train'."""
    items = rows.items.assign(split="train")
    return Rows(items, rows.spaces, rows.space_code, rows.shapes, rows.affines, rows.bounds, rows.bounds_offset)


def positions(field, name: str, strand: str = "+") -> list[int]:
    """Coordinates of the positive single-base rows of a column, on one strand's rows."""
    positive, _ = field.values.mask(field.column(name))
    item, start, end = field.rows.cells()
    assert ((end - start) == 1).all()
    minus = field.rows.affines[:, 0, 0] < 0
    return sorted(start[positive & (minus[item] == (strand == "-"))].tolist())
