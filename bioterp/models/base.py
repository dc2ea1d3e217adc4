"""What every loaded model is: names of layers, `prepare` and `run`.

A model turns arrays into activations on their own cells and knows no files. A loader gives a subclass three
things: which modules are blocks, how arrays become a `Batch`, and how the network is called.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.grid import Grid, Space
from bioterp.models.hooks import Edit, run_hooked
from bioterp.models.layouts import Layout
from bioterp.models.weights import tensor_hash

Layer = int | str
INDEX = Space("index", "cell")
OUTPUT = "output"
MASKED = 4


@dataclass(frozen=True)
class Part:
    """Items that share one forward: their places in the batch, the network's inputs, and where their cells are."""

    items: list[int]
    inputs: dict[str, Tensor]
    layout: Layout


@dataclass(frozen=True)
class Batch:
    """Arrays made ready: `cells`, one Grid per item on the array's index lattice, and the forwards they take."""

    cells: list[Grid]
    parts: list[Part]

    def __len__(self) -> int:
        return len(self.cells)


class Model:
    """A network with named layers.

    name: as the user gave it.  module: the network.  blocks: full names of its blocks, in order.
    outputs: names of the channels of 'output', () when they have none.
    context: the most cells an array may have (tokens, special ones not counted); None when unlimited.
    about: what else the hash depends on (configuration), plain JSON.
    """

    modality = "dna"
    extent = "length"  # what differs between arrays that cannot be run together

    def __init__(
        self,
        name: str,
        module: nn.Module,
        blocks: Sequence[str],
        outputs: Sequence[str] = (),
        context: int | None = None,
        about: Mapping[str, Any] | None = None,
    ):
        self.name, self.module, self.blocks = name, module, tuple(blocks)
        self.outputs, self.context, self.about = tuple(outputs), context, dict(about or {})
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        module.eval()
        self._hash: str | None = None
        self._widths: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Model({self.name}: {len(self.blocks)} blocks, {self.modality})"

    # -- names ------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[str, ...]:
        """Full names of the blocks: layer i is `layers[i]`."""
        return self.blocks

    @property
    def device(self) -> torch.device:
        tensor = next(self.module.parameters(), None)
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def dtype(self) -> str:
        """'float32', 'bfloat16' or 'float16': what the weights are kept in."""
        tensor = next(self.module.parameters(), None)
        return "float32" if tensor is None else str(tensor.dtype).removeprefix("torch.")

    @property
    def hash(self) -> str:
        """A stable hash of the weights (values, dtypes, names) and the configuration; computed once."""
        if self._hash is None:
            self._hash = tensor_hash(self.module, {"class": type(self).__name__, **self.about})
        return self._hash

    def resolve(self, layer: Layer) -> str:
        """The full module name of a layer: int i → block i (negative from the end), 'output' → 'output'.

        Raises InputError for an index out of range or a name no module has, with the names like it.
        """
        if not isinstance(layer, str):
            if isinstance(layer, bool) or not isinstance(layer, SupportsIndex):
                raise InputError(
                    f"a layer is an integer or a module's name; got {layer!r} of type {type(layer).__name__}"
                )
            index = operator.index(layer)
            if not -len(self.blocks) <= index < len(self.blocks):
                n = len(self.blocks)
                raise InputError(
                    f"{self.name} has {n} blocks, so layers 0 to {n - 1} (or −{n} to −1), and got layer {index}"
                )
            return self.blocks[index]
        if layer == OUTPUT:
            return OUTPUT
        names = [name for name, _ in self.module.named_modules() if name]
        if layer not in names:
            raise InputError(f"{self.name} has no layer {layer!r}; {nearest(str(layer), [OUTPUT, *names])}")
        return str(layer)

    def width(self, layer: Layer) -> int:
        """Channels of a layer, found by one small forward the first time it is asked for."""
        name = self.resolve(layer)
        if name not in self._widths:
            self.run(self.prepare([self._probe()]), [name])
        return self._widths[name]

    def lattice(self, batch: Batch, layer: Layer) -> list[Grid]:
        """The cells of each item for one layer, on the array's index lattice; here the same for every layer."""
        self.resolve(layer)
        return batch.cells

    def cell_shape(self, layer: Layer) -> tuple[int, ...]:
        """Array cells per cell of a layer and axis; layers that share it share their rows. Tokens differ: told as 1."""
        self.resolve(layer)
        return (1,)

    def check_length(self, bases: int) -> None:
        """InputError with the numbers when an array of so many bases does not fit the context.

        Tokens of several bases are counted on an array without masked bases, so that a window can be checked
        before any is read; a BPE window of another composition may have a few more.
        """
        self.prepare([np.random.default_rng(0).integers(0, MASKED, bases).astype(np.uint8)])

    # -- running ----------------------------------------------------------------------------------------------

    def prepare(self, arrays: Sequence[Array]) -> Batch:
        """Arrays of uint8 base codes (A0 C1 G2 T3 N4), lengths may differ → a Batch. No network is run.

        Raises InputError for another modality, an empty array, a code above 4, or an array that is too long.
        """
        checked = [self._check(array) for array in arrays]
        if not checked:
            raise InputError("a batch needs at least one array, and got none")
        return self._prepare(checked)

    def run(
        self,
        batch: Batch,
        layers: Sequence[Layer],
        edit: Mapping[Layer, Edit] | None = None,
        grad: bool = False,
    ) -> dict[Layer, Tensor]:
        """One forward for all layers → {layer as given: (items, cells, channels)}, zero past an item's own cells.

        edit: {layer: function of (items, cells, channels)}; what a function returns takes the place of the
        layer's output, and is what `run` returns for it. Special tokens are kept aside.
        grad: keep the graph from the shallowest layer read to the rest.
        """
        if isinstance(layers, (str, int)):
            raise InputError(f"layers is a list of layers, and got {layers!r}; wanted [{layers!r}]")
        names = {layer: self._module_name(layer) for layer in layers}
        edits: dict[str, list[Edit]] = {}
        for layer, change in (edit or {}).items():
            edits.setdefault(self._module_name(layer), []).append(change)
        if grad and len(batch.parts) > 1:
            raise InputError(
                f"{self.name} runs arrays of different {self.extent}s one by one; with grad=True give one {self.extent}"
            )
        read = set(names.values())
        # A layer's first forward is a whole one: it establishes that the module runs exactly once.
        early = (read | set(edits)) <= {"" if name == OUTPUT else name for name in self._widths}
        found = []
        for part in batch.parts:
            inputs = {key: value.to(self.device) for key, value in part.inputs.items()}
            call = self._call(inputs)
            found.append(run_hooked(self.module, call, part.layout, read, edits, grad, early))
            for name, values in found[-1].items():
                self._widths[name or OUTPUT] = values.shape[2]
        return {layer: _join(batch, [f[name] for f in found]) for layer, name in names.items()}

    def _module_name(self, layer: Layer) -> str:
        name = self.resolve(layer)
        return "" if name == OUTPUT else name

    def _check(self, array: Array) -> Array:
        array = np.asarray(array)
        if array.ndim != 1 or array.dtype != np.uint8:
            raise InputError(
                f"{self.name} reads DNA, one-dimensional uint8 base codes, and got an array of shape {array.shape} "
                f"and type {array.dtype}; choose a source of its modality"
            )
        if not len(array):
            raise InputError(f"{self.name} got an empty array; wanted at least one base")
        if array.max() > MASKED:
            raise InputError(f"base codes are A0 C1 G2 T3 N4, and an array holds the code {array.max()}")
        return array

    def _too_long(self, cells: int, bases: int, unit: str = "tokens") -> InputError:
        return InputError(
            f"an array of {bases} bases makes {cells} {unit}, and {self.name} takes at most {self.context}; "
            "use a smaller window or halo"
        )

    # -- what a loader gives ----------------------------------------------------------------------------------

    def _prepare(self, arrays: list[Array]) -> Batch:
        raise NotImplementedError

    def _call(self, inputs: dict[str, Tensor]) -> Callable[[], Any]:
        return lambda: self.module(**inputs)

    def _probe(self) -> Array:
        """A short array on which widths are found."""
        return np.tile(np.array([0, 3, 2, 1, 1, 0, 3], np.uint8), 8)


def _join(batch: Batch, found: list[Tensor]) -> Tensor:
    if len(found) == 1:
        return found[0]
    out = found[0].new_zeros(len(batch), max(f.shape[1] for f in found), found[0].shape[2])
    for part, values in zip(batch.parts, found, strict=True):
        out[part.items, : values.shape[1]] = values
    return out
