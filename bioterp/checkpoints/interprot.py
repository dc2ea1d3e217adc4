"""InterProt: w_enc (d, m), w_dec (m, d), b_enc, b_pre; a row is standardised by its own mean and deviation.

    f = top-k of (N(x) − b_pre) · w_enc + b_enc, x̂ = N⁻¹(f · w_dec + b_pre)

k is not in the file and must be given. The dead-feature counter `stats_last_nonzero` is left out.
"""

from __future__ import annotations

from bioterp.checkpoints.building import Asked, Parts, build, fits
from bioterp.checkpoints.reading import Opened
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm

NAME = "interprot"
KEYS = frozenset({"w_enc", "w_dec", "b_enc", "b_pre"})


def matches(opened: Opened) -> bool:
    return fits(opened.keys, KEYS, {"stats_last_nonzero"})


def read(opened: Opened, asked: Asked) -> Dictionary:
    s = opened.state
    if not matches(opened):
        raise InputError(f"{opened.path} holds {', '.join(sorted(opened.keys))[:300]}; InterProt writes {sorted(KEYS)}")
    norm = RowNorm("standard", 1e-5)
    weights = s["w_enc"], s["w_dec"], s["b_enc"], s["b_pre"]
    made = Parts(*weights, "topk", latents_first=(False, True), norm=norm)
    return build(opened, asked, made, {"format": NAME, "kind": "SparseAutoencoder"})
