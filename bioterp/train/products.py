"""The dense product of a step, as its selections see it: in float32, or in bfloat16 with the same outcome."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.halved import Halves
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
    """Pre-activations held in float32, (n, m)."""

    def __init__(self, pre: Array):
        self.pre, self.width = pre, pre.shape[1]

    def top(self, k: int) -> Parts:
        parts: Parts = top_k(self.pre, k, 1.0)
        return parts

    def above(self, bar: float) -> Parts:
        parts: Parts = above(self.pre, bar)
        return parts

    def among(self, columns: Array) -> Dense:
        return Dense(np.ascontiguousarray(self.pre[:, columns]))


class Whole:
    """The product in float32; room stays in use for as long as what is seen."""

    def __init__(self, encoder: Array, bias: Array):
        self.encoder, self.bias = torch.from_numpy(encoder).T, torch.from_numpy(bias)

    def near(self, x: Array, room: torch.Tensor) -> Dense:
        return Dense(torch.addmm(self.bias, torch.from_numpy(x), self.encoder, out=room).numpy())


def product(selection: str, encoder: Array, bias: Array) -> Product:
    """selection: 'float32' or 'bfloat16'."""
    return Halves(encoder, bias) if selection == "bfloat16" else Whole(encoder, bias)
