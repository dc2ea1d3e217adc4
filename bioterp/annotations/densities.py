"""Probability and density maps to numbers per cell (with `threshold=` they are masks: `masks.py`).

The value of a cell is the mean over the part of it where the map has a value, weighed by volume; a cell with less than
half of its volume there is NaN, which is unknown and not zero.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations.mask_cover import mean
from bioterp.annotations.masks import MADE_BY, capped
from bioterp.annotations.scan_sources import read_density, resolve, told
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows


def label_density(
    rows: Rows, source: Any, *, column: str = "label", name: str | None = None, made_by: str = "person"
) -> Field:
    """One column of numbers on three-dimensional rows."""
    if made_by not in MADE_BY:
        raise InputError(f"made_by is one of {', '.join(MADE_BY)}; got {made_by!r}")
    entries, title = resolve(rows, source, column)
    values = np.full((len(rows), 1), np.nan, np.float32)
    scan_of = rows.items["sample"].astype(str).to_numpy()
    away = []
    for scan in dict.fromkeys(scan_of.tolist()):
        try:
            if scan not in entries:
                raise FileNotFoundError("it has no map")
            array, affine = read_density(entries[scan])
        except FileNotFoundError as error:
            away.append(f"scan {scan!r} is unknown: {told(error, entries.get(scan))}")
            continue
        voxels = Grid.from_centers(Space(scan, "mm"), array.shape, affine).affine
        seen = False
        for i in np.flatnonzero(scan_of == scan):
            cells = rows.grid(int(i))
            held, hidden = mean(array, voxels, cells.affine, cells.shape)  # type: ignore[arg-type]
            values[rows.offsets[i] : rows.offsets[i + 1], 0] = np.where(hidden <= 0.5 + 1e-9, held, np.nan)
            seen = seen or bool((hidden <= 0.5 + 1e-9).any())
        if not seen:
            away.append(f"scan {scan!r} is unknown: its map lies beside it or has no value in it")
    if len(away) == len(set(scan_of)):
        raise InputError(f"no scan of the rows has a value in {title}; the first: {away[0]}")
    file = Path(title).name
    line = {"name": name or _title(title, column), "strand": "both", "source": file, "n_instances": 0}
    about = {"source": file, "format": "density", "made_by": made_by, "warnings": capped(away)}
    return Field(rows, values, pd.DataFrame([{**line, "made_by": made_by}]), "label", about)


def _title(source: str, column: str) -> str:
    """A name for the column: of the sheet's column, or of the one file."""
    if source in ("mapping", "table") or source.endswith((".tsv", ".csv", ".txt", ".tab")):
        return column
    return Path(source).name.split(".")[0]
