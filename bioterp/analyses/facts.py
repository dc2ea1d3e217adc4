"""What is known of how each scan was acquired: columns of the items, the geometry of the file, brightness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp.analyses.regimes import regimes
from bioterp.arrays import Array
from bioterp.placing import native_of, own_axes
from bioterp.rows import Rows

FACTS = (
    "manufacturer", "scanner", "field_strength", "kernel", "slice_thickness", "slice_spacing", "sequence", "modality",
    "stored_type",
)  # fmt: skip
NATIVE = ("voxel", "voxel_volume", "anisotropy", "matrix", "field_of_view", "orientation")
BRIGHTNESS = ("p01", "p50", "p99", "max")


def facts_of(rows: Rows, first: Array, also: Sequence[str] = ()) -> dict[str, pd.Series]:
    """{candidate: its value for each scan}, from the first item of each scan."""
    items = rows.items.iloc[first].reset_index(drop=True)
    names = [name for name in dict.fromkeys((*FACTS, *also)) if name in items.columns]
    found = {name: items[name] for name in names}
    if "native" in items.columns:
        table = pd.DataFrame([_geometry(text) for text in items["native"]], columns=list(NATIVE))
        found |= {name: table[name] for name in NATIVE}
    bright = [name for name in BRIGHTNESS if name in items.columns]
    found |= {name: items[name] for name in bright}
    for name in ("p99", "max", "p50"):
        values = pd.to_numeric(items[name], errors="coerce") if name in bright else pd.Series(dtype=float)
        if values.notna().any():
            found["intensity_regime"] = _named(values, regimes(values.to_numpy(float)), name)
            break
    return found


def _geometry(text: Any) -> list[Any]:
    """What the geometry of a file says, in the order of NATIVE."""
    native = native_of(text)
    if native is None:
        return [None] * len(NATIVE)
    shape, affine = [int(k) for k in native["shape"][:3]], np.asarray(native["affine"], float)
    _, axis, step = own_axes(affine)
    size = np.abs(step)
    letters = "".join(("RAS" if up else "LPI")[a] for a, up in zip(axis, step > 0, strict=True))
    voxel, matrix = " × ".join(f"{s:.3g}" for s in size), " × ".join(map(str, shape))
    view = float(np.prod(size * shape) ** (1 / 3))
    return [voxel, float(size.prod()), float(size.max() / size.min()), matrix, view, letters]


def _named(values: pd.Series, group: Array, column: str) -> pd.Series:
    """Each scan's regime by the range of its numbers."""
    names: dict[int, str | None] = {-1: None}
    for k in range(int(group.max()) + 1):
        own = values[group == k]
        names[k] = f"{column} {own.min():.4g} to {own.max():.4g}"
    return pd.Series([names[int(k)] for k in group], dtype=object)
