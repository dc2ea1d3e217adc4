"""SAELens: `cfg.json` (flat until 5, with `metadata` since 6) beside `sae_weights.safetensors`.

    W_enc (d, m), W_dec (m, d), b_enc, b_dec; threshold (jumprelu); b_gate, b_mag, r_mag (gated); W_skip (d_out, d)

Whether b_dec is taken away first (`apply_b_dec_to_input`) and how a row is normalised stand in the config alone.
Trained batch top-k and Matryoshka dictionaries are saved as jumprelu; their training checkpoints, which name
themselves and hold `topk_threshold`, are read too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bioterp.checkpoints.building import Asked, Parts, agree, build, fits
from bioterp.checkpoints.reading import Opened, whole
from bioterp.checkpoints.writing import Plain, plain, refuse, write_tensors
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm

NAME = "saelens"
SAVES = "sae_weights.safetensors"
BASE = frozenset({"W_enc", "W_dec", "b_dec"})
EXTRA = frozenset({"b_enc", "threshold", "log_threshold", "topk_threshold", "W_skip", "b_gate", "b_mag", "r_mag"})
SCALING = frozenset({"scaling_factor", "finetuning_scaling_factor"})
KINDS = {
    "standard": "relu", "topk": "topk", "jumprelu": "threshold", "batchtopk": "batchtopk", "gated": "threshold",
    "matryoshka_batchtopk": "batchtopk", "transcoder": "relu", "skip_transcoder": "relu",
    "jumprelu_transcoder": "threshold", "jumprelu_skip_transcoder": "threshold",
}  # fmt: skip
NORMS = {"none": None, "layer_norm": RowNorm("standard", 1e-5), "constant_norm_rescale": RowNorm("length")}
# What the weights of an architecture hold beside BASE.
HOLDS = {"relu": {"b_enc"}, "topk": {"b_enc"}, "threshold": {"b_enc", "threshold"}, "batchtopk": {"b_enc"}}


def matches(opened: Opened) -> bool:
    own = not opened.config or "d_sae" in opened.config
    return own and fits(opened.keys, BASE, EXTRA | SCALING)


def read(opened: Opened, asked: Asked) -> Dictionary:
    cfg, state, where = settings(opened), opened.state, opened.path
    name = str(cfg["architecture"])
    if name not in KINDS:
        raise InputError(
            f"{where} is of architecture {name!r}, whose codes no Dictionary holds (negative, or found step by step); "
            f"read here: {', '.join(KINDS)}"
        )
    gated, transcoder = name == "gated", "transcoder" in name
    needed = BASE | ({"b_gate", "b_mag", "r_mag"} if gated else HOLDS[KINDS[name]])
    needed |= {"W_skip"} if "skip" in name else set()
    if "log_threshold" in state:
        state = {**state, "threshold": state["log_threshold"].float().exp()}
        state.pop("log_threshold")
    allowed = SCALING | ({"topk_threshold"} if KINDS[name] == "batchtopk" else set())
    if not fits(state, needed, allowed):
        raise InputError(
            f"{where} says architecture {name!r}, which needs {', '.join(sorted(needed))}; it holds "
            f"{', '.join(sorted(state))}"
        )
    norm, scale = normalised(cfg, asked, where)
    if transcoder and norm is not None:
        raise InputError(f"{where} normalises the rows of a transcoder, which is not undone at its other end; not read")
    threshold = state.get("threshold", state.get("topk_threshold"))
    if "topk_threshold" in state and float(state["topk_threshold"]) <= 0:
        threshold = None  # its start; no batch has been seen
    parts = Parts(
        state["W_enc"],
        state["W_dec"],
        state["b_mag"] if gated else state["b_enc"],
        state["b_dec"],
        KINDS[name],
        subtract=bool(cfg["apply_b_dec_to_input"]) and not transcoder,
        latents_first=(False, True),
        k=whole(cfg["k"], "k") if cfg.get("k") is not None else None,
        threshold=threshold,
        skip=state.get("W_skip"),
        norm=norm,
        gate=(state["r_mag"], state["b_gate"]) if gated else None,
        scale=scale,
        decoder_by=finetuned(cfg, state),
        by_norm=bool(cfg.get("rescale_acts_by_decoder_norm")),
    )
    told = cfg["metadata"]
    layer = told.get("hook_name") or told.get("hook_layer")
    about = {"format": NAME, "kind": name, "model": told.get("model_name"), "layer": layer}
    about["target"] = told.get("hook_name_out")
    built = build(opened, asked, parts, about)
    return agree(opened, {"inputs": cfg.get("d_in"), "features": cfg.get("d_sae"), "outputs": cfg.get("d_out")}, built)


def settings(opened: Opened) -> dict[str, Any]:
    """The config in its present form."""
    cfg = dict(opened.config)
    if not cfg:
        raise InputError(
            f"there is no cfg.json beside {opened.path}: whether b_dec is taken away, and how rows are scaled, is there"
        )
    if not isinstance(cfg.get("metadata"), dict):
        cfg["metadata"] = {**cfg, "hook_name": cfg.get("hook_name", cfg.get("hook_point"))}
        cfg.setdefault("apply_b_dec_to_input", True)
        act = cfg.get("activation_fn", cfg.get("activation_fn_str", "relu")) or "relu"
        given = cfg.get("activation_fn_kwargs") or {}
        if act == "topk" and cfg.get("architecture", "standard") in ("standard", "topk"):
            cfg["architecture"], cfg["k"] = "topk", given.get("k", cfg.get("k"))
        elif act not in ("relu", "topk"):
            raise InputError(
                f"{opened.path} uses the activation {act!r}, which no Dictionary has; relu and topk are read"
            )
    cfg.setdefault("architecture", "standard")
    if cfg.get("apply_b_dec_to_input") is None:
        raise InputError(f"the config beside {opened.path} does not say apply_b_dec_to_input; it is not a whole one")
    return cfg


def normalised(cfg: dict[str, Any], asked: Asked, where: Path) -> tuple[RowNorm | None, float | None]:
    """(what is done to each row, what all are multiplied by)."""
    how = cfg.get("normalize_activations") or "none"
    how = "expected_average_only_in" if how is True else how
    if how in NORMS:
        return NORMS[how], None
    if how != "expected_average_only_in":
        raise InputError(
            f"{where} normalises its inputs by {how!r}, and the numbers for it are not in the file; not read"
        )
    if asked.input_scale is None:
        raise InputError(
            f"{where} reads inputs multiplied by one number that makes their mean length √d, which the file does not "
            "hold; pass input_scale=… (√d over the mean length of a row; 1 when it is already folded into the weights)"
        )
    return None, asked.input_scale


def finetuned(cfg: dict[str, Any], state: dict[str, torch.Tensor]) -> torch.Tensor | None:
    factor = next((state[name] for name in SCALING if name in state), None)
    if factor is None or bool(torch.all(factor == 1)):
        return None
    if not cfg.get("finetuning_scaling_factor"):
        raise InputError(
            "the file holds scaling factors and its config says that they are not used; it is not a whole one"
        )
    return factor


def write(dictionary: Dictionary, folder: Path) -> None:
    """`cfg.json` and `sae_weights.safetensors` as SAELens 6 writes them."""
    p = plain(dictionary, NAME)
    transcoder = p.skip is not None or p.decoder.shape[1] != p.encoder.shape[1]
    architecture = {"relu": "standard", "topk": "topk", "threshold": "jumprelu"}[p.activation]
    if transcoder:
        if p.activation == "topk":
            refuse(dictionary, NAME, "its transcoders have no top-k")
        p = p.unsubtracted()
        skip = "skip_" if p.skip is not None else ""
        architecture = ("jumprelu_" if p.activation == "threshold" else "") + skip + "transcoder"
    how = next((name for name, norm in NORMS.items() if norm == p.norm), None)
    if how is None or (transcoder and p.norm is not None):
        refuse(dictionary, NAME, "it has no such normalisation of rows")
    tensors = {"W_enc": p.encoder.T, "W_dec": p.decoder, "b_enc": p.b_enc, "b_dec": p.b_dec}
    if p.activation == "threshold":
        tensors["threshold"] = np.broadcast_to(np.asarray(p.threshold, np.float32), p.b_enc.shape)
    if p.skip is not None:
        tensors["W_skip"] = p.skip
    write_tensors(folder / SAVES, tensors)
    (folder / "cfg.json").write_text(json.dumps(config(p, architecture, how, dictionary.about), indent=1))


def config(p: Plain, architecture: str, how: str | None, about: dict[str, Any]) -> dict[str, Any]:
    cfg: dict[str, Any] = {
        "architecture": architecture,
        "d_in": p.encoder.shape[1],
        "d_sae": p.encoder.shape[0],
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": p.subtract,
        "normalize_activations": how,
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0", "model_name": p.model, "hook_name": p.layer},
    }
    if "transcoder" in architecture:
        cfg["d_out"] = p.decoder.shape[1]
        cfg["metadata"]["hook_name_out"] = about.get("target")
    if architecture == "topk":
        cfg |= {"k": p.k, "rescale_acts_by_decoder_norm": False}
    return cfg
