"""Which feature detects which term: chosen on train and valid, told on test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis, scoring
from bioterp.analyses.alignment import checked_labels, count_codes, guarded, part_of, ring_of
from bioterp.analyses.choosing import TEST, Chosen, choose
from bioterp.analyses.counting import Counts
from bioterp.analyses.jackknife import jackknife
from bioterp.analyses.parts import Part, Table, Tabulator, Term, active_rows, term_on
from bioterp.analyses.shifts import Ring, Side, f1_null, recall_null
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import Intervals

ABOUT = Analysis(
    name="detection",
    question="Which feature, above which threshold, marks the cells and instances of which term?",
    needs=("codes", "interval labels on the same rows", "blocks in train or valid, and in test"),
    limits=(
        "All cells weigh the same. p holds for a stationary pair: a shift null knows runs, not isochores. "
        "Thresholds are bin edges, so AUROC and AP are those of the binned code."
    ),
    reference=(
        "InterPLM (Simon & Zou 2025) for F1 of cells beside recall of domains; circular shifts as in the block-aware "
        "tests of genome annotations (Bickel et al. 2010, GSC); Benjamini & Hochberg 1995, Benjamini & Yekutieli 2001"
    ),
)


def detection(
    codes: Field,
    truth: Field,
    *,
    per_term: int = 10,
    per_feature: bool = True,
    min_instances: int = 2,
    objective: str = "excess",
    null: str | None = "shift",
    threads: int = 2,
) -> pd.DataFrame:
    """The detection table: one row per chosen (feature, term) pair, best first.

    codes: Field (rows, m), ≥ 0, 0 = silent; truth: Field of interval labels on the same rows. On train and
    valid each pair gets the threshold (a bin edge; a cell is active when its code is greater) with the largest
    F1 (objective 'f1') or F1 above its chance level ('excess': fairer to features that fire often, when terms
    cover much of the genome). Then per term the best `per_term` features and, with `per_feature`, per feature
    its best term are chosen, both by F1 above chance, and scored on test at that threshold only.

    null='shift' needs one-dimensional rows; None leaves z, p and q null and f1_null at its closed form.
    Terms with fewer than `min_instances` instances on either side, dead features and the like are rows with a
    `note`. attrs tell n_tests, n_shifts and the options. Raises InputError for labels that are numbers, codes
    that are NaN, infinite or negative, and splits without rows; AlignmentError when rows differ.
    """
    _check_options(objective, null, per_term, min_instances)
    labels = checked_labels(codes, truth)
    names = truth.columns["name"].astype(str).tolist()
    counts, edges = count_codes(codes, labels, threads)
    chosen = choose(counts, edges, per_term, per_feature, min_instances, objective)
    part = part_of(codes.rows, "test")
    ring = ring_of(codes.rows, part) if null and codes.rows.ndim == 1 else None
    rows = _score(codes, labels, counts, chosen, part, ring, threads)
    rows += [_empty(counts, feature, term, note) for feature, term, note in chosen.left_out]
    frame = pd.DataFrame(rows, columns=[*_RESULT, "note"])
    frame["term"] = [names[t] if t >= 0 else None for t in frame["term"]]
    if null and ring is None:
        why = "no p: the shift null needs one-dimensional rows"
        frame["note"] = [f"{n}; {why}" if n else why for n in frame["note"]]
    _adjust(frame)
    frame = frame.assign(split="test", n_shifts=ring.size if ring else 0, **tables.subject(codes.about))
    # Ranked by what they were chosen by: the order must not be a second choice, made on test.
    frame["sort"] = (frame["f1_select"] - frame["f1_select_null"]).fillna(-np.inf)
    frame["unscored"] = frame["f1"].isna()
    frame = frame.sort_values(["unscored", "sort", "feature"], ascending=[True, False, True], kind="stable")
    frame = frame.drop(columns=["sort", "unscored"])
    frame.attrs = {
        "n_tests": int(frame["p"].notna().sum()),
        "n_shifts": ring.size if ring else 0,
        "options": {"per_term": per_term, "per_feature": per_feature, "min_instances": min_instances},
        "objective": objective,
        "null": null,
    }
    return tables.conform("detection", frame)


_RESULT = [c.name for c in (*tables.FEATURE, *tables.TERM, *tables.DETECTION)]
_RESULT = [name for name in _RESULT if name not in ("q", "q_by", "n_tests", "n_shifts", "split")]


def _check_options(objective: str, null: str | None, per_term: int, min_instances: int) -> None:
    if objective not in ("f1", "excess"):
        raise InputError(f"objective is 'f1' or 'excess'; got {objective!r}")
    if null not in ("shift", None):
        raise InputError(f"null is 'shift' or None; got {null!r}")
    if per_term < 0 or min_instances < 1:
        raise InputError(f"per_term must be ≥ 0 and min_instances ≥ 1; got {per_term} and {min_instances}")


@dataclass
class _Bench:
    """What scoring a pair of one term needs."""

    counts: Counts
    term: Term
    tabulator: Tabulator
    test: scoring.Pair
    auroc: Array
    ap: Array
    ring: Ring | None
    positive: Side | None
    unknown: Side | None
    runs: tuple[Array, Array, Array] | None


def _score(
    codes: Field, labels: Intervals, counts: Counts, chosen: Chosen, part: Part, ring: Ring | None, threads: int
) -> list[list[Any]]:
    rows: list[list[Any]] = []
    feature, which = np.unique(chosen.feature, return_inverse=True)
    least, edge = np.full(len(feature), np.inf), np.full(len(feature), counts.total.shape[-1])
    np.minimum.at(least, which, chosen.threshold)
    np.minimum.at(edge, which, chosen.edge)
    inside = np.arange(counts.total.shape[-1]) > edge[:, None]
    size = (counts.total[TEST][feature].astype(np.int64) * inside).sum(1)
    of_rows = part.of_rows()
    with ThreadPoolExecutor(max(threads, 1)) as pool, guarded(codes):
        for held in active_rows(codes.read, part, codes.shape[1], feature, least, size):
            for t in np.unique(chosen.term):
                pairs = [int(s) for s in np.flatnonzero(chosen.term == t) if int(chosen.feature[s]) in held]
                if not pairs:
                    continue
                bench = _bench(counts, labels, int(t), part, of_rows, ring)
                rows += pool.map(partial(_row, bench, chosen, held), pairs)
    return rows


def _bench(counts: Counts, labels: Intervals, t: int, part: Part, of_rows: Array, ring: Ring | None) -> _Bench:
    term, test = term_on(part, labels, t), scoring.of_term(counts, TEST, t)
    bench = _Bench(
        counts,
        term,
        Tabulator(part, term, of_rows),
        test,
        scoring.auroc(test),
        scoring.average_precision(test),
        ring,
        None,
        None,
        None,
    )
    if ring is not None:
        bench.positive = Side(ring.mask(term.positive))
        bench.unknown = Side(~ring.mask(term.known))
        first, last = ring.slot[term.start], ring.slot[term.stop - 1]
        ends = np.minimum(first, last).astype(np.int64), np.maximum(first, last).astype(np.int64) + 1
        bench.runs = (ring.strand[term.start].astype(np.int64), *ends)
    return bench


def _row(bench: _Bench, chosen: Chosen, held: dict[int, tuple[Array, Array]], s: int) -> list[Any]:
    f, t, threshold = int(chosen.feature[s]), int(chosen.term[s]), float(chosen.threshold[s])
    active, value = held[f]
    active = active[value > np.float32(threshold)]
    table, test = bench.tabulator.table(active), bench.test
    tp, fp = int(table.tp.sum()), int(table.fp.sum())
    positives, known = test.n_positive, test.n_known
    instances = int(table.instances.sum())
    precision, recall = scoring.ratio(tp, tp + fp), scoring.ratio(tp, positives)
    instance_recall = scoring.ratio(int(table.hits.sum()), instances)
    f1 = float(scoring.f1_of(np.array(tp), np.array(tp + fp), positives))
    spread = f1_spread(table, f1)
    mean, z, p, recall_mean = 2 * (tp + fp) * positives / known / (tp + fp + positives), np.nan, np.nan, np.nan
    if bench.ring is not None and bench.positive and bench.unknown and bench.runs:
        side = Side(bench.ring.mask(active))
        shifted = f1_null(side, bench.positive, bench.unknown)
        mean, z, p = shifted.mean, shifted.z, shifted.p
        recall_mean = recall_null(side, *bench.runs, bench.term.first)
    notes = [chosen.notes.get(f, ""), spread.reason]
    if positives == known:
        notes.append("every known test cell is positive")
    if not len(active):
        notes.append("never above the threshold on test")
    result = {
        "feature": f,
        "term": t,
        "threshold": threshold,
        "n_cells": positives,
        "n_instances": instances,
        "prevalence": positives / known,
        "precision": float(precision),
        "recall": float(recall),
        "f1": f1,
        "f1_null": mean,
        "f1_lo": spread.lo,
        "f1_hi": spread.hi,
        "f1_select": float(chosen.f1[s]),
        "f1_select_null": float(chosen.chance[s]),
        "instance_recall": float(instance_recall),
        "instance_recall_null": recall_mean,
        "instance_f1": float(scoring.harmonic(np.nan_to_num(precision), instance_recall)),
        "auroc": float(bench.auroc[f]),
        "ap": float(bench.ap[f]),
        "z": z,
        "p": p,
        "n_blocks": spread.blocks,
    }
    return [*(result[name] for name in _RESULT), "; ".join(note for note in notes if note)]


def f1_spread(table: Table, f1: float) -> Any:
    """The block jackknife of F1 on one pair's table."""

    def of(tp: Array, fp: Array, positives: Array) -> Array:
        return scoring.f1_of(tp, tp + fp, positives)

    return jackknife(of, (table.tp, table.fp, table.positives), f1, table.positives, 0.0, 1.0)


def _empty(counts: Counts, feature: int, term: int, note: str) -> list[Any]:
    own: dict[str, Any] = {"feature": feature, "term": term, "n_cells": 0, "n_instances": 0, "n_blocks": 0}
    if term >= 0:
        own["n_cells"] = scoring.of_term(counts, TEST, term).n_positive
        own["n_instances"] = int(counts.n_instances[TEST, term])
    return [*(own.get(name, np.nan) for name in _RESULT), note]


def _adjust(frame: pd.DataFrame) -> None:
    """Benjamini–Hochberg and Benjamini–Yekutieli over the pairs that have a p."""
    tested = frame["p"].notna().to_numpy()
    frame["q"], frame["q_by"], frame["n_tests"] = np.nan, np.nan, int(tested.sum())
    if tested.any():
        p = frame.loc[tested, "p"].to_numpy(float)
        frame.loc[tested, "q"] = scipy.stats.false_discovery_control(p, method="bh")
        frame.loc[tested, "q_by"] = scipy.stats.false_discovery_control(p, method="by")
