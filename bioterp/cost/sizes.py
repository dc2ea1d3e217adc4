"""A run in numbers: everything the cost model knows of it."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp.adapters import PLUGGED
from bioterp.errors import BioterpError
from bioterp.progress import say
from bioterp.records import Run

ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Size:
    """modality: 'dna' or 'volume'. cells: array cells that go through the model, halos included. flops: arithmetic of
    one pass over them down to the deepest layer that is read; whole: down to the model's outputs, None where they
    cannot be read. weights: bytes of the model. rows, channels: of each layer. columns: of the labels. held: share of
    rows in test. value: bytes of a stored activation. features, k, seeds, tokens: of the dictionaries.
    """

    modality: str
    cells: int
    flops: float
    whole: float | None
    weights: int
    rows: tuple[int, ...]
    channels: tuple[int, ...]
    value: int
    features: int
    k: int
    seeds: int
    tokens: int
    columns: int
    held: float
    analyses: tuple[str, ...]
    baselines: tuple[str, ...]
    exports: tuple[str, ...]
    lattices: int = 1


def size_of(run: Run, source: Any, model: Any, columns: int) -> Size:
    """The numbers of a run; columns: of its labels. The model's arithmetic is counted, and not done."""
    array = _example(run, source)
    own = _cells_of(model, array)
    rows = tuple(int(own * source.cells / math.prod(model.cell_shape(layer))) for layer in run.layers)
    cells = _array_cells(run, source)
    flops, whole = _flops(model, array, run.layers)
    split = source.items["split"]
    train = float((split == "train").mean())
    tokens = run.dictionary.tokens
    most = min(max(int(max(rows) * train), 500_000), 2_000_000)  # the default of `bioterp.fit`
    return Size(
        modality=source.modality,
        cells=cells,
        flops=flops * cells,
        whole=None if whole is None else whole * cells,
        weights=sum(p.numel() * p.element_size() for p in model.module.parameters()),
        rows=rows,
        channels=tuple(model.width(layer) for layer in run.layers),
        value=ITEMSIZE[run.dtype or model.dtype],
        features=run.dictionary.width,
        k=run.dictionary.k,
        seeds=len(run.dictionary.seeds) if run.dictionary.path is None else 1,
        tokens=0 if run.dictionary.path is not None else tokens if isinstance(tokens, int) else most,
        columns=columns,
        held=float((split == "test").mean()),
        analyses=tuple(run.analyses) if columns else tuple(name for name in run.analyses if name == "fidelity"),
        baselines=tuple(run.baselines) if columns else (),
        exports=tuple(run.exports),
        lattices=len({model.cell_shape(layer) for layer in run.layers}),
    )


def _array_cells(run: Run, source: Any) -> int:
    """Bases or voxels of all arrays, halos included."""
    if source.modality == "volume":
        return sum(math.prod(tile.array_shape) for _, tile in source.tiles)
    if run.source.kind in PLUGGED:  # a source of the user's says what its cores hold, and nothing of halos
        return int(source.item_cells * len(source))
    if "length" in source.items.columns:  # haplotypes say it of each
        return int(source.items["length"].sum())
    length = source.items["contig"].map({name: c.length for name, c in source.contigs.items()}).to_numpy()
    return int(np.minimum(source.window + sum(source.halo), length).sum())


def _example(run: Run, source: Any) -> Any:
    """An array as most of the source's are: of the commonest shape, but its values."""
    if source.modality == "volume":
        shape = Counter(tuple(tile.array_shape) for _, tile in source.tiles).most_common(1)[0][0]
        return np.zeros((source.channels, *shape), np.float32)
    dna = getattr(source, "dna", source)
    if run.source.kind in PLUGGED:
        return np.random.default_rng(0).integers(0, 4, source.item_cells).astype(np.uint8)
    longest = max(c.length for c in dna.contigs.values())
    bases = min(dna.window + sum(dna.halo), longest)
    return np.random.default_rng(0).integers(0, 4, bases).astype(np.uint8)


def _cells_of(model: Any, array: Any) -> float:
    """Cells of the model per base: tokens of several bases are fewer; 1 for scans, whose layers say it."""
    return 1.0 if array.ndim > 1 else model.prepare([array]).cells[0].size / array.size


def _flops(model: Any, array: Any, layers: list[int | str]) -> tuple[float, float | None]:
    """Floating-point operations per array cell down to the deepest of these layers, and to the outputs."""
    batch, cells = model.prepare([array]), array.size / (array.shape[0] if array.ndim > 1 else 1)
    down = counted(model, batch, layers) / cells
    try:
        model.width("output")
    except BioterpError:
        return down, None
    return down, counted(model, batch, ["output"]) / cells


def counted(model: Any, batch: Any, layers: list[int | str]) -> float:
    """Floating-point operations of `model.run`, counted on tensors without values: nothing is computed.

    What is not a product, a convolution or an attention counts nothing. A network that does not run on such tensors
    (kernels of its own) is taken for 2 operations per weight and cell.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        # Sizes are (batch, heads, cells, channels): queries with keys, then weights with values.
        batch, heads, cells, width = query
        return int(2 * batch * heads * cells * key[2] * (width + value[3]))

    known = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    try:
        with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
            warnings.simplefilter("ignore")
            model.run(batch, layers)  # a layer's first run is a whole one
            with FlopCounterMode(display=False, custom_mapping=known) as counter:
                model.run(batch, layers)
        return float(counter.get_total_flops())
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
        say(f"{model.name} cannot be counted without values ({type(error).__name__}): 2 operations a weight and cell")
        weights = sum(int(p.numel()) for p in model.module.parameters())
        return 2.0 * weights * sum(int(grid.size) for grid in batch.cells)
