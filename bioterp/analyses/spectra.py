"""Mean and variance of every overlap under all circular shifts, from power spectra (kernel; sees arrays only).

The overlaps of a feature with a term at all N shifts are a circular cross-correlation C. On one strand its transform is
conj(F)·T, so that by Parseval

    mean C = n_f · n_t / N        var C = Σ over frequencies k ≠ 0 of |F(k)|² |T(k)|² / N²

which is one product of matrices for all features and terms: each is transformed once, no pair ever is. Two strands
turn together, and |conj(F₊)T₊ + conj(F₋)T₋|² is the sum of four such products: of |F₊|², of |F₋|², and of √2 times
the real and the imaginary part of conj(F₊)F₋. All of this is exact, but for the rounding of float32.

A line of millions is larger than the caches, and one transform of it waits for memory. It is therefore laid out as a
sheet and turned along both of its sides (Gentleman & Sande 1966), two lines at a time, one as the real and one as the
imaginary part. Frequencies come out in the sheet's order, and stay there: sums over all of them do not mind.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.fft

from bioterp.analyses.shifts import Ring
from bioterp.arrays import Array

WIDTH = 1 << 16  # frequencies at a time: 16 features by 4 kinds of them are 16 MB
BATCH = 16  # features transformed together
LONG = 1 << 20  # slots; shorter lines are transformed as they are, which is as fast (docs/decisions.md)


class Spectra:
    """The spectra of some terms on a ring, against which features are held."""

    def __init__(self, ring: Ring, terms: list[Array]):
        """terms: a (strands, size) bool mask each."""
        self.ring, self.size = ring, ring.size
        self.sheet: Line | Sheet = Sheet(ring.size) if ring.size > LONG else Line(ring.size)
        weight = self.sheet.weights() / self.size**2
        kinds = ring.strands**2
        self.powers = [np.empty((len(terms), kinds, hi - lo), np.float32) for lo, hi in self._pieces()]
        for first in range(0, len(terms), 2):
            own = self.sheet.kinds(np.stack(terms[first : first + 2]))
            for (lo, hi), power in zip(self._pieces(), self.powers, strict=True):
                power[first : first + 2] = own[..., lo:hi] * weight[lo:hi]

    def _pieces(self) -> Iterator[tuple[int, int]]:
        every = self.sheet.frequencies
        return ((lo, min(lo + WIDTH, every)) for lo in range(0, every, WIDTH))

    def variances(self, features: Array) -> Array:
        """(b, terms) float64 variance of the overlap over all shifts; features (b, strands, size) of 0 and 1."""
        mine = self.sheet.kinds(features)
        found = np.zeros((len(features), len(self.powers[0])))
        for (lo, hi), power in zip(self._pieces(), self.powers, strict=True):
            found += mine[..., lo:hi].reshape(len(mine), -1) @ power.reshape(len(power), -1).T
        return found


class Line:
    """Transforms of lines of one length n, as they are."""

    def __init__(self, size: int):
        self.size, self.frequencies = size, size // 2 + 1

    def weights(self) -> Array:
        """(frequencies,) how many frequencies each stands for; 0 for that of what does not change with the shift."""
        weight = np.full(self.frequencies, 2.0)
        weight[0] = 0
        if self.size % 2 == 0:
            weight[-1] = 1
        return weight

    def kinds(self, masks: Array) -> Array:
        """(b, strands, n) of 0 and 1 → (b, strands², frequencies) float32: the products that variances are made of."""
        lines = masks.astype(np.float32)
        lines -= lines.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
        spectrum = np.asarray(scipy.fft.rfft(lines, axis=2, overwrite_x=True))
        power = spectrum.real**2 + spectrum.imag**2
        if spectrum.shape[1] == 1:
            return np.asarray(power)
        across = np.conj(spectrum[:, 0]) * spectrum[:, 1] * np.float32(np.sqrt(2))
        return np.concatenate([power, across.real[:, None], across.imag[:, None]], 1)


class Sheet:
    """Transforms of lines of one length n = rows · columns, as `Line` has them, in another order of frequencies.

    Cell columns · a + c lies in row a and column c; frequency k + rows · l comes to row k and column l. Of two real
    lines x + iy is transformed once, and both are told by it and its mirror image at −k: rows up to half of them
    suffice, and stand for the others.
    """

    def __init__(self, size: int):
        self.size = size
        self.rows = max(d for d in range(1, int(size**0.5) + 1) if size % d == 0)
        self.columns, self.half = size // self.rows, self.rows // 2 + 1
        self.frequencies = self.half * self.columns
        turned = np.outer(np.arange(self.rows), np.arange(self.columns)) % size
        self.turn = np.exp(-2j * np.pi / size * turned).astype(np.complex64)

    def weights(self) -> Array:
        weight = np.full((self.half, self.columns), 2.0)
        weight[0] = 1  # these rows hold their own mirror images
        if self.rows % 2 == 0:
            weight[-1] = 1
        weight[0, 0] = 0
        return weight.reshape(-1)

    def kinds(self, masks: Array) -> Array:
        strands = masks.shape[1]
        lines = masks.reshape(-1, self.size)
        found = np.empty((len(masks), strands**2, self.frequencies), np.float32)
        for at in range(0, len(lines), 2):
            total, difference = self._both(lines[at : at + 2])
            if strands == 1:
                _square(total, found[at, 0])
                if at + 1 < len(lines):
                    _square(difference, found[at + 1, 0])
                continue
            own = found[at // 2]
            _square(total, own[0])
            _square(difference, own[1])
            across = np.conj(total) * difference * np.float32(np.sqrt(2) / 4)
            own[2], own[3] = across.imag, -across.real
        return found

    def _both(self, pair: Array) -> tuple[Array, Array]:
        """(frequencies,) complex64 each: twice the transform of the first line, 2i times that of the second, if any."""
        sheet = np.zeros((self.rows, self.columns), np.complex64)
        for part, line in zip((sheet.real, sheet.imag), pair, strict=False):
            part[:] = line.reshape(sheet.shape)
            part -= np.float32(line.mean(dtype=np.float64))
        sheet = scipy.fft.fft(sheet, axis=0, overwrite_x=True)
        sheet *= self.turn
        sheet = scipy.fft.fft(sheet, axis=1, overwrite_x=True)
        mirror = np.empty((self.half, self.columns), np.complex64)
        np.conj(sheet[0, :1], out=mirror[0, :1])
        np.conj(sheet[0, :0:-1], out=mirror[0, 1:])
        np.conj(sheet[: self.rows - self.half : -1, ::-1], out=mirror[1:])
        own = sheet[: self.half]
        return (own + mirror).reshape(-1), (own - mirror).reshape(-1)


def _square(twice: Array, out: Array) -> None:
    """out = |twice / 2|²."""
    np.multiply(twice.real, twice.real, out=out)
    out += twice.imag * twice.imag
    out *= np.float32(0.25)
