"""Weights: read without ever unpickling code, made at random from a seed, and hashed."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bioterp.errors import InputError

T = TypeVar("T")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from `.safetensors`, or from torch's own format with weights_only=True.

    A checkpoint that needs arbitrary unpickling is refused, and nothing in it is executed. A dict that wraps
    the state dict under 'state_dict' or 'model' is opened.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weights file at {path}; give the path of a .safetensors, .pt or .pth file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} holds more than tensors or is damaged, and is not opened because unpickling it could run code; "
            f"convert it to .safetensors where you trust it ({str(error).splitlines()[0][:120]})"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} is not a state dict (name → tensor) but holds a {type(state).__name__}")
    return {str(name): value for name, value in state.items()}


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict strictly: every name and shape must fit.

    Raises InputError that counts and names what is missing, left over, or of another shape.
    """
    own = module.state_dict()
    missing, extra = [n for n in own if n not in state], [n for n in state if n not in own]
    other = [n for n in own if n in state and own[n].shape != state[n].shape]
    if missing or extra or other:
        told = [
            f"{len(names)} {word} (such as '{names[0]}')"
            for names, word in ((missing, "missing"), (extra, "left over"), (other, "of another shape"))
            if names
        ]
        raise InputError(f"{what} does not fit the network: {', '.join(told)}; give the weights of this architecture")
    module.load_state_dict(dict(state))


def seeded(seed: int, build: Callable[[], T]) -> T:
    """Build a network from a seed; torch's random state is put back."""
    # The CPU's generator only: torch.manual_seed would also seed every GPU, and nothing would put those back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def tensor_hash(module: nn.Module, about: Mapping[str, Any]) -> str:
    """blake2b over the names, dtypes, shapes and bytes of a network's tensors, and of `about`."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
