"""Between a module's hidden state and (item, cell, channel) for arrays of three axes.

A network's modules return feature maps with channels first or last, or sequences of tokens, on lattices of their
own. What a hidden state can be is told from its shape (`candidates`); one that can be two things is refused, never
guessed. Cells are in C order: x slowest, z fastest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bioterp.errors import InputError
from bioterp.models.layouts import Layout

Triple = tuple[int, int, int]
OUTPUT = "output"


@dataclass(frozen=True)
class Frame:
    """How a network is given arrays, and what cannot be told from shapes.

    tokens: voxels per token (px, py, pz) where modules return sequences of tokens; None without such.
    prefix: special tokens in front of them, which have no cell.
    slices: the array axis along which a two-dimensional network is run slice by slice; None for three dimensions.
    channels: 'first' or 'last' where shapes do not tell; None otherwise.
    """

    tokens: Triple | None = None
    prefix: int = 0
    slices: int | None = None
    channels: str | None = None

    @property
    def axes(self) -> list[int]:
        """The array axes the network sees together."""
        return [axis for axis in range(3) if axis != self.slices]

    def rows(self, items: int, voxels: Sequence[int]) -> int:
        """The first axis of the network's inputs: items, or all their slices."""
        return items if self.slices is None else items * voxels[self.slices]


@dataclass(frozen=True)
class Geometry:
    """What a module's hidden state is: `kind` ('first', 'last' or 'tokens'), voxels per cell, channels, and for
    tokens the number of special ones in front."""

    kind: str
    stride: Triple
    width: int
    prefix: int = 0


def candidates(hidden: Sequence[int], items: int, voxels: Sequence[int], frame: Frame) -> list[Geometry]:
    """Every Geometry a hidden state of this shape can have, for items of `voxels` (x, y, z)."""
    axes = frame.axes
    found: list[Geometry] = []
    if not hidden or hidden[0] != frame.rows(items, voxels):
        return found
    if len(hidden) == len(axes) + 2:
        for kind, lattice, width in (("first", hidden[2:], hidden[1]), ("last", hidden[1:-1], hidden[-1])):
            whole = all(cells and voxels[axis] % cells == 0 for axis, cells in zip(axes, lattice, strict=True))
            if whole and frame.channels in (None, kind):
                steps = [1, 1, 1]
                for axis, cells in zip(axes, lattice, strict=True):
                    steps[axis] = voxels[axis] // cells
                found.append(Geometry(kind, (steps[0], steps[1], steps[2]), width))
    elif len(hidden) == 3 and frame.tokens is not None:
        steps = [1 if axis == frame.slices else frame.tokens[axis] for axis in range(3)]
        tokens = math.prod(voxels[axis] // steps[axis] for axis in axes)
        whole = all(voxels[axis] % steps[axis] == 0 for axis in axes)
        for prefix in sorted({0, frame.prefix}):
            if whole and hidden[1] == prefix + tokens:
                found.append(Geometry("tokens", (steps[0], steps[1], steps[2]), hidden[2], prefix))
    return found


def refusal(hidden: Sequence[int], items: int, voxels: Sequence[int], frame: Frame, name: str) -> InputError:
    """Why a hidden state of this shape has no lattice, and what to do about it."""
    shape, told = tuple(hidden), f"for {items} item{'s' * (items != 1)} of {_times(voxels)} voxels"
    start = f"the module '{name}' returns shape {shape} {told}"
    if len(shape) <= 2:
        return InputError(f"{start}: one vector for a whole item, not one per cell; choose a module before the pooling")
    if shape[0] != frame.rows(items, voxels):
        return InputError(
            f"{start}: its first axis is not the items, so it works on windows, heads or slices of them and its cells "
            "are out of place; choose the block around it"
        )
    if len(shape) == 3 and frame.tokens is None:
        return InputError(
            f"{start}: a sequence of {shape[1]} tokens on a lattice that is not known; choose the block around it, or "
            "give load_model the option tokens=(px, py, pz), the voxels per token"
        )
    if len(shape) == 3:
        return InputError(
            f"{start}: {shape[1]} tokens, which are not the tokens of {frame.tokens} voxels behind {frame.prefix} "
            "special ones; choose another module, or correct the options tokens= and prefix="
        )
    wanted = " and axes of " + _times(voxels) + " divided by whole numbers"
    return InputError(
        f"{start}: wanted items, channels{wanted}; choose a module on a lattice of the array, or give arrays whose "
        "sides are multiples of its stride (the option multiple= of Scans)"
    )


def ambiguity(hidden: Sequence[int], voxels: Sequence[int], name: str) -> InputError:
    """A hidden state that can be two things."""
    return InputError(
        f"the module '{name}' returns shape {tuple(hidden)} for {_times(voxels)} voxels, in which channels and axes "
        "cannot be told apart; give load_model the option channels='first' or 'last'"
    )


class VolumeLayout(Layout):
    """Hidden states of one forward of arrays of equal shape.

    items: how many.  voxels: their shape (x, y, z) as the network receives it.  known: what modules are already
    known to return, by name; others are told from their shape alone.
    """

    def __init__(
        self,
        items: int,
        voxels: Sequence[int],
        frame: Frame | None = None,
        known: Mapping[str, Geometry] | None = None,
    ):
        self.items, self.voxels = items, tuple(int(n) for n in voxels)
        self.frame = frame or Frame()
        self.known = known if known is not None else {}
        self.cells = math.prod(self.voxels)
        self.counts = [self.cells] * items

    def geometry(self, hidden: Tensor, name: str) -> Geometry:
        """What a hidden state is. Raises InputError for one without a lattice, or with two."""
        found = candidates(hidden.shape, self.items, self.voxels, self.frame)
        if not found:
            raise refusal(hidden.shape, self.items, self.voxels, self.frame, name)
        if name in self.known:
            known = self.known[name]
            if known not in found:
                raise InputError(
                    f"the module '{name}' returns shape {tuple(hidden.shape)} for {_times(self.voxels)} voxels, which "
                    f"is not its lattice of {_times(known.stride)} voxels per cell; give arrays whose sides are "
                    "multiples of that (the option multiple= of Scans)"
                )
            return known
        if len(found) > 1:
            raise ambiguity(hidden.shape, self.voxels, name)
        return found[0]

    def unpack(self, hidden: Tensor, name: str) -> Tensor:
        """A module's hidden state → a fresh (items, cells, channels), cells in C order x, y, z."""
        geometry = self.geometry(hidden, name)
        # clone(): reshape gives a view where it can, and what is read must not change under later layers.
        values = self._cells_last(hidden, geometry).reshape(self.items, -1, geometry.width)
        shared = values.untyped_storage().data_ptr() == hidden.untyped_storage().data_ptr()
        return values.clone(memory_format=torch.contiguous_format) if shared else values

    def pack(self, values: Tensor, hidden: Tensor, name: str) -> Tensor:
        """(items, cells, channels) → the hidden state with its cells replaced, in the shape it had."""
        geometry = self.geometry(hidden, name)
        out = hidden.clone()
        # Written through a view, so that the way back is the way out by construction.
        view = self._cells_last(out, geometry)
        view.copy_(values.reshape(view.shape).to(hidden.dtype))
        return out

    def _cells_last(self, hidden: Tensor, geometry: Geometry) -> Tensor:
        """A view (items, x, y, z, channels) of the cells of a hidden state."""
        frame, axes = self.frame, self.frame.axes
        lattice = [self.voxels[axis] // geometry.stride[axis] for axis in axes]
        if geometry.kind == "tokens":
            hidden = hidden[:, geometry.prefix :].view(hidden.shape[0], *lattice, geometry.width)
        elif geometry.kind == "first":
            hidden = hidden.movedim(1, -1)
        if frame.slices is not None:
            hidden = hidden.view(self.items, self.voxels[frame.slices], *hidden.shape[1:]).movedim(1, 1 + frame.slices)
        return hidden


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
