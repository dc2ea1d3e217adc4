"""From the tensors of a checkpoint to a `Dictionary`: which way round they lie, whether they fit, what they are of."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.checkpoints.reading import Opened
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm

KINDS = ("relu", "threshold", "topk", "batchtopk")


@dataclass(frozen=True)
class Asked:
    """What the user says of a file that does not say it; each is told in `load_dictionary`."""

    model: str | None = None
    layer: str | int | None = None
    k: int | None = None
    kind: str | None = None
    threshold: float | None = None
    input_scale: float | None = None
    rescaled: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (None, "topk", "batchtopk"):
            raise InputError(f"kind={self.kind!r} is not one of 'topk' (of each row) and 'batchtopk' (of all rows)")
        if self.k is not None and (isinstance(self.k, bool) or self.k != int(self.k) or self.k < 1):
            raise InputError(f"k={self.k!r} cannot be used; wanted a whole number of features, 1 or more")
        if self.input_scale is not None and not (np.isfinite(self.input_scale) and self.input_scale > 0):
            raise InputError(f"input_scale={self.input_scale!r} cannot be used; wanted a number above 0")


@dataclass(frozen=True)
class Parts:
    """A dictionary as its file holds it: f = act((N(x) · scale − b_dec) · encoderᵀ + b_enc), x̂ = f · decoder + b_dec.

    encoder and decoder either way round, latents_first saying how the format writes them; subtract: whether the
    encoder takes b_dec away, and centred: before the row is normalised; gate: (r_mag, b_gate) of a gated dictionary,
    whose b_enc is b_mag; scale: what inputs are multiplied by before all else; encoder_by, decoder_by: a factor for
    each feature; by_norm: pre-activations are multiplied by the length of their decoder row, and codes divided by it.
    """

    encoder: torch.Tensor
    decoder: torch.Tensor
    b_enc: torch.Tensor
    b_dec: torch.Tensor
    kind: str
    subtract: bool = True
    latents_first: tuple[bool, bool] = (True, True)
    k: int | None = None
    threshold: torch.Tensor | float | None = None
    skip: torch.Tensor | None = None
    norm: RowNorm | None = None
    centred: bool = False
    gate: tuple[torch.Tensor, torch.Tensor] | None = None
    scale: float | None = None
    encoder_by: torch.Tensor | None = None
    decoder_by: torch.Tensor | None = None
    by_norm: bool = False


def build(opened: Opened, asked: Asked, parts: Parts, about: dict[str, Any]) -> Dictionary:
    """The Dictionary of `parts`. about: format, class, and model and layer where the file tells them."""
    where = opened.path
    kind, k, threshold = decided(where, asked, parts)
    b_enc, b_dec = (vector(b, where, name) for b, name in ((parts.b_enc, "encoder"), (parts.b_dec, "decoder")))
    m, first = len(b_enc), parts.latents_first
    tied = parts.decoder is parts.encoder  # half a gigabyte of Evo 2's is held once
    d_in = len(b_dec) if parts.subtract or tied else None
    encoder = oriented(matrix(parts.encoder, where, "encoder"), m, d_in, first[0], where, "encoder")
    decoder = encoder
    if not tied:
        decoder = oriented(matrix(parts.decoder, where, "decoder"), m, len(b_dec), first[1], where, "decoder")
    if parts.gate is not None:
        # gate · relu(mag) with both of one product is a threshold on mag: mag > b_mag − exp(r_mag) · b_gate, and > 0.
        steep, opens = (vector(part, where, "gate").astype(np.float64) for part in parts.gate)
        if steep.shape != (m,) or opens.shape != (m,):
            raise InputError(f"{where}: gates of {steep.size} and {opens.size} do not fit {m} features")
        encoder = np.asarray(encoder * np.exp(steep)[:, None], np.float32)
        threshold = torch.from_numpy(b_enc - np.exp(steep) * opens)
    if threshold is not None:
        threshold = np.maximum(numbers(threshold, where, "threshold"), 0).reshape(-1)  # below 0 it is ReLU's own 0
        if threshold.shape not in ((1,), (m,)):
            raise InputError(f"{where}: {threshold.size} thresholds do not fit {m} features")
    ones = np.ones(m, np.float32)
    lengths = np.maximum(np.linalg.norm(decoder, axis=1), 1e-8) if parts.by_norm else ones
    up = ones if parts.encoder_by is None else vector(parts.encoder_by, where, "encoder")
    down = ones if parts.decoder_by is None else vector(parts.decoder_by, where, "decoder")
    if parts.by_norm or parts.encoder_by is not None or parts.decoder_by is not None:
        encoder, b_enc = encoder * (up * lengths)[:, None], b_enc * up * lengths
        decoder = decoder * (down / lengths)[:, None]
        threshold = threshold if threshold is None else threshold * up
    if threshold is not None:
        threshold = float(threshold[0]) if threshold.size == 1 and m > 1 else threshold
    s = np.float32(1 / (parts.scale or 1.0))
    zeros = np.zeros(encoder.shape[1], np.float32)
    same = parts.subtract and parts.norm is None
    return Dictionary(
        encoder,
        decoder,
        b_enc,
        b_dec if parts.subtract and not parts.centred else zeros,
        b_dec if parts.centred else zeros,
        float(s),
        kind,
        k,
        threshold if threshold is None else threshold * s,
        record(opened, asked, about, {"kind": kind, "width": m, "k": k}),
        None if same else s * b_dec,
        None if parts.skip is None else numbers(parts.skip, where, "skip"),
        parts.norm,
    )


def decided(where: Any, asked: Asked, parts: Parts) -> tuple[str, int | None, Any]:
    """(activation, k, threshold) of the file, and of the user where it is silent; a word against the file's is refused.

    A batch top-k with a threshold is a threshold; without one it awaits calibration.
    """
    if asked.input_scale is not None and parts.scale is None:
        raise InputError(f"{where} is of a dictionary that reads its inputs as they are; leave input_scale out")
    if asked.kind not in (None, parts.kind):
        raise InputError(f"{where} holds a {parts.kind} dictionary; leave kind={asked.kind!r} out")
    if None not in (asked.k, parts.k) and asked.k != parts.k:
        raise InputError(f"{where} says k={parts.k}; leave k={asked.k} out")
    kind, k, threshold = parts.kind, asked.k or parts.k, parts.threshold
    if kind == "topk" and k is None:
        raise InputError(f"{where} does not say how many features a row keeps; pass k=…")
    if kind == "batchtopk" and threshold is not None and float(torch.as_tensor(threshold).max()) < 0:
        threshold = None  # −1 until a trainer has estimated it
    if asked.threshold is not None and (kind != "batchtopk" or threshold is not None):
        raise InputError("threshold=… is only for dictionaries trained with a batch top-k that hold none of their own")
    if kind == "batchtopk":
        threshold = asked.threshold if threshold is None else threshold
        kind = kind if threshold is None else "threshold"
    return kind, k, threshold


def record(opened: Opened, asked: Asked, about: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The `about` of a dictionary that was read: what the file tells, the user's word, and where it is from."""
    told = {
        **made,
        **{name: value for name, value in about.items() if value is not None},
        **subject(opened, asked, about),
    }
    if opened.step is not None:
        told["step"] = opened.step
        warnings.warn(f"{opened.path} is of step {opened.step} of a run, not of its end", stacklevel=5)
    told |= {"source": opened.path.name, "representation": "dictionary"}
    return {name: value for name, value in told.items() if value is not None}


def subject(opened: Opened, asked: Asked, about: dict[str, Any]) -> dict[str, Any]:
    """Model and layer: the user's word, or the file's; refused where neither says."""
    told = {"model": asked.model, "layer": asked.layer}
    found = {name: about.get(name) if value is None else value for name, value in told.items()}
    missing = [name for name, value in found.items() if value is None or value == ""]
    if missing:
        wanted = ", ".join(f"{name}=…" for name in missing)
        raise InputError(f"{opened.path} does not say which {' and '.join(missing)} it reads; pass {wanted}")
    result = {name: str(value) for name, value in found.items()}
    for name, value in told.items():
        if value is not None and about.get(name) not in (None, "", value, str(value)):
            result[f"{name}_in_file"] = str(about[name])
    return result


def numbers(values: Any, where: Any, what: str) -> Array:
    """Float32 values, all finite."""
    tensor = torch.as_tensor(values)
    if tensor.is_complex():
        raise InputError(f"{where}: the {what} holds complex numbers, which no dictionary has")
    if not tensor.is_floating_point():
        tensor = tensor.double()
    array = tensor.detach().float().cpu().numpy()
    if not np.isfinite(array).all():
        raise InputError(f"{where}: the {what} holds NaN or infinity; the run that wrote it had failed")
    return np.ascontiguousarray(array)


def vector(values: torch.Tensor, where: Any, what: str) -> Array:
    if values.ndim != 1:
        raise InputError(f"{where}: the {what}'s bias has shape {tuple(values.shape)} and should be one row of numbers")
    return numbers(values, where, f"{what}'s bias")


def matrix(values: torch.Tensor, where: Any, what: str) -> Array:
    if values.ndim != 2:
        raise InputError(f"{where}: the {what} has shape {tuple(values.shape)} and should be a matrix")
    return numbers(values, where, what)


def oriented(values: Array, m: int, d: int | None, first: bool, where: Any, what: str) -> Array:
    """(m, d) whichever way round it came, told by the lengths of the biases; `first` where they cannot tell."""
    fits = [values.shape[i] == m and d in (None, values.shape[1 - i]) for i in (0, 1)]
    if not any(fits):
        wanted = f"{m} features" + (f" × {d} channels" if d is not None else "")
        raise InputError(f"{where}: {what} {values.shape} does not fit the biases, which say {wanted}")
    rows = first if all(fits) else fits[0]
    if rows != first:
        warnings.warn(
            f"the {what} of {where} lies the other way round than its format writes it; it is read as its biases say",
            stacklevel=5,
        )
    return values if rows else np.ascontiguousarray(values.T)


def agree(opened: Opened, said: Mapping[str, Any], built: Dictionary) -> Dictionary:
    """The dictionary, once its sizes are those the config says; said: what → number (or None)."""
    have = {"inputs": built.inputs, "features": built.width, "outputs": built.decoder.shape[1]}
    for name, number in said.items():
        if number is not None and number != have[name]:
            raise InputError(
                f"the settings beside {opened.path} say {number} {name}, and its weights have {have[name]}: "
                "they are of different dictionaries"
            )
    return built


def fits(keys: Collection[str], needed: Collection[str], allowed: Collection[str] = ()) -> bool:
    """Whether a file holds all of the names needed and none beside those allowed."""
    return set(needed) <= set(keys) <= set(needed) | set(allowed)
