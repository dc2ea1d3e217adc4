"""Which layer carries which term: per layer the best feature, over seeds, chosen without the test blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.errors import InputError

ABOUT = Analysis(
    name="layers",
    question="Which layer of the model carries which term, and do seeds agree?",
    needs=("the detection tables of several layers and seeds, joined",),
    limits=(
        "min and max over a few seeds are a range, no interval. The best layer is the one that did best where features "
        "are chosen; on the scored blocks a neighbour may do as well. Of a cross-fitted term the layer, unlike feature "
        "and threshold, is chosen by all folds together, which hold every block: its number may be slightly high."
    ),
    reference=(
        "Layer-wise feature scores as in InterPLM (Simon & Zou 2025); the choice on other blocks than the score is "
        "the usual guard against the winner's curse (Kriegeskorte et al. 2009, circular analysis)"
    ),
)
TEST, CROSS = "test", "cross-fitted"
OF = [column.name for column in tables.SUBJECT]
_MADE = ["f1", "f1_null", "above", "above_min", "above_max", "select"]
_USED = [*OF, "layer", "feature", "term", "f1", "f1_null", "f1_select", "f1_select_null", "n_instances", "split"]


def layers(detection: pd.DataFrame) -> pd.DataFrame:
    """The table of layers: one row per representation, layer and term; seed is −1, for it is over seeds.

    detection: the detection tables of all layers, seeds and baselines in one frame. Of every seed the feature with
    the largest f1_select − f1_select_null counts, never the one with the best test score; a cross-fitted term has
    one row and gives that. `best` marks, per representation and term, the layer with the largest mean of the same
    number. A term that was scored on no seed is a row of NaN with the first note. Raises InputError when columns
    are missing.
    """
    rows = scored(detection)
    own = ["dictionary", "representation", "layer", "term"]
    rows = best_of(rows, [*OF, "layer", "term"])
    rows = rows.assign(above=rows["f1"] - rows["f1_null"])
    seeds = rows.groupby(own[:-1], dropna=False)["seed"].nunique()
    made = [_over_seeds(group, int(seeds[key[:-1]])) for key, group in rows.groupby(own, sort=False, dropna=False)]
    frame = pd.DataFrame([*made, *_unscored(detection, rows, own)])
    if not len(frame):
        frame = pd.DataFrame(columns=[column.name for column in tables.columns("layers")])
    frame = frame.assign(seed=-1)
    kinds = {kind: at for at, kind in enumerate(dict.fromkeys(detection["representation"]))}
    frame = frame.assign(_kind=frame["representation"].map(kinds), _layer=_ranks(frame["layer"]))
    frame = frame.sort_values(["_kind", "term", "_layer"], kind="stable", ignore_index=True)
    known = frame[frame["select"].notna()]
    first = known.groupby(["representation", "term"], dropna=False)["select"].idxmax()
    frame["best"] = frame.index.isin(first)
    return tables.conform("layers", frame.drop(columns=["_kind", "_layer"]))


def _over_seeds(group: pd.DataFrame, seeds: int) -> dict[str, object]:
    """One layer and term: a line per seed to one line."""
    first = group.iloc[0]
    line = {name: first[name] for name in ("dictionary", "representation", "layer", "term", "n_instances", "split")}
    above = group["above"]
    notes = [f"scored with {len(group)} of {seeds} seeds"] if len(group) < seeds else []
    notes += ["seeds were scored on different parts"] if group["split"].nunique() > 1 else []
    return line | {
        "n_seeds": len(group),
        "f1": group["f1"].mean(),
        "f1_null": group["f1_null"].mean(),
        "above": above.mean(),
        "above_min": above.min(),
        "above_max": above.max(),
        "select": group["_select"].mean(),
        "note": "; ".join(notes),
    }


def _unscored(detection: pd.DataFrame, rows: pd.DataFrame, own: list[str]) -> list[dict[str, object]]:
    """Terms a layer has only notes about."""
    done = set(rows[own].itertuples(index=False, name=None))
    left = detection[detection["term"].notna()].drop_duplicates(own)
    found = []
    for _, line in left.iterrows():
        if tuple(line[own]) not in done:
            told = line[[*own, "n_instances", "split"]].to_dict() | dict.fromkeys(_MADE, np.nan)
            found.append(told | {"n_seeds": 0, "note": line.get("note")})
    return found


def scored(detection: pd.DataFrame) -> pd.DataFrame:
    """Pairs that have a score: of a cross-fitted term those rows only, for its test part was too small.

    Raises InputError when a column is missing.
    """
    missing = [name for name in _USED if name not in detection.columns]
    if missing:
        raise InputError(f"a table 'detection' needs the columns {', '.join(missing)}; run detection anew")
    known = detection["f1"].notna() & detection["term"].notna() & detection["split"].isin([TEST, CROSS])
    table = detection[known]
    crossed = table["split"] == CROSS
    other = crossed.groupby([table[name] for name in [*OF, "layer", "term"]], dropna=False).transform("any")
    return table[crossed | ~other]


def best_of(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Per `keys` the row furthest above chance where features are chosen, with that number as `_select`.

    Ties go to the earlier layer, then to the smaller feature: the test score must not break them.
    """
    select = (table["f1_select"] - table["f1_select_null"]).fillna(-np.inf)
    table = table.assign(_select=select, _layer=_ranks(table["layer"]))
    table = table.sort_values(["_select", "_layer", "feature"], ascending=[False, True, True], kind="stable")
    table = table.drop_duplicates(list(keys)).drop(columns="_layer").sort_index()
    return table.assign(_select=table["_select"].replace(-np.inf, np.nan))


def in_order(names: Iterable[object]) -> list[str]:
    """Layers as a model counts them: 2 before 10, names after numbers."""
    return sorted({str(name) for name in names}, key=_place)


def _place(name: str) -> tuple[float, str]:
    return (int(name), name) if name.isdecimal() else (math.inf, name)


def _ranks(names: pd.Series) -> pd.Series:
    order = {name: at for at, name in enumerate(in_order(names))}
    return names.astype(str).map(order).astype(float)
