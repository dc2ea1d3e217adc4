"""From an Engine that has learnt to the Dictionary it becomes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.dictionary import Dictionary
from bioterp.train.cuda import CudaEngine
from bioterp.train.engine import Engine


def finished(engine: Engine | CudaEngine, about: dict[str, Any], held: Array | None) -> Dictionary:
    """Its weights in model units. held: rows for the threshold of the kinds that choose over a whole batch."""
    sizes, how, into, out = engine.sizes, engine.recipe, engine.into, engine.out
    told = {"width": sizes.width, "k": sizes.k, "kind": sizes.kind, "tokens": how.steps * how.batch}
    told |= {"batch": how.batch, "lr": how.lr, "seed": engine.seed, "gamma": into.gamma, "long_rows": into.long}
    about = {**about, **told, "representation": "dictionary"}
    made: dict[str, Any] = {"k": sizes.k}
    if sizes.kind != "topk":
        assert held is not None
        limit = engine.limit(held[:, : sizes.d_in])
        made = {"activation": "threshold", "threshold": limit * into.scale}
    weights = engine.encoder.copy(), engine.decoder.copy(), engine.b_enc.copy()
    if not sizes.transcoder:
        return Dictionary(*weights, engine.b_out.copy(), into.mean, into.scale, about=about, **made)
    ratio = np.float32(out.scale / into.scale)  # codes are in units of what is read
    encoder, decoder, b_enc = weights
    b_out = out.mean + np.float32(out.scale) * engine.b_out
    if sizes.skip:
        made["skip"] = engine.skip * ratio
        b_out = b_out - made["skip"] @ into.mean
    nothing = np.zeros(sizes.d_in, np.float32)
    return Dictionary(
        encoder,
        decoder * ratio,
        b_enc,
        nothing,
        into.mean,
        into.scale,
        about=about,
        b_out=b_out.astype(np.float32),
        **made,
    )
