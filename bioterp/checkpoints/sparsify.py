"""EleutherAI sparsify: `cfg.json` beside `sae.safetensors` (encoder.weight (m, d), encoder.bias, W_dec (m, d), b_dec).

A transcoder (`transcode`) does not take b_dec away; `W_skip` (d_out, d) is its linear path. The model stands in the
`config.json` of the run, one folder up, and the hook point is the folder's own name.
"""

from __future__ import annotations

import json
from pathlib import Path

from bioterp.checkpoints.building import Asked, Parts, agree, build, fits
from bioterp.checkpoints.reading import Opened, read_json, whole
from bioterp.checkpoints.writing import plain, refuse, write_tensors
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError

NAME = "sparsify"
SAVES = "sae.safetensors"
KEYS = frozenset({"encoder.weight", "encoder.bias", "W_dec", "b_dec"})


def matches(opened: Opened) -> bool:
    return fits(opened.keys, KEYS, {"W_skip"})


def read(opened: Opened, asked: Asked) -> Dictionary:
    cfg, s, where = opened.config, opened.state, opened.path
    if not matches(opened):
        raise InputError(
            f"{where} holds {', '.join(sorted(opened.keys))[:300]}; sparsify writes {', '.join(sorted(KEYS))}"
        )
    if "d_in" not in cfg:
        raise InputError(f"there is no cfg.json beside {where}: k, and whether it is a transcoder, are only there")
    if cfg.get("activation", "topk") != "topk" or cfg.get("signed"):
        what = "signed codes" if cfg.get("signed") else f"the activation {cfg['activation']!r}"
        raise InputError(f"{where} has {what}, which no Dictionary has; topk is read")
    if bool(cfg.get("skip_connection")) != ("W_skip" in s):
        raise InputError(f"the cfg.json beside {where} and its weights disagree on a skip connection")
    transcoder = bool(cfg.get("transcode"))
    made = Parts(
        s["encoder.weight"],
        s["W_dec"],
        s["encoder.bias"],
        s["b_dec"],
        "topk",
        subtract=not transcoder,
        k=whole(cfg.get("k"), "k"),
        skip=s.get("W_skip"),
    )
    run = where.parent.parent / "config.json"
    model = read_json(run).get("model") if run.is_file() else None
    about = {"format": NAME, "kind": "transcoder" if transcoder else "topk", "model": model}
    about["layer"] = where.parent.name if model is not None else None
    built = build(opened, asked, made, about)
    return agree(opened, {"inputs": cfg["d_in"], "features": cfg.get("num_latents") or None}, built)


def write(dictionary: Dictionary, folder: Path) -> None:
    p = plain(dictionary, NAME)
    if p.activation != "topk" or p.norm is not None:
        refuse(dictionary, NAME, "it has top-k dictionaries of rows as they are, and no others")
    if p.decoder.shape[1] != p.encoder.shape[1]:
        refuse(dictionary, NAME, "its transcoders have as many outputs as inputs")
    if p.skip is not None:
        p = p.unsubtracted()
    tensors = {"encoder.weight": p.encoder, "encoder.bias": p.b_enc, "W_dec": p.decoder, "b_dec": p.b_dec}
    if p.skip is not None:
        tensors["W_skip"] = p.skip
    write_tensors(folder / SAVES, tensors)
    m, d = p.encoder.shape
    sizes = {"activation": "topk", "expansion_factor": max(1, m // d), "num_latents": m, "k": p.k, "d_in": d}
    kind = {"skip_connection": p.skip is not None, "transcode": not p.subtract}
    cfg = {**sizes, **kind, "normalize_decoder": False, "multi_topk": False}
    (folder / "cfg.json").write_text(json.dumps(cfg, indent=1))
