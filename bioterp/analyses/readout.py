"""How well each output of the model itself tells each term: the yardstick its features stand beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import checked_labels, part_of
from bioterp.analyses.jackknife import spread
from bioterp.analyses.parts import Part, term_on
from bioterp.analyses.ranking import Ranked, area, precision_area
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import Intervals

ABOUT = Analysis(
    name="readout",
    question="How well do the model's own outputs rank the cells of each term?",
    needs=("a dense field of named outputs", "interval labels on the same rows"),
    limits="Nothing is chosen, so all rows count; the model may have been trained on them. All cells weigh the same.",
    reference="Davis & Goadrich 2006 (AP is its step form, as in scikit-learn); Efron 1982 for the jackknife",
)


def readout(outputs: Field, truth: Field) -> pd.DataFrame:
    """The readout table: one row per (output column, term), on all rows whose label is known.

    outputs: dense Field (rows, c) of finite values, e.g. neither, acceptor, donor; truth: Field of interval
    labels on the same rows. AP and AUROC are those of the raw values, ties exact. Raises InputError for
    values that are NaN or infinite; AlignmentError when rows differ.
    """
    labels = checked_labels(outputs, truth)
    part = part_of(outputs.rows, None)
    of_rows = part.of_rows()
    terms = truth.columns["name"].astype(str).tolist()
    rows = []
    for c, output in enumerate(outputs.columns["name"].astype(str)):
        values = _column(outputs, c)
        for t, term in enumerate(terms):
            rows.append({"output": output, "term": term, **_score(values, part, of_rows, labels, t)})
    names = [column.name for column in tables.columns("readout")]
    frame = pd.DataFrame(rows, columns=[n for n in names if rows and n in rows[0]] if rows else names)
    frame = frame.assign(split="all", **tables.subject(outputs.about))
    return tables.conform("readout", frame)


def _column(outputs: Field, c: int) -> Array:
    values = np.empty(len(outputs), np.float32)
    for lo, hi, block in outputs.batches():
        piece = block[:, c]
        values[lo:hi] = piece.toarray().ravel() if hasattr(piece, "toarray") else piece
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        item = int(np.searchsorted(outputs.rows.offsets, bad[0], side="right")) - 1
        name, column = outputs.rows.items["item"].iloc[item], outputs.columns["name"].iloc[c]
        cell = int(bad[0] - outputs.rows.offsets[item])
        raise InputError(
            f"output {column!r} holds {values[bad[0]]} at item {name!r}, cell {cell}, and values must be finite: "
            "look for an overflow in that item, or leave it out"
        )
    return values


def _score(values: Array, part: Part, of_rows: Array, labels: Intervals, t: int) -> dict[str, Any]:
    term = term_on(part, labels, t)
    known = np.flatnonzero(term.known)
    positive, block = term.positive[known], of_rows[known]
    n, held = len(known), int(positive.sum())
    result = {"n": n, "n_cells": held, "prevalence": held / n if n else np.nan, "n_blocks": 0}
    nothing = dict.fromkeys(("ap", "ap_lo", "ap_hi", "auroc", "auroc_lo", "auroc_hi"), np.nan)
    if held in (0, n):
        note = "no cell is known" if not n else "no known cell is positive" if not held else "every cell is positive"
        return {**result, **nothing, "note": note}
    ranked = Ranked.of(values[known], positive)
    ap, auroc = precision_area(ranked.positive, ranked.negative), area(ranked.positive, ranked.negative)
    present, code = np.unique(block, return_inverse=True)
    per_block = np.bincount(code[positive], minlength=len(present))
    left_ap, left_auroc = ranked.without(positive, code, len(present))
    one, two = spread(left_ap, ap, per_block, 0, 1), spread(left_auroc, auroc, per_block, 0, 1)
    return {
        **result,
        "ap": ap,
        "ap_lo": one.lo,
        "ap_hi": one.hi,
        "auroc": auroc,
        "auroc_lo": two.lo,
        "auroc_hi": two.hi,
        "n_blocks": one.blocks,
        "note": one.reason,
    }
