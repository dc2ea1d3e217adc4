"""The sparse half of a training step as Triton kernels: what `torch_kernels.py` says, with nothing stored in between.

One program makes one row of the result, in order, and no two write the same place: no atomics, always the same bits.
Read only where a GPU is asked for. Shown right by Triton's interpreter on CPU tensors, and compiled for compute
capabilities 8.0 and 9.0; not yet run on a GPU, where `roads.py` compares it with plain torch before it is used.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# Triton reads the annotations of kernels itself, and takes tl.constexpr alone.

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]

from bioterp.arrays import Array
from bioterp.train.device_pairs import Pairs, Sorted
from bioterp.train.torch_kernels import EPS

NAME = "triton"
TILE = 4096  # numbers read at once by a program: pairs × channels
DOTS = (16, 128)  # pairs of a program that makes products, channels it reads at once

Tensor = torch.Tensor


@triton.jit
def _sum_pairs(acc, begin, end, index, by, table, d, PAIRS: tl.constexpr, D: tl.constexpr):
    """acc (D,) + Σ by·table[index] over the pairs begin:end, a few at a time so that their reads overlap."""
    c = tl.arange(0, D)
    for i in range(begin, end, PAIRS):
        n = i + tl.arange(0, PAIRS)
        live = n < end
        at = tl.load(index + n, mask=live, other=0).to(tl.int64)
        times = tl.load(by + n, mask=live, other=0.0)
        tile = tl.load(table + at[:, None] * d + c[None, :], mask=live[:, None] & (c < d)[None, :], other=0.0)
        acc += tl.sum(times[:, None] * tile, axis=0)
    return acc


@triton.jit
def _rebuild(
    bounds, column, code, decoder, target, weight, out, errors, b, d,
    CUTS: tl.constexpr, PAIRS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, D)
    acc = -tl.load(target + r * d + c, mask=c < d, other=0.0)
    w = tl.load(weight + r)
    for p in range(CUTS):
        begin = tl.load(bounds + r * (CUTS + 1) + p)
        end = tl.load(bounds + r * (CUTS + 1) + p + 1)
        acc = _sum_pairs(acc, begin, end, column, code, decoder, d, PAIRS, D)
        tl.store(out + (r + p * b) * d + c, acc * (w / CUTS), mask=c < d)
    tl.store(errors + r, w * tl.sum(acc * acc, axis=0))


@triton.jit
def _dots(column, slope, slopes, decoder, out, n, d, PAIRS: tl.constexpr, D: tl.constexpr):
    i = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    live = i < n
    left = tl.load(slope + i, mask=live, other=0).to(tl.int64) * d
    right = tl.load(column + i, mask=live, other=0).to(tl.int64) * d
    acc = tl.zeros((PAIRS,), tl.float32)
    for lo in range(0, d, D):
        c = lo + tl.arange(0, D)
        here = live[:, None] & (c < d)[None, :]
        one = tl.load(slopes + left[:, None] + c[None, :], mask=here, other=0.0)
        other = tl.load(decoder + right[:, None] + c[None, :], mask=here, other=0.0)
        acc += tl.sum(one * other, axis=1)
    tl.store(out + i, acc, mask=live)


@triton.jit
def _rows(
    starts, index, by, table, rows, first, second, d, rate, unbias, keep1, keep2, eps,
    MOVE: tl.constexpr, UNIT: tl.constexpr, PAIRS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Store the gradient of a row in `rows`, or MOVE the row by it: Adam, of what is across the row where UNIT."""
    j = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, D)
    g = tl.zeros((D,), tl.float32)
    g = _sum_pairs(g, tl.load(starts + j), tl.load(starts + j + 1), index, by, table, d, PAIRS, D)
    at = j * d + c
    if MOVE:
        p = tl.load(rows + at, mask=c < d, other=0.0)
        if UNIT:
            g -= tl.sum(p * g, axis=0) * p
        m = keep1 * tl.load(first + at, mask=c < d, other=0.0) + (1.0 - keep1) * g
        v = keep2 * tl.load(second + at, mask=c < d, other=0.0) + (1.0 - keep2) * g * g
        tl.store(first + at, m, mask=c < d)
        tl.store(second + at, v, mask=c < d)
        p -= rate * m / (tl.sqrt(v) * unbias + eps)
        if UNIT:
            p = p / tl.sqrt(tl.maximum(tl.sum(p * p, axis=0), 1e-24))
        tl.store(rows + at, p, mask=c < d)
    else:
        tl.store(rows + at, g, mask=c < d)


def _shape(d: int) -> dict[str, int]:
    """Pairs and channels of a program's tile, and its warps."""
    wide = max(32, triton.next_power_of_2(d))
    return {"PAIRS": min(32, max(1, TILE // wide)), "D": wide, "num_warps": 4 if wide <= 1024 else 8}


def _on(tensor: Tensor) -> Any:
    """A context in which kernels start on the tensor's GPU; nothing for those on the CPU."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def gather(starts: Tensor, index: Tensor, by: Tensor, table: Tensor) -> Tensor:
    """`torch_kernels.gather`."""
    out = table.new_empty(len(starts) - 1, table.shape[1])
    numbers = 0.0, 0.0, 0.0, 0.0, 0.0
    with _on(table):
        _rows[(len(out),)](
            *(starts, index, by, table, out, out, out), out.shape[1], *numbers, MOVE=False, UNIT=False,
            **_shape(out.shape[1]),
        )  # fmt: skip
    return out


def rebuild(
    pairs: Pairs, bounds: Tensor, decoder: Tensor, target: Tensor, weight: Tensor, cuts: list[int], out: Tensor
) -> Tensor:
    """`torch_kernels.rebuild`; out is contiguous."""
    errors = torch.empty_like(weight)
    b, d = target.shape
    tensors = bounds, pairs.column, pairs.code, decoder, target, weight, out, errors
    with _on(target):
        _rebuild[(b,)](*tensors, b, d, CUTS=len(cuts), **_shape(d))
    return errors


def dots(pairs: Sorted, slopes: Tensor, decoder: Tensor) -> Tensor:
    """`torch_kernels.dots`."""
    out = torch.empty_like(pairs.code)
    n, (few, wide) = len(out), DOTS
    if n:
        with _on(out):
            _dots[(triton.cdiv(n, few),)](
                pairs.column, pairs.slope, slopes, decoder, out, n, decoder.shape[1], PAIRS=few, D=wide
            )
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
    """`gather` and Adam in one: no gradient is stored."""
    with _on(rows):
        _rows[(len(rows),)](
            *(starts, index, by, table, rows, first, second), rows.shape[1], *map(float, adam), EPS,
            MOVE=True, UNIT=unit, **_shape(rows.shape[1]),
        )  # fmt: skip
