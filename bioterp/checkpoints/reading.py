"""A checkpoint file as names and tensors, read without running anything that is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bioterp.doors import json_of
from bioterp.errors import InputError, shown
from bioterp.models.containers import BROKEN, check_container, is_safetensors, refusal

WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
KNOWN = ("sae_weights.safetensors", "sae.safetensors", "ae.pt")  # what a folder's weights are called first of all
STEP = re.compile(r"ae_(\d+)\.pt")
# What wrappers of training put before every name; none of them begins a name of a layout read here.
PREFIXES = ("_orig_mod.", "module.", "model.", "sae_model.", "sae.")
# JSON beside the weights; of a checkpoint of an unfinished run it lies one folder up.
CONFIGS = ("cfg.json", "config.json")


@dataclass(frozen=True)
class Opened:
    """state: tensors by name, prefixes off; extra: what else the file holds; config: the JSON beside it."""

    path: Path
    state: dict[str, torch.Tensor]
    extra: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    step: int | None = None  # of an unfinished run

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self.state)


def open_checkpoint(path: str | Path) -> Opened:
    """The weights a file or folder holds.

    Raises InputError when there are none or several, or when they are cut off or hold more than tensors, plain
    numbers, words and lists.
    """
    given = Path(path)
    file, step = weights_in(given) if given.is_dir() else (given, None)
    if not file.is_file():
        raise InputError(f"there is no checkpoint at {given}; give a weights file or the folder it lies in")
    found = STEP.fullmatch(file.name)
    if found and file.parent.name == "checkpoints":
        step = int(found[1])
    folder = file.parent.parent if step is not None else file.parent
    state, extra = read_file(file)
    return Opened(file, state, extra, read_config(folder), step)


def weights_in(folder: Path) -> tuple[Path, int | None]:
    """The weights file of a folder, and the step when the run in it has not finished."""
    for name in KNOWN:
        # Beside InterPLM's rescaled weights, `ae.pt` are the others: which are meant is for the user to say.
        if (folder / name).is_file() and not (name == "ae.pt" and any(folder.glob("ae_*normalized.pt"))):
            return folder / name, None
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in WEIGHTS)
    if len(files) == 1:
        return files[0], None
    if files:
        names = ", ".join(file.name for file in files[:6])
        raise InputError(f"{folder} holds {len(files)} weights files ({names}); give the one to open")
    steps = {int(m[1]): file for file in folder.glob("checkpoints/ae_*.pt") if (m := STEP.fullmatch(file.name))}
    if steps:
        last = max(steps)
        return steps[last], last
    inside = sorted(
        sub.name for sub in folder.iterdir() if sub.is_dir() and any((sub / name).is_file() for name in KNOWN)
    )
    hint = f"; it holds the folders {', '.join(inside[:6])}: give one of them" if inside else ""
    raise InputError(f"there are no weights ({', '.join(WEIGHTS)}) in {folder}{hint}")


def read_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors by name with prefixes off, everything else at the top of the file)."""
    check_container(path)
    try:
        if path.suffix == ".safetensors" or is_safetensors(path):
            held: Any = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN as error:
        raise refusal(path, error) from error
    if not isinstance(held, Mapping):
        raise InputError(f"{path} is not a checkpoint (name → tensor) but holds a {type(held).__name__}")
    extra = {str(name): value for name, value in held.items() if not isinstance(value, torch.Tensor)}
    inner = next((extra.pop(name) for name in ("model_state_dict", "state_dict") if name in extra), held)
    if not isinstance(inner, Mapping):
        raise InputError(f"{path} says it holds a state dict, which is a {type(inner).__name__}")
    state = {str(name): value for name, value in inner.items() if isinstance(value, torch.Tensor)}
    if inner is held:
        extra = {bare(name): value for name, value in extra.items()}
    names = {name: bare(name) for name in state}
    if len(set(names.values())) < len(names):
        raise InputError(f"{path} holds several networks, or one under several names; save the dictionary alone")
    return {names[name]: tensor for name, tensor in state.items()}, extra


def bare(name: str) -> str:
    """A name without what training wrappers put before it, in any order."""
    while any(name.startswith(prefix) for prefix in PREFIXES):
        name = name.removeprefix(next(prefix for prefix in PREFIXES if name.startswith(prefix)))
    return name


def read_config(folder: Path) -> dict[str, Any]:
    """The JSON beside the weights; empty when there is none."""
    for name in CONFIGS:
        if (folder / name).is_file():
            return read_json(folder / name)
    return {}


def read_json(path: Path) -> dict[str, Any]:
    value = json_of(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} should hold a record of settings and holds a {type(value).__name__}")
    return value


def whole(value: Any, what: str) -> int:
    """A positive whole number of a file, whatever type it came in."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = 0.0
    if not 1 <= number < 1e15 or number != int(number):
        raise InputError(f"{what} should be a whole number, 1 or more; the file says {shown(value)}")
    return int(number)
