"""Which items a range of rows touches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bioterp.rows import Rows


def touched(rows: Rows, lo: int, hi: int) -> Iterator[tuple[int, slice]]:
    """The items of rows lo:hi that have cells, and which of their cells these are."""
    offsets = rows.offsets
    for i in range(max(int(np.searchsorted(offsets, lo, side="right")) - 1, 0), len(rows.items)):
        if offsets[i] >= hi:
            return
        cut = slice(max(lo - int(offsets[i]), 0), min(hi, int(offsets[i + 1])) - int(offsets[i]))
        if cut.stop > cut.start:
            yield i, cut
