"""Values computed when they are read, and the shards they are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bioterp.rows import Rows
from bioterp.values import Values


@dataclass(frozen=True)
class Computed:
    """`function` of the same rows of one or more containers; `width` columns of them."""

    bases: tuple[Values, ...]
    function: Callable[..., Any]
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bases[0].shape[0], self.width

    def read(self, lo: int, hi: int) -> Any:
        return self.function(*(base.read(lo, hi) for base in self.bases))


def shards(of: Rows, rows: int = 1 << 18) -> list[tuple[int, int]]:
    """Ranges of items of about `rows` rows each."""
    cuts, begin = [], 0
    offsets = of.offsets
    for i in range(1, len(offsets)):
        if offsets[i] - offsets[begin] >= rows or i == len(offsets) - 1:
            cuts.append((begin, i))
            begin = i
    return cuts
