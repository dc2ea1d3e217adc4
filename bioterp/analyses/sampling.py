"""Which items to look at when all would take too long: drawn by a fixed seed, never by what they hold."""

from __future__ import annotations

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.rows import Rows

GROUPS = 256  # blocks beyond this are left out several at a time: the sums of each are held


def some_items(rows: Rows, split: str | None, most: int, least: int = 1, seed: int = 0) -> Array:
    """Positions of items of a split (None: of any) with about `most` rows in all, at least `least` items, in order.

    Drawn, and not evenly spaced: windows alternate between strands, and an even step could read one strand only.
    """
    items = np.arange(len(rows.items)) if split is None else rows.items_in(split)
    lengths = np.diff(rows.offsets)[items]
    items, lengths = items[lengths > 0], lengths[lengths > 0]
    if not len(items):
        wanted = "the field has no rows" if split is None else f"no row is in the split {split!r}"
        raise InputError(f"{wanted}, so there is nothing to measure on; give rows, or another split")
    wanted_items = max(least, round(most / float(lengths.mean())), 1)
    if wanted_items >= len(items):
        return items
    return np.sort(np.random.default_rng(seed).choice(items, wanted_items, replace=False))


def groups_of(rows: Rows, items: Array) -> tuple[Array, int]:
    """(len(items),) the group each item's block belongs to, 0 … g−1, and g: a block is never divided."""
    _, code = np.unique(rows.items["block"].astype(str).to_numpy()[items], return_inverse=True)
    groups = int(code.max()) + 1 if len(code) else 0
    return code % GROUPS, min(groups, GROUPS)
