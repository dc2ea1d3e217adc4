"""What is known of MONAI's networks: which modules are their blocks, and which arrays they take.

A network that is not here has the blocks `find_blocks` finds; the user says what its arrays must be multiples of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from bioterp.models.blocks import find_blocks
from bioterp.models.lattices import Triple
from bioterp.models.volumes import triple

SWIN_STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class Facts:
    """blocks: module names in the order they run; the rest as in `VolumeModel`."""

    blocks: list[str]
    multiple: Triple = (1, 1, 1)
    tokens: Triple | None = None
    prefix: int = 0
    size: Triple | None = None
    channels: str | None = "first"


def facts(network: nn.Module, arguments: Mapping[str, Any]) -> Facts:
    """What is known of a network built with these arguments."""
    told = _FACTS.get(type(network).__name__)
    try:
        return told(network, arguments) if told else Facts(find_blocks(network), channels=None)
    except KeyError:  # built by a bundle's own code, so that the arguments are not known
        return Facts(find_blocks(network), channels=None)


def _each(network: nn.Module, *names: str) -> list[str]:
    """Names with a star for every child of a module, in order: 'layers.*.blocks'."""
    found = []
    for name in names:
        before, star, after = name.partition(".*")
        children = [child for child, _ in network.get_submodule(before).named_children()] if star else [""]
        found += [f"{before}.{child}{after}" if star else before for child in children]
    return found


def _segresnet(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    blocks = _each(network, "down_layers.*", "up_layers.*")
    return Facts(blocks, triple(2 ** (len(network.blocks_down) - 1), "multiple"))


def _encoder(encoder: Any) -> Triple:
    """The product of the strides of a SegResEncoder, along each axis."""
    sides = [1, 1, 1]
    for level in encoder.layers:
        stride = getattr(level["downsample"], "stride", (1, 1, 1))  # the last level has none
        sides = [side * step for side, step in zip(sides, stride, strict=True)]
    return sides[0], sides[1], sides[2]


def _segresencoder(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    return Facts(_each(network, "layers.*.blocks"), _encoder(network))


def _segresnet_ds(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    return Facts(_each(network, "encoder.layers.*.blocks", "up_layers.*.blocks"), _encoder(network.encoder))


def _swin_blocks(network: nn.Module, start: str = "") -> list[str]:
    return _each(network, *(f"{start}layers{stage}.0.blocks.*" for stage in SWIN_STAGES))


def _swin_unetr(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    # Channels are last inside the stages and first elsewhere: the probe tells them apart.
    decoder = ["encoder10", "decoder5", "decoder4", "decoder3", "decoder2", "decoder1"]
    blocks = [*_swin_blocks(network, "swinViT."), *decoder]
    return Facts(blocks, triple(network.patch_size**5, "multiple"), channels=None)


def _swin(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    patch = [side * 2**network.num_layers for side in network.patch_size]
    return Facts(_swin_blocks(network), triple(patch, "multiple"), channels=None)


def _vit(network: Any, arguments: Mapping[str, Any]) -> Facts:
    tokens, size = triple(arguments["patch_size"], "patch_size"), triple(arguments["img_size"], "img_size")
    return Facts(_each(network, "blocks.*"), tokens, tokens, int(hasattr(network, "cls_token")), size)


def _unetr(network: Any, arguments: Mapping[str, Any]) -> Facts:
    tokens, size = triple(network.patch_size, "patch_size"), triple(arguments["img_size"], "img_size")
    maps = [f"encoder{i}" for i in (2, 3, 4)] + [f"decoder{i}" for i in (5, 4, 3, 2)]
    return Facts([*_each(network, "vit.blocks.*"), *maps], tokens, tokens, 0, size)


def _unet(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    """Down the nested levels, the bottom, and up again."""
    down, up, at, here = [], [], "model", network.model
    while isinstance(here, nn.Sequential) and len(here) == 3 and hasattr(here[1], "submodule"):
        down.append(f"{at}.0")
        up.append(f"{at}.2")
        at, here = f"{at}.1.submodule", here[1].submodule
    strides = network.strides[: len(network.channels) - 1]
    return Facts([*down, at, *reversed(up)], _product(strides))


def _basic_unet(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    down, up = [f"down_{i}" for i in (1, 2, 3, 4)], [f"upcat_{i}" for i in (4, 3, 2, 1)]
    return Facts(["conv_0", *down, *up], triple(16, "multiple"))


def _dynunet(network: Any, _arguments: Mapping[str, Any]) -> Facts:
    blocks = _each(network, "input_block", "downsamples.*", "bottleneck", "upsamples.*")
    return Facts(blocks, _product(network.strides))


def _product(strides: Any) -> Triple:
    """Of strides that are numbers or one number per axis."""
    each = [[step] * 3 if isinstance(step, int) else [*step, 1][:3] for step in strides]
    return math.prod(s[0] for s in each), math.prod(s[1] for s in each), math.prod(s[2] for s in each)


_FACTS: dict[str, Callable[[Any, Mapping[str, Any]], Facts]] = {
    "SegResNet": _segresnet,
    "SegResEncoder": _segresencoder,
    "SegResNetDS": _segresnet_ds,
    "SegResNetDS2": _segresnet_ds,
    "SwinUNETR": _swin_unetr,
    "SwinTransformer": _swin,
    "ViT": _vit,
    "ViTAutoEnc": _vit,
    "UNETR": _unetr,
    "UNet": _unet,
    "BasicUNet": _basic_unet,
    "DynUNet": _dynunet,
}
