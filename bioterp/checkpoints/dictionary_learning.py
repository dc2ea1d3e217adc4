"""dictionary_learning: `ae.pt`, a state dict, beside `config.json`; `checkpoints/ae_N.pt` while a run goes on.

The names in the file tell the class, but for top-k and batch top-k, which are alike: `trainer.dict_class` of the
config tells those apart (or `kind=…`). A threshold of −1 has not been estimated yet. Codes are the file's own: the
library's loader brings the rows of an AutoEncoder's decoder to length 1, which rescales codes and rebuilds the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bioterp.checkpoints.building import Asked, Parts, agree, build, fits
from bioterp.checkpoints.reading import Opened, whole
from bioterp.checkpoints.writing import Plain, plain, refuse, write_torch
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError

NAME = "dictionary_learning"
LINEAR = frozenset({"encoder.weight", "encoder.bias", "decoder.weight"})
PARAMETERS = frozenset({"W_enc", "b_enc", "W_dec", "b_dec"})
# class → (the names in its file, those that may be missing)
LAYOUTS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "AutoEncoder": (LINEAR | {"bias"}, frozenset()),
    "AutoEncoderNew": (LINEAR | {"decoder.bias"}, frozenset()),
    "GatedAutoEncoder": (
        frozenset({"decoder_bias", "encoder.weight", "r_mag", "gate_bias", "mag_bias", "decoder.weight"}), frozenset(),
    ),
    "JumpReluAutoEncoder": (PARAMETERS | {"threshold"}, frozenset()),
    "AutoEncoderTopK": (LINEAR | {"b_dec"}, frozenset({"k", "threshold"})),
    "BatchTopKSAE": (LINEAR | {"b_dec"}, frozenset({"k", "threshold"})),
    "MatryoshkaBatchTopKSAE": (PARAMETERS | {"k", "threshold", "group_sizes"}, frozenset()),
}  # fmt: skip
TOPK = ("AutoEncoderTopK", "BatchTopKSAE")


def matches(opened: Opened) -> bool:
    own = not opened.config or isinstance(opened.config.get("trainer"), dict)
    return own and bool(candidates(opened))


def candidates(opened: Opened) -> list[str]:
    return [name for name, (needed, allowed) in LAYOUTS.items() if fits(opened.keys, needed, allowed)]


def read(opened: Opened, asked: Asked) -> Dictionary:
    trainer = opened.config.get("trainer") or {}
    name = dictionary_class(opened, asked, trainer)
    saved = opened.state.get("k", trainer.get("k"))
    k = None if saved is None else whole(saved, "k")
    layer = trainer.get("submodule_name") or trainer.get("layer")
    about = {"format": NAME, "kind": name, "model": trainer.get("lm_name"), "layer": layer}
    if "group_sizes" in opened.state:
        about["group_sizes"] = [int(size) for size in opened.state["group_sizes"]]
    built = build(opened, asked, parts(name, opened, k), about)
    return agree(opened, {"inputs": trainer.get("activation_dim"), "features": trainer.get("dict_size")}, built)


def dictionary_class(opened: Opened, asked: Asked, trainer: dict[str, Any]) -> str:
    found = candidates(opened)
    named = trainer.get("dict_class")
    if not found:
        raise InputError(f"{opened.path} holds {', '.join(sorted(opened.keys))[:300]}: no class of dictionary_learning")
    if named is not None:
        if named not in found:
            raise InputError(
                f"the config beside {opened.path} says {named}, and the names in it are those of {' or '.join(found)}: "
                "they are of different dictionaries, or of a class not known here"
            )
        return str(named)
    if len(found) == 1:
        return found[0]
    if asked.kind is None:
        raise InputError(
            f"{opened.path} may be a top-k or a batch top-k dictionary, which only its config.json tells; pass "
            "kind='topk' or kind='batchtopk'"
        )
    return TOPK[asked.kind == "batchtopk"]


def parts(name: str, opened: Opened, k: int | None) -> Parts:
    s = opened.state
    if name == "GatedAutoEncoder":
        gate = s["r_mag"], s["gate_bias"]
        weights = s["encoder.weight"], s["decoder.weight"], s["mag_bias"], s["decoder_bias"]
        return Parts(*weights, "threshold", latents_first=(True, False), gate=gate)
    if name in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        weights = s["W_enc"], s["W_dec"], s["b_enc"], s["b_dec"]
        jump = name == "JumpReluAutoEncoder"
        options: dict[str, Any] = {"threshold": s["threshold"], "latents_first": (False, True), "k": k}
        return Parts(*weights, "threshold" if jump else "batchtopk", subtract=not jump, **options)
    bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(name, "b_dec")
    kind = {"AutoEncoderTopK": "topk", "BatchTopKSAE": "batchtopk"}.get(name, "relu")
    weights = s["encoder.weight"], s["decoder.weight"], s["encoder.bias"], s[bias]
    threshold = s.get("threshold") if kind == "batchtopk" else None
    options = {"latents_first": (True, False), "k": k, "threshold": threshold}
    return Parts(*weights, kind, subtract=name != "AutoEncoderNew", **options)


def write(dictionary: Dictionary, folder: Path) -> None:
    p = plain(dictionary, NAME)
    if p.norm is not None or p.skip is not None or p.decoder.shape[1] != p.encoder.shape[1]:
        refuse(dictionary, NAME, "it has neither transcoders nor a normalisation of rows")
    name, tensors = saved(p)
    write_torch(folder / "ae.pt", tensors)
    sizes = {"activation_dim": p.encoder.shape[1], "dict_size": p.encoder.shape[0]}
    trainer = {"dict_class": name, **sizes, "k": p.k, "lm_name": p.model, "layer": p.layer, "submodule_name": p.layer}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer}, indent=1))


def saved(p: Plain) -> tuple[str, dict[str, Any]]:
    """(class, its state dict)."""
    if p.activation == "threshold" and (isinstance(p.threshold, np.ndarray) or p.k is None):
        p = p.unsubtracted()
        limits = np.broadcast_to(np.asarray(p.threshold, np.float32), p.b_enc.shape)
        weights = {"W_enc": p.encoder.T, "b_enc": p.b_enc, "W_dec": p.decoder, "b_dec": p.b_dec}
        return "JumpReluAutoEncoder", {**weights, "threshold": limits}
    if p.activation != "relu":
        p = p.subtracted()
    weights = {"encoder.weight": p.encoder, "encoder.bias": p.b_enc, "decoder.weight": p.decoder.T}
    if p.activation == "relu":
        name, bias = ("AutoEncoder", "bias") if p.subtract else ("AutoEncoderNew", "decoder.bias")
        return name, {**weights, bias: p.b_dec}
    limit = np.float32(-1.0 if p.activation == "topk" else p.threshold)
    name = TOPK[p.activation == "threshold"]
    return name, {**weights, "b_dec": p.b_dec, "k": np.int32(p.k or 0), "threshold": limit}
