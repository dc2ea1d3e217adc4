"""Reading and editing any module of a torch network, which is left exactly as it was found.

A hook is placed on every asked module for the length of one forward and removed afterwards, also when the
forward fails. Between a module's output and (item, cell, channel) stands a `Layout` (layouts.py), whose
`unpack` and `pack` are pure inverses: that seam serves reading now, and ablating, steering, painting and
attribution by the same code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bioterp.errors import InputError
from bioterp.models.layouts import Layout

Edit = Callable[[Tensor], Tensor]


class _Enough(Exception):
    """Raised inside the deepest hook: nothing that comes after it was asked for."""


@contextmanager
def as_found(root: nn.Module, grad: bool = False) -> Iterator[None]:
    """Evaluation mode and the wanted gradient mode inside; modes and torch's random state restored after."""
    training = [module for module in root.modules() if module.training]
    cuda = {p.device.index for p in root.parameters() if p.device.type == "cuda"}
    # Not root.eval(): some modules override train() with side effects that eval() could not undo.
    for module in training:
        module.training = False
    try:
        with torch.random.fork_rng(sorted(i for i in cuda if i is not None)), torch.set_grad_enabled(grad):
            yield
    finally:
        for module in training:
            module.training = True


def first_tensor(output: Any, name: str) -> Tensor:
    """The hidden state of a module's output: the tensor, or the first tensor of a tuple, list or ModelOutput."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    if isinstance(output, Mapping):
        for value in output.values():
            if isinstance(value, Tensor):
                return value
    raise InputError(
        f"the module '{name}' returns a {type(output).__name__} without a tensor in first place, so it has no "
        "hidden state to read; choose the module around it or inside it"
    )


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """The same output with another hidden state; the rest (caches, attentions) is passed on untouched."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, list):
        return [tensor, *output[1:]]
    if isinstance(output, tuple):
        rest = (tensor, *output[1:])
        return type(output)(*rest) if hasattr(output, "_fields") else rest
    changed = copy.copy(output)
    key = next(key for key, value in output.items() if isinstance(value, Tensor))
    changed[key] = tensor
    return changed


def run_hooked(
    root: nn.Module,
    forward: Callable[[], Any],
    layout: Layout,
    read: Collection[str],
    edit: Mapping[str, Sequence[Edit]],
    grad: bool = False,
    early: bool = False,
) -> dict[str, Tensor]:
    """One forward, many modules.

    root: the network; forward: calls it; read, edit: full module names ('' is the network itself).
    Returns {name: (items, cells, channels)} as the rest of the network sees it: after its edits.

    grad: keep the graph; the shallowest tensor read becomes a leaf when nothing before it asks for
    gradients, so frozen parameters are no hindrance.
    early: stop after the last asked module. Only safe for modules known to run once per forward, which a
    whole forward establishes; a module that runs twice is refused.
    """
    wanted = {*read, *edit}
    seen: set[str] = set()
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def fire(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if name in seen:
                raise InputError(
                    f"the module '{name or 'output'}' runs more than once in a forward, so it has no one value "
                    "per cell; choose the module around it"
                )
            seen.add(name)
            hidden = first_tensor(output, name)
            values = layout.unpack(hidden, name or "output")
            for change in edit.get(name, ()):
                values = _edited(change, values, name)
            if grad and not values.requires_grad:
                values = values.detach().requires_grad_()
            if name in read:
                found[name] = values
            if early and seen == wanted:
                raise _Enough
            if name in edit or grad:
                return with_first_tensor(output, layout.pack(values, hidden, name or "output"))
            return None

        return fire

    handles = []
    with as_found(root, grad):
        try:
            for name in wanted:
                handles.append(root.get_submodule(name).register_forward_hook(hook(name)))
            forward()
        except _Enough:
            return found
        finally:
            for handle in handles:
                handle.remove()
    idle = sorted(wanted - seen)
    if idle:
        raise InputError(f"the module '{idle[0]}' did not run in a forward of this model; choose one that does")
    return found


def _edited(change: Edit, values: Tensor, name: str) -> Tensor:
    new = change(values)
    if not isinstance(new, Tensor) or new.shape != values.shape:
        got = f"shape {tuple(new.shape)}" if isinstance(new, Tensor) else f"a {type(new).__name__}"
        raise InputError(
            f"the edit of '{name or 'output'}' returned {got}; wanted a tensor of shape {tuple(values.shape)} "
            "(items, cells, channels), as it was given"
        )
    return new.to(values)
