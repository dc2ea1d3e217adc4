"""Networks of MONAI: by class name, from a folder of this project's form, or from a bundle.

load_model("monai:SegResNet", weights="model.pt", arguments={"in_channels": 1, "init_filters": 16})
load_model("path/to/folder")     config.json {"monai": "SegResEncoder", "arguments": {…}, "wants": {…}} + weights
load_model("path/to/bundle")     a MONAI bundle: configs/inference.json and models/model.pt
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bioterp.doors import json_of
from bioterp.errors import InputError, missing_package, nearest, one_line, shown
from bioterp.models.bundle import is_bundle, read_bundle, trusted_network, weights_of
from bioterp.models.known import KNOWN
from bioterp.models.networks import facts
from bioterp.models.volumes import VolumeModel
from bioterp.models.weights import fill, read_weights, seeded

SHAPES = ("multiple", "size", "tokens", "prefix", "channels", "slices", "in_channels", "anchor")
OPTIONS = ("arguments", "wants", "blocks", "outputs", "ignore", *SHAPES)
MERGED = ("arguments", "wants")  # what the user gives goes over what the folder says, key by key
NOTES = ("about", "licence", "license", "bioterp")  # keys of config.json that say what the model is
FILES = ("model.safetensors", "model.pt", "model.pth")

# Classes that live beside the network they are part of.
INNER = {"SegResEncoder": "segresnet_ds", "SwinTransformer": "swin_unetr"}
# Arguments of older MONAI versions, as bundles still give them: their name now, None when they no longer matter.
POSITIONS: dict[str, str | None] = {"pos_embed": "proj_type"}
RETIRED: dict[str, dict[str, str | None]] = {
    "SwinUNETR": {"img_size": None},
    "UNet": {"dimensions": "spatial_dims"},
    "ViT": POSITIONS,
    "ViTAutoEnc": POSITIONS,
    "UNETR": POSITIONS,
}
# Published encoders that are one class and one file on the hub; `known_scans.py` says what they were trained on.
PUBLISHED: dict[str, dict[str, Any]] = {
    "project-lighter/ct_fm_feature_extractor": {
        "monai": "SegResEncoder",
        "arguments": {"in_channels": 1, "init_filters": 32, "blocks_down": [1, 2, 2, 4, 4]},
        "anchor": "corner",  # strided convolutions, see drift.py
    }
}


def load(
    name: str,
    source: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> VolumeModel:
    """A MONAI network with its weights.

    source: a folder, a published name, or None for `monai:Network`.  weights: a state dict, or 'random'.
    arguments: of the network's constructor, over those the folder gives; where none are given, those of the known row.
    ignore: prefixes of tensors in the weights that belong to no part of the network (heads of its training).  The
    other options are VolumeModel's.

    Raises InputError for an unknown network or argument, weights that do not fit, and code that is not trusted.
    """
    recipe, own, trusted = _recipe(name, Path(source or name), weights is None, revision, trust_remote_code)
    if name in KNOWN and recipe.get("arguments") is None and options.get("arguments") is None:
        # The published network of that class: what it was built with, and the scans it was trained on.
        recipe |= {"arguments": dict(KNOWN[name].arguments), "wants": dict(KNOWN[name].wants)}
    for option, value in options.items():
        if option not in OPTIONS:
            raise InputError(f"{name} takes no option {option!r}; {nearest(option, OPTIONS)}")
        recipe[option] = {**recipe.get(option, {}), **(value or {})} if option in MERGED else value
    weights = own if weights is None else weights
    if weights is None:
        raise InputError(f"{name} needs weights=, the path of a .safetensors or .pt state dict, or weights='random'")
    kind: str | None = recipe["monai"]
    arguments: dict[str, Any] = recipe.get("arguments", {})
    network = seeded(seed, trusted or (lambda: build(str(kind), arguments)))
    if str(weights) != "random":
        ignore = recipe.get("ignore") or ()
        hint = "give the weights of this architecture, or name the parts to leave out in ignore=[…]"
        fill(network, _modern(read_weights(weights), network), str(weights), ignore, hint)
    network.to(device=device, dtype=dtype)
    known = facts(network, arguments)
    shapes: dict[str, Any] = {key: getattr(known, key) for key in SHAPES[:5]}
    shapes |= {key: recipe[key] for key in SHAPES if recipe.get(key) is not None}
    shapes.setdefault("in_channels", _in_channels(network, arguments))
    if arguments.get("spatial_dims", 3) != 3 and shapes.get("slices") is None:
        raise InputError(
            f"{name} is a network of {arguments['spatial_dims']} dimensions; give slices=2 to run it slice by slice "
            "along the array's third axis (or 0, 1)"
        )
    about: dict[str, Any] = {
        "monai": kind or type(network).__name__,
        "arguments": arguments,
        **{key: recipe[key] for key in SHAPES if recipe.get(key)},
    }
    blocks, outputs = recipe.get("blocks") or known.blocks, recipe.get("outputs") or ()
    model = VolumeModel(name, network, blocks, outputs, about=about, wants=recipe.get("wants"), **shapes)
    for block in blocks:
        model.resolve(block)
    return model


def build(kind: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A MONAI network by its class. Raises InputError for a class or an argument MONAI does not have."""
    network = _class(kind)
    retired = RETIRED.get(kind, {})
    given = {retired.get(key, key) or "": value for key, value in copy.deepcopy(dict(arguments)).items()}
    given.pop("", None)
    known = list(inspect.signature(network).parameters)
    for key in given:
        if key not in known:
            raise InputError(f"MONAI's {kind} takes no argument {key!r}; {nearest(key, known)}")
    for key in known:  # some networks fetch weights by themselves, and by pickle
        if key.startswith("pretrained") and given.get(key):
            raise InputError(f"MONAI's {kind} would fetch weights ({key}={shown(given[key])}); give weights=")
    if "pretrained" in known:
        given["pretrained"] = False
    try:
        made: nn.Module = network(**given)
    except ImportError as error:
        raise InputError(
            f"MONAI's {kind} needs a package that is not here ({error}): pip install 'bioterp[imaging]'"
        ) from None
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, IndexError) as error:
        raise InputError(
            f"MONAI's {kind} could not be built with {shown(dict(arguments), 200)} ({one_line(error)}); "
            "correct arguments="
        ) from error
    return made


def _class(kind: str) -> Callable[..., nn.Module]:
    try:
        nets = importlib.import_module("monai.networks.nets")
        place = importlib.import_module(f"monai.networks.nets.{INNER[kind]}") if kind in INNER else nets
    except ImportError as error:
        raise missing_package("monai", "scans", f"the network {kind}") from error
    found = getattr(place, kind, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        names = [name for name in dir(nets) if inspect.isclass(getattr(nets, name))]
        raise InputError(f"MONAI has no network {kind!r}; {nearest(kind, [*names, *INNER])}")
    made: Callable[..., nn.Module] = found
    return made


def _recipe(
    name: str, source: Path, fetch: bool, revision: str | None, trust: bool
) -> tuple[dict[str, Any], str | Path | None, Callable[[], nn.Module] | None]:
    """What a name stands for: a recipe like config.json's, its weights, and a builder where code is trusted."""
    if name in PUBLISHED:
        recipe = copy.deepcopy(PUBLISHED[name])
        recipe["wants"] = dict(KNOWN[name].wants if name in KNOWN else {})
        return recipe, _fetched(name, revision) if fetch else None, None
    if name.startswith("monai:"):
        return {"monai": name.removeprefix("monai:")}, None, None
    if is_bundle(source):
        try:
            return *read_bundle(source), None
        except InputError:
            if not trust:
                raise
        return _trusted(source)
    if not (source / "config.json").is_file():
        raise InputError(f"the folder {source} has neither config.json nor a MONAI bundle's configs/inference.json")
    recipe = json_of(source / "config.json")
    if not isinstance(recipe, dict):
        raise InputError(f"{source / 'config.json'} holds a {type(recipe).__name__}; wanted an object")
    for key in recipe:
        if key not in ("monai", *OPTIONS, *NOTES):
            raise InputError(
                f"{source / 'config.json'} has an unknown key {key!r}; {nearest(key, ('monai', *OPTIONS))}"
            )
    own = next((source / file for file in FILES if (source / file).is_file()), None)
    return recipe, own, None


def _trusted(folder: Path) -> tuple[dict[str, Any], Path | None, Callable[[], nn.Module]]:
    return {"monai": None}, weights_of(folder), lambda: trusted_network(folder)


def _fetched(name: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return str(hf_hub_download(name, "model.safetensors", revision=revision))
    except (OSError, ValueError) as error:
        raise InputError(
            f"could not fetch model.safetensors of {name} ({str(error).splitlines()[0][:120]}); give weights=, its path"
        ) from error


def _in_channels(network: nn.Module, arguments: Mapping[str, Any]) -> int:
    for key in ("in_channels", "in_chans", "n_input_channels"):
        if key in arguments:
            return int(arguments[key])
    convolutions = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
    return convolutions[0].in_channels if convolutions else 1


def _modern(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights of older MONAI versions under the names of this one."""
    own = network.state_dict()
    new = {name.replace(".mlp.fc1.", ".mlp.linear1.").replace(".mlp.fc2.", ".mlp.linear2."): tensor
           for name, tensor in state.items()}  # fmt: skip
    if not any(".cross_attn." in name for name in own):
        # Attention to another sequence was once made in every block, and is never run; its norm still is made.
        new = {name: tensor for name, tensor in new.items() if ".cross_attn." not in name}
        if any(name.endswith(".norm1.weight") for name in new) and not any("norm_cross_attn" in name for name in new):
            new |= {name: tensor for name, tensor in own.items() if ".norm_cross_attn." in name}
    return new
