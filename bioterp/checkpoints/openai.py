"""OpenAI sparse_autoencoder: pre_bias, latent_bias, encoder.weight (m, d), decoder.weight (d, m), and `activation`.

'ReLU' reads rows as they are; 'TopK' (with k and postact_fn in `activation_state_dict`) standardises each row: its
loader ties the two together. A tied one holds `decoder.linear.weight`, the encoder's own, or no decoder.
"""

from __future__ import annotations

from typing import Any

from bioterp.checkpoints.building import Asked, Parts, build, fits
from bioterp.checkpoints.reading import Opened, whole
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm

NAME = "openai"
KEYS = frozenset({"pre_bias", "latent_bias", "encoder.weight"})
OTHER = frozenset(
    {
        "decoder.weight",
        "decoder.linear.weight",
        "stats_last_nonzero",
        "latents_activation_frequency",
        "latents_mean_square",
    }
)


def matches(opened: Opened) -> bool:
    return not {"model_config", "hidden_dim"} & set(opened.extra) and fits(opened.keys, KEYS, OTHER)


def read(opened: Opened, asked: Asked) -> Dictionary:
    s, where = opened.state, opened.path
    if not matches(opened):
        raise InputError(
            f"{where} holds {', '.join(sorted(opened.keys))[:300]}; this format has {', '.join(sorted(KEYS))}"
        )
    name = opened.extra.get("activation")
    held: Any = opened.extra.get("activation_state_dict") or {}
    if name not in ("ReLU", "TopK"):
        raise InputError(f"{where} says the activation {name!r}; ReLU and TopK are read, and nothing is guessed")
    if name == "TopK" and held.get("postact_fn", "ReLU") != "ReLU":
        raise InputError(
            f"{where} keeps codes below 0 ({held['postact_fn']} after its top-k), which no Dictionary does"
        )
    topk = name == "TopK"
    decoder = s.get("decoder.weight", s["encoder.weight"].T)
    made = Parts(
        s["encoder.weight"],
        decoder,
        s["latent_bias"],
        s["pre_bias"],
        "topk" if topk else "relu",
        latents_first=(True, False),
        k=whole(held.get("k"), "k") if topk else None,
        norm=RowNorm("standard", 1e-5) if topk else None,
    )
    return build(opened, asked, made, {"format": NAME, "kind": name})
