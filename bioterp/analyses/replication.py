"""Is a match found by each seed: the same term beyond chance, and by the same direction?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.directions import twins, unit
from bioterp.analyses.layers import OF, best_of, scored
from bioterp.analyses.stability import FOUND
from bioterp.arrays import Array

ABOUT = Analysis(
    name="replication",
    question="Does every seed find the match, and is it the same feature?",
    needs=("the detection tables of several seeds", "the decoders of their dictionaries"),
    limits=(
        "The matches are the best feature of each term, chosen on train and valid. Seeds share data and kind: a "
        "match that all find may still be wrong for a reason they share. A term that the other seed finds with another "
        "direction counts as found, not as the same."
    ),
    reference="Paulo & Belrose 2025 (dictionaries of different seeds share part of their features)",
)
BEYOND = 0.05  # q up to which a match counts
SUBJECT = "dictionary"


def replication(detection: pd.DataFrame, decoders: Mapping[tuple[str, int], Array]) -> pd.DataFrame:
    """The table of replication: per layer, seed and term, of the best feature with q ≤ 0.05, a line for every other
    seed.

    detection: the tables of all layers and seeds in one frame; decoders: {(layer, seed): (m, d)}. A line says what the
    other seed's best feature of the term does and its cosine to this one (`found`: q ≤ 0.05 and F1 above chance), and
    which of its features is nearest (`same`: cosine ≥ 0.7). Raises InputError when columns are missing.
    """
    table = scored(detection)
    table = best_of(table[table["representation"] == SUBJECT], [*OF, "layer", "term"])
    lines = []
    for _, group in table.groupby(["dictionary", "layer"], sort=False, dropna=False):
        seeds = list(dict.fromkeys(group["seed"]))
        by_seed = {seed: group[group["seed"] == seed].set_index("term") for seed in seeds}
        for seed in seeds:
            mine = by_seed[seed]
            mine = mine[beyond(mine) & (mine["feature"] >= 0)]
            for other in seeds:
                if other != seed and len(mine):
                    lines += _pair(mine, by_seed[other], decoders, str(group["layer"].iloc[0]), seed, other)
    declared = [column.name for column in tables.columns("replication")]
    return tables.conform("replication", pd.DataFrame(lines, columns=declared))


def beyond(table: pd.DataFrame) -> pd.Series:
    """Lines of a detection table that are shown beyond chance: q ≤ 0.05 and F1 above its chance level."""
    return (table["q"] <= BEYOND) & (table["f1"] > table["f1_null"])


def _pair(
    mine: pd.DataFrame,
    theirs: pd.DataFrame,
    decoders: Mapping[tuple[str, int], Array],
    layer: str,
    seed: int,
    other: int,
) -> list[dict[str, object]]:
    own, rival = unit(decoders[layer, seed]), unit(decoders[layer, other])
    features = mine["feature"].to_numpy(np.int64)
    twin, cosine = twins(own[features], rival)
    found = beyond(theirs)
    lines = []
    for k, (term, line) in enumerate(mine.iterrows()):
        made = {name: line[name] for name in (*OF, "layer", "feature")}
        made |= {"term": term, "f1": line["f1"], "f1_null": line["f1_null"], "q": line["q"], "other_seed": other}
        made |= {"other_feature": -1, "other_f1": np.nan, "other_f1_null": np.nan, "other_q": np.nan}
        made |= {"cosine": np.nan, "found": False, "note": None}
        if term in theirs.index:
            match = theirs.loc[term]
            feature = int(match["feature"])
            made |= {f"other_{name}": match[name] for name in ("f1", "f1_null", "q")}
            made |= {"other_feature": feature, "found": bool(found[term])}
            made["cosine"] = float(np.float32(own[features[k]] @ rival[feature])) if feature >= 0 else np.nan
        else:
            made["note"] = "the other seed has no scored feature for the term"
        lines.append({**made, "twin": twin[k], "twin_cosine": cosine[k], "same": bool(cosine[k] >= FOUND)})
    return lines
