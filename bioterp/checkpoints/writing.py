"""A `Dictionary` as other tools hold it: scale and mean folded into weights and biases, codes still in model units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from bioterp.arrays import Array, write_safetensors
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm


@dataclass(frozen=True)
class Plain:
    """f = act((N(x) − b_dec·subtract) · encoderᵀ + b_enc), x̂ = f · decoder + b_dec + x · skipᵀ."""

    encoder: Array
    decoder: Array
    b_enc: Array
    b_dec: Array
    subtract: bool
    activation: str
    k: int | None
    threshold: Array | float | None
    skip: Array | None
    norm: RowNorm | None
    model: str
    layer: str

    def unsubtracted(self) -> Plain:
        """The same function, with what the encoder takes away folded into its bias."""
        if not self.subtract:
            return self
        return replace(self, b_enc=np.asarray(self.b_enc - self.encoder @ self.b_dec, np.float32), subtract=False)

    def subtracted(self) -> Plain:
        """The same function, with b_dec taken away before encoding."""
        if self.subtract:
            return self
        return replace(self, b_enc=np.asarray(self.b_enc + self.encoder @ self.b_dec, np.float32), subtract=True)


def plain(dictionary: Dictionary, format: str) -> Plain:
    """Scale and mean folded in: s · pre = E · (x − (μ + s · b_dec)) + s · b_enc."""
    d = dictionary
    if d.activation == "batchtopk":
        refuse(d, format, "it has no threshold yet: bioterp.calibrate(dictionary, acts) first")
    if d.norm is not None and not d.norm.undone:
        refuse(d, format, "it divides a row by its length and does not multiply it back")
    taken = np.asarray(d.mean + d.scale * d.b_dec, np.float32)
    out = taken if d.b_out is None else d.b_out
    same = d.b_out is None or np.array_equal(taken, out)
    b_enc = np.asarray(d.scale * d.b_enc, np.float32)
    if not same:
        b_enc = np.asarray(b_enc - d.encoder @ taken, np.float32)
    model, layer = (str(d.about.get(name) or "unknown") for name in ("model", "layer"))
    held = d.activation, d.k, d.threshold, d.skip, d.norm
    return Plain(d.encoder, d.decoder, b_enc, np.asarray(out, np.float32), same, *held, model, layer)


def refuse(dictionary: Dictionary, format: str, why: str) -> NoReturn:
    raise InputError(f"{dictionary!r} cannot be written as {format}: {why}")


def write_tensors(path: Path, arrays: Mapping[str, Array]) -> None:
    write_safetensors(path, {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})


def write_torch(path: Path, arrays: Mapping[str, Any]) -> None:
    """A state dict in torch's format; numbers become tensors of no dimension."""
    torch.save({name: torch.as_tensor(np.array(v, order="C") if np.ndim(v) else v) for name, v in arrays.items()}, path)
