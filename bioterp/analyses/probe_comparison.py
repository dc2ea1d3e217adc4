"""Is the dictionary better than a probe on raw activations here, and than other representations of as many columns?

Both probes are scored on the same blocks, and both are left without each block in turn: what makes a block hard is
hard for both and cancels in the difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.comparison import SUBJECT
from bioterp.analyses.jackknife import spread
from bioterp.analyses.layers import OF
from bioterp.analyses.probe_fits import ALL
from bioterp.errors import InputError

ABOUT = Analysis(
    name="probe_comparison",
    question="Is the dictionary better than a linear probe on raw activations, term by term?",
    needs=("the tables of probes of dictionaries and baselines, joined", "what each probe is without each block"),
    limits=(
        "Of the same layer; those that have none (composition, position, intensity) are met by every layer, "
        "where they lie on the same cells. Each interval stands alone: without any difference about one term in forty "
        "is a win and one a loss. It is of the scored blocks and does not vary fits, penalties or seeds. AP weighs the "
        "top of the ranking; AUROC is in the table of probes."
    ),
    reference="Künsch 1989 (jackknife of a paired difference by blocks); Kantamneni et al. 2025 for the question",
)
RAW = "neurons"
_KEY = [*OF, "layer", "term", "k"]


def probe_comparison(probing: pd.DataFrame, blocks: pd.DataFrame) -> pd.DataFrame:
    """The table of paired differences in AP: per dictionary, seed, layer, term and k a row for every rival.

    probing and blocks: the tables 'probing' and 'probe_blocks' of all layers, seeds and representations, joined. The
    rivals are the linear probe on raw activations (neurons, k = 0: all), and the probes of each baseline on as many
    columns. A baseline of several seeds is met at the dictionary's, or at its first. Without an interval `result` is
    none, and `note` says why. Raises InputError when columns are missing.
    """
    for name, frame in (("probing", probing), ("probe_blocks", blocks)):
        missing = [c.name for c in tables.columns(name) if c.name not in frame.columns]
        if missing:
            raise InputError(f"a table {name!r} needs the columns {', '.join(missing)}; got {', '.join(frame.columns)}")
    without = {key: own.set_index("block") for key, own in blocks.groupby(_KEY, sort=False, dropna=False)}
    mine = probing[probing["representation"] == SUBJECT]
    others = probing[probing["representation"] != SUBJECT]
    by_term = dict(iter(others.groupby(["term", "k"], sort=False)))
    rows = []
    for _, own in mine.iterrows():
        raw = by_term.get((own["term"], ALL), others[:0])
        rivals = [raw[(raw["representation"] == RAW)]] if own["k"] != ALL else []
        same = by_term.get((own["term"], own["k"]), others[:0])
        rivals += [group for _, group in same.groupby("representation", sort=False)]
        for found in rivals:
            rival = _met(found, own)
            if rival is not None:
                rows.append(_row(own, rival, without))
    declared = [column.name for column in tables.columns("probe_comparison")]
    return tables.conform("probe_comparison", pd.DataFrame(rows, columns=declared))


def _met(found: pd.DataFrame, own: pd.Series) -> pd.Series | None:
    """Which line of a rival is met: of the same layer, or of no layer of the model and on as many cells."""
    same = found[found["layer"] == own["layer"]]
    if not len(same):
        apart = ~found["layer"].str.fullmatch(r"-?\d+") & (found["n_cells"] == own["n_cells"])
        same = found[apart & np.isclose(found["prevalence"], own["prevalence"])]
    if not len(same):
        return None
    of_seed = same[same["seed"] == own["seed"]]
    line: pd.Series = (of_seed if len(of_seed) else same).iloc[0]
    return line


def _row(own: pd.Series, rival: pd.Series, without: dict[Any, pd.DataFrame]) -> dict[str, Any]:
    row: dict[str, Any] = {name: own[name] for name in [*_KEY, "ap", "prevalence", "n_instances", "split"]}
    row |= {"baseline": rival["representation"], "baseline_layer": rival["layer"], "baseline_k": rival["k"]}
    row |= {"baseline_ap": rival["ap"], "difference": own["ap"] - rival["ap"], "lo": np.nan, "hi": np.nan}
    row |= {"n_blocks": 0, "result": "none", "note": ""}
    for line, who in ((own, "the dictionary"), (rival, "the baseline")):
        if pd.isna(line["ap"]):
            return row | {"note": f"{who} was not scored on this term: {line['note']}"}
    if own["split"] != rival["split"]:
        return row | {"note": f"scored on different parts: {own['split']} and {rival['split']}"}
    a, b = (without.get(tuple(line[name] for name in _KEY)) for line in (own, rival))
    if a is None or b is None:
        return row | {"note": "no counts by block"}
    cells = ["positives", "known"]
    if not a[cells].equals(b[cells]):
        return row | {"note": "the two were not scored on the same cells"}
    left = (a["ap_without"] - b["ap_without"]).to_numpy(np.float64)
    found = spread(left, row["difference"], a["positives"].to_numpy(), -1.0, 1.0)
    result = "none" if np.isnan(found.lo) else "win" if found.lo > 0 else "loss" if found.hi < 0 else "open"
    return row | {"lo": found.lo, "hi": found.hi, "n_blocks": found.blocks, "result": result, "note": found.reason}
