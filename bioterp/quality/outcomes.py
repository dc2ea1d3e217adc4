"""What a model is judged by when part of it is replaced: its loss where it has one, and how its outputs move.

    next-token     a causal language model: cross-entropy of the token that comes next, and KL, in bits per token
    masked         a masked language model: its logits are distributions, and nothing was masked, so KL alone
    probabilities  outputs that are probabilities of the cell's classes (SpliceAI and its kin): KL alone
    values         any other outputs: their squared change over their variance

Which it is is told by the network's class and, for the third, by the outputs themselves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioterp.arrays import Array
from bioterp.models.base import Batch
from bioterp.models.evo2 import Evo2Model
from bioterp.models.huggingface import TokenModel

NEXT, MASKED, PROBABILITIES, VALUES = "next-token", "masked", "probabilities", "values"
LOSS = "next-token cross-entropy, bits per token"
TINY = 1e-30  # below any probability a model gives: keeps the log finite


def kind_of(model: Any, outputs: Tensor) -> str:
    """One of the four, from the model and (cells, channels) of its outputs."""
    name = type(model.module).__name__
    if isinstance(model, Evo2Model) or (isinstance(model, TokenModel) and ("CausalLM" in name or "LMHead" in name)):
        return NEXT
    if isinstance(model, TokenModel) and "MaskedLM" in name:
        return MASKED
    rows = outputs.detach().double()
    whole = rows.shape[1] > 1 and bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
    return PROBABILITIES if whole else VALUES


def tokens_of(batch: Batch) -> dict[int, Tensor]:
    """{item: (cells,) the token id of each of its cells}."""
    found = {}
    for part in batch.parts:
        ids = part.layout.unpack(part.inputs["input_ids"][..., None], "input_ids")[..., 0]
        for row, item in enumerate(part.items):
            found[item] = ids[row]
    return found


def chosen(kind: str, keep: Array) -> tuple[Array, Array]:
    """Positions whose outputs count, and the cells they speak of, among the kept cells of an array.

    A causal model says at a cell what comes at the next: of a first cell nothing was said.
    """
    cells = keep[keep > 0] if kind == NEXT else keep
    return (cells - 1 if kind == NEXT else cells), cells


def prepared(kind: str, outputs: Tensor) -> Tensor:
    """(n, channels) of a model's outputs → natural log-probabilities, or the values themselves; float64."""
    rows = outputs.detach().double().cpu()
    if kind in (NEXT, MASKED):
        return rows.log_softmax(-1)
    return rows.clamp_min(TINY).log() if kind == PROBABILITIES else rows


def cross_entropy(logs: Tensor, tokens: Tensor) -> float:
    """Sum over tokens of −log2 of the probability each had."""
    return float(-logs.gather(1, tokens.long()[:, None]).sum()) / math.log(2)


def divergence(clean: Tensor, other: Tensor) -> float:
    """Sum over rows of KL(clean ‖ other) in bits, from natural log-probabilities (n, classes)."""
    return float((clean.exp() * (clean - other)).sum()) / math.log(2)


def moved(clean: Tensor, other: Tensor) -> float:
    """Sum over rows of the squared change."""
    return float(np.square(other.numpy() - clean.numpy()).sum()) if torch.isfinite(other).all() else math.nan
