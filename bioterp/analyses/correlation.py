"""Which feature follows which signal (coverage, conservation, density): chosen on train and valid, told on test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import guarded, need_split, part_of, ring_of, spans_of
from bioterp.analyses.blocks import BATCH, as_csr
from bioterp.analyses.jackknife import jackknife
from bioterp.analyses.moments import Sums, Turned, Turner, pearson, spearman
from bioterp.analyses.parts import Part, active_rows
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.tables import NO_FEATURE
from bioterp.values import Intervals

ABOUT = Analysis(
    name="correlation",
    question="Which feature's codes rise and fall with which signal?",
    needs=("codes", "numbers on the same rows (bigWig, density)", "blocks in train or valid, and in test"),
    limits=(
        "All cells weigh the same; cells without a value are left out. Silent cells count, as zeros that are tied. p "
        "holds for a stationary pair: shifts know runs, not slow trends along the sequence. Scans have no p yet."
    ),
    reference="Pearson 1895, Spearman 1904; circular shifts as in detection; Efron 1982 for the jackknife",
)
NUMBERS = ("pearson", "pearson_lo", "pearson_hi", "pearson_select", "pearson_null", "spearman", "z", "p")


def correlation(codes: Field, signals: Field, *, per_term: int = 10) -> pd.DataFrame:
    """The correlation table: per signal the `per_term` features of largest |Pearson r| on train and valid, best first.

    codes: Field (rows, m), ≥ 0, 0 = silent; signals: Field of numbers on the same rows, NaN = unknown. r and the rank
    correlation are those of test, with r's block-jackknife interval; p is the share of all circular shifts of the
    feature, the identity included, with |r| at least as large (sequences), q and q_by correct over the rows. Signals
    that do not vary, and the like, are rows with a `note`. attrs tell n_tests and n_shifts.

    Raises InputError for interval labels, infinite numbers, codes that are NaN, infinite or negative, and splits
    without rows; AlignmentError when rows differ.
    """
    codes.check_same_rows(signals)
    if isinstance(signals.data.read(0, 1), Intervals):
        raise InputError("these labels are intervals, and correlation needs numbers: use detection for intervals")
    need_split(codes.rows, ("train", "valid"), "choose features on")
    need_split(codes.rows, ("test",), "report numbers from")
    chosen = _select(codes, signals)
    part, names = part_of(codes.rows, "test"), signals.columns["name"].astype(str).tolist()
    rows = [row for t in range(len(names)) for row in _rows(codes, signals, part, t, chosen[t], per_term)]
    frame = pd.DataFrame(rows).assign(split="test", **tables.subject(codes.about))
    frame["term"] = [names[t] for t in frame["term"]]
    tested = frame["p"].notna().to_numpy()
    for name, method in (("q", "bh"), ("q_by", "by")):
        frame[name] = np.nan
        if tested.any():
            p = frame.loc[tested, "p"].to_numpy(float)
            frame.loc[tested, name] = scipy.stats.false_discovery_control(p, method=method)
    frame["n_tests"] = int(tested.sum())
    frame = frame.sort_values("pearson_select", key=np.abs, ascending=False, kind="stable")
    frame.attrs = {"n_tests": int(tested.sum()), "n_shifts": int(frame["n_shifts"].max()) if len(frame) else 0}
    return tables.conform("correlation", frame)


def _select(codes: Field, signals: Field) -> Array:
    """(T, m) Pearson r on train and valid."""
    sums = Sums.none(signals.shape[1], codes.shape[1])
    for start, stop in spans_of(codes.rows, codes.rows.items["split"].isin(("train", "valid")).to_numpy()).tolist():
        for lo in range(start, stop, BATCH):
            hi = min(lo + BATCH, stop)
            with guarded(codes):
                indptr, indices, data = as_csr(codes.read(lo, hi), lo)
            block = scipy.sparse.csr_matrix((data, indices, indptr), shape=(hi - lo, codes.shape[1]))
            sums.add(block, _numbers(signals, lo, hi))
    return sums.pearson()


def _numbers(signals: Field, lo: int, hi: int) -> Array:
    values = np.asarray(signals.read(lo, hi), np.float64)
    if np.isinf(values).any():
        name = signals.columns["name"].iloc[int(np.flatnonzero(np.isinf(values).any(0))[0])]
        raise InputError(f"signal {name!r} holds an infinite number; give NaN where nothing is known")
    return values


def _rows(codes: Field, signals: Field, part: Part, t: int, select: Array, per_term: int) -> list[dict[str, Any]]:
    """The rows of one signal."""
    order = np.argsort(-np.abs(np.nan_to_num(select)), kind="stable")[:per_term]
    order = order[np.nan_to_num(select[order]) != 0]
    y = np.concatenate([_numbers(signals, lo, hi)[:, t] for lo, hi in part.merged().tolist()])
    known = np.isfinite(y)
    held = {"term": t, "n": int(known.sum()), "n_active": 0, "n_shifts": 0, "n_blocks": 0}
    nothing = dict.fromkeys(NUMBERS, np.nan)
    if not len(order):
        note = "the signal, or every feature, is constant or unknown on train and valid"
        return [{**held, **nothing, "feature": NO_FEATURE, "note": note}]
    spread = _Spread(part, y)
    turner = Turner(ring_of(codes.rows, part), y) if codes.rows.ndim == 1 else None
    feature, rows = np.sort(order), []
    with guarded(codes):
        for chunk in active_rows(codes.read, part, codes.shape[1], feature, np.zeros(len(feature))):
            for f, (row, code) in chunk.items():
                value = code.astype(np.float64)
                null = turner.null(row, value) if turner is not None else Turned(np.nan, np.nan, np.nan, 0)
                rows.append({**held, "feature": f, **spread.told(row, value, null), "pearson_select": select[f]})
    return rows


class _Spread:
    """One signal on test; what does not depend on the feature is worked out once."""

    def __init__(self, part: Part, y: Array):
        self.known = np.isfinite(y)
        self.place = np.cumsum(self.known) - 1
        self.y, self.block = np.where(self.known, y, 0.0), part.of_rows()
        self.blocks = int(part.block.max()) + 1
        own = self.block[self.known]
        value = y[self.known]
        self.sums = [np.bincount(own, weight, self.blocks) for weight in (np.ones(len(value)), value, value**2)]
        self.ranks = scipy.stats.rankdata(value)

    def told(self, row: Array, code: Array, null: Turned) -> dict[str, Any]:
        inside = self.known[row]
        row, code = row[inside], code[inside]
        y, block = self.y[row], self.block[row]
        sums = [*self.sums, *(np.bincount(block, weight, self.blocks) for weight in (code, code**2, code * y))]
        r = float(pearson(*(each.sum() for each in sums)))
        interval = jackknife(pearson, sums, r, np.bincount(block, minlength=self.blocks), -1.0, 1.0)
        why = interval.reason
        if not np.isfinite(r):
            why = "never active on test" if not len(row) else "the signal or the code is constant on test"
        return {
            "n_active": len(row),
            "pearson": r,
            "pearson_lo": interval.lo,
            "pearson_hi": interval.hi,
            "pearson_null": null.mean,
            "spearman": spearman(self.place[row], code, self.ranks) if np.isfinite(r) else np.nan,
            "z": null.z,
            "p": null.p,
            "n_shifts": null.shifts,
            "n_blocks": interval.blocks,
            "note": why if null.shifts else "; ".join(filter(None, (why, "no p: the shift null needs a sequence"))),
        }
