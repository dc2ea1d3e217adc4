"""AnnData of single cells × features: a scan as scanpy and squidpy see one, each cell with its place in mm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.export.lattice import columns_of
from bioterp.field import Field
from bioterp.rows import Rows

MOST = 5_000_000


def of_cells(field: Field, columns: Sequence[int], var: pd.DataFrame) -> tuple[Any, dict[str, str]]:
    """X = the value of each cell; obs: item, sample, block, split, and the cell's middle in mm RAS+ (obsm 'spatial').

    Raises InputError for more cells than a table of them is good for.
    """
    import anndata

    rows = field.rows
    if len(rows) > MOST:
        raise InputError(
            f"{len(rows):,} cells are too many for observations (at most {MOST:,}); use 'scans' or 'blocks'"
        )
    item = rows.item_of_rows()
    kept = [name for name in ("item", "sample", "subject", "block", "split") if name in rows.items.columns]
    obs = pd.DataFrame({name: pd.Categorical(rows.items[name].astype(str).to_numpy()[item]) for name in kept})
    place = _places(rows)
    for axis, name in enumerate(("x", "y", "z")[: place.shape[1]] if rows.ndim == 3 else ()):
        obs[f"{name}_mm"] = place[:, axis]
    obs.index = pd.Index([str(row) for row in range(len(rows))])
    values = columns_of(field, np.arange(len(rows.items)), columns)
    data = anndata.AnnData(scipy.sparse.csr_matrix(values), obs=obs, var=var)
    if rows.ndim == 3:
        data.obsm["spatial"] = place
    told = {"X": "value of a cell", "spatial": "middle of the cell, mm RAS+"}
    return data, told if rows.ndim == 3 else {"X": "value of a cell"}


def _places(rows: Rows) -> Array:
    """(cells, axes) middles of all cells; nothing for rows without a lattice."""
    if rows.ndim == 0 or not len(rows):
        return np.zeros((len(rows), rows.ndim))
    return np.concatenate([grid.centers for grid in rows.grids()])
