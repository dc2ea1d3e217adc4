"""MeshNets: chains of dilated 3-D convolutions that keep every voxel (Fedorov et al. 2017,
doi:10.1109/IJCNN.2017.7966333).

The published ones are brainchop's (Plis et al. 2024, doi:10.52294/001c.123059; github.com/neuroneural/brainchop,
MIT): tissue and subcortical segmentation of T1 MRI. Written from what `model.json` tells of the layers; two forms are
read: a folder with `model.json` and `model.pth` (safetensors inside), and TensorFlow.js (`model.json` and its shards).

brainchop conforms a scan first, as FreeSurfer does: 256³ voxels of 1 mm, orientation LIA (x runs to the left, y down,
z forward), intensities clipped at a high percentile and made 0–255; then it scales them to 0–1, by the least and the
largest value or, where model.json asks for quantiles, by those (without clipping; `Scans` clips). The networks take
any size; what differs from 256³ is how far zeros lie from the head.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bioterp.doors import json_of
from bioterp.errors import InputError, nearest
from bioterp.models import tfjs
from bioterp.models.volumes import VolumeModel
from bioterp.models.weights import fill, read_weights, seeded

WANTS: dict[str, Any] = {
    "orientation": "LIA",
    "spacing": (1.0, 1.0, 1.0),
    "intensity": "minmax",
    "shape": (256, 256, 256),
}
ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU}
DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)
FILES = ("model.safetensors", "model.pth", "model.pt")
TISSUE = ("background", "white matter", "grey matter")
# name → (channels, classes, activation); for random weights, and for the names of classes a folder does not tell.
PUBLISHED: dict[str, tuple[int, int, str]] = {
    "model5_gw_ae": (5, 3, "relu"),
    "model20chan3cls": (20, 3, "elu"),
    "model18cls": (21, 18, "elu"),
    "model30chan18cls": (30, 18, "elu"),
}


@dataclass(frozen=True)
class Conv:
    """One convolution: channels in and out, voxels across, and their distance."""

    into: int
    out: int
    kernel: int
    dilation: int


class MeshNet(nn.Module):
    """(items, 1, x, y, z) in [0, 1] → (items, classes, x, y, z) scores; every layer keeps x, y and z."""

    def __init__(self, layers: Sequence[Conv], activation: str):
        super().__init__()
        steps: list[nn.Module] = []
        for i, layer in enumerate(layers):
            padding = layer.dilation * (layer.kernel - 1) // 2
            steps.append(nn.Conv3d(layer.into, layer.out, layer.kernel, dilation=layer.dilation, padding=padding))
            if i < len(layers) - 1:
                steps.append(ACTIVATIONS[activation]())
        self.model = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


def load(
    name: str,
    source: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> VolumeModel:
    """A MeshNet: a folder with `model.json`, or `meshnet[/model5_gw_ae]` with weights= (a folder, a file, or 'random').

    Layer i is the activation after convolution i, one cell per voxel; 'output' is the score of every class.

    Raises InputError for a folder without model.json, an architecture that is none of MeshNet, weights that do not fit.
    """
    random = weights is not None and str(weights) == "random"
    place = _place(name, source, None if random else weights)
    if place is None:
        if not random:
            raise InputError(
                f"{name} has no weights in bioterp; give weights=, the folder with model.json that brainchop publishes "
                "(github.com/neuroneural/brainchop), or weights='random'"
            )
        layers, activation = _published(name)
        about: Mapping[str, Any] = {}
    else:
        about = _read(place / "model.json")
        layers, activation = architecture(about, place / "model.json")
    network = seeded(seed, lambda: MeshNet(layers, activation))
    if not random and place is not None:
        given = Path(weights) if weights is not None and Path(weights).is_file() else None
        fill(network, _state(about, place, given), str(given or place))
    network.to(device=device, dtype=dtype)
    blocks = [f"model.{2 * i + 1}" for i in range(len(layers) - 1)]
    told = {"layers": [asdict(layer) for layer in layers], "activation": activation}
    model = place.name if place is not None else _model(name)
    outputs = classes(place, layers[-1].out, model)
    return VolumeModel(
        name, network, blocks, outputs, about=told, in_channels=layers[0].into, wants=wants(about, model)
    )


def architecture(about: Mapping[str, Any], path: Path) -> tuple[list[Conv], str]:
    """The layers and the activation that a `model.json` of either form tells."""
    if "modelTopology" in about:
        steps = tfjs.chain(about, path)
        kinds = {step.get("activation", "linear") for step in steps[:-1]}
        if len(kinds) != 1 or not kinds <= set(ACTIVATIONS) or "activation" in steps[-1]:
            told = ", ".join(sorted(kinds))
            raise InputError(f"{path}: activations {told}; wanted {' or '.join(ACTIVATIONS)} after all but the last")
        return [Conv(s["in"], s["out"], s["kernel"], s["dilation"]) for s in steps], kinds.pop()
    if about.get("bnorm"):
        raise InputError(f"{path} asks for batch normalisation, which this MeshNet has not; fold it into the kernels")
    layers = []
    for i, told in enumerate(about.get("layers", [])):
        try:
            layer = Conv(*(int(told[key]) for key in ("in_channels", "out_channels", "kernel_size", "dilation")))
            stride, padding = int(told["stride"]), int(told["padding"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: layer {i} does not tell {error}; wanted a MeshNet's model.json") from error
        if stride != 1 or 2 * padding != layer.dilation * (layer.kernel - 1) or min(layer.into, layer.out) < 1:
            raise InputError(f"{path}: layer {i} ({told}) does not keep every voxel, or has no number of channels")
        layers.append(layer)
    if len(layers) < 2 or any(a.out != b.into for a, b in itertools.pairwise(layers)):
        raise InputError(f"{path} tells {len(layers)} layers that make no chain; wanted a MeshNet's model.json")
    return layers, next((kind for kind in ("gelu", "elu") if about.get(kind)), "relu")


def wants(about: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What to give `Scans` for this model: brainchop's conformed frame, and the quantiles model.json may name."""
    said = re.search(r"min\s*=\s*([\d.]+)\s*%.*max\s*=\s*([\d.]+)\s*%", str(about.get("_comment", "")))
    if said:
        return {**WANTS, "intensity": {"percentile": [float(said[1]), float(said[2])]}}
    return {**WANTS, "intensity": {"percentile": [5.0, 95.0]}} if model == "model20chan3cls" else dict(WANTS)


def classes(place: Path | None, count: int, model: str) -> tuple[str, ...]:
    """Names of the classes, from the colour map beside the model that has as many; () when none tells."""
    for path in sorted(place.glob("colormap*.json")) if place is not None else ():
        labels = _read(path).get("labels", [])
        if len(labels) == count:
            return tuple(str(label) for label in labels)
    return TISSUE if PUBLISHED.get(model, (0, 0, ""))[1] == count == len(TISSUE) else ()


def _place(name: str, source: str | Path | None, weights: str | Path | None) -> Path | None:
    """The folder with model.json: the one named, or the one the weights are or lie in."""
    for given in (source, weights):
        if given is None or (given is source and not Path(given).is_dir()):
            continue
        folder = Path(given) if Path(given).is_dir() else Path(given).parent
        if not Path(given).exists():
            raise InputError(f"there is no weights file or folder at {given}; give brainchop's folder with model.json")
        if not (folder / "model.json").is_file():
            raise InputError(f"the folder {folder} has no model.json, which tells a MeshNet's layers; put it there")
        return folder
    return None


def _model(name: str) -> str:
    return name.rpartition("/")[2] if "/" in name else "model5_gw_ae"


def _published(name: str) -> tuple[list[Conv], str]:
    model = _model(name)
    if model not in PUBLISHED:
        raise InputError(f"there is no MeshNet {model!r}; {nearest(model, PUBLISHED)}")
    width, count, activation = PUBLISHED[model]
    widths = [1, *[width] * len(DILATIONS)]
    layers = [Conv(widths[i], width, 3, dilation) for i, dilation in enumerate(DILATIONS)]
    return [*layers, Conv(width, count, 1, 1)], activation


def _state(about: Mapping[str, Any], place: Path, given: Path | None) -> dict[str, Tensor]:
    """The state dict: from the file given, from the folder's own, or from its TensorFlow.js shards."""
    if given is None and "modelTopology" not in about:
        given = next((place / file for file in FILES if (place / file).is_file()), None)
        if given is None:
            raise InputError(f"the folder {place} has no weights; wanted one of {', '.join(FILES)} beside model.json")
    if given is not None:
        return read_weights(given)
    found = tfjs.tensors(about, place)
    state: dict[str, Tensor] = {}
    for i, step in enumerate(tfjs.chain(about, place / "model.json")):
        for ending, own in (("kernel", "weight"), ("bias", "bias")):
            key = f"{step['name']}/{ending}"
            if key not in found:
                raise InputError(f"{place}/model.json lists no weights '{key}'; fetch the model again")
            state[f"model.{2 * i}.{own}"] = tfjs.torch_kernel(found[key]) if own == "weight" else found[key]
    return state


def _read(path: Path) -> dict[str, Any]:
    about = json_of(path)
    if not isinstance(about, dict):
        raise InputError(f"{path} holds a {type(about).__name__}; wanted an object")
    return about
