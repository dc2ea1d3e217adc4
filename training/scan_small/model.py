"""The model: MONAI's SegResEncoder, the decoder it is trained with, and how it is exported.

Nothing tells the encoder where it is: no positional embedding. Its norms are batch norms, which at inference are
fixed numbers per channel: what a cell's features are depends on the voxels within its receptive field and on
nothing else of the array. (Instance and group norms take their statistics over the whole window.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets.segresnet_ds import SegResEncoder
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional


def build_encoder(arguments: dict[str, Any], seed: int) -> SegResEncoder:
    """A fresh encoder."""
    torch.manual_seed(seed)
    return SegResEncoder(**arguments)


def block_names(arguments: dict[str, Any]) -> list[str]:
    """The residual blocks in order, as module paths."""
    counts = enumerate(arguments["blocks_down"])
    return [f"layers.{level}.blocks.{i}" for level, count in counts for i in range(count)]


def ends(arguments: dict[str, Any]) -> list[str]:
    """The last block of each level; level i has stride 2**i."""
    return [f"layers.{level}.blocks.{count - 1}" for level, count in enumerate(arguments["blocks_down"])]


def _read(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm3d(channels), nn.ReLU(), nn.Conv3d(channels, out, 1))


class Decoder(nn.Module):
    """From the encoder's levels, all but the finest, to voxels: a narrow path from coarse to fine.

    The finest level is not read, so that what is needed to fill a hole must pass through the strided ones.
    """

    def __init__(self, filters: int, levels: int) -> None:
        super().__init__()
        widths = [filters * 2**i for i in range(levels)]
        self.read = nn.ModuleList(_read(width, max(width // 2, filters)) for width in widths[1:])
        outs = [max(width // 2, filters) for width in widths[1:]]
        self.up = nn.ModuleList(nn.ConvTranspose3d(outs[i], outs[i - 1], 2, 2) for i in range(1, levels - 1))
        self.mix = nn.Conv3d(outs[0], outs[0], 3, padding=1)
        self.last = nn.ConvTranspose3d(outs[0], 1, 2, 2)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """(items, 1, x, y, z) from the encoder's outputs, fine to coarse."""
        read = [module(level) for module, level in zip(self.read, levels[1:], strict=True)]
        flow = read[-1]
        for module, side in zip(reversed(list(self.up)), reversed(read[:-1]), strict=True):
            flow = module(functional.relu(flow)) + side
        return self.last(functional.relu(self.mix(functional.relu(flow))))


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder; a hidden voxel is shown as 0, the scan's mean."""

    def __init__(self, arguments: dict[str, Any], seed: int) -> None:
        super().__init__()
        self.encoder = build_encoder(arguments, seed)
        self.decoder = Decoder(arguments["init_filters"], len(arguments["blocks_down"]))

    def forward(self, voxels: Tensor, hidden: Tensor) -> Tensor:
        """Voxels filled in, (items, 1, x, y, z); every side a multiple of 8."""
        return self.decoder(self.encoder(voxels.masked_fill(hidden, 0.0))).float()


def write_json(path: Path, found: Any) -> None:
    """JSON, written beside its place and moved there."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(found, indent=2) + "\n")
    beside.replace(path)


def write_weights(path: Path, module: nn.Module, note: dict[str, str]) -> None:
    """A module's tensors, written beside and moved."""
    kept = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    beside = path.with_name(path.name + ".part")
    save_file(kept, beside, metadata={"format": "pt", **note})
    beside.chmod(0o644)  # safetensors writes for the owner alone; this file is to be shipped
    beside.replace(path)


def export(encoder: SegResEncoder, config: dict[str, Any], folder: Path, note: dict[str, str]) -> None:
    """Write the folder that `bioterp.load_model` reads: config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "model.safetensors", encoder, note)
    arguments = config["model"]
    # Convolutions of stride 2 centre a cell on the first of its voxels, so that is where the lattice is laid.
    shipped = {"monai": "SegResEncoder", "arguments": arguments, "wants": config["wants"], "anchor": "corner"}
    write_json(folder / "config.json", {**shipped, "blocks": block_names(arguments)})
