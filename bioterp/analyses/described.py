"""One joined line per feature: its best term, how sure that is, what it is to others, and a sentence that says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.layers import OF, scored
from bioterp.analyses.replication import beyond
from bioterp.analyses.saying import says
from bioterp.analyses.stability import FOUND

ABOUT = Analysis(
    name="described",
    question="What is each feature, in one line, and which strong and stable ones have no term?",
    needs=("the table of features", "detection", "relations", "optionally enrichment and adjusted"),
    limits=(
        "A feature without a term is one that none of these labels explains beyond chance: terms that cover much "
        "leave few, and of cross-fitted terms one feature was tested. With one seed nothing is known to be stable, and "
        "no feature is called unknown."
    ),
    reference="—",
)
LEAST_DENSE, MOST_DENSE = 1e-5, 0.05  # share of cells of a feature that is neither a rarity nor everywhere
FEWEST = 50  # active cells
STRANDS = ("both", "one")
_BEST = {
    "f1_null": "best_f1_null", "f1_lo": "best_f1_lo", "f1_hi": "best_f1_hi", "precision": "best_precision",
    "instance_recall": "best_recall", "instance_recall_null": "best_recall_null",
}  # fmt: skip
_RELATED = ("stability", "n_same", "n_seeds", "cluster", "cluster_size", "strand_share", "strand_chance", "strand")


def described(
    features: pd.DataFrame,
    detection: pd.DataFrame,
    relations: pd.DataFrame | None = None,
    enrichment: pd.DataFrame | None = None,
    cells: int | None = None,
    adjusted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The table of features with every column filled.

    features, detection, enrichment, adjusted: tables as made, of one or more dictionaries; relations: as from
    `relations`; cells: rows the densities are of, to leave out features of fewer than 50 active cells.

    `unknown` marks features without a term (none with q ≤ 0.05 and F1 above chance) that are strong (mean code at least
    the median of the features that fire), stable (mean cosine over other seeds ≥ 0.7), neither rare nor dense (10⁻⁵ to
    0.05 of the cells) and, where two strands were read, fire alike on both or on one.
    """
    own = [*OF, "layer", "feature"]
    keep = [c for c in features.columns if c in own or c in _OF_CODES]
    known = scored(detection)
    known = known[known["feature"] >= 0]
    select = (known["f1_select"] - known["f1_select_null"]).fillna(-np.inf)
    best = known.assign(_s=select).sort_values("_s", ascending=False, kind="stable").drop_duplicates(own)
    names = {"term": "best_term", "f1": "best_f1", "q": "best_q", **_BEST}
    made = features[keep].merge(best[[*own, *names]].rename(columns=names), on=own, how="left")
    hits = known[beyond(known)].groupby(own)["term"].nunique().rename("n_terms")
    made = made.merge(hits, on=own, how="left")
    made["n_terms"] = made["n_terms"].fillna(0)
    made = made.merge(_odds(enrichment), left_on=[*own, "best_term"], right_on=[*own, "term"], how="left")
    made = made.drop(columns="term")
    made = made.merge(_verdicts(adjusted), left_on=[*own, "best_term"], right_on=[*own, "term"], how="left")
    made = made.drop(columns="term")
    if relations is None:
        relations = pd.DataFrame(columns=[*own, *_RELATED]).astype({name: made[name].dtype for name in own})
    made = made.merge(relations[[*own, *_RELATED]], on=own, how="left")
    for name, none in (("cluster", -1), ("cluster_size", 0), ("n_seeds", 0), ("n_same", 0)):
        made[name] = made[name].astype(float).fillna(none)
    made["unknown"] = _unknown(made, cells)
    made["says"] = [says(line) for line in made.to_dict("records")]
    return tables.conform("features", made)


_OF_CODES = ("density", "mean_active", "max", "p999", "dead")


def _odds(enrichment: pd.DataFrame | None) -> pd.DataFrame:
    names = {"log2_odds": "enrichment", "lo": "enrichment_lo", "hi": "enrichment_hi"}
    own = [*OF, "layer", "feature", "term"]
    if enrichment is None:
        types: dict[str, Any] = {"seed": "int32", "feature": "int32"}
        return pd.DataFrame(columns=[*own, *names.values()]).astype(types)
    return enrichment[[*own, *names]].rename(columns=names).drop_duplicates(own)


def _verdicts(adjusted: pd.DataFrame | None) -> pd.DataFrame:
    names = {"verdict": "adjusted", "covariates": "adjusted_for"}
    own = [*OF, "layer", "feature", "term"]
    if adjusted is None:
        types: dict[str, Any] = {"seed": "int32", "feature": "int32"}
        return pd.DataFrame(columns=[*own, *names.values()]).astype(types)
    main = adjusted[adjusted["main"].astype(bool) & (adjusted["feature"] >= 0)]
    return main[[*own, *names]].rename(columns=names).drop_duplicates(own)


def _unknown(made: pd.DataFrame, cells: int | None) -> pd.Series:
    alive = ~made["dead"].astype(bool)
    middle = made["mean_active"].where(alive).groupby([made[name] for name in (*OF, "layer")]).transform("median")
    least = max(LEAST_DENSE, FEWEST / cells if cells else 0)
    found = alive & (made["n_terms"] == 0) & made["density"].between(least, MOST_DENSE)
    found &= (made["mean_active"] >= middle) & (made["stability"] >= FOUND)
    stranded = made["strand_share"].notna().groupby([made[name] for name in (*OF, "layer")]).transform("any")
    return found & (made["strand"].isin(STRANDS) | ~stranded)


def strongest_unknown(features: pd.DataFrame, most: int) -> pd.DataFrame:
    """The unknown features of each dictionary that carry most: share of cells × mean code, at most `most`."""
    mine = features[features["unknown"].astype(bool)]
    mine = mine.assign(_mass=mine["density"] * mine["mean_active"]).sort_values("_mass", ascending=False, kind="stable")
    return mine.groupby([*OF, "layer"], sort=False, dropna=False).head(most).drop(columns="_mass")
