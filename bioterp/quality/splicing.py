"""A dictionary's reconstruction put into its model in place of the layer's activations, and what that costs.

The model runs over some held-out items as it is, then once for every replacement: each dictionary, the mean of the
rows, zeros. All cells of an array are replaced, halo included; the cells of its core are counted. Batches are thrown
away one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioterp.activate import BATCH_CELLS, Member, core_cells, forward_batches
from bioterp.adapters import Source
from bioterp.analyses.jackknife import Spread, jackknife
from bioterp.arrays import Array
from bioterp.dictionary import Dictionary
from bioterp.models.base import OUTPUT, Batch, Layer
from bioterp.models.hooks import Edit
from bioterp.progress import track
from bioterp.quality import outcomes

ROWS = 2_048  # activations encoded at a time
OUTPUTS = 1 << 23  # numbers of output a forward may make, 64 MB in float64: vocabularies differ
MEAN, ZERO = "mean", "zero"


@dataclass
class Outcome:
    """Sums by block of what one replacement did: loss and divergence in bits, squared change of the outputs."""

    loss: Array
    divergence: Array
    change: Array


@dataclass
class Spliced:
    """What splicing found, by block. kind: see `outcomes`; cells (g,) counted; clean (g,) bits of loss."""

    kind: str
    cells: Array
    clean: Array
    total: Array  # (channels,) Σ outputs, for their variance
    squares: float = 0.0
    outcomes: dict[Any, Outcome] = field(default_factory=dict)

    @property
    def variance(self) -> float:
        """Σ over cells of the squared distance of the outputs from their mean."""
        return self.squares - float(self.total @ self.total) / max(int(self.cells.sum()), 1)

    def recovered(self, name: Any, anchor: str) -> tuple[float, Spread, str]:
        """Loss recovered against an anchor, its interval, and why there is none.

        Where ablating cannot be told from leaving the layer alone, there is nothing to recover.
        """
        loss, ablated, clean = self.outcomes[name].loss, self.outcomes[anchor].loss, self.clean
        lost = float(ablated.sum() - clean.sum())
        apart = jackknife(lambda a, c: a - c, [ablated, clean], lost, self.cells)
        nothing = Spread(np.nan, np.nan, np.nan, apart.blocks)
        if not lost > 0 or apart.lo <= 0:
            return np.nan, nothing, f"{anchor}-ablation costs no loss that could be recovered"
        value = float(ablated.sum() - loss.sum()) / lost
        ratio = jackknife(_share, [ablated, loss, clean], value, self.cells)
        return value, ratio, ratio.reason


def _share(ablated: Array, spliced: Array, clean: Array) -> Array:
    """The share of a loss that is recovered; NaN where, without some block, there was none."""
    lost = ablated - clean
    share: Array = np.divide(ablated - spliced, lost, out=np.full_like(lost, np.nan), where=lost != 0)
    return share


def splice(
    model: Any,
    layer: Layer,
    source: Source,
    items: Sequence[int],
    block: Array,
    groups: int,
    dictionaries: Mapping[Any, Dictionary],
    mean: Array,
) -> Spliced:
    """Run the model over items (numbers of the source, increasing) with every replacement.

    block (len(items),) 0 … groups−1: what each item belongs to. mean (d,): what the layer's activations are set to by
    'mean'. The dictionaries' names must not be 'mean' or 'zero'.
    """
    edits: dict[Any, Edit] = {name: spliced_in(one) for name, one in dictionaries.items()}
    edits |= {MEAN: all_set_to(mean), ZERO: all_set_to(np.zeros_like(mean))}
    belongs = dict(zip((str(source.items["item"].iloc[i]) for i in items), block.tolist(), strict=True))
    width = model.width(OUTPUT)
    found = Spliced("", np.zeros(groups, np.int64), np.zeros(groups), np.zeros(width))
    found.outcomes = {name: Outcome(*(np.zeros(groups) for _ in range(3))) for name in edits}
    cells = min(BATCH_CELLS, OUTPUTS // width)
    for group in track(forward_batches(_read(source, items), cells), f"splicing into layer {layer} of {model.name}"):
        batch = model.prepare([array for _, array, _ in group])
        lattice = model.lattice(batch, OUTPUT)
        keep = [core_cells(item, grid, lattice[i])[1] for i, (item, _, grid) in enumerate(group)]
        if any(map(len, keep)):
            _run(found, model, batch, keep, [belongs[str(item.record["item"])] for item, _, _ in group], layer, edits)
    return found


def _run(
    found: Spliced,
    model: Any,
    batch: Batch,
    keep: Sequence[Array],
    at: Sequence[int],
    layer: Layer,
    edits: Mapping[Any, Edit],
) -> None:
    """One batch, as it is and with every edit, added to what was found. keep: the cells of each item that count."""
    clean = model.run(batch, [OUTPUT])[OUTPUT]
    if not found.kind:
        found.kind = outcomes.kind_of(model, torch.cat([clean[i][torch.from_numpy(c)] for i, c in enumerate(keep)]))
    kind = found.kind
    places = [outcomes.chosen(kind, cells) for cells in keep]
    known = [outcomes.prepared(kind, clean[i][torch.from_numpy(says)]) for i, (says, _) in enumerate(places)]
    tokens = outcomes.tokens_of(batch) if kind == outcomes.NEXT else {}
    comes = [tokens[i][torch.from_numpy(of)] if tokens else torch.zeros(0) for i, (_, of) in enumerate(places)]
    for i, rows in enumerate(known):
        found.cells[at[i]] += len(rows)
        if kind == outcomes.NEXT:
            found.clean[at[i]] += outcomes.cross_entropy(rows, comes[i])
        if kind == outcomes.VALUES:
            found.total += rows.sum(0).numpy()
            found.squares += float(rows.square().sum())
    for name, edit in edits.items():
        made, outcome = model.run(batch, [OUTPUT], edit={layer: edit})[OUTPUT], found.outcomes[name]
        for i, (says, _) in enumerate(places):
            other = outcomes.prepared(kind, made[i][torch.from_numpy(says)])
            if kind == outcomes.VALUES:
                outcome.change[at[i]] += outcomes.moved(known[i], other)
                continue
            outcome.divergence[at[i]] += outcomes.divergence(known[i], other)
            if kind == outcomes.NEXT:
                outcome.loss[at[i]] += outcomes.cross_entropy(other, comes[i])


def spliced_in(dictionary: Dictionary) -> Edit:
    """An edit that puts a dictionary's reconstruction in place of a layer's activations."""

    def edit(values: Tensor) -> Tensor:
        rows = values.detach().reshape(-1, values.shape[2]).float().cpu().numpy()
        made = np.empty_like(rows)
        for lo in range(0, len(rows), ROWS):
            x = np.ascontiguousarray(rows[lo : lo + ROWS])
            made[lo : lo + ROWS] = dictionary.decode_array(dictionary.encode_array(x), x)
        return torch.from_numpy(made).view(values.shape)  # `run` brings it to the layer's own type and device

    return edit


def all_set_to(row: Array) -> Edit:
    """An edit that sets every cell of a layer to one row (d,)."""
    held = torch.from_numpy(np.asarray(row, np.float32))
    return lambda values: held.to(values).expand(values.shape)


def _read(source: Source, items: Sequence[int]) -> Iterator[Member]:
    """The items, neighbours in one go: a scan of many tiles is opened once."""
    begin = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or items[end] != items[end - 1] + 1:
            yield from source.read(int(items[begin]), int(items[end - 1]) + 1)
            begin = end
