"""Evo 2 through its own package (github.com/ArcInstitute/evo2, Brixi et al. 2025, doi:10.1101/2025.02.18.638918).

Not run in this project: the package needs CUDA and gigabytes of weights. The loading code is exercised against
a small stand-in with the package's interface (tests/models/test_evo2.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioterp.errors import InputError, nearest
from bioterp.models.huggingface import TokenModel
from bioterp.models.tokens import Tokens


class Evo2Model(TokenModel):
    """StripedHyena 2; a token is a base (its byte), so every base is a cell.

    The network is called as `evo2.Evo2.forward` calls it, and hooked as its `return_embeddings=True,
    layer_names=[…]` does (a tuple's first tensor); our own hooks besides allow edits and gradients.
    """

    masks = False  # the network takes no attention mask: arrays of different length are run apart

    def _call(self, inputs: dict[str, Tensor]) -> Callable[[], Any]:
        ids = inputs["input_ids"].to(torch.int)
        return lambda: self.module(ids)


def load(
    name: str,
    checkpoint: str,
    *,
    weights: str | Path | None = None,
    context: int | None = None,
) -> Evo2Model:
    """checkpoint: a name of the package ('evo2_7b', …); weights: None (its own download) or a local file.

    Placement on devices and precision are the package's, and it reads its checkpoint itself. Raises InputError
    when it is not installed, the name is not one of its own, or weights='random' is asked for.
    """
    try:
        package = importlib.import_module("evo2")
    except ImportError as error:
        raise InputError(
            f"{name} needs the package 'evo2' and a CUDA device: see github.com/ArcInstitute/evo2 for its installation"
        ) from error
    if weights is not None and str(weights) == "random":
        raise InputError(f"{name} cannot be built with random weights: the evo2 package only makes trained networks")
    try:
        evo = package.Evo2(checkpoint, local_path=None if weights is None else str(weights))
    except ValueError as error:
        known = getattr(importlib.import_module("evo2.utils"), "MODEL_NAMES", [])
        raise InputError(f"the evo2 package has no model {checkpoint!r}; {nearest(checkpoint, known)}") from error
    blocks = [f"blocks.{i}" for i in range(len(evo.model.blocks))]
    # vortex keeps the checkpoint's configuration, a dict, on the network.
    settings = getattr(evo.model, "config", None)
    if context is None and isinstance(settings, Mapping):
        context = settings.get("max_seqlen")
    model = Evo2Model(name, evo.model, blocks, context=context, about={"checkpoint": checkpoint})
    tokens = Tokens(alphabet="ACGTN")
    tokens.table = np.array(evo.tokenizer.tokenize("ACGTN"), np.int64)
    model.tokens = tokens
    return model
