"""What some dictionaries do to a row before they read it: each by that row's own numbers, and undone afterwards.

standard    (x − m)/(sd + eps): OpenAI, InterProt, SAELens 'layer_norm', BioNeMo's top-k
length      x · √d / |x|: SAELens 'constant_norm_rescale', InterPLM with normalize_to_sqrt_d
unit        x / |x|, and not undone: BioNeMo's ReLU
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.errors import InputError

KINDS = ("standard", "length", "unit")
TINY = 1e-12  # what a length is at least, so that a row of zeros stays zero


@dataclass(frozen=True)
class RowNorm:
    """kind: one of `KINDS`; eps: added to the standard deviation (n − 1 in its denominator)."""

    kind: str
    eps: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a row is normalised by one of {', '.join(KINDS)}; got {self.kind!r}")

    @property
    def undone(self) -> bool:
        return self.kind != "unit"

    def into(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) rows as the dictionary reads them."""
        if self.kind == "standard":
            return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps)
        reach: torch.Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)
        return x * (math.sqrt(x.shape[1]) / reach) if self.kind == "length" else x / reach

    def back(self, rebuilt: Array, x: Array) -> Array:
        """Reconstructions of rows x, out of the normalised units. eps is left out, as those who add it do."""
        if self.kind == "standard":
            return np.asarray(rebuilt * x.std(-1, keepdims=True, ddof=1) + x.mean(-1, keepdims=True))
        if self.kind == "length":
            return np.asarray(rebuilt * (np.linalg.norm(x, axis=-1, keepdims=True) / math.sqrt(x.shape[1])))
        return rebuilt
