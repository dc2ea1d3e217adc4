"""The null of scans: subjects are permuted, never voxels (kernel; sees arrays only).

Cells of one scan are not exchangeable, and anatomy lies in the same place in everybody: against shuffled voxels any
feature that fires where a structure usually is would be significant, though it looked at no scan at all. Here the
codes of every scan are held against the labels of another subject's scan, the two centred on each other
(`bioterp.placing`). The question is thus whether a feature follows *this* subject's anatomy beyond the place where
such anatomy usually is.

Subjects are permuted among those whose cells lie on each other, once centred: the same size of cell, and the edges of
cells at the same places. Then cell meets cell. A lattice with an odd number of cells has other edges than one with an
even number, so that even a code that knows nothing but the place has cells that tell how large its scan is, and with
it how large the anatomy. Where too few subjects share their cells (scans that were not brought to one spacing) all are
permuted: codes and labels meet at 2 × 2 × 2 points to a cell, and labels are blurred by half a cell, in every pairing
and in a scan's own, for codes and labels of one scan share their cells, whose sharp edges would count for it else.

A point outside one of the two scans, or in a cell that is unknown, is unknown. All scans of a subject move together:
the k-th against the k-th of the other where both have as many, each against the other's first otherwise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from math import factorial, prod

import numba
import numpy as np

from bioterp.arrays import Array

DRAWS = 999  # random permutations beside the identity
LEAST = 5  # with fewer subjects no p can be as small as 1 in 100
MOST = 300  # subjects: the overlaps of all pairs of them are counted
FINE = 2  # points to a cell, per axis, where cells of scans do not lie on each other
POINTS = 16_000_000  # of all scans together, 12 bytes each; beyond, fewer will do, and edges of cells hardly count
_EDGE = 1e-6  # what lies on the edge of two cells lies in the upper one, whatever is lost in rounding
PHASE = 1e-3  # of a cell: lattices this close lie on each other


@dataclass
class Exchange:
    """The scans of a part, and the points at which those of one subject meet those of another.

    offsets (k+1,): rows of the items among the part's rows; scan (k,), subject (k,): codes of the items, from 0 on
    without gaps; shape, axis, start, step (k, 3) as in `placing.Places`; seed: decides the permutations.
    """

    offsets: Array
    scan: Array
    subject: Array
    shape: Array
    axis: Array
    start: Array
    step: Array
    seed: int
    draws: Array = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.n = int(self.subject.max()) + 1
        self.taking = np.sort(rng.permutation(self.n)[:MOST])
        self.partial = len(self.taking) < self.n
        self.n = len(self.taking)
        self.n_scans = int(self.scan.max()) + 1
        of_scan = np.zeros(self.n_scans, np.int64)
        of_scan[self.scan] = self.subject
        self.scan_of = np.repeat(self.scan, np.diff(self.offsets)).astype(np.int32)
        self.partners = self._partners(of_scan)
        self.draws = permutations(self._in_phase(of_scan), rng)
        low, size = self._lattice()
        row = np.full((self.n_scans, int(self.points.prod())), -1, np.int32)
        _lay(self.offsets, self.scan, self.shape, self.axis, self.start, self.step, low, size, self.points, row)
        # The points of each row, to paint by.
        order = np.argsort(row, axis=None, kind="stable")
        order = order[np.searchsorted(row.reshape(-1)[order], 0) :]
        self.first = np.searchsorted(row.reshape(-1)[order], np.arange(int(self.offsets[-1]) + 1))
        self.point = (order % row.shape[1]).astype(np.int32)

    def _in_phase(self, of_scan: Array) -> Array:
        """(n,) which subjects may be exchanged; the lattices of one class are then shifted onto those of the others.

        No cell meets one of another class, so that the shift, by less than a cell, changes nothing but the bookkeeping.
        """
        start, step = self._by_world(self.start), np.abs(self._by_world(self.step))
        first = np.unique(self.scan, return_index=True)[1]
        phase = np.rint((start / step - np.floor(start / step))[first] / PHASE).astype(np.int64) % round(1 / PHASE)
        size = np.rint(step[first] / step[first[0]] / PHASE).astype(np.int64)
        of_phase = np.unique(np.concatenate([phase, size], 1), axis=0, return_inverse=True)[1].reshape(-1)
        held = [tuple(of_phase[of_scan == s].tolist()) for s in self.taking]
        names: dict[tuple[int, ...], int] = {}
        group = np.array([names.setdefault(one[:1] if len(set(one)) == 1 else one, len(names)) for one in held])
        many = np.bincount(group)
        ways = prod(factorial(min(int(k), 10)) for k in many)
        self.aligned = len(many) == 1 or not (ways <= DRAWS or many[many > 1].sum() * 2 < self.n)
        if not self.aligned:
            return np.zeros(self.n, np.int64)
        if of_phase.any():
            away = (phase[self.scan] - phase[0]) * PHASE * step
            self.start = self.start - np.take_along_axis(away, self.axis, 1)
        return group

    def _by_world(self, values: Array) -> Array:
        found = np.empty((len(self.scan), 3))
        np.put_along_axis(found, self.axis, values, 1)
        return found

    def _partners(self, of_scan: Array) -> tuple[Array, Array, Array]:
        """Every scan a that meets a scan b, and for which pair of subjects, s·n + r."""
        own = [np.flatnonzero(of_scan == s) for s in self.taking]
        found: list[tuple[Array, Array, Array]] = []
        for s, mine in enumerate(own):
            for r, other in enumerate(own):
                met = other if len(other) == len(mine) else np.repeat(other[:1], len(mine))
                found.append((mine, met, np.full(len(mine), s * self.n + r)))
        a, b, pair = (np.concatenate(each) for each in zip(*found, strict=True))
        return a, b, pair

    @property
    def size(self) -> int:
        """How many permutations there are, identity included."""
        return len(self.draws)

    def _lattice(self) -> tuple[Array, Array]:
        """Low corner and mm between points, by axes of the world; how many there are, and whether they are fine."""
        start, step = self._by_world(self.start), self._by_world(self.step)
        end = self._by_world(self.start + self.step * self.shape)
        cell, low, high = np.median(np.abs(step), 0), np.minimum(start, end).min(0), np.maximum(start, end).max(0)
        off = np.abs((start - low) / cell - np.rint((start - low) / cell))
        self.fine = bool((off > PHASE).any() or (np.abs(np.abs(step) / cell - 1) > PHASE).any())
        size = cell / FINE if self.fine else cell
        self.points = _points(high - low, size)
        while self.points.prod() * self.n_scans > POINTS:
            size = cell if self.fine else size * 2
            self.fine, self.points = False, _points(high - low, size)
        return low, size

    def paint(self, rows: Array) -> Array:
        """(scans, points) float32, 1 where a point lies in one of these rows."""
        found = np.zeros((self.n_scans, int(self.points.prod())), np.float32)
        _set(rows, self.scan_of, self.first, self.point, found)
        return found

    def blur(self, painted: Array) -> Array:
        """Where points are fine: 1, 2, 1 along each axis, which is half a cell to either side."""
        if not self.fine:
            return painted
        volume = painted.reshape(-1, *self.points)
        for axis in (1, 2, 3):
            volume = np.moveaxis(volume, axis, 1)
            around = 2 * volume
            around[:, 1:] += volume[:, :-1]
            around[:, :-1] += volume[:, 1:]
            volume = np.moveaxis(around, 1, axis)
        return np.ascontiguousarray(volume).reshape(painted.shape)


def _points(extent: Array, size: Array) -> Array:
    return np.asarray(np.ceil(extent / size - _EDGE), np.int64)


def permutations(group: Array, rng: np.random.Generator) -> Array:
    """(K, n) permutations within groups (n,), the identity first: all where they are few, else DRAWS at random."""
    own = [np.flatnonzero(group == g) for g in np.unique(group)]
    drawn = np.tile(np.arange(len(group), dtype=np.int32), (DRAWS + 1, 1))
    if prod(factorial(min(len(one), 10)) for one in own) <= DRAWS + 1:
        orders = list(itertools.product(*(itertools.permutations(one) for one in own)))
        drawn = drawn[: len(orders)]
        for k, order in enumerate(orders):
            drawn[k, np.concatenate(own)] = np.concatenate(order)
        return drawn
    for k in range(1, DRAWS + 1):
        for one in own:
            drawn[k, one] = rng.permutation(one)
    return drawn


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _lay(
    offsets: Array,
    scan: Array,
    shape: Array,
    axis: Array,
    start: Array,
    step: Array,
    low: Array,
    size: Array,
    points: Array,
    row: Array,
) -> None:
    """row[scan, point] = the row of the cell the point lies in."""
    put = np.empty((3, points.max()), np.int64)
    for i in range(scan.size):
        stride = 1
        first, last = np.zeros(3, np.int64), np.zeros(3, np.int64)
        for a in range(2, -1, -1):
            w = axis[i, a]
            first[w] = points[w]
            for k in range(points[w]):
                at = low[w] + size[w] * (k + 0.5)
                cell = int(np.floor((at - start[i, a]) / step[i, a] + _EDGE))
                put[w, k] = cell * stride
                if 0 <= cell < shape[i, a]:
                    first[w], last[w] = min(first[w], k), k + 1
            stride *= shape[i, a]
        for x in range(first[0], last[0]):
            for y in range(first[1], last[1]):
                at_point = (x * points[1] + y) * points[2]
                for z in range(first[2], last[2]):
                    row[scan[i], at_point + z] = offsets[i] + put[0, x] + put[1, y] + put[2, z]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _set(rows: Array, scan_of: Array, first: Array, point: Array, painted: Array) -> None:
    for row in rows:
        for j in range(first[row], first[row + 1]):
            painted[scan_of[row], point[j]] = 1
