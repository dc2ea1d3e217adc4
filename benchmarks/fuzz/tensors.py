"""safetensors: as this project reads them, and as a dictionary of another tool."""

from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["bioterp"]):
    from bioterp.arrays import float32, read_safetensors
    from bioterp.checkpoints import load_dictionary
    from bioterp.errors import BioterpError
import numpy as np
from common import fuzz
from safetensors.numpy import save

RNG = np.random.default_rng(0)
SAE = {"W_enc": (3, 5), "W_dec": (5, 3), "b_enc": (5,), "b_dec": (3,), "threshold": (5,)}
SEED = save({name: RNG.normal(size=shape).astype(np.float32) for name, shape in SAE.items()}, {"a": "b"})


def door(path):  # type: ignore[no-untyped-def]
    with suppress(BioterpError):
        load_dictionary(path, model="m", layer=1, k=2)
    return [float32(array).sum() for array in read_safetensors(path).values()]


if __name__ == "__main__":
    np.seterr(all="ignore")
    fuzz(door, {"a.safetensors": SEED, "b.safetensors": save({"x": np.arange(7, dtype=np.int16)})})
