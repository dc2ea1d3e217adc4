"""Weights: read without ever unpickling code, made at random from a seed, and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bioterp.errors import InputError
from bioterp.models.containers import BROKEN, check_container, is_safetensors, refusal

T = TypeVar("T")

WRAPPERS = ("state_dict", "model", "model_state_dict", "network", "net", "network_weights")
# What training wrappers put before every name, in any order, up to three deep.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "swinViT.", "vit.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from `.safetensors`, or from torch's own format with weights_only=True.

    A checkpoint that needs arbitrary unpickling is refused, and nothing in it is executed. A dict that wraps
    the state dict under 'state_dict', 'model', 'network' or the like is opened.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weights file at {path}; give the path of a .safetensors, .pt or .pth file")
    check_container(path)
    try:
        if path.suffix == ".safetensors" or is_safetensors(path):
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN as error:
        raise refusal(path, error) from error
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} is not a state dict (name → tensor) but holds a {type(state).__name__}")
    return {str(name): value for name, value in state.items()}


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    what: str,
    ignore: Sequence[str] = (),
    hint: str = "give the weights of this architecture",
) -> None:
    """Load a state dict strictly: every name and shape must fit, once prefixes of training wrappers are off.

    ignore: what left-over names may begin with.
    Raises InputError that counts and names what is missing, left over, or of another shape.
    """
    own = module.state_dict()
    state = unprefixed(state, own)
    state = {name: tensor for name, tensor in state.items() if name in own or not name.startswith(tuple(ignore))}
    missing, extra = [n for n in own if n not in state], [n for n in state if n not in own]
    other = [n for n in own if n in state and own[n].shape != state[n].shape]
    if missing or extra or other:
        told = [
            f"{len(names)} {word} (such as '{names[0]}')"
            for names, word in ((missing, "missing"), (extra, "left over"), (other, "of another shape"))
            if names
        ]
        raise InputError(f"{what} does not fit the network: {', '.join(told)}; {hint}")
    module.load_state_dict(dict(state))


def unprefixed(state: Mapping[str, Tensor], own: Collection[str]) -> Mapping[str, Tensor]:
    """A state dict without the prefix under which most of its names are the network's own."""
    best, covered = state, sum(name in own for name in state)
    prefixes = [""]
    for _ in range(3):
        prefixes = [old + new for old in prefixes for new in PREFIXES if any(n.startswith(old + new) for n in state)]
        for prefix in prefixes:
            bare = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            found = sum(name in own for name in bare)
            if found > covered and len(bare) == len(state):
                best, covered = bare, found
    return best


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
