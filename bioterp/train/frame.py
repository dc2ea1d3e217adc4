"""The coordinates a training works in: rows less their mean, in units of their spread, along their principal axes.

Adam (Kingma and Ba 2015) divides every entry of a gradient by the size that entry usually has. In the channels of a
model each entry mixes directions in which the activations vary much with those in which they hardly vary, and one rate
has to serve both; along the axes of the covariance it does not (docs/decisions.md has the figures; the same reason as
for SOAP, Vyas et al. 2024, which turns gradients by their own covariance). Turning changes neither lengths nor angles:
the loss, the constraint on decoder rows and which dictionaries there are stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.train.crew import Crew
from bioterp.train.world import World

LONG = 6.0  # times the median distance from the mean: rows further out than that do not set mean and scale
ALIKE = 0.5  # of the channels: with so many effective dimensions the axes are alike, and turning is not worth its time
ROWS = 65_536  # for the covariance
TILE = 1_024  # rows turned at once


class Frame:
    """Where the activations lie, how far and along which axes they spread.

    mean (d,); scale: the root mean square of what is left without it; long: share of rows left out; axes (d, d): unit
    vectors in columns, that of the largest variance last, or None where they are alike.
    """

    def __init__(self, mean: Array, scale: float, long: float, axes: Array | None = None):
        self.mean, self.scale, self.long, self.axes = mean, scale, long, axes

    @property
    def gamma(self) -> float:
        """‖μ‖/‖σ‖, the length of the mean over that of the standard deviations.

        Large (activations far from 0), it kills the features of a dictionary that is not centred.
        """
        return float(np.linalg.norm(self.mean)) / (self.scale * math.sqrt(len(self.mean)))

    def rows(self, x: Array, crew: Crew, device: torch.device | None = None) -> Any:
        """(n, d) rows in model units as a training sees them, the same for any number of threads.

        Numpy, or for a GPU a tensor that lies on it.
        """
        if device is not None and device.type != "cpu":
            at = torch.from_numpy(np.ascontiguousarray(x, np.float32)).pin_memory().to(device, non_blocking=True)
            at = (at - torch.from_numpy(self.mean).to(device)) * (1 / self.scale)
            return at if self.axes is None else at @ torch.from_numpy(self.axes).to(device)
        out, inverse = np.empty(x.shape, np.float32), np.float32(1 / self.scale)

        def tile(lo: int) -> None:
            to = out[lo : lo + TILE]
            at = to if self.axes is None else np.empty_like(to)
            np.subtract(x[lo : lo + TILE], self.mean, out=at)
            at *= inverse
            if self.axes is not None:
                torch.mm(torch.from_numpy(at), torch.from_numpy(self.axes), out=torch.from_numpy(to))

        crew.map(tile, range(0, len(x), TILE))
        return out

    def back(self, directions: Array) -> Array:
        """Directions (…, d) as a training sees them → the same in the channels of the model; lengths stay."""
        return directions.copy() if self.axes is None else directions @ self.axes.T

    def state(self) -> dict[str, Array]:
        """What a training that goes on must find again to the bit: other axes, or only other signs, ruin it."""
        axes = np.zeros((0, 0), np.float32) if self.axes is None else self.axes
        return {"mean": self.mean, "axes": axes, "scale": np.array([self.scale, self.long])}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Be the Frame of a state."""
        self.mean, self.axes = state["mean"], state["axes"] if state["axes"].size else None
        self.scale, self.long = map(float, state["scale"])


def frame(x: Array, world: World | None = None) -> Frame:
    """That of (n, d) rows, without the few that are far longer than the rest (attention sinks, padding).

    world: the first process says what holds for all. Raises InputError when nothing varies.
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
    near = np.flatnonzero(keep)
    made = Frame(mean.astype(np.float32), scale, float(1 - keep.mean()))
    made.axes = _axes(x, near[:: -(-len(near) // ROWS)], made)
    if world is not None and world.size > 1:
        made.restore({name: world.gather(array)[0] for name, array in made.state().items()})
    return made


def _axes(x: Array, rows: Array, within: Frame) -> Array | None:
    """The eigenvectors of the covariance of some rows; by one thread, for those of several may differ in last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        d = x.shape[1]
        sums = torch.zeros(d, d, dtype=torch.float64)
        for lo in range(0, len(rows), 8_192):
            at = torch.from_numpy((x[rows[lo : lo + 8_192]] - within.mean) / np.float32(within.scale))
            sums += at.T @ at
        spread, axes = torch.linalg.eigh(sums / len(rows))
    finally:
        torch.set_num_threads(before)
    effective = float(spread.sum() ** 2 / spread.square().sum())
    return None if effective >= ALIKE * d else np.ascontiguousarray(axes.numpy(), np.float32)


def _distances(x: Array, mean: Array) -> Array:
    """(n,) Euclidean distances from the mean, a block of rows at a time."""
    blocks = [np.linalg.norm(x[lo : lo + 8192] - mean, axis=1) for lo in range(0, len(x), 8192)]
    return np.concatenate(blocks).astype(np.float64)
