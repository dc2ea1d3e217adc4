"""Tiny MONAI networks with random weights, and what is true of their layers, written from MONAI's documentation.

`layers`: voxels per cell of every block in order.  `shape`: an array they take, every axis another size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Triple = tuple[int, int, int]


@dataclass
class Volume:
    """One tiny network."""

    arguments: dict[str, Any]
    shape: Triple
    layers: dict[str, Triple]
    multiple: Triple
    output: bool = True  # whether what the network returns has a lattice
    size: bool = False  # whether it takes no other shape
    grain: int = 1  # the finest cell in which a layer tells where something is, where that is not its own

    @property
    def channels(self) -> int:
        return int(self.arguments["in_channels"])


def same(n: int) -> Triple:
    return (n, n, n)


VIT = {"hidden_size": 24, "mlp_dim": 20, "num_heads": 2}

VOLUMES: dict[str, Volume] = {
    "SegResNet": Volume(
        {"in_channels": 2, "init_filters": 8, "blocks_down": [1, 1, 2], "blocks_up": [1, 1]},
        (12, 20, 28),
        {
            "down_layers.0": same(1),
            "down_layers.1": same(2),
            "down_layers.2": same(4),
            "up_layers.0": same(2),
            "up_layers.1": same(1),
        },
        same(4),
    ),
    "SegResEncoder": Volume(
        {"in_channels": 1, "init_filters": 5, "blocks_down": [1, 2, 1, 1]},
        (24, 32, 40),
        {f"layers.{i}.blocks": same(2**i) for i in range(4)},
        same(8),
        output=False,
    ),
    "SegResNetDS": Volume(
        # 1 × 1 × 3 mm: the first level halves x and y only.
        {"in_channels": 1, "init_filters": 4, "blocks_down": [1, 1, 1], "resolution": [1, 1, 3]},
        (12, 16, 14),
        {
            "encoder.layers.0.blocks": same(1),
            "encoder.layers.1.blocks": (2, 2, 1),
            "encoder.layers.2.blocks": (4, 4, 2),
            "up_layers.0.blocks": (2, 2, 1),
            "up_layers.1.blocks": same(1),
        },
        (4, 4, 2),
    ),
    "SwinUNETR": Volume(
        {"in_channels": 1, "out_channels": 3, "feature_size": 12, "window_size": 2}
        | {"depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 2]},
        (32, 64, 96),
        {
            "swinViT.layers1.0.blocks.0": same(2),
            "swinViT.layers2.0.blocks.0": same(4),
            "swinViT.layers2.0.blocks.1": same(4),
            "swinViT.layers3.0.blocks.0": same(8),
            "swinViT.layers4.0.blocks.0": same(16),
            "encoder10": same(32),
            "decoder5": same(16),
            "decoder4": same(8),
            "decoder3": same(4),
            "decoder2": same(2),
            "decoder1": same(1),
        },
        same(32),
    ),
    "ViTAutoEnc": Volume(
        {"in_channels": 1, "img_size": [24, 20, 28], "patch_size": [4, 4, 4], "num_layers": 3, **VIT},
        (24, 20, 28),
        {f"blocks.{i}": same(4) for i in range(3)},
        same(4),
        size=True,
    ),
    "ViT": Volume(
        {"in_channels": 1, "img_size": [16, 20, 42], "patch_size": [8, 4, 6], "num_layers": 2, **VIT}
        | {"classification": True},
        (16, 20, 42),
        {f"blocks.{i}": (8, 4, 6) for i in range(2)},
        (8, 4, 6),
        output=False,
        size=True,
    ),
    "UNETR": Volume(
        {"in_channels": 1, "out_channels": 2, "img_size": [32, 48, 64], "feature_size": 4, **VIT},
        (32, 48, 64),
        {f"vit.blocks.{i}": same(16) for i in range(12)}
        | {"encoder2": same(2), "encoder3": same(4), "encoder4": same(8)}
        | {"decoder5": same(8), "decoder4": same(4), "decoder3": same(2), "decoder2": same(1)},
        same(16),
        size=True,
        grain=16,  # its maps are tokens of 16 voxels made finer
    ),
    "UNet": Volume(
        {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 6, 9], "strides": [2, [2, 2, 1]]},
        (12, 20, 16),
        {
            "model.0": same(2),
            "model.1.submodule.0": (4, 4, 2),
            "model.1.submodule.1.submodule": (4, 4, 2),
            "model.1.submodule.2": same(2),
            "model.2": same(1),
        },
        (4, 4, 2),
        grain=4,  # a map on the way up is made of coarser ones only
    ),
}


def plant(network: nn.Module) -> None:
    """Give convolutions kernels by which a cell sees the voxels it stands for and no others, all weights positive.

    A kernel of three is its middle; with a stride of two, its middle and what follows; any other covers its cell.
    What a bump in the array changes most is then the cell it lies in, and that is known without running anything.
    """
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            kernel = torch.ones(())
            for size, stride in zip(module.kernel_size, module.stride, strict=True):
                taps = torch.ones(size)
                if size == 3 and stride < 3:
                    taps = torch.tensor([0.0, 1.0, float(stride == 2)])
                kernel = kernel[..., None] * taps
            mix = torch.rand(module.weight.shape[:2], generator=generator) + 0.1
            scale = math.sqrt(module.weight.shape[0] * module.weight.shape[1])
            module.weight.data = mix[..., None, None, None] * kernel / scale
            if module.bias is not None:
                module.bias.data.zero_()
