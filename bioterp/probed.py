"""What a probe is fitted on, for each representation of a run: raw values where codes would only split their signs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.analyses.probe_fits import ALL
from bioterp.analyses.probes import BYTES
from bioterp.analyses.probing import CURVE, KS, SAMPLE, probing
from bioterp.computed import Computed
from bioterp.field import Field
from bioterp.planning import Representation

RAW = ("neurons", "random-weights")  # channels of the model, as they are, and of the same one with random weights


def probed(one: Representation, codes: Field, truth: Field, first: bool) -> dict[str, pd.DataFrame]:
    """The tables of probes on one representation; the raw channels and the first dictionary have learning curves too.

    All representations of a layer are fitted on the same rows: as many as there is room for of its raw channels.
    """
    width = one.rows.shape[1]
    sample = min(SAMPLE, BYTES // (4 * width)) if width else SAMPLE
    curve = CURVE if one.name == "neurons" or (one.name == "dictionary" and first) else ()
    ks = [k for k in KS if k != ALL or one.name != "pca"]  # all directions together are all channels together
    made = probing(_values(one, codes), truth, ks=ks, sample=sample, curve=curve)
    return {"probing": made.table, "probe_blocks": made.blocks, **({"curves": made.curves} if curve else {})}


def _values(one: Representation, codes: Field) -> Field:
    about = dict(codes.about)
    if one.name in RAW:
        return Field(codes.rows, one.rows.data, one.rows.columns, "activation", about)
    if one.name == "pca":
        half = codes.shape[1] // 2
        return Field(codes.rows, Computed((codes.data,), _both_ways, half), codes.columns[:half], "activation", about)
    return codes


def _both_ways(codes: Any) -> Any:
    """Directions whose two ways are columns of their own, as one column each."""
    half = codes.shape[1] // 2
    return codes[:, :half] - codes[:, half:]
