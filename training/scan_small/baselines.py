"""Other ways of filling the holes: the mean image, the visible voxels nearby, and principal components.

The components are used as a probabilistic model (Tipping & Bishop 1999): what is hidden is predicted from what is
visible by the conditional mean, so that they see neither more nor less than the network does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import corpus
import numpy as np
from corpus import Cubes, Voxels
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Fill = Callable[[Voxels, Cubes], Voxels]
"""A scan and what is hidden of it → the scan filled in. Hidden voxels must not be looked at."""

Floats = NDArray[np.float32]


def centred(voxels: Voxels, shape: tuple[int, ...]) -> tuple[Voxels, Cubes]:
    """A scan laid middle on middle in a box of another shape (0 around it), and which voxels of the box are real."""
    return corpus.cut(voxels, [n // 2 - m // 2 for n, m in zip(voxels.shape, shape, strict=True)], shape)


def mean_image(scans: list[Voxels]) -> Fill:
    """The mean over training scans of the voxels at the same place, scans laid middle on middle."""
    x, y, z = np.max([scan.shape for scan in scans], axis=0).tolist()
    box = x, y, z
    pairs = [centred(scan, box) for scan in scans]
    total, count = sum(crop for crop, _ in pairs), sum(real.astype(np.float32) for _, real in pairs)
    mean = np.divide(total, count, out=np.zeros(box, np.float32), where=count > 0)

    def fill(voxels: Voxels, hidden: Cubes) -> Voxels:
        return centred(mean, voxels.shape)[0]

    return fill


def neighbours(sigma: float) -> Fill:
    """The mean of the visible voxels around, weighted by a Gaussian of `sigma` voxels."""

    def fill(voxels: Voxels, hidden: Cubes) -> Voxels:
        visible = (~hidden).astype(np.float32)
        total = gaussian_filter(voxels * visible, sigma, mode="constant", truncate=6)
        weight = gaussian_filter(visible, sigma, mode="constant", truncate=6)
        return total / np.maximum(weight, 1e-6)

    return fill


@dataclass(frozen=True)
class Components:
    """Mean (n,), basis (n, k) with unit columns, variance along each (k,), and the variance left over per voxel."""

    mean: Floats
    basis: Floats
    variance: Floats
    noise: float

    def first(self, k: int) -> Components:
        """The same with fewer components; what they leave goes to the noise."""
        n, kept = len(self.mean), len(self.variance)
        lost = float(self.variance[k:].sum()) + self.noise * (n - kept)
        return Components(self.mean, self.basis[:, :k], self.variance[:k], lost / (n - k))

    def conditional_mean(self, values: Floats, known: NDArray[np.bool_]) -> Floats:
        """All of a patch (n,) given the values that are known."""
        basis = self.basis[known]
        prior = self.noise / np.maximum(self.variance - self.noise, 1e-6)
        scores = np.linalg.solve(basis.T @ basis + np.diag(prior), basis.T @ (values[known] - self.mean[known]))
        return self.mean + self.basis @ scores.astype(np.float32)


def components(rows: Floats, k: int) -> Components:
    """Principal components of rows (rows, n), by way of the smaller of the two products."""
    mean = rows.mean(0)
    flat = rows - mean
    n, wide = flat.shape
    if n <= wide:
        values, vectors = np.linalg.eigh(flat @ flat.T)
        basis = flat.T @ vectors[:, ::-1][:, :k]
        basis /= np.maximum(np.linalg.norm(basis, axis=0), 1e-12)
    else:
        values, vectors = np.linalg.eigh(flat.T @ flat)
        basis = vectors[:, ::-1][:, :k]
    variance = np.maximum(values[::-1][:k], 0) / n
    left = max(float(np.maximum(values, 0).sum() / n - variance.sum()) / max(wide - k, 1), 1e-6)
    return Components(mean, np.ascontiguousarray(basis, np.float32), variance.astype(np.float32), left)


def patch_rows(scans: list[Voxels], side: int, count: int, seed: int = 0) -> Floats:
    """`count` patches from random places of random scans, (count, side**3)."""
    rng = np.random.default_rng(seed)
    fit = [scan for scan in scans if min(scan.shape) >= side]
    rows = []
    for i in rng.integers(len(fit), size=count):
        low = [int(rng.integers(n - side + 1)) for n in fit[i].shape]
        rows.append(corpus.cut(fit[i], low, (side,) * 3)[0].ravel())
    return np.stack(rows)


def patches(model: Components, side: int, step: int) -> Fill:
    """Components of patches, wherever they lie: overlapping patches are averaged, middles count most."""
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).astype(np.float32)
    weight = ramp[:, None, None] * ramp[:, None] * ramp

    def fill(voxels: Voxels, hidden: Cubes) -> Voxels:
        gone = hidden.astype(np.float32)
        total, sums = (np.zeros([n + side for n in voxels.shape], np.float32) for _ in range(2))
        for low in itertools.product(*(_starts(n, side, step) for n in voxels.shape)):
            crop, real = corpus.cut(voxels, low, weight.shape)
            seen = real & ~corpus.cut(gone, low, weight.shape)[0].astype(bool)
            here = tuple(slice(a, a + side) for a in low)
            guess = model.conditional_mean(crop.ravel(), seen.ravel()).reshape(crop.shape)
            total[here] += weight * guess
            sums[here] += weight
        inside = tuple(slice(n) for n in voxels.shape)
        return total[inside] / np.maximum(sums[inside], 1e-6)

    return fill


def _starts(n: int, side: int, step: int) -> list[int]:
    last = max(n - side, 0)
    return sorted({*range(0, last, step), last})


def whole_crops(scans: list[Voxels], box: tuple[int, ...], k: int) -> Fill:
    """Components of whole scans laid middle on middle; outside the box, the mean image."""
    rows = np.stack([centred(scan, box)[0].ravel() for scan in scans])
    model, around = components(rows, k), mean_image(scans)

    def fill(voxels: Voxels, hidden: Cubes) -> Voxels:
        crop, real = centred(voxels, box)
        seen = real & ~centred(hidden.astype(np.float32), box)[0].astype(bool)
        guess = model.conditional_mean(crop.ravel(), seen.ravel()).reshape(crop.shape)
        back, covered = centred(guess, voxels.shape)
        return np.where(covered, back, around(voxels, hidden))

    return fill
