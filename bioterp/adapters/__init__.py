"""Modality → (item, array, Grid). An adapter knows files and no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from bioterp.arrays import Array
from bioterp.grid import Grid, Space


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


@dataclass(frozen=True)
class Adapter:
    """What a plug-in that reads a source says of itself: its name, and the sequences or scans it gives."""

    name: str
    gives: str


PLUGGED: dict[str, Callable[..., Any]] = {}  # kind of source → what opens it, by `bioterp.plugins`


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


class Lines:
    """What sources of one-dimensional items have in common; a subclass sets `name`, `items`, `recipe`, writes `read`.

    items: a line per item with item, sample, block, split, contig, start and end (its core, in coordinates),
    and length (of the contig) where it is known.
    """

    modality = "dna"
    modality_word = "sequence"
    name: str
    items: pd.DataFrame
    recipe: dict[str, Any]

    def read(self, lo: int, hi: int) -> Iterator[tuple[Item, Array, Grid]]:
        """Items lo:hi, in order."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[Item, Array, Grid]]:
        return self.read(0, len(self))

    @property
    def cells(self) -> int:
        """Bases of all cores."""
        return int((self.items["end"] - self.items["start"]).sum())

    @property
    def item_cells(self) -> int:
        """Bases of a core, at most."""
        return int((self.items["end"] - self.items["start"]).max())

    @property
    def blocks_told(self) -> str:
        """What the blocks are, for a message."""
        return f"such as {self.items['block'].iloc[0]}"

    def described(self) -> dict[str, Any]:
        """What a report says of the source."""
        return {"file": self.name, "items": len(self)}

    @property
    def spaces(self) -> dict[str, Space]:
        """The contigs of the items, by name."""
        lines = self.items.drop_duplicates("contig")
        lengths = [int(n) for n in lines["length"]] if "length" in lines else [None] * len(lines)
        return {name: Space(name, "bp", n) for name, n in zip(lines["contig"], lengths, strict=True)}
