"""Is the dictionary better than its baselines, term by term: a difference with an interval of its own.

Both features are scored on the same blocks, so what makes a block hard is hard for both and cancels in the
difference; two intervals side by side cannot see that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.jackknife import jackknife
from bioterp.analyses.layers import CROSS, OF, best_of, scored
from bioterp.analyses.scoring import f1_of, ratio
from bioterp.arrays import Array
from bioterp.errors import InputError

ABOUT = Analysis(
    name="comparison",
    question="On which terms does the dictionary beat each baseline, beyond what blocks vary?",
    needs=("the detection tables of dictionaries and baselines, joined", "their counts by block"),
    limits=(
        "Each interval stands alone: of terms without any difference about one in forty is a win, one in forty a "
        "loss. It holds for the features chosen and does not vary the choice or the seed. Few blocks make it rough, "
        "and so does a term that lies in few of them. The layer of a cross-fitted term is chosen by all folds "
        "together, which favours the side with more layers. Chance is the closed form 2·active·positives / known / "
        "(active + positives); f1_null of detection is the exact mean over shifts (of a cross-fitted term, within each "
        "fold), which is close, not the same."
    ),
    reference="Delete-one-block jackknife of a paired difference (Künsch 1989; Busing, Meijer & van der Leeden 1999)",
)
SUBJECT = "dictionary"
# The readout of the model itself is no feature that was chosen, and has a table of its own.
NO_BASELINE = (SUBJECT, "model")
_KEY = [*OF, "layer", "feature", "term", "split"]
_COUNTS = ["tp", "fp", "positives", "known"]


def comparison(detection: pd.DataFrame, blocks: pd.DataFrame) -> pd.DataFrame:
    """The table of comparisons: per dictionary, seed and term a row for every baseline.

    detection: tables of all layers, seeds and baselines in one frame; blocks: their counts, likewise. The best
    feature of either side is the one with the largest f1_select − f1_select_null over all its layers; where layers lie
    on lattices of their own, the baseline's is taken from those on the dictionary's. A baseline of several seeds is
    met at the seed of the dictionary, or at its first where it has no such seed.

    Without an interval (`result` none): the baseline was not scored, the two were scored on different parts or
    cells, or too few blocks hold the term; `note` says which. Raises InputError when columns are missing.
    """
    missing = [name for name in [*_KEY, "block", *_COUNTS] if name not in blocks.columns]
    if missing:
        raise InputError(f"a table 'blocks' needs the columns {', '.join(missing)}; got {', '.join(blocks.columns)}")
    table = scored(detection)
    mine = best_of(table[table["representation"] == SUBJECT], ["dictionary", "seed", "term"])
    kinds = [kind for kind in dict.fromkeys(detection["representation"]) if kind not in NO_BASELINE]
    theirs = {kind: _by_seed(table[table["representation"] == kind]) for kind in kinds}
    chosen = pd.concat([mine, *[best for of_kind in theirs.values() for best in of_kind.values()]])
    counts = _counts(blocks, chosen)
    rows = []
    for _, group in mine.groupby(["dictionary", "seed"], sort=False, dropna=False):
        for _, own in group.iterrows():
            for kind in kinds:
                said, other = _rival(theirs[kind], own)
                rows.append(_row(own, kind, other, said, counts))
    declared = [column.name for column in tables.columns("comparison")]
    return tables.conform("comparison", pd.DataFrame(rows, columns=declared))


def _by_seed(table: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """A baseline's best feature per term and layer, for each of its seeds."""
    best = best_of(table, ["seed", "term", "layer"])
    return {int(seed): group for seed, group in best.groupby("seed", sort=False)}


def _rival(seeds: dict[int, pd.DataFrame], own: pd.Series) -> tuple[str, pd.Series | None]:
    """What is to be said of the seed that was met, and the baseline's line for the dictionary's line `own`."""
    if not seeds:
        return "", None
    seed = int(own["seed"])
    met = seed if seed in seeds else next(iter(seeds))
    said = f"baseline of seed {met}" if len(seeds) > 1 and met != seed else ""
    found = seeds[met][seeds[met]["term"] == own["term"]]
    # Another lattice has other cells: as many positives among as many is the mark of the same ones.
    same = found[(found["n_cells"] == own["n_cells"]) & np.isclose(found["prevalence"], own["prevalence"])]
    best = best_of(same if len(same) else found, ["term"])
    return said, best.iloc[0] if len(best) else None


def _key(line: pd.Series) -> tuple[Any, ...]:
    """A cross-fitted pair is known without its feature: there is one per term and layer."""
    told = {**line, "layer": str(line["layer"])}
    return tuple(-1 if name == "feature" and line["split"] == CROSS else told[name] for name in _KEY)


def _counts(blocks: pd.DataFrame, chosen: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The counts by block (block, 4) of every chosen pair. The table holds many more, so it is joined once."""

    def keyed(frame: pd.DataFrame) -> pd.DataFrame:
        plain = frame.assign(feature=frame["feature"].where(frame["split"] != CROSS, -1).astype(np.int64))
        return plain.assign(layer=frame["layer"].astype(str), seed=frame["seed"].astype(np.int64))

    wanted = keyed(chosen)[_KEY].drop_duplicates()
    held = keyed(blocks)[[*_KEY, "block", *_COUNTS]].merge(wanted, on=_KEY)
    return {key: pair.groupby("block")[_COUNTS].sum() for key, pair in held.groupby(_KEY, dropna=False)}


def _row(
    own: pd.Series, kind: str, other: pd.Series | None, said: str, counts: dict[tuple[Any, ...], pd.DataFrame]
) -> dict[str, Any]:
    row: dict[str, Any] = {name: own[name] for name in [*OF, "layer", "feature", "term", "n_instances", "split"]}
    row |= dict.fromkeys(("above", "baseline_above", "difference", "lo", "hi"), np.nan)
    row |= {"baseline": kind, "baseline_layer": None, "baseline_feature": tables.NO_FEATURE, "n_blocks": 0}
    row |= {"result": "none", "note": said}
    a = counts.get(_key(own))
    if a is not None:
        row["above"] = _total(a)
    if other is None:
        return row | {"note": _join(said, "the baseline was not scored on this term")}
    row |= {"baseline_layer": other["layer"], "baseline_feature": other["feature"]}
    b = counts.get(_key(other))
    if b is not None:
        row["baseline_above"] = _total(b)
    if own["split"] != other["split"]:
        return row | {"note": _join(said, f"scored on different parts: {own['split']} and {other['split']}")}
    if a is None or b is None:
        return row | {"note": _join(said, "no counts by block")}
    every = a.index.union(b.index)
    a, b = a.reindex(every, fill_value=0), b.reindex(every, fill_value=0)
    if not a[["positives", "known"]].equals(b[["positives", "known"]]):
        return row | {"note": _join(said, "the two were not counted on the same cells")}
    return row | _interval(a, b, said)


def _interval(a: pd.DataFrame, b: pd.DataFrame, said: str) -> dict[str, Any]:
    positives, known = (a[name].to_numpy(np.float64) for name in ("positives", "known"))
    hits = [frame[name].to_numpy(np.float64) for frame in (a, b) for name in ("tp", "fp")]
    value = float(difference(*[np.asarray(one.sum()) for one in (*hits, positives, known)]))
    found = jackknife(difference, (*hits, positives, known), value, positives, -2.0, 2.0)
    result = "none" if np.isnan(found.lo) else "win" if found.lo > 0 else "loss" if found.hi < 0 else "open"
    told = {"difference": value, "lo": found.lo, "hi": found.hi, "n_blocks": found.blocks, "result": result}
    return told | {"note": _join(said, found.reason)}


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _total(counts: pd.DataFrame) -> float:
    return float(above_chance(*[np.asarray(counts[name].sum(), np.float64) for name in _COUNTS]))


def above_chance(tp: Array, fp: Array, positives: Array, known: Array) -> Array:
    """F1 less its chance level 2·active·positives / known / (active + positives), elementwise, in cells.

    A feature that is never active finds nothing and by chance would find nothing: 0.
    """
    active = np.asarray(tp) + fp
    chance = f1_of(ratio(active * positives, known), active, positives)
    return np.where(active == 0, 0.0, f1_of(tp, active, positives) - chance)


def difference(tp_a: Array, fp_a: Array, tp_b: Array, fp_b: Array, positives: Array, known: Array) -> Array:
    """How much further above chance a is than b, on the same cells."""
    return above_chance(tp_a, fp_a, positives, known) - above_chance(tp_b, fp_b, positives, known)
