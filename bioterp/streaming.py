"""Activations straight from the model as rows to train on: what does not fit the disk need not lie there.

    rows = bt.stream(source, model, layer=4)          # reads the source once to count; the model does not run
    sae = bt.fit(rows, width=4096, k=32)

The rows are those of `bt.activations(source, model, [layer], dtype="float32").split("train")`, bit for bit: items go
through the model in the same batches, for a network's last bits hang on what else is in the batch. A batch that holds
items of other splits besides is run whole for that reason. Every epoch runs the model again, and every process of a
`torchrun` runs it over all rows: where the disk has room, storing them is cheaper.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bioterp.activate import (
    BATCH_CELLS,
    Member,
    about_layer,
    check_modality,
    forward,
    forward_batches,
    is_item,
    items_of_a_shard,
)
from bioterp.adapters import Source
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.grid import Grid
from bioterp.progress import track
from bioterp.rows import SPLITS, Rows

CHUNK_ROWS = 8_192  # a chunk is as many forward passes as give so many rows: shuffling reads few items at a time
DTYPE = "float32"


def stream(
    source: Source,
    model: Any,
    layer: int | str,
    *,
    split: str | None = "train",
    batch_cells: int = BATCH_CELLS,
) -> ModelChunks:
    """The rows of one layer as something `fit` takes in place of a Field: the model runs when they are wanted.

    source: an adapter (`bioterp.DNA`). model: from `load_model`. layer: block number or module name. split: whose items
    to give, None for all. batch_cells: array cells of a forward pass, as in `activations`.

    Reads the whole source once to know which rows there will be. Raises InputError for a model of another modality, a
    layer it has not, and a split without items; later, while rows are read, for activations that are not finite.
    """
    return ModelChunks(source, model, layer, split, batch_cells)


class ModelChunks:
    """Rows of a model's layer in chunks of neighbouring items (`train.batches.Chunks`).

    sizes: (n,) int64 rows of each chunk. width: channels. rows: the `Rows` all chunks have in order; id: theirs.
    about: what a Field of these activations says of itself.
    """

    def __init__(
        self,
        source: Source,
        model: Any,
        layer: int | str,
        split: str | None = "train",
        batch_cells: int = BATCH_CELLS,
    ):
        check_modality(source, model)
        if split is not None and split not in SPLITS:
            raise InputError(f"there is no split {split!r}; known: {', '.join(SPLITS)}")
        self.source, self.model, self.layer, self.split = source, model, layer, split
        self.width: int = model.width(layer)
        self.about = about_layer(model, layer, source, DTYPE)
        self._shapes = {layer: model.cell_shape(layer)}
        self._lock = threading.Lock()  # hooks are on the model while it runs: one forward at a time
        self._forwards: list[list[tuple[int, int]]] = []  # of each chunk: runs of items that go through together
        self._plan(batch_cells)

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def __repr__(self) -> str:
        rows, split = f"{len(self):,} rows × {self.width} channels", self.split or "all"
        return f"ModelChunks({split} of {self.model.name}, layer {self.layer}: {rows}, {len(self.sizes)} chunks)"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, channels), as of a Field."""
        return len(self), self.width

    @property
    def id(self) -> str:
        """A hash of what the rows are: that of the Rows of the stored activations."""
        return self.rows.id

    def read(self, chunks: Array) -> Array:
        """(rows of these chunks, width) float32, from the model."""
        pieces = [np.zeros((0, self.width), np.float32)]
        with self._lock:
            for chunk in chunks:
                for lo, hi in self._forwards[int(chunk)]:
                    for item, _, values in forward(
                        list(self.source.read(lo, hi)), self.model, self._shapes, [self.layer]
                    ):
                        if self._wanted(item.record):
                            pieces.append(values[self.layer])
        return np.concatenate(pieces)

    def _wanted(self, record: dict[str, Any]) -> bool:
        return self.split is None or record["split"] == self.split

    def _plan(self, batch_cells: int) -> None:
        """Which items go through the model together, and which rows they give; nothing but the source is read."""
        records: list[dict[str, Any]] = []
        grids: list[Grid] = []
        sizes: list[int] = []
        last = None  # the sample of the last chunk
        for lo, hi, group in self._groups(batch_cells):
            rows = 0
            for item, placed, _ in forward(group, self.model, self._shapes, []):
                cells, _ = placed[self._shapes[self.layer]]
                if is_item(cells):
                    records.append(item.record)
                    grids.append(cells)
                    rows += cells.size if self._wanted(item.record) else 0
            sample = group[0][0].record["sample"]
            # Tiles of one scan stay together, for each chunk reads the scan anew.
            if rows and sizes and sizes[-1] + rows <= CHUNK_ROWS and sample == last:
                sizes[-1] += rows
                self._forwards[-1].append((lo, hi))
            elif rows:
                sizes.append(rows)
                self._forwards.append([(lo, hi)])
                last = sample
        self.sizes: Array = np.array(sizes, np.int64)
        if not sizes:
            split = "of the source" if self.split is None else f"of the split {self.split!r}"
            raise InputError(f"no item {split} gives a row: use smaller blocks, another seed, or another source")
        every = Rows.from_grids(pd.DataFrame(records), grids)
        self.rows = every if self.split is None else every.take(every.items_in(self.split))

    def _groups(self, batch_cells: int) -> Iterator[tuple[int, int, list[Member]]]:
        """The batches `activations` would make: (lo, hi, members), items lo:hi of the source, read anew, are they."""
        source, names = self.source, self.source.items["item"].to_numpy()
        shard = items_of_a_shard(source, self.model, [self.layer], DTYPE)
        for lo in track(range(0, len(source), shard), f"rows of {self.model.name}", -(-len(source) // shard)):
            at = lo
            for group in forward_batches(source.read(lo, min(lo + shard, len(source))), batch_cells):
                ends = []
                for item, _, _ in group:
                    while names[at] != item.record["item"]:  # all masked, or air: the source does not give it
                        at += 1
                    ends.append(at)
                    at += 1
                yield ends[0], at, group
