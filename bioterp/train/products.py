"""The dense product of a step, as its selections see it: in float32, or in bfloat16 with the same outcome."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.halved import Halves
from bioterp.processor import numpy_multiplies_faster
from bioterp.topk import above, top_k

Parts = tuple[Array, Array, Array]


class Seen(Protocol):
    """Pre-activations of a tile of rows: what is largest among them can be asked, the rest cannot be had."""

    width: int

    def top(self, k: int) -> Parts:
        """The k largest of every row that are > 0."""

    def above(self, bar: float) -> Parts:
        """All that are > bar."""

    def among(self, columns: Array) -> Seen:
        """Some columns of it (increasing), renumbered."""


class Product(Protocol):
    """near(x (n, d), room of n·m float32) → what is seen of x · encoderᵀ + bias."""

    def near(self, x: Array, room: torch.Tensor) -> Seen: ...


class Dense:
    """A product held in float32, (n, m), and the bias (m,) that makes pre-activations of it."""

    def __init__(self, made: Array, bias: Array):
        self.made, self.bias, self.width = made, bias, made.shape[1]

    def top(self, k: int) -> Parts:
        parts: Parts = top_k(self.made, self.bias, k, 1.0)
        return parts

    def above(self, bar: float) -> Parts:
        parts: Parts = above(self.made, self.bias, np.float32(bar), 1.0)
        return parts

    def among(self, columns: Array) -> Dense:
        return Dense(np.ascontiguousarray(self.made[:, columns]), self.bias[columns])


class Whole:
    """The product in float32; room stays in use for as long as what is seen."""

    def __init__(self, encoder: Array, bias: Array):
        self.encoder, self.bias = encoder, bias

    def near(self, x: Array, room: torch.Tensor) -> Dense:
        if numpy_multiplies_faster():
            made = np.dot(x, self.encoder.T, out=room.numpy())
        else:
            made = torch.mm(torch.from_numpy(x), torch.from_numpy(self.encoder).T, out=room).numpy()
        return Dense(made, self.bias)


def product(selection: str, encoder: Array, bias: Array) -> Product:
    """selection: 'float32' or 'bfloat16'."""
    return Halves(encoder, bias) if selection == "bfloat16" else Whole(encoder, bias)
