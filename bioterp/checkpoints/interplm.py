"""InterPLM: `ae_normalized.pt`, `ae_unnormalized.pt`, `checkpoint.pt`; the names of dictionary_learning and two more.

`activation_rescale_factor` is each feature's largest activation on Swiss-Prot: codes are divided by it only on request
(`rescaled=True`). The published `ae_normalized.pt` have it in their weights already and hold no such buffer.
`normalize_to_sqrt_d`: rows are brought to length √d first. InterPLM's `forward` does that, its `encode` alone does not.
"""

from __future__ import annotations

import torch

from bioterp.checkpoints import dictionary_learning
from bioterp.checkpoints.building import Asked, Parts, build, fits
from bioterp.checkpoints.dictionary_learning import LINEAR
from bioterp.checkpoints.reading import Opened, whole
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.rownorm import RowNorm

NAME = "interplm"
FILES = ("ae_normalized.pt", "ae_unnormalized.pt")
OWN = frozenset({"activation_rescale_factor", "normalize_to_sqrt_d"})
LAYOUTS = {
    "ReLUSAE": LINEAR | {"bias"},
    "ReLUSAE_Tied": LINEAR | {"decoder.bias"},
    "JumpReLUSAE": LINEAR | {"decoder.bias", "threshold"},
    "TopKSAE": LINEAR | {"b_dec", "k", "threshold"},
    "BatchTopKSAE": LINEAR | {"b_dec", "k", "threshold"},
}
ALIKE = {"ReLUSAE": "AutoEncoder", "ReLUSAE_Tied": "AutoEncoderNew", "TopKSAE": "AutoEncoderTopK"}


def matches(opened: Opened) -> bool:
    """By its two buffers; a file without them is dictionary_learning's too, and read alike."""
    return bool(opened.keys & OWN) and bool(candidates(opened)) and "trainer" not in opened.config


def candidates(opened: Opened) -> list[str]:
    return [name for name, needed in LAYOUTS.items() if fits(opened.keys, needed, OWN)]


def read(opened: Opened, asked: Asked) -> Dictionary:
    found = candidates(opened)
    if not found:
        raise InputError(f"{opened.path} holds {', '.join(sorted(opened.keys))[:300]}: no class of InterPLM")
    if len(found) > 1 and asked.kind is None:
        raise InputError(
            f"{opened.path} may be a top-k or a batch top-k dictionary, which the file does not tell; pass kind='topk' "
            "or kind='batchtopk'"
        )
    name = found[0] if len(found) == 1 else "BatchTopKSAE" if asked.kind == "batchtopk" else "TopKSAE"
    s = opened.state
    k = whole(s["k"], "k") if "k" in s else None
    if name == "JumpReLUSAE":
        weights = s["encoder.weight"], s["decoder.weight"], s["encoder.bias"], s["decoder.bias"]
        made = Parts(*weights, "threshold", subtract=False, latents_first=(True, False), threshold=s["threshold"])
    else:
        made = dictionary_learning.parts(ALIKE.get(name, name), opened, k)
    norm = RowNorm("length") if bool(s.get("normalize_to_sqrt_d", torch.tensor(False))) else None
    changed = {"norm": norm, **rescaled(opened, asked, name)}
    made = Parts(**{**made.__dict__, **changed})
    return build(opened, asked, made, {"format": NAME, "kind": name})


def rescaled(opened: Opened, asked: Asked, name: str) -> dict[str, torch.Tensor]:
    """The factors that bring each feature's largest activation to 1, where they were asked for."""
    if not asked.rescaled:
        return {}
    factor = opened.state.get("activation_rescale_factor")
    if factor is None or bool(torch.all(factor == 1)):
        raise InputError(f"{opened.path} holds no factors to rescale features by; leave rescaled=True out")
    if name == "TopKSAE":
        raise InputError(f"{opened.path} picks the largest before it rescales them; leave rescaled=True out")
    factor = torch.where(factor > 0, factor.float(), 1.0)  # a feature that never fired has none
    return {"encoder_by": 1 / factor, "decoder_by": factor}
