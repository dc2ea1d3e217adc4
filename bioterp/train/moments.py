"""Where the activations lie and how far they spread: what a training takes away and divides by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError

LONG = 6.0  # times the median distance from the mean: rows further out than that do not set mean and scale


@dataclass(frozen=True)
class Moments:
    """mean (d,); scale: the root mean square of what is left without it; gamma = ‖μ‖/‖σ‖; long: share of rows left out.

    A large gamma (activations far from 0) kills the features of a dictionary that is not centred.
    """

    mean: Array
    scale: float
    long: float

    @property
    def gamma(self) -> float:
        """Length of the mean over that of the standard deviations."""
        return float(np.linalg.norm(self.mean)) / (self.scale * math.sqrt(len(self.mean)))


def moments(x: Array) -> Moments:
    """Those of (n, d) rows, without the few that are far longer than the rest (attention sinks, padding).

    Raises InputError when nothing varies.
    """
    mean = x.mean(0, dtype=np.float64)
    away = _distances(x, mean)
    keep = away <= LONG * np.median(away)
    if not keep.all():
        mean = x[keep].mean(0, dtype=np.float64)
        away = _distances(x[keep], mean)
    scale = math.sqrt(float(np.square(away).mean()) / x.shape[1])
    if scale == 0:
        raise InputError("the activations do not vary: every row is the same; there is nothing to learn")
    return Moments(mean.astype(np.float32), scale, float(1 - keep.mean()))


def _distances(x: Array, mean: Array) -> Array:
    """(n,) Euclidean distances from the mean, a block of rows at a time."""
    blocks = [np.linalg.norm(x[lo : lo + 8192] - mean, axis=1) for lo in range(0, len(x), 8192)]
    return np.concatenate(blocks).astype(np.float64)
