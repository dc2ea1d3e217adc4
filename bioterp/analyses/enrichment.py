"""How much more often a feature is active inside its term than outside: log odds with block intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import checked_labels, guarded, part_of
from bioterp.analyses.detecting import TEST
from bioterp.analyses.jackknife import jackknife
from bioterp.analyses.parts import Tabulator, active_rows, term_on
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field

ABOUT = Analysis(
    name="enrichment",
    question="How strongly are a feature's active cells enriched in its term, on rows it was not chosen on?",
    needs=("codes", "interval labels on the same rows", "a detection table of the same codes"),
    limits="An effect size, not a test: p and q come from detection's shift null alone. All cells weigh the same.",
    reference="Haldane 1956 and Anscombe 1956 (+0.5 in each cell); delete-one-block jackknife (Busing et al. 1999)",
)


def enrichment(codes: Field, truth: Field, found: pd.DataFrame, blocks: pd.DataFrame | None = None) -> pd.DataFrame:
    """The enrichment table: one row per scored pair of `found`, in its order.

    codes, truth: as given to detection; found: its table, whose thresholds are used as they are. On test,
    log2 of (TP + ½)(TN + ½) / (FP + ½)(FN + ½) over known cells. blocks: the counts by block that came with the
    table; cross-fitted pairs are scored by them, on all blocks, each with the choice made without it. Without blocks
    they have no row: their feature and threshold were told by the very rows there are. Raises InputError for a term
    or feature that is not there.
    """
    labels = checked_labels(codes, truth)
    told = (found["feature"] >= 0) & found["threshold"].notna()
    if blocks is None:
        told &= found["split"] == TEST
    pairs = found[told].reset_index(drop=True)
    feature, term = pairs["feature"].to_numpy(np.int64), _terms(pairs, truth)
    threshold = pairs["threshold"].to_numpy(float)
    if len(feature) and feature.max() >= codes.shape[1]:
        raise InputError(f"the table names feature {feature.max()}, and these codes have {codes.shape[1]} columns")
    part = part_of(codes.rows, TEST)
    of_rows = part.of_rows()
    on_test = (pairs["split"] == TEST).to_numpy()
    chosen, which = np.unique(feature[on_test], return_inverse=True)
    least = np.full(len(chosen), np.inf)
    np.minimum.at(least, which, threshold[on_test])
    result: list[dict[str, Any]] = [{} for _ in feature]
    if blocks is not None:
        for i in np.flatnonzero(~on_test):
            own = [blocks[name] == pairs[name][i] for name in ("term", "feature", "split")]
            lines = blocks[np.logical_and.reduce(own)]
            if not len(lines):
                raise InputError(
                    f"the counts by block lack the cross-fitted term {pairs['term'][i]!r}; give those "
                    "that detect() returned with this table"
                )
            result[i] = _score(*(lines[name].to_numpy(np.int64) for name in ("tp", "fp", "positives", "known")))
    with guarded(codes):
        for held in active_rows(codes.read, part, codes.shape[1], chosen, least):
            for t in np.unique(term[on_test]):
                tabulator = Tabulator(part, term_on(part, labels, int(t)), of_rows)
                for i in np.flatnonzero(on_test & (term == t)):
                    if int(feature[i]) in held:
                        row, code = held[int(feature[i])]
                        table = tabulator.table(row[code > np.float32(threshold[i])])
                        result[i] = _score(table.tp, table.fp, table.positives, table.known)
    numbers = pd.DataFrame(result, columns=["log2_odds", "se", "lo", "hi", "note"])
    frame = pd.concat([pairs[["feature", "term"]], numbers], axis=1)
    return tables.conform("enrichment", frame.assign(**tables.subject(codes.about)))


def _terms(pairs: pd.DataFrame, truth: Field) -> Array:
    names = truth.columns["name"].astype(str).tolist()
    unknown = [t for t in pairs["term"].unique() if t not in names]
    if unknown:
        raise InputError(f"the table names the term {unknown[0]!r} that the labels lack; {nearest(unknown[0], names)}")
    return np.asarray(pairs["term"].map({name: i for i, name in enumerate(names)}), np.int64)


def log2_odds(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    """log2 odds ratio of counts of any shape, half a count added to each."""
    return np.asarray(np.log2((tp + 0.5) * (tn + 0.5) / ((fp + 0.5) * (fn + 0.5))))


def _score(tp: Array, fp: Array, positives: Array, known: Array) -> dict[str, Any]:
    counts = tp, fp, positives - tp, known - positives - fp
    value = float(log2_odds(*(c.sum() for c in counts)))
    spread = jackknife(log2_odds, counts, value, positives)
    return {"log2_odds": value, "se": spread.se, "lo": spread.lo, "hi": spread.hi, "note": spread.reason}
