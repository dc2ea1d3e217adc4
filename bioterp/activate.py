"""Where modality and model meet: one forward pass, many layers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import kept, locks, store
from bioterp.adapters import Item, Source
from bioterp.arrays import Array, BFloat16, narrow
from bioterp.errors import InputError
from bioterp.field import Field, FieldWriter
from bioterp.grid import Grid
from bioterp.progress import track
from bioterp.rows import Rows

BATCH_CELLS = 16_384  # array cells a forward pass takes at once: small enough for the caches of a CPU
SHARD_BYTES = 64 << 20  # of one layer, in memory before it is written

Member = tuple[Item, Array, Grid]  # what a source gives of one item
Placed = tuple[Grid, Array]  # the cells of an item that are rows, and their positions among the model's


def activations(
    source: Source,
    model: Any,
    layers: Sequence[int | str],
    out: str | Path,
    *,
    dtype: str | None = None,
    batch_cells: int = BATCH_CELLS,
    shards: int = 1,
    part: tuple[int, int] | None = None,
) -> dict[int | str, Field]:
    """Run every item of a source through a model once, and store the activations of some layers.

    source: an adapter (`bioterp.DNA`). model: from `load_model`. layers: block numbers (0-based: their output) or
    module names. out: a folder; layer l goes to `out/layer=l`. dtype: 'float32', 'bfloat16' or 'float16'; the
    model's own by default. A value a narrower type cannot hold is an error, never a silent infinity. shards: written
    in at least so many pieces (as far as there are items). part: (i, n), only the i-th of n equal parts of the shards,
    0-based, while other processes write the others; whoever comes last seals, the rest are given no Field.

    Halo cells and cells over masked bases give no rows. Run again after an interruption, it computes only what is
    missing. Returns {layer: Field (cells, channels)}. Raises InputError for NaN or infinite activations (item, layer
    and coordinates named) and for a model of another modality.
    """
    check_modality(source, model)
    layers = list(layers)
    if not layers or len(set(layers)) < len(layers):
        raise InputError(f"layers must name each layer once; got {layers}")
    dtype = dtype or model.dtype
    per_item = {layer: _cells_of_an_item(source, model, layer) for layer in layers}
    shard_items = min(items_of_a_shard(source, model, layers, dtype), max(1, -(-len(source) // shards)))
    shards = -(-len(source) // shard_items)
    mine = range(shards) if part is None else range(part[0] * shards // part[1], (part[0] + 1) * shards // part[1])
    writers, finished = {}, {}
    for layer in layers:
        about = about_layer(model, layer, source, dtype)
        recipe = {**about, "source": source.recipe, "shard_items": shard_items}
        columns = _columns(model, layer)
        folder = Path(out) / f"layer={layer}"
        whole = _finished(folder, recipe)
        if whole is not None:
            finished[layer] = whole
        else:
            writers[layer] = FieldWriter(folder, columns, "activation", recipe, about, dtype, part is None)
    for shard in track(mine, f"activations of {model.name}", len(mine)):
        todo = [layer for layer, writer in writers.items() if not writer.done(shard)]
        if todo:
            hi = min((shard + 1) * shard_items, len(source))
            items = hi - shard * shard_items
            held = {layer: _Kept(items * per_item[layer], model.width(layer), dtype) for layer in todo}
            rows = _run_shard(source.read(shard * shard_items, hi), model, todo, held, batch_cells)
            for layer in todo:
                writers[layer].write(shard, rows[layer], held.pop(layer).whole())
    if part is None:
        return {layer: finished[layer] if layer in finished else writers[layer].finish(shards) for layer in layers}
    with locks.turn(out, "seal"):
        whole_now = [layer for layer, writer in writers.items() if all(map(writer.done, range(shards)))]
        return finished | {layer: writers[layer].finish(shards) for layer in whole_now}


def check_modality(source: Source, model: Any) -> None:
    """InputError when the model reads something else than the source gives."""
    if model.modality != source.modality:
        raise InputError(f"the model {model.name} reads {model.modality}, the source gives {source.modality}")


def items_of_a_shard(source: Source, model: Any, layers: Sequence[int | str], dtype: str) -> int:
    """How many items of a source a shard takes; batches of a forward pass do not cross shards.

    The plan depends on the widest layer of those asked for, and is part of the recipe.
    """
    itemsize = 4 if dtype == "float32" else 2
    largest = max(model.width(layer) * _cells_of_an_item(source, model, layer) for layer in layers)
    return max(1, int(SHARD_BYTES // (largest * itemsize)))


def _finished(folder: Path, recipe: dict[str, Any]) -> Field | None:
    """The Field in a folder that is whole and of this recipe, in whatever shards it was written."""
    found = kept.opened(folder, store.read)
    theirs = {} if found is None else found.meta.get("recipe", {})
    wanted = {key: value for key, value in json.loads(json.dumps(recipe)).items() if key != "shard_items"}
    same = all(theirs.get(key) == value for key, value in wanted.items())
    return kept.opened(folder, Field.open) if same else None  # of another recipe: the writer says so


def about_layer(model: Any, layer: int | str, source: Source, dtype: str | None = None) -> dict[str, Any]:
    """What a Field of activations says of itself, told without running anything: all that its values hang on."""
    # Of a folder only its name: what a result is does not depend on where its model lay, and folders are private.
    shown = Path(model.name).name if Path(model.name).is_dir() else model.name
    return {
        "model": shown,
        "model_hash": model.hash,
        "layer": str(layer),
        "module": model.resolve(layer),
        "source": store.digest(source.recipe),
        "stored": dtype or model.dtype,
    }


def cells(source: Source, model: Any, layer: int | str, out: str | Path, *, batch_cells: int = BATCH_CELLS) -> Field:
    """The rows `activations` will give of a layer, as a Field without columns: the model does not run over them.

    Labels can be painted, and finished tables recognised, before or after the activations are on disk.
    """
    recipe = {"model_hash": model.hash, "source": source.recipe, "cells": list(model.cell_shape(layer))}
    about = {"model_hash": model.hash, "source": store.digest(source.recipe)}
    writer = FieldWriter(out, [], "activation", recipe, about)
    if not writer.done(0):
        rows = _run_shard(source.read(0, len(source)), model, [layer], {}, batch_cells)[layer]
        writer.write(0, rows, np.zeros((len(rows), 0), np.float32))
    return writer.finish(1)


def _cells_of_an_item(source: Source, model: Any, layer: int | str) -> int:
    """At most how many rows an item gives: every base or voxel one, or those of a stride one."""
    return max(1, source.item_cells // int(math.prod(model.cell_shape(layer))))


def _columns(model: Any, layer: int | str) -> pd.DataFrame:
    width = model.width(layer)
    named = model.outputs if layer == "output" and len(model.outputs) == width else None
    return pd.DataFrame({"name": list(named) if named else [str(i) for i in range(width)]})


class _Kept:
    """The rows of one layer's shard as they come, in the type they are stored in and in one block of memory.

    room: how many rows are expected; memory is only taken as they come, and a shard that has more moves house.
    """

    def __init__(self, room: int, width: int, dtype: str):
        self.dtype, self.rows = dtype, 0
        self.block: Array = np.empty((max(room, 1), width), "uint16" if dtype == "bfloat16" else dtype)

    def add(self, values: Array) -> None:
        """(k, width) float32 rows; OverflowError for one the type cannot hold."""
        kept = narrow(values, self.dtype)
        end = self.rows + len(values)
        if end > len(self.block):
            larger = np.empty((2 * end, self.block.shape[1]), self.block.dtype)
            larger[: self.rows] = self.block[: self.rows]
            self.block = larger
        self.block[self.rows : end] = kept.bits if isinstance(kept, BFloat16) else kept
        self.rows = end

    def whole(self) -> Array | BFloat16:
        """All rows, not copied."""
        rows = self.block[: self.rows]
        return BFloat16(rows) if self.dtype == "bfloat16" else rows


def _run_shard(
    items: Iterable[Member],
    model: Any,
    layers: Sequence[int | str],
    kept: dict[int | str, _Kept],
    batch_cells: int,
) -> dict[int | str, Rows]:
    """Run items through the model; activations of the layers in `kept` go there, what the rows are is returned."""
    shapes = {layer: model.cell_shape(layer) for layer in layers}  # layers of one share their rows
    records: dict[tuple[int, ...], list[dict[str, Any]]] = {shape: [] for shape in shapes.values()}
    grids: dict[tuple[int, ...], list[Grid]] = {shape: [] for shape in shapes.values()}
    for group in forward_batches(items, batch_cells):
        for item, placed, values in forward(group, model, shapes, list(kept)):
            for shape, (cells, _) in placed.items():
                if is_item(cells):
                    records[shape].append(item.record)
                    grids[shape].append(cells)
            for layer, shelf in kept.items():
                try:
                    shelf.add(values[layer])
                except OverflowError as error:
                    raise InputError(
                        f"layer {layer}: an activation of {error}; use dtype bfloat16 or float32"
                    ) from None
    empty = pd.DataFrame(columns=["item", "sample", "block", "split"])  # a shard of nothing but masked bases
    made = {shape: Rows.from_grids(pd.DataFrame(records[shape]) if own else empty, own) for shape, own in grids.items()}
    return {layer: made[shape] for layer, shape in shapes.items()}


def is_item(cells: Grid) -> bool:
    """Whether an item is one of the Rows: the last tile of a scan may be too thin for a coarse cell."""
    return cells.ndim == 1 or bool(cells.size)


def forward(
    group: Sequence[Member],
    model: Any,
    shapes: dict[int | str, tuple[int, ...]],
    layers: Sequence[int | str],
) -> Iterator[tuple[Item, dict[tuple[int, ...], Placed], dict[int | str, Array]]]:
    """One batch through the model: (item, {cell shape: its rows}, {layer: (rows, channels) float32}) of each.

    group: items of one shape, as `forward_batches` gives them. shapes: the cell shape of every layer that is placed.
    layers: those the model runs for; without any it does not run. InputError for an activation that is not finite.
    """
    batch = model.prepare([array for _, array, _ in group])
    outputs = {layer: _numpy(values) for layer, values in model.run(batch, layers).items()} if layers else {}
    lattices = {shape: model.lattice(batch, layer) for layer, shape in shapes.items()}
    for i, (item, _, grid) in enumerate(group):
        placed = {shape: core_cells(item, grid, cells[i]) for shape, cells in lattices.items()}
        found = {layer: _core_values(outputs[layer][i], placed[shapes[layer]][1]) for layer in layers}
        for layer, values in found.items():
            if not np.isfinite(values).all():
                row, channel = np.argwhere(~np.isfinite(values))[0]
                raise InputError(
                    f"layer {layer} of {model.name} gave {values[row, channel]} in item {item.record['item']}, "
                    f"cell {_told(placed[shapes[layer]][0], int(row))}, channel {channel}; activations must be finite "
                    "(try dtype float32)"
                )
        yield item, placed, found


def _core_values(values: Array, keep: Array) -> Array:
    """The rows of one item; nearly always a run of neighbours, which a slice reads without a copy."""
    run = len(keep) > 0 and keep[-1] - keep[0] + 1 == len(keep)
    return np.asarray(values[slice(int(keep[0]), int(keep[-1]) + 1) if run else keep])


def _told(cells: Grid, row: int) -> Any:
    """Where a row is, for a message."""
    if cells.ndim == 1:
        return cells.take(np.array([row])).bounds[0].tolist()
    return f"{np.unravel_index(row, cells.shape)} at {cells.centers[row].round(1).tolist()} {cells.space.unit}"


def forward_batches(items: Iterable[Member], cells: int) -> Iterator[list[Member]]:
    """Consecutive items of equal shape, up to `cells` array cells: nothing is padded that need not be."""
    group: list[Member] = []
    for one in items:
        if group and (one[1].shape != group[0][1].shape or (len(group) + 1) * one[1].size > cells):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _numpy(values: Any) -> Array:
    return np.asarray(values.detach().float().cpu().numpy())


def core_cells(item: Item, grid: Grid, cells: Grid) -> Placed:
    """The cells of one item that become rows: their Grid, and their positions among the model's cells.

    A cell belongs to the core that holds its middle, and is clipped to it, so that neighbouring cores tile even
    where their tokens do not meet. Cells that cover a masked base are dropped. In more dimensions the core is a box in
    index units of the array, and the cells are the regular ones that have their middles in it.
    """
    placed = grid.compose(cells)
    low, high = item.core
    if placed.ndim > 1:
        return _box(placed, cells, low, high)
    middle = placed.centers
    keep = ((middle >= low) & (middle < high)).all(1)
    if item.masked is not None and item.masked.any():
        # Bounds on the array's own index lattice; running counts answer "any masked base inside?" for all cells.
        inside = cells.bounds
        running = np.concatenate([[0], np.cumsum(item.masked)])
        keep &= running[inside[:, 1]] == running[inside[:, 0]]
    at = np.flatnonzero(keep)
    taken = placed.take(at)
    if placed.ndim == 1 and len(at) and not _between(taken, low[0], high[0]):
        bounds = taken.bounds
        clipped = np.clip(bounds, low[0], high[0])
        if not np.array_equal(bounds, clipped):
            taken = Grid(placed.space, taken.shape, bounds=clipped, step=taken.step)
    return taken, at


def _box(placed: Grid, cells: Grid, low: Array, high: Array) -> tuple[Grid, Array]:
    """Cells of a regular lattice, whose axes are the array's, that have their middles in the box [low, high)."""
    assert cells.affine is not None
    step, origin = np.diag(cells.affine)[:-1], cells.affine[:-1, -1]
    first = np.ceil((low - origin) / step - 0.5).astype(np.int64)
    last = np.ceil((high - origin) / step - 0.5).astype(np.int64)
    first, last = np.clip(first, 0, cells.shape), np.clip(last, 0, cells.shape)
    last = np.maximum(first, last)
    axes = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    keep = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), cells.shape).ravel()
    return placed.box(first.tolist(), last.tolist()), keep


def _between(grid: Grid, low: float, high: float) -> bool:
    """Whether regular cells all lie in [low, high): their two ends tell."""
    if grid.affine is None:
        return False
    ends = grid.affine[0, 1], grid.affine[0, 1] + grid.affine[0, 0] * grid.size
    return bool(min(ends) >= low and max(ends) <= high)
