"""From an Engine that has learnt to the Dictionary it becomes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.dictionary import Dictionary
from bioterp.train.cuda import CudaEngine
from bioterp.train.engine import Engine
from bioterp.train.frame import Frame


def finished(
    engine: Engine | CudaEngine, into: Frame, out: Frame, about: dict[str, Any], held: Array | None
) -> Dictionary:
    """Its weights in model units and channels. into, out: the Frames of what it read and of what it made.

    held: rows, as it read them, for the threshold of the kinds that choose over a whole batch.
    """
    sizes, how = engine.sizes, engine.recipe
    told = {"width": sizes.width, "k": sizes.k, "kind": sizes.kind, "tokens": how.steps * how.batch}
    told |= {"batch": how.batch, "lr": how.lr, "seed": engine.seed, "gamma": into.gamma, "long_rows": into.long}
    about = {**about, **told, "representation": "dictionary"}
    made: dict[str, Any] = {"k": sizes.k}
    if sizes.kind != "topk":
        assert held is not None
        made = {"activation": "threshold", "threshold": engine.limit(held) * into.scale}
    encoder, decoder = into.back(engine.encoder), out.back(engine.decoder)
    b_enc, b_out = engine.b_enc.copy(), out.back(engine.b_out)
    if not sizes.transcoder:
        return Dictionary(encoder, decoder, b_enc, b_out, into.mean, into.scale, about=about, **made)
    ratio = np.float32(out.scale / into.scale)  # codes are in units of what is read
    b_out = out.mean + np.float32(out.scale) * b_out
    if sizes.skip:
        made["skip"] = out.back(into.back(engine.skip).T).T * ratio
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
