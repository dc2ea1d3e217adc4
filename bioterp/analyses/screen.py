"""How far the overlap of every feature with every term is from chance: a screen of all pairs, no test of any."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis, scoring
from bioterp.analyses.alignment import checked_labels, count_codes, guarded, part_of, ring_of
from bioterp.analyses.choosing import test_of
from bioterp.analyses.counting import Counts
from bioterp.analyses.parts import Part, active_rows, term_on
from bioterp.analyses.spectra import BATCH, Spectra
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import Intervals

ROOM = 1 << 27  # numbers of term spectra held at once: 512 MiB
ABOUT = Analysis(
    name="screen",
    question="Which of all features overlap with a term more than when they are turned against it?",
    needs=("codes of a sequence", "interval labels on the same rows", "blocks in train or valid, and in test"),
    limits=(
        "z is exact, its p is not: the overlap of runs is skewed and takes few values, so that the normal tail is too "
        "light, most so where few cells are expected. To rank and to leave out, not to report; detection has a p. "
        "Overlaps are with positive cells; cells of unknown label count as not positive. A shift null knows runs, not "
        "isochores."
    ),
    reference="Parseval's theorem on a circular cross-correlation; circular shifts: Bickel et al. 2010 (GSC)",
)


class Overlaps(NamedTuple):
    """Of all pairs, (features, terms) each: cells of both, its mean and standard deviation over all shifts.

    threshold (features,), active (features,) and positive (terms,) cells of the part; size: the number of shifts.
    """

    together: Array
    mean: Array
    sd: Array
    threshold: Array
    active: Array
    positive: Array
    size: int

    @property
    def z(self) -> Array:
        """NaN where no shift changes the overlap."""
        return scoring.ratio(self.together - self.mean, np.where(self.sd > 1e-6, self.sd, 0.0))


def screen(codes: Field, truth: Field, *, per_term: int | None = 20, threads: int = 2) -> pd.DataFrame:
    """The screen table: per term the `per_term` features with the largest z (None: every pair), best first.

    codes: Field (rows, m), ≥ 0, 0 = silent, of a sequence; truth: Field of interval labels on the same rows. Each
    feature has one threshold: that at which its best term is furthest above chance on train and valid. On test, z is
    its overlap with a term less the mean over all circular shifts, by their standard deviation; p_normal is the normal
    upper tail of z, and q_normal Benjamini–Hochberg over all pairs that have one. attrs tell n_pairs and n_shifts.

    Raises InputError for labels that are numbers, rows of more than one dimension, codes that are NaN, infinite or
    negative, and splits without rows; AlignmentError when rows differ.
    """
    if codes.rows.ndim != 1:
        raise InputError(f"a screen turns a sequence; these rows have {codes.rows.ndim} axes: use detection for scans")
    found = overlaps(codes, checked_labels(codes, truth), threads)
    z = found.z
    p = scipy.stats.norm.sf(z)
    tested = np.isfinite(z)
    q = np.full(z.shape, np.nan)
    q[tested] = scipy.stats.false_discovery_control(p[tested], method="bh") if tested.any() else q[tested]
    order = np.argsort(-np.nan_to_num(z, nan=-np.inf), axis=0, kind="stable")[:per_term]
    feature, term = order.T.reshape(-1), np.repeat(np.arange(z.shape[1]), len(order))
    names = truth.columns["name"].astype(str).to_numpy(object)
    at = feature, term
    notes = [_note(found, f, t) for f, t in zip(feature.tolist(), term.tolist(), strict=True)]
    frame = pd.DataFrame(
        {
            "feature": feature,
            "term": names[term],
            "threshold": found.threshold[feature],
            "n_active": found.active[feature],
            "n_cells": found.positive[term],
            "overlap": found.together[at],
            "overlap_null": found.mean[at],
            "overlap_sd": found.sd[at],
            "z": z[at],
            "p_normal": p[at],
            "q_normal": q[at],
            "n_pairs": int(tested.sum()),
            "n_shifts": found.size,
            "note": notes,
        }
    ).sort_values("z", ascending=False, kind="stable")
    frame = frame.assign(**tables.subject(codes.about))
    frame.attrs = {"n_pairs": int(tested.sum()), "n_shifts": found.size}
    return tables.conform("screen", frame)


def _note(found: Overlaps, f: int, t: int) -> str:
    if not found.positive[t]:
        return "no cell of the term in test"
    if not found.active[f]:
        return "never above the threshold on test"
    return "no shift changes the overlap" if found.sd[f, t] <= 1e-6 else ""


def overlaps(codes: Field, labels: Intervals, threads: int = 2) -> Overlaps:
    """All pairs on test, each feature at the threshold that serves its best term on train and valid."""
    counts, edges = count_codes(codes, labels, threads)
    at = _edges(counts)
    with guarded(codes):
        return _on_part(codes, labels, part_of(codes.rows, "test"), counts, edges, at)


def _edges(counts: Counts) -> Array:
    """(m,) the edge at which the term that suits a feature best is furthest above chance, on all groups but test."""
    select, m = list(range(test_of(counts))), counts.positive.shape[2]
    best, at = np.zeros(m), np.zeros(m, np.int64)
    for t in range(counts.positive.shape[1]):
        curve, chance = (np.nan_to_num(each) for each in scoring.f1_curves(scoring.of_groups(counts, select, t)))
        excess = (curve - chance).max(1)
        at = np.where(excess > best, (curve - chance).argmax(1), at)
        best = np.maximum(best, excess)
    return at


def _on_part(codes: Field, labels: Intervals, part: Part, counts: Counts, edges: Array, at: Array) -> Overlaps:
    ring, group, every = ring_of(codes.rows, part), test_of(counts), np.arange(len(at))
    inside = np.arange(edges.shape[1] + 1) > at[:, None]
    together = np.stack([(hist * inside).sum(1) for hist in counts.positive[group]], 1).astype(np.int64)
    active = (counts.total[group] * inside).sum(1).astype(np.int64)
    threshold = edges[every, at].astype(np.float64)
    mean, variance = np.zeros(together.shape), np.zeros(together.shape)
    room = max(ROOM // (ring.strands**2 * (ring.size // 2 + 1)), 1)
    fired = np.flatnonzero(active)
    for first in range(0, labels.columns, room):
        own = slice(first, min(first + room, labels.columns))
        masks = [ring.mask(term_on(part, labels, t).positive) for t in range(own.start, own.stop)]
        totals = np.stack([np.count_nonzero(mask, axis=1) for mask in masks])
        spectra = Spectra(ring, masks)
        del masks
        for held in active_rows(codes.read, part, len(at), fired, threshold[fired], active[fired]):
            names = list(held)
            for k in range(0, len(names), BATCH):
                some = names[k : k + BATCH]
                lines = np.stack([ring.mask(held[f][0]) for f in some])
                mean[some, own] = lines.sum(2) @ totals.T / ring.size
                variance[some, own] = spectra.variances(lines)
    return Overlaps(together, mean, np.sqrt(variance), threshold, active, counts.n_positive[group], ring.size)
