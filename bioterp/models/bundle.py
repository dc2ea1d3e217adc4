"""MONAI bundles: what a folder with `configs/` and `models/` says of its network, read and not run.

A bundle's configuration may hold expressions (`$…`), which are Python code, and names of classes to call. Only the
part that describes the network is read; in it, numbers, texts, lists and `@` references to such are taken, and
anything else is refused unless the user trusts the bundle.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bioterp import limits
from bioterp.doors import json_of, yaml_of
from bioterp.errors import InputError

CONFIGS = [f"{name}.{end}" for name in ("inference", "train") for end in ("json", "yaml", "yml")]
WEIGHTS = ("model.safetensors", "model.pt", "model.pth")
MONAI = re.compile(r"(?:monai\.networks\.nets\.(?:\w+\.)?)?([A-Z]\w*)")


def is_bundle(folder: Path) -> bool:
    return any((folder / "configs" / name).is_file() for name in CONFIGS)


def read_bundle(folder: Path) -> tuple[dict[str, Any], Path | None]:
    """{'monai': class, 'arguments': …, 'wants': …} and the weights file of a bundle. Runs nothing of it.

    Raises InputError for a network that is described by code.
    """
    config = _config(folder)
    network = _literal(_network(config, folder), config, "network_def", folder)
    target = str(network.pop("_target_", ""))
    if not MONAI.fullmatch(target):
        raise _code(folder, "network_def", f"_target_: {target}")
    arguments = {key: value for key, value in network.items() if not key.startswith("_")}
    recipe = {"monai": target.rpartition(".")[2], "arguments": arguments, "wants": wants(config, folder)}
    return recipe, weights_of(folder)


def trusted_network(folder: Path) -> nn.Module:
    """The network as MONAI builds it, expressions and the bundle's own modules included: this runs its code."""
    parser = importlib.import_module("monai.bundle").ConfigParser(_config(folder))
    parser["bundle_root"] = str(folder)
    sys.path.insert(0, str(folder))
    try:
        network = parser.get_parsed_content("network_def" if "network_def" in parser else "network")
    finally:
        sys.path.remove(str(folder))
    if not isinstance(network, nn.Module):
        raise InputError(f"the network_def of {folder.name} made a {type(network).__name__}; wanted a torch.nn.Module")
    return network


def weights_of(folder: Path) -> Path | None:
    return next((folder / "models" / name for name in WEIGHTS if (folder / "models" / name).is_file()), None)


def wants(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Keywords of `Scans` that a bundle's preprocessing states plainly; what it computes is left out."""
    try:
        steps = _literal(config.get("preprocessing", {}), config, "preprocessing", folder, deep=True)["transforms"]
    except (InputError, KeyError, TypeError):
        return {}
    told: dict[str, Any] = {}
    intensity: list[Any] = []
    for step in steps:
        kind = str(step.get("_target_", "")).rpartition(".")[2].removesuffix("d")
        if kind == "Orientation" and isinstance(step.get("axcodes"), str):
            told["orientation"] = step["axcodes"]
        elif kind == "Spacing":
            told["spacing"] = step.get("pixdim")
        elif "Intensity" in kind:
            intensity.append(_recipe(kind, step))
    if len(intensity) == 1 and intensity[0] is not None:
        told["intensity"] = intensity[0]
    return told


def _recipe(kind: str, step: Mapping[str, Any]) -> Any:
    """An intensity transform in the words of `Scans`, None when it has none for it."""
    to = [step.get("b_min"), step.get("b_max")]
    if kind == "ScaleIntensityRange" and step.get("clip"):
        return {"window": [step["a_min"], step["a_max"]], "to": to}
    if kind == "ScaleIntensityRangePercentiles" and step.get("clip") and to == [0, 1]:
        return {"percentile": [step["lower"], step["upper"]]}
    if kind == "NormalizeIntensity" and not {"subtrahend", "divisor"} & set(step):
        return "zscore" if step.get("nonzero") else {"zscore": "all"}
    if kind == "ScaleIntensity" and (step.get("minv", 0), step.get("maxv", 1)) == (0, 1):
        return "minmax"
    return None


def _config(folder: Path) -> dict[str, Any]:
    path = next(folder / "configs" / name for name in CONFIGS if (folder / "configs" / name).is_file())
    config = json_of(path) if path.suffix == ".json" else yaml_of(path)
    if not isinstance(config, dict):
        raise InputError(f"{path} holds a {type(config).__name__}; wanted the configuration of a MONAI bundle")
    return config


def _network(config: Mapping[str, Any], folder: Path) -> Any:
    for key in ("network_def", "network"):
        if key in config:
            return config[key]
    raise InputError(f"the bundle {folder.name} has no network_def in its configuration; {list(config)[:8]} are there")


def _literal(
    value: Any,
    config: Mapping[str, Any],
    at: str,
    folder: Path,
    deep: bool = False,
    depth: int = 0,
    seen: list[int] | None = None,
) -> Any:
    """A value with its references followed. Raises InputError for an expression, a macro or, unless `deep`, a class
    to call inside another."""
    seen = [0] if seen is None else seen  # values so far: references may multiply
    seen[0] += 1
    limits.check("NODES", seen[0], f"{at} of the bundle {folder.name} stands for too many values")
    if depth > 30:
        raise InputError(f"the references of {at} in the bundle {folder.name} go round in a circle; correct them")
    if isinstance(value, Mapping):
        inner = {str(key): one for key, one in value.items() if key != "_desc_"}
        if depth and not deep and "_target_" in inner:
            raise _code(folder, at, f"_target_: {inner['_target_']}")
        return {key: _literal(one, config, f"{at}#{key}", folder, deep, depth + 1, seen) for key, one in inner.items()}
    if isinstance(value, list):
        return [_literal(one, config, f"{at}#{i}", folder, deep, depth + 1, seen) for i, one in enumerate(value)]
    if isinstance(value, str) and value.startswith(("$", "%")):
        raise _code(folder, at, value)
    if isinstance(value, str) and value.startswith("@"):
        found: Any = config
        for key in re.split(r"#|::", value[1:]):
            try:
                found = found[int(key) if isinstance(found, list) else key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise InputError(f"{at} of the bundle {folder.name} refers to {value}, which is not there") from None
        # What is referred to stands where it is used: the network itself may be a reference.
        return _literal(found, config, at, folder, deep, depth + 1, seen)
    return value


def _code(folder: Path, at: str, what: str) -> InputError:
    return InputError(
        f"the bundle {folder.name} describes {at} by code ({what[:80]!r}), which is not run unless you trust it; read "
        "it, then give trust_remote_code=True, or load 'monai:<Network>' with arguments= and weights="
    )
