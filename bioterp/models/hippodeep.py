"""The brain network of hippodeep (Thyreau et al. 2018, doi:10.1016/j.media.2017.11.004), as a factory.

    load_model("bioterp.models.hippodeep:head", modality="volume", weights="params_head_00075_00000.pt",
               multiple=8, blocks=hippodeep.BLOCKS, wants=hippodeep.WANTS)

A small U-Net on a T1 brought to 64³ voxels in LAS, whatever its field of view: the spacing is that over 64, about 2.9 ×
3.4 × 2.9 mm for the MNI152's box. Written from the description in github.com/bthyreau/hippodeep_pytorch (MIT), with
the names of its tensors. Its two other networks are not here: the affine one has no lattice, and that of the
hippocampus drops the border of its input, so that its cells are not those of the array.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WANTS: dict[str, Any] = {"orientation": "LAS", "intensity": {"zscore": "all"}, "shape": (64, 64, 64)}
OUTPUTS = ("brain", "cortex", "cerebrum", "prior")
BLOCKS = ("elu0", "elu1", "elu2", "elu3", "elu4", "elu5", "elu6")
DOWN = ((1, 8, 8), (8, 16, 24), (24, 24, 32), (32, 48, 48))  # channels into, between and out of each level
UP = ((2, 48, 24, 32, 24), (1, 24, 24, 24, 24), (0, 24, 16, 8, 8))  # level, into, narrowed, skipped, out


class Head(nn.Module):
    """(items, 1, x, y, z), sides multiples of 8 → (items, 4, x, y, z) probabilities, named in `OUTPUTS`."""

    def __init__(self) -> None:
        super().__init__()
        for i, (into, between, out) in enumerate(DOWN):
            self._level(i, "a", "b", into, between, between, out)
        for i, into, narrow, skip, out in UP:
            self._level(i, "u", "v", into, narrow, narrow + skip, out)
        self.conv1x = nn.Conv3d(8, 4, 1)
        for name in BLOCKS:  # activations of their own, so that a block has one output that can be read
            self.add_module(name, nn.ELU())

    def _level(self, i: int, first: str, second: str, into: int, between: int, joined: int, out: int) -> None:
        self.add_module(f"conv{i}{first}", nn.Conv3d(into, between, 3, padding=1))
        self.add_module(f"conv{i}{second}", nn.Conv3d(joined, out, 3, padding=1))
        self.add_module(f"bn{i}{first}", nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for i in range(len(DOWN)):
            x = functional.elu(self._run(f"conv{i}a", functional.max_pool3d(x, 2) if i else x))
            x = self._run(f"elu{i}", self._run(f"bn{i}a", self._run(f"conv{i}b", x)))
            kept.append(x)
        for step, (i, *_) in enumerate(UP):
            x = functional.elu(self._run(f"conv{i}u", functional.interpolate(x, scale_factor=2, mode="nearest")))
            x = self._run(f"bn{i}u", self._run(f"conv{i}v", torch.cat([x, kept[i]], 1)))
            x = self._run(f"elu{len(DOWN) + step}", x)
        return torch.sigmoid(self._run("conv1x", x))

    def _run(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = self.get_submodule(name)(x)
        return out


def head() -> Head:
    return Head()
