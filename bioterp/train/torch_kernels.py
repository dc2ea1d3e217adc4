"""The sparse half of a training step in plain torch operations, on any device: `kernels.py` without a compiler.

The road of CUDA where Triton is not to be had, and what the Triton kernels are compared with. Sums over pairs are
embedding bags, each summed in order by one thread: no atomics, the same bits every time.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import embedding_bag

from bioterp.arrays import Array
from bioterp.train.device_pairs import Pairs, Sorted

NAME = "torch"
EPS = 1e-8  # as in kernels.py
ROOM = 1 << 25  # numbers gathered at once for the products of pairs

Tensor = torch.Tensor


def scaled(x: Tensor, mean: Tensor, scale: float, bias: Tensor | None, cap: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x − mean)/scale − bias, the weights of the rows, and the sum of squares to be explained: `kernels.scaled`."""
    x = (x - mean) * (1 / scale)
    squares = x.square().sum(1)
    weight = (cap * cap / squares).clamp_max(1.0) if math.isfinite(cap) else torch.ones_like(squares)
    return x if bias is None else x - bias, weight, (weight * squares).sum(dtype=torch.float64)


def gather(starts: Tensor, index: Tensor, by: Tensor, table: Tensor) -> Tensor:
    """(m, d): Σ by·table[index] over the pairs starts[j]:starts[j + 1] of each j."""
    if not len(index):
        return table.new_zeros(len(starts) - 1, table.shape[1])
    return embedding_bag(index, table, starts, mode="sum", per_sample_weights=by, include_last_offset=True)


def rebuild(
    pairs: Pairs, bounds: Tensor, decoder: Tensor, target: Tensor, weight: Tensor, cuts: list[int], out: Tensor
) -> Tensor:
    """out[p, row] ← weight·(x̂_p − target)/len(cuts), x̂_p from the features below cuts[p]; see `kernels.rebuild`.

    bounds (b, len(cuts) + 1): where the pairs of a row begin, and end below each cut. Returns (b,) the weighted square
    errors of the last reconstruction.
    """
    made = -target
    for p in range(len(cuts)):
        within = pairs.code
        if len(cuts) > 1:
            low, high = cuts[p - 1] if p else 0, cuts[p]
            within = within * ((pairs.column >= low) & (pairs.column < high))
        starts = torch.cat([bounds[:, 0], bounds[-1:, -1]])
        made = made + gather(starts, pairs.column, within, decoder)
        torch.mul(made, weight[:, None] / len(cuts), out=out[p])
    return weight * made.square().sum(1)


def dots(pairs: Sorted, slopes: Tensor, decoder: Tensor) -> Tensor:
    """(n,): the product of each pair's slope and decoder row. slopes (rows of all slopes, d_out)."""
    out = torch.empty_like(pairs.code)
    step = max(1, ROOM // decoder.shape[1])
    for lo in range(0, len(out), step):
        at = slice(lo, lo + step)
        out[at] = (slopes[pairs.slope[at]] * decoder[pairs.column[at]]).sum(1)
    return out


def learn(
    starts: Tensor,
    index: Tensor,
    by: Tensor,
    table: Tensor,
    rows: Tensor,
    first: Tensor,
    second: Tensor,
    adam: Array,
    unit: bool = False,
) -> None:
    """Move rows (m, d) by the gradients that `gather` would give."""
    move(rows, gather(starts, index, by, table), first, second, adam, unit)


def move(p: Tensor, g: Tensor, first: Tensor, second: Tensor, adam: Array, unit: bool = False) -> None:
    """One step of Adam, in place (`kernels.move`). unit: rows keep length one, and lose what would change it."""
    rate, unbias, keep1, keep2 = map(float, adam)
    if unit:
        g = g - (p * g).sum(1, keepdim=True) * p
    first.mul_(keep1).add_(g, alpha=1 - keep1)
    second.mul_(keep2).addcmul_(g, g, value=1 - keep2)
    p.sub_(rate * first / (second.sqrt() * unbias + EPS))
    if unit:
        p.mul_(p.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt())
