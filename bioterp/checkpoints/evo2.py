"""Goodfire's dictionaries of Evo 2: W (d, m), b_enc, b_dec in one `.pt`, every name behind `_orig_mod.`.

    f = batch top-k of relu(x · W + b_enc), x̂ = f · Wᵀ + b_dec

b_dec is added and never taken away (several re-implementations do take it away). The file holds neither k, which stands
in its name (`…-k_64.pt`), nor a threshold: until `bioterp.calibrate` finds one on your activations, it does not encode.
"""

from __future__ import annotations

import re

from bioterp.checkpoints.building import Asked, Parts, build, fits
from bioterp.checkpoints.reading import Opened
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError

NAME = "evo2"
KEYS = frozenset({"W", "b_enc", "b_dec"})
K = re.compile(r"(?<![a-z])k_?(\d+)(?!\d)")


def matches(opened: Opened) -> bool:
    return fits(opened.keys, KEYS)


def read(opened: Opened, asked: Asked) -> Dictionary:
    s = opened.state
    if not matches(opened):
        raise InputError(
            f"{opened.path} holds {', '.join(sorted(opened.keys))[:300]}; this format has W, b_enc and b_dec"
        )
    named = K.search(opened.path.stem)
    k = int(named[1]) if named else None
    if (asked.k or k) is None:
        raise InputError(
            f"{opened.path} says its k neither inside nor in its name; pass k=… (the published ones have 64)"
        )
    about = {"format": NAME, "kind": "BatchTopKTiedSAE"}
    kind = asked.kind or "batchtopk"
    made = Parts(s["W"], s["W"], s["b_enc"], s["b_dec"], kind, subtract=False, latents_first=(False, False), k=k)
    return build(opened, asked, made, about)
