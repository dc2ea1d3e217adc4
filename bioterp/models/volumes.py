"""Models of three-dimensional arrays: scans that a network is shown as (channels, x, y, z)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.grid import Grid
from bioterp.models.base import INDEX, OUTPUT, Batch, Layer, Model, Part
from bioterp.models.hooks import Edit, as_found, first_tensor
from bioterp.models.lattices import Frame, Geometry, Triple, VolumeLayout, ambiguity, candidates, refusal

PROBE = 8  # voxels a side of the probe has at least
REPEATS = "runs more than once in a forward, so it has no one value per cell; choose the module around it"


class VolumeModel(Model):
    """A network of volumes. Arrays of equal shape are run together, of different shapes apart.

    in_channels: channels of an array.  multiple: sides of arrays are multiples of this, one number or one per axis.
    wants: keywords for `Scans` that the model was trained with (orientation, spacing, intensity, …).
    tokens, prefix, slices, channels: see `lattices.Frame`.
    size: the only shape the network takes, None where (or along axes in which) it takes any.
    anchor: 'middle', a cell is where its own voxels are; 'corner', around the first of them (`drift.py` says when).

    What each module returns is learnt once: a small probe is run in two shapes, and the axes that grow with the
    array are its axes (two forwards teach all modules; a network of one size is run once).
    """

    modality = "volume"
    extent = "shape"

    def __init__(
        self,
        name: str,
        module: nn.Module,
        blocks: Sequence[str],
        outputs: Sequence[str] = (),
        context: int | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        in_channels: int = 1,
        multiple: int | Sequence[int] = 1,
        wants: Mapping[str, Any] | None = None,
        tokens: int | Sequence[int] | None = None,
        prefix: int = 0,
        slices: int | None = None,
        channels: str | None = None,
        size: Sequence[int | None] | None = None,
        anchor: str = "middle",
    ):
        super().__init__(name, module, blocks, outputs, context, about)
        if slices not in (None, 0, 1, 2):
            raise InputError(f"slices={slices!r} is not an axis of an array (x, y, z); wanted 0, 1, 2 or None")
        if channels not in (None, "first", "last"):
            raise InputError(f"channels={channels!r} is not known; wanted 'first' or 'last'")
        if anchor not in ("middle", "corner"):
            raise InputError(f"anchor={anchor!r} is not known; wanted 'middle' or 'corner'")
        self.in_channels, self.anchor = in_channels, anchor
        patch = None if tokens is None else triple(tokens, "tokens")
        sides = triple(multiple, "multiple")
        if patch is not None:
            sides = _lcm(sides, patch)
        self.multiple: Triple = _along(sides, slices, 1)
        self.frame = Frame(patch, prefix, slices, channels)
        self.size = (None, None, None) if size is None else tuple(size)
        self.wants: dict[str, Any] = dict(wants or {})
        if max(self.multiple) > 1:
            self.wants.setdefault("multiple", _short(self.multiple))
        self._seen: list[tuple[Triple, dict[str, tuple[int, ...] | str]]] = []
        self._known: dict[str, Geometry] = {}

    # -- lattices ---------------------------------------------------------------------------------------------

    def geometry(self, layer: Layer) -> Geometry:
        """What a layer returns: axes, voxels per cell, channels; found by a probe the first time it is asked for.

        Raises InputError for a layer without a lattice of its own: pooled, in windows, several maps, run twice.
        """
        name = self.resolve(layer)
        if name not in self._known:
            self._known[name] = self._tell(name)
        return self._known[name]

    def stride(self, layer: Layer) -> Triple:
        """Voxels of the array per cell of a layer, (x, y, z)."""
        return self.geometry(layer).stride

    def cell_shape(self, layer: Layer) -> tuple[int, ...]:
        return self.stride(layer)

    def width(self, layer: Layer) -> int:
        return self.geometry(layer).width

    def lattice(self, batch: Batch, layer: Layer) -> list[Grid]:
        """The cells of each item for a layer, on the array's index lattice."""
        stride = self.stride(layer)
        whole = [cells.coarsen(stride) for cells in batch.cells]
        if self.anchor == "middle":
            return whole
        affine = np.diag([*stride, 1.0])
        affine[:3, 3] = [(1 - step) / 2 for step in stride]  # the first voxel's middle becomes the cell's
        return [Grid(cells.space, cells.shape, affine) for cells in whole]

    def check_length(self, bases: int | Sequence[int]) -> None:
        """Volumes have a shape: the three sides of an array in voxels, or the one of a cube."""
        self.check_shape(triple(bases, "window"))

    def check_shape(self, shape: Sequence[int]) -> None:
        """InputError with the numbers when an array of this (x, y, z) cannot be run."""
        told = " × ".join(map(str, shape))
        if any(n < 1 or n % m for n, m in zip(shape, self.multiple, strict=True)):
            wanted = _short(self.multiple)
            raise InputError(
                f"{self.name} takes arrays whose sides are multiples of {wanted} voxels, and got one of {told}; "
                f"give Scans multiple={wanted}"
            )
        if any(s is not None and n != s for n, s in zip(shape, self.size, strict=True)):
            only = " × ".join("any" if s is None else str(s) for s in self.size)
            raise InputError(
                f"{self.name} takes arrays of {only} voxels only, and got one of {told}; give Scans that window "
                "(halo included)"
            )

    # -- running ----------------------------------------------------------------------------------------------

    def run(
        self,
        batch: Batch,
        layers: Sequence[Layer],
        edit: Mapping[Layer, Edit] | None = None,
        grad: bool = False,
    ) -> dict[Layer, Tensor]:
        if not isinstance(layers, (str, int)):
            for layer in (*layers, *(edit or {})):
                self.geometry(layer)
        return super().run(batch, layers, edit, grad)

    def _check(self, array: Array) -> Array:
        array = np.asarray(array)
        if array.ndim != 4 or array.dtype.kind not in "fiub":
            raise InputError(
                f"{self.name} reads volumes, arrays (channels, x, y, z) of numbers, and got an array of shape "
                f"{array.shape} and type {array.dtype}; choose a source of its modality, and give one volume a "
                "leading axis of channels"
            )
        if array.shape[0] != self.in_channels:
            raise InputError(
                f"{self.name} takes {self.in_channels} channel{'s' * (self.in_channels != 1)}, and got an array of "
                f"{array.shape[0]} (shape {array.shape}, channels first); give it the images it was trained with"
            )
        self.check_shape(array.shape[1:])
        array = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(array).all():
            worst = "NaN" if np.isnan(array).any() else "infinite values"
            raise InputError(
                f"{self.name} got an array with {worst} in it, which would spread to every cell; fill what lies "
                "outside the scan with a number (the background's)"
            )
        return array

    def _prepare(self, arrays: list[Array]) -> Batch:
        shapes = [array.shape[1:] for array in arrays]
        parts = []
        for shape in sorted(set(shapes)):
            items = [i for i, other in enumerate(shapes) if other == shape]
            inputs = self._inputs(torch.from_numpy(np.stack([arrays[i] for i in items])))
            parts.append(Part(items, inputs, VolumeLayout(len(items), shape, self.frame, self._known)))
        return Batch([Grid(INDEX, shape, np.eye(4)) for shape in shapes], parts)

    def _inputs(self, arrays: Tensor) -> dict[str, Tensor]:
        """(items, channels, x, y, z) → what the network is called with: itself, or (items · slices, channels, …)."""
        if self.frame.slices is not None:
            arrays = arrays.movedim(2 + self.frame.slices, 1).flatten(0, 1).contiguous()
        return {"x": arrays}

    def _call(self, inputs: dict[str, Tensor]) -> Callable[[], Any]:
        first = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        x = inputs["x"] if first is None else inputs["x"].to(first.dtype)
        return lambda: self.module(x)

    # -- the probe --------------------------------------------------------------------------------------------

    def _probe(self) -> Array:
        return self._noise(self._probes()[0])

    def _probes(self) -> list[Triple]:
        """Two shapes that differ in every axis that matters; one where the network takes no other."""
        # Twice the side along x, then along z: an axis of channels grows with neither, so that nothing is ambiguous.
        shapes = []
        for factors in ((2, 1, 1), (1, 1, 2)):
            sides = []
            for axis, (m, only, factor) in enumerate(zip(self.multiple, self.size, factors, strict=True)):
                least = 1 if axis == self.frame.slices else math.ceil(PROBE / m) * m
                sides.append(only if only is not None else least * factor)
            shapes.append((sides[0], sides[1], sides[2]))
        return shapes[: 1 if shapes[0] == shapes[1] else 2]

    def _noise(self, shape: Triple) -> Array:
        return np.random.default_rng(0).standard_normal((self.in_channels, *shape)).astype(np.float32)

    def _tell(self, name: str) -> Geometry:
        if not self._seen:
            self._seen = [(shape, self._shapes(shape)) for shape in self._probes()]
        told: list[Geometry] | None = None
        for voxels, shapes in self._seen:
            hidden = shapes.get(name, "did not run in a forward of this model; choose one that does")
            if isinstance(hidden, str):
                raise InputError(f"the module '{name}' {hidden}")
            found = candidates(hidden, 1, voxels, self.frame)
            told = found if told is None else [one for one in told if one in found]
            if not told:
                raise refusal(hidden, 1, voxels, self.frame, name)
            if len(told) > 1 and voxels == self._seen[-1][0]:
                raise ambiguity(hidden, voxels, name)
        assert told is not None
        return told[0]

    def _shapes(self, voxels: Triple) -> dict[str, tuple[int, ...] | str]:
        """One forward of noise: the shape every module's hidden state has, or why it has none."""
        found: dict[str, tuple[int, ...] | str] = {}

        def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def fire(_module: nn.Module, _inputs: Any, output: Any) -> None:
                found[name] = REPEATS if name in found else _shape(output, name)

            return fire

        inputs = self._inputs(torch.from_numpy(self._noise(voxels)[None]))
        call = self._call({key: value.to(self.device) for key, value in inputs.items()})
        handles = []
        with as_found(self.module):
            try:
                for name, module in self.module.named_modules():
                    handles.append(module.register_forward_hook(hook(name or OUTPUT)))
                call()
            except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
                raise InputError(
                    f"{self.name} failed on an array of {self.in_channels} × {' × '.join(map(str, voxels))} "
                    f"({str(error).splitlines()[0][:200]}); give load_model in_channels=, and multiple= or size= as "
                    "the network needs them"
                ) from error
            finally:
                for handle in handles:
                    handle.remove()
        return found


def _shape(output: Any, name: str) -> tuple[int, ...] | str:
    """The shape of a module's hidden state, or what is wrong with it."""
    if isinstance(output, (tuple, list)):
        dims = [one.dim() for one in output if isinstance(one, Tensor)]
        if len(dims) > 1 and len(set(dims)) == 1 and (dims[0] > 3 or isinstance(output, list)):
            return (
                f"returns {len(dims)} feature maps, none of which is its hidden state; choose the block each comes from"
            )
    try:
        return tuple(first_tensor(output, name).shape)
    except InputError:
        return f"returns a {type(output).__name__} without a tensor in first place; choose a module around or inside it"


def triple(value: int | Sequence[int], what: str) -> Triple:
    """One whole number for all axes, or three of them. Raises InputError for anything else."""
    three = [value] * 3 if isinstance(value, int) else list(value)
    if len(three) != 3 or not all(isinstance(n, (int, np.integer)) and n >= 1 for n in three):
        raise InputError(f"{what}={value!r} is not a number of voxels; wanted a whole number, or three (x, y, z)")
    return int(three[0]), int(three[1]), int(three[2])


def _lcm(one: Triple, other: Triple) -> Triple:
    return math.lcm(one[0], other[0]), math.lcm(one[1], other[1]), math.lcm(one[2], other[2])


def _along(sides: Triple, axis: int | None, value: int) -> Triple:
    changed = [value if i == axis else n for i, n in enumerate(sides)]
    return changed[0], changed[1], changed[2]


def _short(sides: Triple) -> int | list[int]:
    return sides[0] if len(set(sides)) == 1 else list(sides)
