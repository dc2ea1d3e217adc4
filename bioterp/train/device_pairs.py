"""Which (row, feature) pairs of a batch are active, on the device of the tensors; and those pairs sorted by feature.

What `selection.py` and `kernels.by_feature` do, in plain torch: top-k and sort are what its own kernels do well. A pair
whose code is 0 is none: rows with fewer than k positive pre-activations keep their k places, so that the host need not
be asked how many there are. Nothing here depends on the order in which threads run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from bioterp.train.selection import LOWER
from bioterp.train.world import World

Tensor = torch.Tensor
Tiles = Callable[[], Iterable[tuple[int, Tensor]]]  # (first row, pre-activations) of each tile of rows


class Pairs(NamedTuple):
    """code (n,) float32, column (n,) and row (n,) int64, row by row."""

    code: Tensor
    column: Tensor
    row: Tensor


class Sorted(NamedTuple):
    """Pairs by feature, rows increasing within one: those of feature j are starts[j]:starts[j + 1].

    slope: which row of the flattened slopes each pair reads; by: the factor of its loss; main: whether it is one of the
    reconstruction (its code above 0), not of the dead features' own loss.
    """

    starts: Tensor
    code: Tensor
    column: Tensor
    row: Tensor
    slope: Tensor
    by: Tensor
    main: Tensor


def best(pre: Tensor, k: int, first: int = 0) -> Pairs:
    """The k largest of each row of pre (b, m), those that are not positive with code 0; `first`: number of row 0."""
    code, column = pre.topk(k, dim=1)
    code = torch.where(code > 0, code, torch.zeros_like(code))
    row = torch.arange(first, first + len(pre), device=pre.device).repeat_interleave(k)
    return Pairs(code.flatten(), column.flatten(), row)


def above(pre: Tensor, bar: float, first: int = 0) -> Pairs:
    """All that are above bar; columns increase in a row."""
    row, column = (pre > bar).nonzero(as_tuple=True)
    return Pairs(pre[row, column], column, row + first)


def stack(parts: list[Pairs]) -> Pairs:
    """The pairs of consecutive tiles as one."""
    return parts[0] if len(parts) == 1 else Pairs(*(torch.cat(same) for same in zip(*parts, strict=True)))


def batch_best(tiles: Tiles, k: int, rows: int, limit: float, world: World) -> tuple[Pairs, float]:
    """The k·b largest positive of a batch of b rows over all processes, and the least of them, the next call's `limit`.

    rows: this process' share of b. As `selection.BatchTopK`, whose words hold here too.
    """
    wanted, bar = k * _total(rows, world), LOWER * limit
    if bar == 0:
        first = stack([best(pre, min(4 * k, pre.shape[1]), lo) for lo, pre in tiles()])
        bar = LOWER * least(first.code[first.code > 0], wanted, world)
    while True:
        parts = stack([above(pre, bar, lo) for lo, pre in tiles()])
        if bar == 0 or _total(len(parts.code), world) >= wanted:
            break
        bar = LOWER * bar if bar > 1e-6 else 0.0
    limit = least(parts.code, wanted, world)
    keep = (parts.code >= limit).nonzero().flatten()
    return Pairs(*(part[keep] for part in parts)), limit


def least(values: Tensor, wanted: int, world: World) -> float:
    """The `wanted`-th largest of all processes' values (float32, > 0); the least when there are fewer, 0 for none.

    Over processes bit by bit: positive floats are in the order of their bits read as integers, and counts can be summed
    where the values themselves would have to travel.
    """
    if world.size == 1:
        at = max(len(values) - wanted, 0)
        return float(values.sort().values[at]) if len(values) else 0.0
    wanted = max(1, min(wanted, _total(len(values), world)))
    bits, found = values.view(torch.int32), torch.zeros(1, dtype=torch.int32, device=values.device)
    for bit in range(30, -1, -1):
        trial = found | (1 << bit)
        enough = world.sum((bits >= trial).sum()) >= wanted
        found = torch.where(enough, trial, found)
    return float(found.view(torch.float32))


def _total(count: int, world: World) -> int:
    return int(world.sum(np.array([count]))[0])


def edges(pairs: Pairs, rows: int, cuts: list[int]) -> Tensor:
    """(rows, len(cuts) + 1): where each row's pairs begin, and where those below each cut end.

    The last cut is the width. Several cuts: columns increase in a row.
    """
    m, ends = cuts[-1], torch.arange(rows + 1, device=pairs.row.device)
    if len(cuts) == 1:
        bounds = torch.searchsorted(pairs.row, ends)
        return torch.stack([bounds[:-1], bounds[1:]], 1)
    limits = torch.tensor([0, *cuts], device=ends.device)
    return torch.searchsorted(pairs.row * m + pairs.column, ends[:-1, None] * m + limits)


def by_feature(main: Pairs, spare: Pairs | None, group: Tensor, rows: int, by: Tensor, by_aux: Tensor) -> Sorted:
    """Both kinds of pairs, sorted by feature. group (m,): which of the slopes, each of `rows` rows, a feature reads.

    The slopes of `spare` come after those of all groups.
    """
    slope, code, column, row = group[main.column] * rows + main.row, main.code, main.column, main.row
    share, own = by.expand(len(code)), main.code > 0
    if spare is not None:
        slope = torch.cat([slope, (group[-1] + 1) * rows + spare.row])
        code, column, row = (torch.cat(both) for both in zip(main, spare, strict=True))
        share = torch.cat([share, by_aux.expand(len(spare.code))])
        own = torch.cat([own, torch.zeros_like(spare.code, dtype=torch.bool)])
    column, order = column.sort(stable=True)
    starts = torch.searchsorted(column, torch.arange(len(group) + 1, device=column.device))
    return Sorted(starts, code[order], column, row[order], slope[order], share[order], own[order])


def counts(flags: Tensor, starts: Tensor) -> Tensor:
    """(m,) int64: how many flags of each feature's pairs are set."""
    before = torch.nn.functional.pad(flags.cumsum(0), (1, 0))
    return before[starts[1:]] - before[starts[:-1]]
