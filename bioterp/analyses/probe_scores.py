"""How probes rank the cells they were not fitted on, exactly and without each block (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bioterp.analyses.blocks import BATCH, Read
from bioterp.analyses.comparison import above_chance
from bioterp.analyses.drawing import check_finite
from bioterp.analyses.jackknife import Spread, spread
from bioterp.analyses.parts import Part, Term
from bioterp.analyses.probe_fits import Probe
from bioterp.analyses.ranking import Ranked, area, precision_area
from bioterp.arrays import Array

HELD = 256_000_000  # bytes of scores held at once


@dataclass(frozen=True)
class Scored:
    """AP and AUROC of one probe on known rows, their spreads, and both without each block (g,).

    blocks (g,) codes of the blocks that hold known rows; positives and known (g,) their cells; above: F1 above chance
    of the rows that were active.
    """

    ap: Spread
    auroc: Spread
    ap_value: float
    auroc_value: float
    above: float
    blocks: Array
    ap_without: Array
    auroc_without: Array
    positives: Array
    known: Array


def scores(read: Read, part: Part, probes: Sequence[Probe], width: int) -> Iterator[tuple[list[int], Array]]:
    """(positions of some probes, their scores (rows of the part, probes) float32), as many at a time as HELD allows.

    Raises BadCode where a value is NaN or infinite.
    """
    rows = len(part)
    most = max(1, HELD // (4 * max(rows, 1)))
    for first in range(0, len(probes), most):
        some = list(range(first, min(first + most, len(probes))))
        weights, offset = np.zeros((width, len(some)), np.float32), np.empty(len(some), np.float32)
        for j, i in enumerate(some):
            weights[probes[i].columns, j], offset[j] = probes[i].coef, probes[i].intercept
        found, at = np.empty((rows, len(some)), np.float32), 0
        for start, stop in part.merged().tolist():
            for lo in range(start, stop, BATCH):
                hi = min(lo + BATCH, stop)
                block = read(lo, hi)
                check_finite(block, np.arange(lo, hi))
                found[at : at + hi - lo] = block @ weights
                at += hi - lo
        found += offset
        yield some, found


def score(values: Array, active: Array, term: Term, of_rows: Array) -> Scored | str:
    """values (n,) and active (n,) bool of the part's rows; of_rows (n,) their blocks. Or why there is no score."""
    known = np.flatnonzero(term.known)
    positive = term.positive[known]
    held = int(positive.sum())
    if held in (0, len(known)):
        return "no cell is known" if not len(known) else f"no known cell is {'negative' if held else 'positive'}"
    present, code = np.unique(of_rows[known], return_inverse=True)
    ranked = Ranked.of(values[known], positive)
    ap, auroc = precision_area(ranked.positive, ranked.negative), area(ranked.positive, ranked.negative)
    positives = np.bincount(code[positive], minlength=len(present))
    ap_without, auroc_without = ranked.without(positive, code, len(present))
    fired = active[known]
    counts = (fired & positive).sum(), (fired & ~positive).sum(), held, len(known)
    return Scored(
        spread(ap_without, ap, positives, 0, 1),
        spread(auroc_without, auroc, positives, 0, 1),
        ap,
        auroc,
        float(above_chance(*(np.asarray(n, np.float64) for n in counts))),
        present,
        ap_without,
        auroc_without,
        positives,
        np.bincount(code, minlength=len(present)),
    )


def areas(values: Array, term: Term) -> tuple[float, float]:
    """(AP, AUROC) alone; NaN where one class is missing."""
    known = np.flatnonzero(term.known)
    positive = term.positive[known]
    if not positive.any() or positive.all():
        return np.nan, np.nan
    ranked = Ranked.of(values[known], positive)
    return precision_area(ranked.positive, ranked.negative), area(ranked.positive, ranked.negative)


def shares(values: Array) -> Array:
    """Each value as the share of values below it, ties in the middle: what probes of several folds are pooled by.

    Scores of other fits have other levels: a fold with many positives leaves fewer to fit on, so its scores are lower,
    and pooled as they are, scores of no use at all would have an AUROC below 0.5.
    """
    order = np.sort(values)
    both = np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right")
    return both / (2.0 * max(len(values), 1))
