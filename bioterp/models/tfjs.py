"""TensorFlow.js layers models (`model.json` and its shards) of plain 3-D convolutions, read as torch state dicts.

Only what brainchop's MeshNets are is read: a chain of Conv3D (stride 1, 'same' padding) and activations, float32.
Anything else is refused. A kernel is stored (x, y, z, in, out) and wanted (out, in, x, y, z).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioterp.errors import InputError, one_line


def chain(about: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The convolutions of a layers model in order: {name, in, out, kernel, dilation, activation}.

    Raises InputError for a layer of another kind, a branch, a stride, or padding that changes the size.
    """
    with _whole(path):
        return _chain(about, path)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """InputError where a key is missing or of another kind than TensorFlow.js writes."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is damaged, or no model of TensorFlow.js ({type(error).__name__}: {one_line(error)})"
        ) from error


def _chain(about: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    try:
        layers = about["modelTopology"]["model_config"]["config"]["layers"]
        pairs = [(layer["class_name"], layer["config"]) for layer in layers]
        inputs = [[node[0] for call in layer.get("inbound_nodes", []) for node in call] for layer in layers]
        width = int(layers[0]["config"]["batch_input_shape"][-1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a TensorFlow.js layers model ({error!r} is missing)") from error
    found: list[dict[str, Any]] = []
    for i, ((kind, config), before) in enumerate(zip(pairs, inputs, strict=True)):
        name = config.get("name", f"layer {i}")
        if before != ([pairs[i - 1][1].get("name")] if i else []):
            raise InputError(f"{path}: the layer '{name}' reads {before or 'nothing'}; wanted a chain without branches")
        if kind == "Conv3D":
            same = config.get("padding") == "same" and config.get("strides") == [1, 1, 1]
            cubic = all(len(set(config[key])) == 1 for key in ("kernel_size", "dilation_rate"))
            if not (same and cubic and config.get("data_format") == "channels_last" and config.get("use_bias")):
                raise InputError(
                    f"{path}: the layer '{name}' is no cubic convolution of stride 1 with 'same' padding and a bias; "
                    "only such MeshNets are read from TensorFlow.js"
                )
            kernel, dilation, out = config["kernel_size"][0], config["dilation_rate"][0], config["filters"]
            found.append({"name": name, "in": width, "out": out, "kernel": kernel, "dilation": dilation})
            width = out
        elif kind == "InputLayer" and i == 0:
            continue
        elif kind != "Activation" or not found or "activation" in found[-1]:
            raise InputError(f"{path}: the layer '{name}' is a {kind}; wanted a chain of Conv3D and Activation")
        activation = config.get("activation", "linear")
        if activation != "linear":
            found[-1]["activation"] = activation
    return found


def tensors(about: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """{name in the manifest: tensor}, read from the shards beside `model.json`; nothing is executed.

    Raises InputError for a shard that is missing, of another size, or outside the folder, and for packed numbers.
    """
    with _whole(folder / "model.json"):
        return _tensors(about, folder)


def _tensors(about: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for group in about.get("weightsManifest", []):
        data = bytearray()
        for name in group["paths"]:
            if not re.fullmatch(r"[\w-][\w.-]*", name):
                raise InputError(f"{folder}/model.json names the shard {name!r}; wanted a file beside it")
            if not (folder / name).is_file():
                raise InputError(f"{folder}/model.json names the shard {name!r}, which is not there")
            data += (folder / name).read_bytes()
        at = 0
        for weight in group["weights"]:
            if weight["dtype"] != "float32" or "quantization" in weight:
                raise InputError(f"{folder}: '{weight['name']}' is {weight['dtype']}, packed or not; wanted float32")
            size = 4 * int(np.prod(weight["shape"], dtype=np.int64))
            piece = bytes(data[at : at + size])
            at += size
            if len(piece) == size:
                values = np.frombuffer(piece, "<f4").reshape(weight["shape"])
                found[weight["name"]] = torch.from_numpy(values.astype(np.float32))
        if at != len(data):
            raise InputError(
                f"{folder}: the shards hold {len(data)} bytes, not the {at} of model.json; fetch them again"
            )
    return found


def torch_kernel(kernel: Tensor) -> Tensor:
    """(x, y, z, in, out) → (out, in, x, y, z)."""
    return kernel.permute(4, 3, 0, 1, 2).contiguous()
