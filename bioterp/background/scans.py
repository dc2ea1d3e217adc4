"""Covariates of scans: where a cell lies within its scan, and how bright it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp import scan_baselines
from bioterp.arrays import Array
from bioterp.background import Covariate
from bioterp.errors import InputError
from bioterp.placing import Places, places_of
from bioterp.rows import Rows
from bioterp.scan_baselines.brightness import FEATURES
from bioterp.scan_baselines.reading import touched
from bioterp.values import Values

AXES = ("right-left", "front-back", "head-foot")
POSITION_BINS, INTENSITY_BINS = 6, 8


def position(rows: Rows) -> Covariate:
    """Three numbers from −1 to 1: where a cell's middle is between the ends of its scan, along the scan's own axes."""
    columns = [(f"position:{axis}", "number", POSITION_BINS) for axis in AXES]
    return Covariate(columns, Within(rows, places_of(rows)))


@dataclass(frozen=True)
class Within:
    """The container of `position`."""

    rows: Rows
    places: Places

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), 3

    def read(self, lo: int, hi: int) -> Array:
        found = [np.zeros((0, 3))]
        for i, cut in touched(self.rows, lo, hi):
            found.append(self.places.centers(i)[cut] / np.maximum(self.places.half[i], 1e-9))
        return np.concatenate(found).astype(np.float32)


def intensity(rows: Rows, source: Any) -> Covariate:
    """The mean of the image in the cell, one number per channel, on the scale the model is shown."""
    if not hasattr(source, "volume"):
        raise InputError("covariate 'intensity' is read from scans; the source of these rows has none")
    shown = scan_baselines.intensity(source, rows)
    which = [c for c, name in enumerate(shown.columns["name"].astype(str)) if name.partition(":")[0] == FEATURES[0]]
    names = ["intensity"] if len(which) == 1 else [f"intensity:{c}" for c in range(len(which))]
    return Covariate([(name, "number", INTENSITY_BINS) for name in names], Some(shown.data, which))


@dataclass(frozen=True)
class Some:
    """Some columns of another container."""

    base: Values
    which: list[int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.base.shape[0], len(self.which)

    def read(self, lo: int, hi: int) -> Array:
        return np.asarray(self.base.read(lo, hi)[:, self.which])
