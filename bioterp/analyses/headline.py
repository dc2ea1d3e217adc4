"""What may be said of the best feature of each term: F1 above chance, precision and recall, each with its interval.

Detection's table screens thousands of pairs. Here the one pair of each term that a text would name is looked at again:
blocks are resampled, contig by contig. Beside it stands what detection found when it turned the feature within its
blocks, so that a term and a feature that merely live in the same regions of a genome are told from those that meet cell
by cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import checked_labels
from bioterp.analyses.bootstrap import bootstrap
from bioterp.analyses.comparison import above_chance
from bioterp.analyses.detecting import TEST
from bioterp.analyses.local_shifts import DRAWS
from bioterp.analyses.scoring import f1_of, ratio
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.tables import NO_FEATURE

ABOUT = Analysis(
    name="headline",
    question="How sure are F1 above chance, precision and recall of the best feature of each term?",
    needs=("codes", "interval labels on the same rows", "what detect() returned for them"),
    limits=(
        "The intervals hold for the pair and threshold chosen, and do not vary the choice. Below about ten blocks that "
        "hold the term they are too short. p_local asks only where within its blocks a feature fires: what a block "
        "holds of both is taken as given, so that a term longer than a block cannot be found by it, and regions "
        "shorter than a block can still pass for a match. It is one test per term; q corrects over them."
    ),
    reference=(
        "Segmented block bootstrap: Bickel et al. 2010 (GSC); BCa: Efron 1987; percentiles drawn out for few blocks: "
        "Hesterberg 2015; random elements of a group of shifts, identity counted: Hemerik & Goeman 2018"
    ),
)
METHOD = "BCa, blocks within contigs"
_COUNTS = ("tp", "fp", "positives", "known")
STATISTICS: dict[str, tuple[Callable[..., Array], float]] = {
    "f1": (lambda tp, fp, positives, known: f1_of(tp, tp + fp, positives), 0.0),
    "above": (above_chance, -1.0),
    "precision": (lambda tp, fp, positives, known: ratio(tp, tp + fp), 0.0),
    "recall": (lambda tp, fp, positives, known: ratio(tp, positives), 0.0),
}


def headline(codes: Field, truth: Field, found: pd.DataFrame, blocks: pd.DataFrame) -> pd.DataFrame:
    """The table of headline claims: one row per term, for the pair whose counts by block `detect` kept.

    codes, truth: as given to `detect`; found, blocks: the two tables it returned. A term that was not scored is a row
    without numbers, with detection's note. f1_local and p_local are detection's, and null where these are. Raises
    InputError when the tables are not of these codes and labels.
    """
    checked_labels(codes, truth)
    names = truth.columns["name"].astype(str).tolist()
    strata = _contigs(codes)
    unknown = [str(t) for t in [*found["term"].dropna().unique(), *blocks["term"].unique()] if t not in names]
    if unknown:
        raise InputError(f"the table names the term {unknown[0]!r} that the labels lack; {nearest(unknown[0], names)}")
    absent = [str(b) for b in blocks["block"].unique() if b not in strata]
    if absent:
        raise InputError(f"the counts by block name {absent[0]!r}, and these codes have no such block")
    by_term = {str(term): lines for term, lines in blocks.groupby("term", sort=False)}
    rows = [_row(term, found, by_term.get(term), strata) for term in names if (found["term"] == term).any()]
    frame = pd.DataFrame(
        rows, columns=[c.name for c in (*tables.FEATURE, *tables.TERM, *tables.HEADLINE, *tables.NOTE)]
    )
    frame["q_local"] = _adjusted(frame["p_local"].to_numpy(float))
    return tables.conform("headline", frame.assign(**tables.subject(codes.about)))


def _adjusted(p: Array) -> Array:
    """Benjamini–Hochberg over what has a p."""
    q, tested = np.full(len(p), np.nan), np.isfinite(p)
    if tested.any():
        q[tested] = scipy.stats.false_discovery_control(p[tested], method="bh")
    return q


def _contigs(codes: Field) -> dict[str, int]:
    """The contig (or other space) of every block, as a code: that of its first item."""
    rows = codes.rows
    first = rows.items["block"].astype(str).reset_index(drop=True).drop_duplicates()
    where = rows.space_code[first.index] if rows.ndim == 1 else np.zeros(len(first), np.int64)
    return dict(zip(first.tolist(), np.asarray(where).tolist(), strict=True))


def _row(term: str, found: pd.DataFrame, lines: pd.DataFrame | None, strata: dict[str, int]) -> dict[str, Any]:
    """One term's pair: its intervals, and what detection found within blocks."""
    own = found[found["term"] == term]
    if lines is None or not len(lines):
        told = own["note"].dropna()
        note = str(told.iloc[0]) if len(told) else "not scored"
        empty = {"feature": NO_FEATURE, "term": term, "n_blocks": 0, "n_draws": 0, "method": "none", "split": TEST}
        return {**empty, "note": note}
    feature, split = int(lines["feature"].iloc[0]), str(lines["split"].iloc[0])
    scored = own[(own["feature"] == feature) & (own["split"] == split)]
    if not len(scored):
        raise InputError(f"the counts by block are of feature {feature} with {term!r}, which the table does not score")
    counts = [lines[name].to_numpy(np.float64) for name in _COUNTS]
    code = np.array([strata[str(b)] for b in lines["block"]], np.int64)
    row: dict[str, Any] = {"feature": feature, "term": term, "split": split, "method": METHOD, "n_draws": 0}
    notes = []
    for name, (statistic, low) in STATISTICS.items():
        spread = bootstrap(statistic, counts, code, counts[2], low, 1.0)
        row[name] = float(statistic(*[np.asarray(c.sum()) for c in counts]))
        row[f"{name}_lo"], row[f"{name}_hi"], row["n_blocks"] = spread.lo, spread.hi, spread.blocks
        notes += [f"{name}: {spread.reason}"] if spread.reason else []
    if len(notes) == len(STATISTICS):
        row["method"] = "none"
        notes = list(dict.fromkeys(note.split(": ", 1)[1] for note in notes))
    row |= {name: float(scored[name].iloc[0]) for name in ("f1_local", "p_local")}
    row["n_draws"] = DRAWS + 1 if np.isfinite(row["p_local"]) else 0
    return {**row, "note": "; ".join(notes)}
