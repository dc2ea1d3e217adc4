"""Modality → (item, array, Grid). An adapter knows files and no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from bioterp.arrays import Array
from bioterp.grid import Grid


@dataclass(frozen=True)
class Item:
    """What an adapter says of one array.

    record: item, sample, block, split and covariates. core: (low (n,), high (n,)), coordinates in one dimension, and in
    more the index units of the array (an oblique box has no other); the cells whose middle lies inside become rows.
    masked: in one dimension, a bool array like the array, true where there is nothing to know (N).
    """

    record: dict[str, Any]
    core: tuple[Array, Array]
    masked: Array | None = None


class Source(Protocol):
    """What `bioterp.activations` reads: items in a fixed order, resumable at any of them."""

    modality: str
    items: pd.DataFrame
    recipe: dict[str, Any]

    @property
    def item_cells(self) -> int: ...  # of a core, at most

    @property
    def blocks_told(self) -> str: ...

    def described(self) -> dict[str, Any]: ...

    def __len__(self) -> int: ...

    def read(self, lo: int, hi: int) -> Iterator[tuple[Item, Array, Grid]]: ...
