"""The circular-shift null (kernel; sees arrays only).

Codes come in runs and so do labels: cells cannot be exchanged one by one. All test cells are laid on one ring in
genomic order, both strands side by side, and the feature's cells are turned against the labels by every possible
shift. The counts of all shifts at once are a circular cross-correlation: exact integers, from run ends when both
sides have few runs, by FFT otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np
import scipy.fft

from bioterp.arrays import Array

SPACED = 63  # evenly spaced shifts for the mean instance recall
RUN_COST = 0.2  # a pair of runs against a slot of the transform, in time measured


@dataclass(frozen=True)
class Ring:
    """Where each part row lies: slot (n,) in 0 … size−1 and strand (n,), 0 or 1; 0 throughout when there is one.

    edges (pieces + 1,): where the pieces that were laid one after the other begin, and where the last one ends.
    """

    size: int
    slot: Array
    strand: Array
    strands: int
    edges: Array

    @classmethod
    def lay(cls, sample: Array, space: Array, block: Array, start: Array, step: Array, cells: Array) -> Ring:
        """From items in part order: sample, space and block codes, lowest start, step ±1, number of cells.

        A piece is a block of a sample's contig. Its strands get as many slots as the longer one has cells (they
        differ by a few for k-mer tokens), so that strands stay side by side all round. A few empty slots at the end
        make a length that transforms fast; like every slot without a cell they are unknown.
        """
        minus = (np.asarray(step) < 0).astype(np.int8)
        piece = np.unique(np.stack([sample, space, block], 1), axis=0, return_inverse=True)[1].reshape(-1)
        lowest = np.full(piece.max() + 1 if len(piece) else 0, np.iinfo(np.int64).max)
        np.minimum.at(lowest, piece, start)
        order = np.lexsort((start, minus, piece))
        per = np.zeros((len(lowest), 2), np.int64)
        np.add.at(per, (piece, minus), cells)
        ahead = np.zeros(len(piece), np.int64)  # cells of the same piece and strand before this item
        run = np.cumsum(cells[order]) - cells[order]
        new = np.append(True, (np.diff(piece[order]) != 0) | (np.diff(minus[order]) != 0))
        ahead[order] = run - run[new][np.cumsum(new) - 1]
        first_of = np.zeros(len(lowest), np.int64)
        first_of[piece] = np.arange(len(piece))
        sequence = np.lexsort((lowest, np.asarray(space)[first_of], np.asarray(sample)[first_of]))
        width = per.max(1)
        base = np.zeros(len(lowest), np.int64)
        base[sequence] = np.cumsum(width[sequence]) - width[sequence]
        offset = np.cumsum(cells) - cells
        within = np.arange(int(cells.sum())) - np.repeat(offset, cells)
        within = np.where(np.repeat(minus, cells), np.repeat(cells, cells) - 1 - within, within)
        slot = np.repeat(base[piece] + ahead, cells) + within
        strands = len(np.unique(minus))
        strand = np.repeat(minus if strands > 1 else np.zeros_like(minus), cells)
        edges = np.append(0, np.cumsum(width[sequence]))
        return cls(int(scipy.fft.next_fast_len(int(width.sum()))), slot.astype(np.int32), strand, strands, edges)

    def mask(self, rows: Array) -> Array:
        """(strands, size) bool of part rows given as numbers or as a bool mask."""
        flat = np.zeros(self.strands * self.size, bool)
        flat[self.strand[rows].astype(np.int64) * self.size + self.slot[rows]] = True
        return flat.reshape(self.strands, self.size)


@dataclass
class Side:
    """One side of a correlation: a (strands, size) bool mask, its runs per strand and, when asked for, its spectrum."""

    mask: Array
    runs: list[tuple[Array, Array]] = field(init=False)
    totals: Array = field(init=False)
    _spectrum: Array | None = None

    def __post_init__(self) -> None:
        self.runs, self.totals = [], np.array([np.count_nonzero(line) for line in self.mask])
        for line in self.mask:
            turns = np.flatnonzero(np.diff(line, prepend=False, append=False))
            self.runs.append((turns[::2], turns[1::2]))

    @property
    def total(self) -> int:
        return int(self.totals.sum())

    def spectrum(self, length: int) -> Array:
        if self._spectrum is None:
            self._spectrum = scipy.fft.rfft(self.mask.astype(np.float64), length, axis=1)
        return np.asarray(self._spectrum)


def transform_length(size: int) -> int:
    """The ring's own size when it factors well; otherwise room for a linear correlation to be folded."""
    rest = size
    for prime in (2, 3, 5, 7, 11, 13):
        while rest % prime == 0 and rest > 1:
            rest //= prime
    return size if rest <= 13 else int(scipy.fft.next_fast_len(2 * size, real=True))


def correlate(feature: Side, term: Side) -> Array:
    """(size,) int64: at shift s the number of cells of `feature`, moved s slots on, that fall on `term`."""
    size = feature.mask.shape[1]
    pairs = sum(len(f[0]) * len(t[0]) for f, t in zip(feature.runs, term.runs, strict=True))
    length = transform_length(size)
    if pairs * RUN_COST < length:
        return _by_runs(feature, term, size)
    product = (np.conj(feature.spectrum(length)) * term.spectrum(length)).sum(0)
    linear = scipy.fft.irfft(product, length)
    if length > size:
        linear[:size] += linear[length - size :]
    counts: Array = np.rint(linear[:size]).astype(np.int64)
    return counts


def _by_runs(feature: Side, term: Side, size: int) -> Array:
    """The overlap of two runs is piecewise linear in the shift: add up second differences, then sum twice."""
    value = np.zeros(size, np.int64)
    for (a, b), (c, d) in zip(feature.runs, term.runs, strict=True):
        _bends(a, b, c, d, value)
    _integrate(value, int(feature.totals @ term.totals))
    return value


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _integrate(value: Array, total: int) -> None:
    """Second differences → values that add up to `total`, in place; slope s leads from shift s to s + 1."""
    size, slope, climb = value.size, 0, 0
    for s in range(size):
        slope += value[s]
        climb += slope
    slope, height, every = -(climb // size), 0, 0  # once round the ring the slopes cancel, exactly
    for s in range(size):
        slope += value[s]
        value[s] = height
        every += height
        height += slope
    start = (total - every) // size
    for s in range(size):
        value[s] += start


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _bends(a: Array, b: Array, c: Array, d: Array, bend: Array) -> None:
    size = bend.size
    for i in range(a.size):
        for j in range(c.size):
            bend[_round(c[j] - b[i], size)] += 1
            bend[_round(c[j] - a[i], size)] -= 1
            bend[_round(d[j] - b[i], size)] -= 1
            bend[_round(d[j] - a[i], size)] += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _round(at: int, size: int) -> int:
    """at % size for −size ≤ at ≤ size, without the division, which would be half of the time."""
    at += size if at < 0 else 0
    return at - (size if at >= size else 0)


@dataclass(frozen=True)
class Null:
    """F1 against all its circular shifts: mean, z, p = share of shifts with F1 at least as large, shifts."""

    mean: float
    z: float
    p: float
    shifts: int


def f1_null(feature: Side, positive: Side, unknown: Side) -> Null:
    """The exact null of F1 = 2 TP / (active known cells + positives) under shifts of the feature.

    `unknown` holds unlabelled cells and empty slots. The comparison is between integers, so ties are ties.
    """
    tp = correlate(feature, positive)
    size = len(tp)
    hidden = correlate(feature, unknown) if unknown.total else np.zeros(size, np.int64)
    below = feature.total + positive.total - hidden
    if not below[0]:
        return Null(np.nan, np.nan, np.nan, size)
    mean, sd, reached = _moments(tp, below)
    z = (2 * int(tp[0]) / int(below[0]) - mean) / sd if sd > 1e-15 else np.nan
    return Null(mean, z, reached / size, size)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _moments(tp: Array, below: Array) -> tuple[float, float, int]:
    """Mean and standard deviation of 2 tp / below, and how many are at least the first."""
    total, square, reached = 0.0, 0.0, 0
    for s in range(tp.size):
        total += 2 * tp[s] / max(below[s], 1)
        reached += tp[s] * below[0] >= tp[0] * below[s]
    mean = total / tp.size
    for s in range(tp.size):
        square += (2 * tp[s] / max(below[s], 1) - mean) ** 2
    return mean, np.sqrt(square / tp.size), reached


def recall_null(feature: Side, strand: Array, lo: Array, hi: Array, first: Array, most: int = SPACED) -> float:
    """Mean over evenly spaced shifts of the share of instances with an active cell.

    Instance i has the slot runs first[i]:first[i+1] of lo, hi (k,) on strand (k,).
    """
    size = feature.mask.shape[1]
    if not len(first):
        return np.nan
    before = np.zeros((len(feature.mask), size + 1), np.int32)
    np.cumsum(feature.mask, axis=1, out=before[:, 1:])
    shifts = np.unique(np.arange(1, most + 1) * size // (most + 1))
    ends = np.append(first, len(lo))
    return float(_recall(before, strand, lo, hi, ends, shifts))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _recall(before: Array, strand: Array, lo: Array, hi: Array, ends: Array, shifts: Array) -> float:
    """An instance of many runs (codons) on one strand is asked as a whole first: most shifts end there."""
    hits, many = 0, ends.size - 1
    low, high, mixed = np.empty(many, np.int64), np.empty(many, np.int64), np.zeros(many, np.bool_)
    for i in range(many):
        low[i], high[i] = lo[ends[i]], hi[ends[i]]
        for r in range(ends[i] + 1, ends[i + 1]):
            low[i], high[i] = min(low[i], lo[r]), max(high[i], hi[r])
            mixed[i] |= strand[r] != strand[ends[i]]
    for shift in shifts:
        for i in range(many):
            if not mixed[i] and not _active(before[strand[ends[i]]], low[i] - shift, high[i] - low[i]):
                continue
            for r in range(ends[i], ends[i + 1]):
                if _active(before[strand[r]], lo[r] - shift, hi[r] - lo[r]):
                    hits += 1
                    break
    return hits / (shifts.size * many)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _active(before: Array, at: int, length: int) -> bool:
    """Whether any of the slots at … at + length of the ring is active, `before` being the running count of them."""
    size = before.size - 1
    if at < 0:
        at += size
    inside = before[min(at + length, size)] - before[at]
    if at + length > size:
        inside += before[at + length - size]
    return bool(inside > 0)
