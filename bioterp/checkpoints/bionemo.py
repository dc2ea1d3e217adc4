"""BioNeMo's SAE recipe: `model_config` and `model_state_dict` (pre_bias, latent_bias, encoder.weight, decoder.weight).

    TopKSAE   with normalize_input a row is standardised (1e-8 beside its deviation), and brought back
    ReLUSAE   with normalize_input a row, pre_bias taken away, is divided by its length, and not brought back

The recipe's trainer writes no model_config for a ReLUSAE (only input_dim and hidden_dim), so that its normalize_input
is not in the file: the recipe's own default is taken, with a warning.
"""

from __future__ import annotations

import warnings

from bioterp.checkpoints.building import Asked, Parts, agree, build, fits
from bioterp.checkpoints.reading import Opened, whole
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm

NAME = "bionemo"
KEYS = frozenset({"pre_bias", "latent_bias", "encoder.weight", "decoder.weight"})


def matches(opened: Opened) -> bool:
    return fits(opened.keys, KEYS, {"stats_last_nonzero"}) and "activation" not in opened.extra


def settings(opened: Opened) -> dict[str, object]:
    """The class's settings, those of a ReLUSAE taken as the recipe's own where the file does not hold them."""
    cfg = opened.extra.get("model_config")
    if isinstance(cfg, dict):
        return cfg
    if cfg is not None or not {"input_dim", "hidden_dim"} <= set(opened.extra) or "stats_last_nonzero" in opened.keys:
        raise InputError(
            f"{opened.path} is not a checkpoint of BioNeMo's recipe: that holds model_state_dict with "
            f"{', '.join(sorted(KEYS))}, and model_config"
        )
    warnings.warn(
        f"{opened.path} does not say whether its ReLUSAE divides rows by their length; it is read by the recipe's "
        "default (normalize_input=True): look at bioterp.inspect before you use it",
        stacklevel=4,
    )
    sizes = {name: opened.extra[name] for name in ("input_dim", "hidden_dim")}
    return {**sizes, "l1_coeff": None, "normalize_input": True}


def read(opened: Opened, asked: Asked) -> Dictionary:
    s, where = opened.state, opened.path
    if not matches(opened):
        raise InputError(
            f"{where} holds {', '.join(sorted(opened.keys))[:300]}; BioNeMo's has {', '.join(sorted(KEYS))}"
        )
    cfg = settings(opened)
    topk = "top_k" in cfg
    if not topk and "l1_coeff" not in cfg:
        raise InputError(
            f"the model_config in {where} has neither top_k nor l1_coeff: no class of the recipe known here"
        )
    normalised = bool(cfg.get("normalize_input", True))
    made = Parts(
        s["encoder.weight"],
        s["decoder.weight"],
        s["latent_bias"],
        s["pre_bias"],
        "topk" if topk else "relu",
        latents_first=(True, False),
        k=whole(cfg["top_k"], "top_k") if topk else None,
        norm=None if not normalised else RowNorm("standard", 1e-8) if topk else RowNorm("unit"),
        centred=normalised and not topk,
    )
    built = build(opened, asked, made, {"format": NAME, "kind": "TopKSAE" if topk else "ReLUSAE"})
    return agree(opened, {"inputs": cfg.get("input_dim"), "features": cfg.get("hidden_dim")}, built)
