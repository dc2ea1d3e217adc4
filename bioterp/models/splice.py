"""SpliceAI-family networks: OpenSpliceAI and Pangolin state dicts.

One-hot DNA through residual units of two dilated convolutions; after every fourth unit a 1×1 convolution adds
to a running sum, from which the heads read. Written from the papers' description of the architecture:

    SpliceAI      Jaganathan et al., Cell 2019, doi:10.1016/j.cell.2018.12.015
    OpenSpliceAI  Chao et al., eLife 2025, doi:10.7554/eLife.107454 (leaky ReLU 0.1, softmax over three classes)
    Pangolin      Zeng & Li, Genome Biology 2022, doi:10.1186/s13059-022-02664-4 (ReLU, four tissues)

A Pangolin file `final.R.H.3.v2` was tuned for head H alone (0 heart, 2 liver, 4 brain, 6 testis: the tissue's `site`;
odd H: its `usage`); read that channel of its 'output'. Pangolin does not tell donors from acceptors.

The weights are GPL-3.0 data of their projects and are not part of bioterp.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.grid import Grid
from bioterp.models.base import INDEX, Batch, Model, Part
from bioterp.models.layouts import ConvLayout
from bioterp.models.weights import fill, read_weights, seeded

# Dilation of the units of each group of four (Jaganathan 2019, figure 1); kernels are read off the weights.
DILATIONS = (1, 4, 10, 25)
KERNELS = (11, 11, 21, 41)
GROUP = 4
FLANKS = {80: 4, 400: 8, 2000: 12, 10000: 16}
TISSUES = ("heart", "liver", "brain", "testis")


class Unit(nn.Module):
    """Residual unit: twice (normalise, rectify, dilated convolution), added to its input. Length is kept."""

    def __init__(self, width: int, kernel: int, dilation: int, names: tuple[str, str], slope: float):
        super().__init__()
        self.slope = slope
        self.norms = names
        padding = (kernel - 1) * dilation // 2
        for i in (0, 1):
            self.add_module(names[i], nn.BatchNorm1d(width))
            self.add_module(f"conv{i + 1}", nn.Conv1d(width, width, kernel, dilation=dilation, padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in (0, 1):
            y = self.get_submodule(self.norms[i])(y)
            y = self.get_submodule(f"conv{i + 1}")(F.leaky_relu(y, self.slope))
        return x + y


class Skip(nn.Module):
    """The 1×1 convolution that adds a group's output to the running sum."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class OpenSpliceAI(nn.Module):
    """(items, 4, length) one-hot → (items, 3, length − flank) probabilities: neither, acceptor, donor."""

    def __init__(self, width: int, kernels: list[int], flank: int):
        super().__init__()
        self.flank = flank
        self.initial_conv = nn.Conv1d(4, width, 1)
        self.initial_skip = Skip(width)
        self.residual_units = nn.ModuleList()
        for i, kernel in enumerate(kernels):
            unit = Unit(width, kernel, DILATIONS[i // GROUP], ("batchnorm1", "batchnorm2"), 0.1)
            self.residual_units.append(unit)
            if (i + 1) % GROUP == 0:
                self.residual_units.append(Skip(width))
        self.final_conv = nn.Conv1d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial_conv(x)
        total = self.initial_skip(x)
        for layer in self.residual_units:
            if isinstance(layer, Skip):
                total = total + layer(x)
            else:
                x = layer(x)
        return torch.softmax(_crop(self.final_conv(total), self.flank), 1)


class Pangolin(nn.Module):
    """(items, 4, length) one-hot → (items, 12, length − flank): per tissue P(no site), P(site), usage."""

    def __init__(self, width: int, kernels: list[int], flank: int):
        super().__init__()
        self.flank = flank
        self.conv1 = nn.Conv1d(4, width, 1)
        self.skip = nn.Conv1d(width, width, 1)
        self.resblocks = nn.ModuleList(
            Unit(width, kernel, DILATIONS[i // GROUP], ("bn1", "bn2"), 0.0) for i, kernel in enumerate(kernels)
        )
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(len(kernels) // GROUP))
        self.heads = [f"conv_last{i + 1}" for i in range(2 * len(TISSUES))]
        for i, head in enumerate(self.heads):
            self.add_module(head, nn.Conv1d(width, 1 if i % 2 else 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        total = self.skip(x)
        for i, unit in enumerate(self.resblocks):
            x = unit(x)
            if (i + 1) % GROUP == 0:
                total = total + self.convs[i // GROUP](x)
        total = _crop(total, self.flank)
        scores = [self.get_submodule(head)(total) for head in self.heads]
        return torch.cat([torch.sigmoid(s) if i % 2 else torch.softmax(s, 1) for i, s in enumerate(scores)], 1)


def _crop(x: Tensor, flank: int) -> Tensor:
    return x[..., flank // 2 : x.shape[-1] - flank // 2]


OUTPUTS = {
    "openspliceai": ("neither", "acceptor", "donor"),
    "pangolin": tuple(f"{tissue}_{score}" for tissue in TISSUES for score in ("none", "site", "usage")),
}


class SpliceModel(Model):
    """A SpliceAI-family network. Every base of an array is a cell: the flanks it lacks are zeros, as in training.

    Layer i is residual unit i; 'output' gives the probabilities named in `outputs`.
    """

    flank: int

    def _prepare(self, arrays: list[Array]) -> Batch:
        lengths = [len(array) for array in arrays]
        half = self.flank // 2
        # Zeros are what the network was trained on past the ends of a transcript, and a zero flank of half the
        # receptive field reaches every cell from either side: an item does not see how far others are padded.
        codes = np.full((len(arrays), max(lengths) + self.flank), 4, np.uint8)
        for row, array in zip(codes, arrays, strict=True):
            row[half : half + len(array)] = array
        cells = [Grid.line(INDEX, 0, n) for n in lengths]
        layout = ConvLayout(lengths, codes.shape[1], half, channels="first")
        return Batch(cells, [Part(list(range(len(arrays))), {"x": one_hot(codes)}, layout)])

    def _call(self, inputs: dict[str, Tensor]) -> Any:
        x = inputs["x"].to(next(self.module.parameters()).dtype)
        return lambda: self.module(x)


def one_hot(codes: Array) -> Tensor:
    """(items, length) base codes → (items, 4, length) float32; masked bases are zeros."""
    table = torch.from_numpy(np.vstack([np.eye(4, dtype=np.float32), np.zeros((1, 4), np.float32)]))
    return table[torch.from_numpy(codes.astype(np.int64))].transpose(1, 2).contiguous()


def load(
    name: str,
    weights: str | Path | None,
    *,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    flank: int | None = None,
) -> SpliceModel:
    """`openspliceai`, `openspliceai-400nt`, …, `pangolin` with the path of a state dict, or weights='random'.

    The depth, widths and kernels are read off the state dict; a name that says another flank is refused.
    """
    family, _, said = name.partition("-")
    wanted = flank or (int(said.removesuffix("nt")) if said.removesuffix("nt").isdigit() else None)
    build: type[OpenSpliceAI] | type[Pangolin] = Pangolin if family == "pangolin" else OpenSpliceAI
    if weights is None:
        raise InputError(
            f"{name} has no weights in bioterp (they are GPL-3.0); give weights=, the path of a state dict of the "
            "OpenSpliceAI or Pangolin project, or weights='random'"
        )
    if str(weights) == "random":
        size = wanted or 10000
        if size not in FLANKS:
            raise InputError(f"flank {size} is not one of {', '.join(map(str, FLANKS))}")
        kernels = [KERNELS[i // GROUP] for i in range(FLANKS[size])]
        network = seeded(seed, lambda: build(32, kernels, size))
    else:
        state = read_weights(weights)
        kernels = _kernels(state, family, str(weights))
        size = sum(2 * DILATIONS[i // GROUP] * (kernel - 1) for i, kernel in enumerate(kernels))
        if wanted is not None and wanted != size:
            raise InputError(f"{name} has a context of {wanted} nt, and the weights in {weights} have {size}")
        width = len(next(iter(state.values())))
        network = seeded(seed, lambda: build(width, kernels, size))
        fill(network, state, str(weights))
    units = "resblocks" if family == "pangolin" else "residual_units"
    blocks = [f"{units}.{i}" for i, m in enumerate(network.get_submodule(units).children()) if isinstance(m, Unit)]
    about = {"family": family, "flank": size, "kernels": kernels}
    network.to(device=device, dtype=dtype)
    model = SpliceModel(name, network, blocks, OUTPUTS[family], about=about)
    model.flank = size
    return model


def _kernels(state: Mapping[str, Tensor], family: str, path: str) -> list[int]:
    """Kernel sizes of the residual units, in order, from the shapes of their first convolutions."""
    units = "resblocks." if family == "pangolin" else "residual_units."
    found = {
        int(key.split(".")[1]): tensor.shape[-1]
        for key, tensor in state.items()
        if key.startswith(units) and key.endswith(".conv1.weight")
    }
    kernels = [size for _, size in sorted(found.items())]
    if not kernels or len(kernels) % GROUP or len(kernels) > GROUP * len(DILATIONS):
        raise InputError(
            f"{path} is no {family} state dict: it has {len(kernels)} residual units, wanted 4, 8, 12 or 16"
        )
    return kernels
