"""The exact top-k of a product made in bfloat16, which processors with the instructions for it make twice as fast.

With w' and x' the bfloat16 neighbours of an encoder row and a cell,

    |x·w − x'·w'| ≤ ‖x − x'‖ ‖w‖ + ‖x'‖ ‖w − w'‖                                       (Cauchy and Schwarz)

whose four lengths are measured, not bounded (they come to .0033 ‖x‖‖w‖, where the format's half unit in the last place,
2⁻⁸ of a value, promises .0078). With the rounding of sums and of their result this gives every pre-activation a lower
and an upper end. Columns whose upper end reaches the k-th largest lower end of their row are multiplied again in
float32; among them are the k largest, always, so what comes out is what `topk` makes of a float32 product. A code
depends on its own row alone, to the last bit.
"""

from __future__ import annotations

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.halved import refined
from bioterp.halved.likely import likely
from bioterp.processor import slow_in_bfloat16
from bioterp.progress import say

TILE = 1 << 22  # products held at a time by `encoded`
HUGE = 1e37  # ‖x‖‖w‖ from which sums may overflow: such rows are multiplied whole
NEVER = np.float32(-3e38)  # in place of a bias of −∞
_said = False


class Halves:
    """An encoder (m, d) float32 and its bias (m,), with the encoder's neighbour in bfloat16."""

    def __init__(self, encoder: Array, bias: Array):
        _say_if_slow()
        self.encoder, self.bias = np.ascontiguousarray(encoder, np.float32), np.asarray(bias, np.float32)
        self.half, self.length, self.left = _halved(self.encoder)
        # What summing d products in float32 may lose, in any order, is that many units in the last place.
        self.left += np.float32(self.encoder.shape[1] * 2.0**-23) * self.length
        self.names = np.arange(len(bias), dtype=np.int32)

    def near(self, x: Array, room: torch.Tensor | None = None) -> Near:
        """x (n, d) float32 → its approximate product, made in `room` (float32, at least n·m values) where given."""
        x = np.ascontiguousarray(x, np.float32)
        half, length, left = _halved(x)
        n, m = len(x), len(self.encoder)
        flat = torch.empty(n * m, dtype=torch.bfloat16) if room is None else room.view(-1).view(torch.bfloat16)
        product = torch.mm(half, self.half.T, out=flat[: n * m].view(n, m))
        return Near(self, x, product.view(torch.int16).numpy(), length, left, self.names)

    def encoded(self, x: Array, k: int | None, limit: Array | float, scale: float) -> tuple[Array, Array, Array]:
        """CSR parts, in units of `scale`, of the k largest of every row or, with no k, of all above the limit."""
        size = max(64, TILE // len(self.encoder))
        room = torch.empty(min(size, max(len(x), 1)), len(self.encoder), dtype=torch.bfloat16)
        parts = []
        for lo in range(0, max(len(x), 1), size):
            near = self.near(x[lo : lo + size], room)
            parts.append(near.top(k, scale) if k is not None else near.above(limit, scale))
        ends = np.cumsum([0, *(len(part[0]) for part in parts)])
        indptr = [np.zeros(1, np.int64), *(part[2][1:] + end for part, end in zip(parts, ends, strict=False))]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), np.concatenate(indptr)


class Near:
    """Rows x (n, d), the bits of their approximate products (n, columns), and by how much these may be wrong."""

    def __init__(self, of: Halves, x: Array, bits: Array, length: Array, left: Array, names: Array):
        self.of, self.x, self.bits, self.names = of, x, bits, names
        # The residual's length is that of the row, of which the product may even have taken nothing.
        self.own, self.far = left, length
        self.width = len(names)

    def among(self, columns: Array) -> Near:
        """The same rows, some columns only (increasing)."""
        names = self.names[columns]
        return Near(self.of, self.x, np.ascontiguousarray(self.bits[:, columns]), self.far, self.own, names)

    def top(self, k: int, scale: float = 1.0) -> tuple[Array, Array, Array]:
        """As `topk.top_k` of the float32 pre-activations."""
        column, indptr = self.likely(k)
        value = refined.products(indptr, column, self.x, self.of.encoder, self.of.bias, self.names)
        return refined.best(indptr, column, value, k, scale)  # type: ignore[no-any-return]

    def above(self, bar: Array | float, scale: float = 1.0) -> tuple[Array, Array, Array]:
        """As `topk.above`; the bar may be each column's own, (columns,)."""
        bars = np.ascontiguousarray(np.broadcast_to(np.asarray(bar, np.float32), self.width))
        column, indptr = self.likely(0, bars)
        value = refined.products(indptr, column, self.x, self.of.encoder, self.of.bias, self.names)
        return refined.over(indptr, column, value, bars, scale)  # type: ignore[no-any-return]

    def likely(self, k: int, bars: Array | None = None) -> tuple[Array, Array]:
        """Columns and indptr of what may be among the k largest of its row and > 0; with k 0, of what may be > bars."""
        of, names = self.of, self.names
        bias = of.bias[names]
        if bars is not None:  # in float64: a bias must not vanish in a bar
            bias = np.subtract(bias, bars, dtype=np.float64).astype(np.float32)
        length, left = of.length[names], of.left[names]
        # The sum of the largest is finite only if all are; a comparison with NaN is false.
        sane = bool(np.isfinite(length.sum(dtype=np.float64) + left.sum(dtype=np.float64)) and (bias < -NEVER).all())
        whole = ~(self.far * np.float32(length.max(initial=0)) < HUGE) if sane else np.ones(len(self.x), bool)
        tiny = np.where(self.far > 0, np.float32(self.x.shape[1] * 2.0**-124), np.float32(0)).astype(np.float32)
        bounds = self.own, self.far, tiny, whole
        columns = np.maximum(bias, NEVER), length, left
        return likely(self.bits, *bounds, *columns, k)  # type: ignore[no-any-return]


def _halved(full: Array) -> tuple[torch.Tensor, Array, Array]:
    """The neighbour in bfloat16 of (n, d) float32; the lengths of the rows, and of what they lost."""
    half = torch.from_numpy(np.require(full, np.float32, ["C", "W"])).bfloat16()
    length, left = refined.lengths(full, half.view(torch.int16).numpy())
    return half, length, left


def _say_if_slow() -> None:
    """Say once where bfloat16 does not pay."""
    global _said
    if not _said and slow_in_bfloat16():
        say("this processor is slower in bfloat16 than in float32: selection='float32' gives the same, and sooner")
    _said = True
