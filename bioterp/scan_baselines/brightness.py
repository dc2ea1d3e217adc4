"""Codes of the image alone: how bright a cell is, how uneven, and in which band of brightness."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
import scipy.ndimage

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.grid import Grid
from bioterp.rows import Rows
from bioterp.scan_baselines.pooling import lie, pool, within
from bioterp.scan_baselines.reading import touched

SMOOTH = (1.0, 2.0)  # standard deviations, in cells
BANDS = 16
HALF_BAND = 0.25  # in ranks: a threshold cuts a band of any width up to half of all cells
QUANTILES = 257
SAMPLE = 4096  # cells per train scan that tell the quantiles
KEPT = 2**28  # bytes of codes kept, so that not every pass reads the images again
MEASURES = ("mean", "dark", "sd", "min", "max", *(f"smooth{s:g}" for s in SMOOTH), "edge")
FEATURES = (*MEASURES, *(f"band{(k + 0.5) / BANDS:.3f}" for k in range(BANDS)))


class Scans(Protocol):
    """What `intensity` needs of a source: a scan as the model is shown it, (channels, x, y, z), and its voxels."""

    def volume(self, scan: str) -> tuple[Array, Grid]: ...


def intensity(source: Scans, rows: Rows) -> Field:
    """Field(code) of the image in each cell, from `source.volume(scan)`.

    Levels are counted from the darkest or the brightest cell of the train scans. Cells must run along the axes of the
    array; those beyond it are silent. Raises InputError where they do not, or where rows are not three-dimensional.
    """
    if rows.ndim != 3:
        raise InputError(f"intensity is that of scans: three-dimensional rows are wanted, these have {rows.ndim} axes")
    shown = Intensity(source, rows)
    names = [name if shown.channels == 1 else f"{name}:{c}" for c in range(shown.channels) for name in FEATURES]
    about = {"representation": "intensity", "dictionary": "intensity", "layer": "intensity", "seed": 0}
    return Field(rows, shown, pd.DataFrame({"name": names}), "code", about)


class Intensity:
    """The container behind `intensity`; codes are kept while they fit into KEPT bytes."""

    def __init__(self, source: Scans, rows: Rows):
        self.source, self.rows = source, rows
        self.kept: OrderedDict[int, Array] = OrderedDict()
        self.last: tuple[str, Array, Grid] | None = None
        self.layers: tuple[str, tuple[float, ...], list[list[Array]]] | None = None

    @cached_property
    def channels(self) -> int:
        return int(self._volume(str(self.rows.items["sample"].iloc[0]))[0].shape[0]) if len(self.rows.items) else 1

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.channels * len(FEATURES)

    def read(self, lo: int, hi: int) -> Array:
        pieces = [self._item(i)[cut] for i, cut in touched(self.rows, lo, hi)]
        return np.concatenate([np.zeros((0, self.shape[1]), np.float32), *pieces])

    def _item(self, i: int) -> Array:
        if i not in self.kept:
            self.kept[i] = self._codes(self._measured(i))
            while len(self.kept) > 1 and sum(one.nbytes for one in self.kept.values()) > KEPT:
                self.kept.popitem(last=False)
        return self.kept[i]

    def _codes(self, measured: Array) -> Array:
        """(cells, channels, measures), NaN beyond the image → (cells, columns)."""
        low, high, quantiles = self._fitted
        columns = []
        for c in range(self.channels):
            own = measured[:, c]
            levels = own - low[c]
            levels[:, 1] = high[c] - own[:, 0]
            for k in (MEASURES.index("sd"), MEASURES.index("edge")):
                levels[:, k] = own[:, k]
            rank = np.interp(own[:, 0], *_rising(quantiles[c]))
            far = np.abs(rank[:, None] - (np.arange(BANDS) + 0.5) / BANDS)
            columns += [levels, 1 - far / HALF_BAND]
        codes: Array = np.nan_to_num(np.maximum(np.concatenate(columns, 1), 0)).astype(np.float32)
        return codes

    @cached_property
    def _fitted(self) -> tuple[Array, Array, Array]:
        """Of each channel over the cells of train scans: lowest, highest and the quantiles of the mean."""
        items = self.rows.items_in("train")
        items = items if len(items) else np.arange(len(self.rows.items))
        sample: list[Array] = []
        low, high = np.full(self.channels, np.inf), np.full(self.channels, -np.inf)
        for i in items.tolist():
            own = self._measured(i)
            own = own[np.isfinite(own[:, 0, 0])]
            if len(own):
                low = np.minimum(low, own[:, :, MEASURES.index("min")].min(0))
                high = np.maximum(high, own[:, :, 0].max(0))
                sample.append(own[:: max(1, len(own) // SAMPLE), :, 0])
        if not sample:
            return (
                np.zeros(self.channels),
                np.ones(self.channels),
                np.tile(np.linspace(0, 1, QUANTILES), (self.channels, 1)),
            )
        return low, high, np.quantile(np.concatenate(sample), np.linspace(0, 1, QUANTILES), axis=0).T

    def _measured(self, i: int) -> Array:
        """(cells, channels, measures) of one item, NaN in cells beyond the image."""
        scan, grid = str(self.rows.items["sample"].iloc[i]), self.rows.grid(i)
        array, voxels = self._volume(scan)
        axis, spans, tied = lie(grid, voxels, str(self.rows.items["item"].iloc[i]))
        found = np.full((*grid.shape, len(array), len(MEASURES)), np.nan)
        inside, cut = zip(*[within(spans[a], array.shape[1 + a]) for a in range(3)], strict=True)
        if all(len(one) for one in inside):
            layers = self._layers(scan, tuple(float(np.median(one[:, 1] - one[:, 0])) for one in spans))
            place = np.ix_(*[inside[a] for a in axis])
            # Of a tile only its own voxels, and the next one, which cells about a voxel share.
            box = tuple(slice(int(one[0, 0]), int(one[-1, 1]) + 1) for one in map(np.sort, cut, [0] * 3))
            cut = tuple(one - own.start for one, own in zip(cut, box, strict=True))
            for c, of_channel in enumerate(layers):
                image, centred, *others = (one[box] for one in of_channel)
                sd = np.sqrt(
                    np.maximum(pool(centred**2, cut, tied, np.mean) - pool(centred, cut, tied, np.mean) ** 2, 0)
                )
                mean = pool(image, cut, tied, np.mean)
                maps = [mean, mean, sd, pool(image, cut, tied, np.min), pool(image, cut, tied, np.max)]
                maps += [pool(one, cut, tied, np.mean) for one in others]
                found[(*place, c)] = np.stack([one.transpose(axis) for one in maps], -1)
        return found.reshape(-1, len(array), len(MEASURES))

    def _layers(self, scan: str, width: tuple[float, ...]) -> list[list[Array]]:
        """Per channel the image, the same about its mean, smoothed by cells of so many voxels, and its slope per mm."""
        if self.layers is None or self.layers[:2] != (scan, width):
            array, voxels = self._volume(scan)
            made = []
            for image in np.asarray(array, np.float32):
                smooth = [scipy.ndimage.gaussian_filter(image, [s * w for w in width]) for s in SMOOTH]
                square = np.zeros_like(image)
                for a, mm in enumerate(np.linalg.norm(voxels.to_centers()[:3, :3], axis=0)):
                    if image.shape[a] > 1:
                        square += np.gradient(image, mm, axis=a) ** 2
                made.append([image, image - image.mean(), *smooth, np.sqrt(square)])
            self.layers = scan, width, made
        return self.layers[2]

    def _volume(self, scan: str) -> tuple[Array, Grid]:
        if self.last is None or self.last[0] != scan:
            array, grid = self.source.volume(scan)
            self.last = scan, array, grid
        return self.last[1], self.last[2]


def _rising(quantiles: Array) -> tuple[Array, Array]:
    """Distinct values and their middle rank."""
    value, which = np.unique(quantiles, return_inverse=True)
    rank = np.bincount(which, np.linspace(0, 1, len(quantiles))) / np.bincount(which)
    return value, rank
