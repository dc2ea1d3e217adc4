"""`package.module:factory` with a weights file: any torch network that reads DNA (one-hot or codes) or volumes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.grid import Grid
from bioterp.models.base import INDEX, Batch, Model, Part
from bioterp.models.blocks import find_blocks
from bioterp.models.layouts import ConvLayout
from bioterp.models.splice import one_hot
from bioterp.models.volumes import VolumeModel
from bioterp.models.weights import fill, read_weights, seeded


class FactoryModel(Model):
    """A user's network. Arrays of different lengths are run apart, so none sees another's padding.

    stride: bases per cell. A layer whose length is not length / stride is refused.
    """

    stride: int
    codes: bool
    channels: str | None

    def _prepare(self, arrays: list[Array]) -> Batch:
        lengths = [len(array) for array in arrays]
        for n in lengths:
            if n % self.stride:
                raise InputError(
                    f"{self.name} has cells of {self.stride} bp, which do not divide an array of {n} bases"
                )
            if self.context is not None and n // self.stride > self.context:
                raise self._too_long(n // self.stride, n, "cells")
        parts = []
        for length in sorted(set(lengths)):
            items = [i for i, n in enumerate(lengths) if n == length]
            codes = np.stack([arrays[i] for i in items])
            inputs = {"x": torch.from_numpy(codes.astype(np.int64)) if self.codes else one_hot(codes)}
            layout = ConvLayout([length // self.stride] * len(items), length, 0, self.stride, self.channels)
            parts.append(Part(items, inputs, layout))
        return Batch([Grid.line(INDEX, 0, n).coarsen(self.stride) for n in lengths], parts)

    def _call(self, inputs: dict[str, Tensor]) -> Callable[[], Any]:
        x = inputs["x"]
        first = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        if first is not None and x.is_floating_point():
            x = x.to(first.dtype)
        return lambda: self.module(x)

    def _probe(self) -> Array:
        return np.resize(super()._probe(), 128 * self.stride)


def load(
    name: str,
    weights: str | Path | None,
    *,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    input: str = "onehot",
    stride: int = 1,
    channels: str | None = None,
    outputs: Sequence[str] = (),
    context: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> FactoryModel:
    """Build `package.module:factory`(**arguments) and fill it with weights (a state dict file, or 'random').

    input: 'onehot' (items, 4, length) float, masked bases zero, or 'codes' (items, length) integers 0–4.
    stride: bases per cell of the layers to be read.  channels: 'first' or 'last' where shapes do not tell.

    Raises InputError for a module or factory that is not there, one that makes no nn.Module, missing weights.
    """
    if input not in ("onehot", "codes"):
        raise InputError(f"input={input!r} is not known; wanted 'onehot' or 'codes'")
    if channels not in (None, "first", "last"):
        raise InputError(f"channels={channels!r} is not known; wanted 'first' or 'last'")
    if stride < 1:
        raise InputError(f"stride={stride} bases per cell; wanted 1 or more")
    network = _network(name, weights, seed, arguments).to(device=device, dtype=dtype)
    about = {"factory": name, "arguments": dict(arguments or {}), "input": input}
    model = FactoryModel(name, network, find_blocks(network), outputs, context, about)
    model.stride, model.codes, model.channels = stride, input == "codes", channels
    return model


def load_volume(
    name: str,
    weights: str | Path | None,
    *,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    blocks: Sequence[str] | None = None,
    outputs: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    **shapes: Any,
) -> VolumeModel:
    """The same for a network that is called with (items, channels, x, y, z), or slice by slice.

    blocks: module names of its layers, found where None.  shapes: options of `VolumeModel` (in_channels, multiple, …).
    """
    network = _network(name, weights, seed, arguments).to(device=device, dtype=dtype)
    about = {"factory": name, "arguments": dict(arguments or {}), **shapes}
    about.pop("wants", None)  # what the arrays should be, and nothing the activations hang on
    model = VolumeModel(name, network, blocks or find_blocks(network), outputs, about=about, **shapes)
    for block in model.blocks:
        model.resolve(block)
    return model


def _network(name: str, weights: str | Path | None, seed: int, arguments: Mapping[str, Any] | None) -> nn.Module:
    if weights is None:
        raise InputError(f"{name} needs weights=, the path of a .safetensors or .pt state dict, or weights='random'")
    factory = _factory(name)
    network = seeded(seed, lambda: factory(**dict(arguments or {})))
    if not isinstance(network, nn.Module):
        raise InputError(f"{name} returned a {type(network).__name__}; wanted a torch.nn.Module")
    if str(weights) != "random":
        fill(network, read_weights(weights), str(weights))
    return network


def _factory(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"the module '{module}' of {name} could not be imported ({error}); install it, or put it on PYTHONPATH"
        ) from error
    factory = getattr(found, attribute, None)
    if not callable(factory):
        raise InputError(f"'{module}' has no factory '{attribute}'; {nearest(attribute, dir(found))}")
    made: Callable[..., Any] = factory
    return made
