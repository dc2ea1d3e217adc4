"""Codes of a model that knows only where a cell is within its scan."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.ndimage

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.placing import Places, places_of
from bioterp.rows import Rows
from bioterp.scan_baselines.reading import touched
from bioterp.values import Intervals

SIDES = (("right", "left"), ("front", "back"), ("head", "foot"))
BUMPS = (3, 5)  # middles of balls per axis
BLURS = (1.0, 2.5)  # of the atlas, in cells
REACH = math.ceil(4 * max(BLURS)) + 2  # cells; scipy cuts a Gaussian off after four of its widths


def position(rows: Rows, truth: Field) -> Field:
    """Field(code) of where each cell lies within its scan.

    truth: Field of interval labels on these rows; its terms give the atlas. Scans are centred on each other in mm along
    their own axes (`placing`). Raises InputError for rows that are not three-dimensional and labels that are numbers.
    """
    if truth.rows.id != rows.id:
        raise InputError("the labels lie on other rows: label the rows that the position is asked for")
    labels = truth.data.read(0, len(truth))
    if not isinstance(labels, Intervals):
        raise InputError(
            "an atlas is made of interval labels; these are numbers: turn them into intervals with a cut-off"
        )
    place = Position(rows, places_of(rows), labels)
    names = [f"{'signed' if signed else 'half-space'}:{side}" for signed in (1, 0) for two in SIDES for side in two]
    names += ["off-centre"] + [
        f"ball{k}:{x},{y},{z}" for k in BUMPS for x in range(k) for y in range(k) for z in range(k)
    ]
    names += [f"atlas{blur:g}:{term}" for term in truth.columns["name"] for blur in BLURS]
    about = {"representation": "position", "dictionary": "position", "layer": "position", "seed": 0}
    return Field(rows, place, pd.DataFrame({"name": names}), "code", about)


@dataclass
class Position:
    """The container behind `position`."""

    rows: Rows
    places: Places
    labels: Intervals
    _made: dict[int, tuple[Array, list[list[Array]]]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), 13 + sum(k**3 for k in BUMPS) + self.labels.columns * len(BLURS)

    def read(self, lo: int, hi: int) -> Array:
        pieces = [self._cells_of(i, cut) for i, cut in touched(self.rows, lo, hi)]
        return np.concatenate([np.zeros((0, self.shape[1]), np.float32), *pieces])

    def _cells_of(self, i: int, cut: slice) -> Array:
        """Codes of some cells of an item: each is worked out by itself, so no more than are read."""
        at = self.places.centers(i)[cut]
        share = at / np.maximum(self.places.half[i], 1e-9)
        both = np.stack([share, -share], 2).reshape(-1, 6)
        columns = [np.maximum(both, 0), np.clip((1 + both) / 2, 0, None), np.linalg.norm(share, axis=1)[:, None]]
        for k in BUMPS:
            middles = (np.arange(k) + 0.5) / k * 2 - 1
            width = 2 * self._reach / k  # the distance of middles, in mm
            far = (at[:, :, None] - middles * self._reach[:, None]) / width[:, None]
            x, y, z = np.moveaxis(np.exp(-(far**2) / 2), 1, 0)
            columns.append(np.einsum("ci,cj,ck->cijk", x, y, z).reshape(len(at), -1))
        low, step, _ = self._lattice
        first, atlas = self._atlas(i)
        index = ((at - low) / step - 0.5 - first).T
        for of_term in atlas:
            columns += [scipy.ndimage.map_coordinates(one, index, order=1, mode="nearest")[:, None] for one in of_term]
        return np.concatenate(columns, 1, dtype=np.float32)

    @cached_property
    def _train(self) -> Array:
        items = self.rows.items_in("train")
        return items[np.diff(self.rows.offsets)[items] > 0]

    @cached_property
    def _reach(self) -> Array:
        """Half the extent of a train scan of middling size, in mm."""
        half = self.places.half[self._train if len(self._train) else slice(None)]
        return np.maximum(np.median(half, 0), 1e-9) if len(half) else np.ones(3)

    @cached_property
    def _lattice(self) -> tuple[Array, Array, Array]:
        """Low corner and step in mm, and the shape, of a lattice that holds the train scans."""
        places, items = self.places, self._train
        if not len(items):
            return np.zeros(3), np.ones(3), np.ones(3, np.int64)
        step, ends = np.empty((len(items), 3)), np.empty((len(items), 2, 3))
        for n, i in enumerate(items):
            step[n, places.axis[i]] = np.abs(places.step[i])
            edges = np.stack([places.start[i], places.start[i] + places.step[i] * places.shape[i]])
            ends[n][:, places.axis[i]] = np.sort(edges, 0)
        size, low = np.median(step, 0), ends[:, 0].min(0)
        return low, size, np.maximum(np.ceil((ends[:, 1].max(0) - low) / size - 1e-6).astype(np.int64), 1)

    @cached_property
    def _total(self) -> Array:
        return self._counts(self._train, np.zeros(3, np.int64), self._lattice[2])

    def _cells(self, item: int) -> Array:
        """(cells, 3) the cell of the lattice each cell of an item lies in."""
        low, size, shape = self._lattice
        return np.clip(((self.places.centers(item) - low) / size + 1e-6).astype(np.int64), 0, shape - 1)

    def _counts(self, items: Array, first: Array, shape: Array) -> Array:
        """(terms, 2, x, y, z) positive and known cells of these items at each place, from cell `first` on."""
        total = np.zeros((self.labels.columns, 2, int(shape.prod())), np.float32)
        for i in items:
            at = np.ravel_multi_index(tuple((self._cells(i) - first).T), tuple(shape))
            own = self.labels.read(int(self.rows.offsets[i]), int(self.rows.offsets[i + 1]))
            for t in range(self.labels.columns):
                for k, mask in enumerate(own.mask(t)):
                    total[t, k] += np.bincount(at, mask, minlength=total.shape[2])
        return total.reshape(-1, 2, *shape)

    def _atlas(self, item: int) -> tuple[Array, list[list[Array]]]:
        """From which cell of the lattice on; term by term and blur by blur, the share of train scans there.

        For an item of train without those of its own block: its labels must not be among its codes, by which it is
        chosen and, where few instances force it, scored. That is worked out no further around the block than needed.
        """
        block = int(self._blocks[item]) if self._learns[item] else -1
        if block not in self._made:
            first, last = np.zeros(3, np.int64), self._lattice[2]
            own = self._train[self._blocks[self._train] == block]
            if block >= 0:
                cells = np.concatenate([self._cells(i)[[0, -1]] for i in own])
                first, last = np.maximum(cells.min(0) - REACH, 0), np.minimum(cells.max(0) + REACH + 1, last)
            x, y, z = (slice(int(lo), int(hi)) for lo, hi in zip(first, last, strict=True))
            rest = (self._total[:, :, x, y, z] - self._counts(own, first, last - first)).astype(np.float64)
            made = first, [[_share(yes, every, blur) for blur in BLURS] for yes, every in rest]
            self._made = {key: self._made[key] for key in (-1,) if key in self._made} | {block: made}
        return self._made[block]

    @cached_property
    def _blocks(self) -> Array:
        return np.asarray(pd.factorize(self.rows.items["block"].astype(str))[0], np.int64)

    @cached_property
    def _learns(self) -> Array:
        return np.isin(np.arange(len(self.rows.items)), self._train)


def _share(yes: Array, every: Array, blur: float) -> Array:
    """Of the known cells about each place the share that is positive, near cells counting more."""
    top, bottom = (scipy.ndimage.gaussian_filter(one, blur, mode="constant") for one in (yes, every))
    return np.where(bottom > 1e-9, np.clip(top, 0, None) / np.maximum(bottom, 1e-9), 0.0)
