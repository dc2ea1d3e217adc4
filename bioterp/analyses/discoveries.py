"""Terms and how many separate features find them; and terms that none finds, with the reason."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.layers import OF, best_of, scored
from bioterp.analyses.replication import BEYOND, SUBJECT, beyond

ABOUT = Analysis(
    name="discoveries",
    question="Which terms have a feature, how many that say different things, and why have the others none?",
    needs=("the detection tables", "features with their clusters", "optionally the table of replication"),
    limits=(
        "Only pairs chosen on train and valid were tested, so more features may match a term than are counted. Of a "
        "cross-fitted term one feature was tested. n_clusters is of one dictionary: layers and seeds are not joined."
    ),
    reference="Redundancy by decoder direction and co-firing, see relations",
)


def discoveries(
    detection: pd.DataFrame, features: pd.DataFrame, replication: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The table of discoveries: per dictionary, seed, layer and term one line.

    detection: tables in one frame, of which those of dictionaries count; features: their features, with `cluster`;
    replication: which seeds find what. `note` is null where a feature was found, and says otherwise why there is none.
    Raises InputError when columns of detection are missing.
    """
    mine = detection[(detection["representation"] == SUBJECT) & detection["term"].notna()]
    known = scored(mine)
    keys = [*OF, "layer", "term"]
    best = best_of(known, keys).set_index(keys)
    hits = known[beyond(known)]
    own = [*OF, "layer", "feature"]
    of = dict(zip(features[own].itertuples(index=False, name=None), features["cluster"], strict=True))
    # A feature whose cluster is not known is one of its own: numbers below 0 are no cluster's.
    at = [(of.get(key, -1), key[-1]) for key in hits[own].itertuples(index=False, name=None)]
    hits = hits.assign(cluster=[cluster if cluster >= 0 else -2 - feature for cluster, feature in at])
    count = hits.groupby(keys).agg(n=("feature", "nunique"), clusters=("cluster", "nunique"))
    tested = known.groupby(keys)["feature"].nunique()
    seeds = mine.groupby(["dictionary", "layer"])["seed"].nunique()
    again = _again(replication)
    lines = []
    for key, group in mine.groupby(keys, sort=False):
        n, clusters = count.loc[key] if key in count.index else (0, 0)
        line = dict(zip(keys, key, strict=True))
        line |= {"n_tested": tested.get(key, 0), "n_discoveries": n, "n_clusters": clusters}
        line |= {"n_seeds": seeds[key[0], key[3]], "n_found": -1, "n_same": -1}
        if key in best.index:
            top = best.loc[key]
            line |= {name: top[name] for name in ("feature", "f1", "f1_null", "q", "n_instances", "split")}
            found, same = again.get(key, (0, 0))
            if replication is not None and n and beyond(top.to_frame().T).iloc[0]:
                line |= {"n_found": 1 + found, "n_same": 1 + same}
            lines.append({**line, "note": None if n else _why(top)})
        else:
            first = group.iloc[0]
            line |= {"feature": -1, "f1": np.nan, "f1_null": np.nan, "q": np.nan}
            line |= {name: first[name] for name in ("n_instances", "split")}
            lines.append({**line, "note": first["note"] or "not scored"})
    declared = [column.name for column in tables.columns("discoveries")]
    return tables.conform("discoveries", pd.DataFrame(lines, columns=declared))


def _again(replication: pd.DataFrame | None) -> dict[tuple[object, ...], tuple[int, int]]:
    """Per dictionary, seed, layer and term how many other seeds find the term, and have the feature."""
    if replication is None or not len(replication):
        return {}
    keys = [*OF, "layer", "term"]
    sums = replication.groupby(keys)[["found", "same"]].sum()
    return {key: (int(line.found), int(line.same)) for key, line in zip(sums.index, sums.itertuples(), strict=True)}


def _why(top: pd.Series) -> str:
    """Why a term that was scored has no feature."""
    if pd.isna(top["q"]):
        return "no p was worked out" + (f": {top['note']}" if top["note"] else "")
    if top["q"] > BEYOND:
        return f"q > {BEYOND}: the feature chosen for it is not shown to do better than chance"
    return "the feature chosen for it is not above chance on held-out blocks"
