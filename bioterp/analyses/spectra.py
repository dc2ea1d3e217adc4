"""Mean and variance of every overlap under all circular shifts, from power spectra (kernel; sees arrays only).

The overlaps of a feature with a term at all N shifts are a circular cross-correlation C. On one strand its transform is
conj(F)·T, so that by Parseval

    mean C = n_f · n_t / N        var C = Σ over frequencies k ≠ 0 of |F(k)|² |T(k)|² / N²

which is one product of matrices for all features and terms: each is transformed once, no pair ever is. Two strands
turn together, and |conj(F₊)T₊ + conj(F₋)T₋|² is the sum of four such products: of |F₊|², of |F₋|², and of √2 times
the real and the imaginary part of conj(F₊)F₋. All of this is exact, but for the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.fft

from bioterp.analyses.shifts import Ring
from bioterp.arrays import Array

WIDTH = 1 << 16  # frequencies at a time: 8 features by 4 kinds of them are 8 MB
BATCH = 16  # features transformed together


class Spectra:
    """The spectra of some terms on a ring, against which features are held."""

    def __init__(self, ring: Ring, terms: list[Array]):
        """terms: a (strands, size) bool mask each."""
        self.ring, self.size = ring, ring.size
        half = self.size // 2 + 1
        weight = np.full(half, 2 / self.size**2)
        weight[0] = 0  # what does not change with the shift
        if self.size % 2 == 0:
            weight[-1] /= 2
        kinds = ring.strands**2
        self.powers = [np.empty((len(terms), kinds, hi - lo), np.float32) for lo, hi in self._pieces()]
        for t, mask in enumerate(terms):
            for (lo, hi), power in zip(self._pieces(), self.powers, strict=True):
                if lo == 0:
                    spectrum = _transform(mask[None])
                power[t] = _kinds(spectrum[..., lo:hi])[0] * weight[lo:hi]

    def _pieces(self) -> Iterator[tuple[int, int]]:
        half = self.size // 2 + 1
        return ((lo, min(lo + WIDTH, half)) for lo in range(0, half, WIDTH))

    def variances(self, features: Array) -> Array:
        """(b, terms) float64 variance of the overlap over all shifts; features (b, strands, size) of 0 and 1."""
        spectrum = _transform(features)
        found = np.zeros((len(features), len(self.powers[0])))
        for (lo, hi), power in zip(self._pieces(), self.powers, strict=True):
            mine = _kinds(spectrum[..., lo:hi])
            found += mine.reshape(len(mine), -1) @ power.reshape(len(power), -1).T
        return found


def _transform(masks: Array) -> Array:
    """(b, strands, size) → (b, strands, size // 2 + 1) complex64, of masks less their mean."""
    lines = masks.astype(np.float32)
    lines -= lines.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
    return np.asarray(scipy.fft.rfft(lines, axis=2, overwrite_x=True))


def _kinds(spectrum: Array) -> Array:
    """(b, strands, k) → (b, strands², k) float32: the products that variances are made of."""
    power = spectrum.real**2 + spectrum.imag**2
    if spectrum.shape[1] == 1:
        return np.asarray(power)
    across = np.conj(spectrum[:, 0]) * spectrum[:, 1] * np.float32(np.sqrt(2))
    return np.concatenate([power, across.real[:, None], across.imag[:, None]], 1)
