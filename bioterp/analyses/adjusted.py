"""What is left of a match once what both could follow is held fixed: within strata of like covariates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.adjusting import Association, associate
from bioterp.analyses.alignment import checked_labels, guarded
from bioterp.analyses.detecting import TEST
from bioterp.analyses.ground import DETERMINED, Adjustment, Terms, shown, test_ground
from bioterp.analyses.jackknife import MIN_BLOCKS
from bioterp.analyses.parts import Term, active_rows
from bioterp.analyses.scoring import ratio
from bioterp.analyses.strata import Layout
from bioterp.analyses.within import auroc, auroc_within
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.tables import NO_FEATURE

ABOUT = Analysis(
    name="adjusted",
    question="Does a feature still follow its term among cells that are alike in GC, codon phase, place or brightness?",
    needs=(
        "codes",
        "interval labels on the same rows",
        "covariates of the same rows",
        "a detection table of the codes",
    ),
    limits=(
        "Only what is named is adjusted for, and numbers only down to their quantile bins. Cells of strata without "
        "both positives and negatives say nothing (`informative`). The common odds ratio is an average over strata "
        "that may differ. p is that of a Student t on left-out blocks: it knows runs and whatever else blocks hold, "
        "but needs ten blocks or more to be trusted in its tail, and blocks that are independent. A verdict is of one "
        "interval, not corrected for how many pairs are looked at: q is. To adjust for what the feature reads is to "
        "ask what it adds to that, which is not always the question."
    ),
    reference=(
        "Mantel & Haenszel 1959; Cochran 1954; delete-one-block jackknife (Busing et al. 1999); pairs within strata: "
        "Janes & Pepe 2009 (covariate-adjusted ROC); Benjamini & Hochberg 1995, Benjamini & Yekutieli 2001"
    ),
)
_KEY = ["feature", "term"]
_DECLARED = [c.name for c in tables.columns("adjusted") if c.name not in tables.subject({})]


def adjusted(codes: Field, truth: Field, covariates: Field, found: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """The adjusted table: per pair of `found` on test a main row, and one row for each covariate alone.

    codes, truth: as given to detection; found: its table, whose thresholds are used as they are; covariates: Field
    from `bioterp.background`. A covariate that itself tells a term (codon phase tells CDS) is left out of that term's
    main row, which says so; where all do, its verdict is 'determined'. Terms that were cross-fitted have no one
    feature and threshold to adjust, and a row that says so. seed: of the draw of matched negatives. Raises InputError
    for a term or feature that is not there, AlignmentError when rows differ.
    """
    codes.check_same_rows(covariates)
    labels = checked_labels(codes, truth)
    scored = (found["feature"] >= 0) & found["threshold"].notna() & found["f1"].notna()
    pairs = found[scored & (found["split"] == TEST)].drop_duplicates(_KEY).reset_index(drop=True)
    feature, threshold = pairs["feature"].to_numpy(np.int64), pairs["threshold"].to_numpy(float)
    names = truth.columns["name"].astype(str).tolist()
    unknown = [t for t in pairs["term"].unique() if t not in names]
    if unknown:
        raise InputError(f"the table names the term {unknown[0]!r} that the labels lack; {nearest(unknown[0], names)}")
    if len(feature) and feature.max() >= codes.shape[1]:
        raise InputError(f"the table names feature {feature.max()}, and these codes have {codes.shape[1]} columns")
    term = np.asarray(pairs["term"].map({name: i for i, name in enumerate(names)}), np.int64)
    part, _, ground = test_ground(covariates)
    terms = Terms(ground, labels)
    rows: list[list[dict[str, Any]]] = [[] for _ in feature]
    chosen = np.unique(feature)
    values = np.zeros(len(part), np.float32)
    with guarded(codes):
        for held in active_rows(codes.read, part, codes.shape[1], chosen, np.zeros(len(chosen))):
            down = {f: np.argsort(-code, kind="stable") for f, (_, code) in held.items()}
            for t in np.unique(term).tolist():
                own = [i for i in np.flatnonzero(term == t).tolist() if int(feature[i]) in held]
                if not own:
                    continue
                on_test, sets, note = terms.adjustments(t, seed)
                for i in own:
                    row, code = held[int(feature[i])]
                    order = down[int(feature[i])]
                    values[row] = code
                    active = row[code > np.float32(threshold[i])]
                    told = [_row(one, on_test, active, row[order], code[order], values) for one in sets]
                    values[row] = 0
                    told[0] |= {"main": True, "note": "; ".join(n for n in (note, told[0]["note"]) if n)}
                    rows[i] = [{"feature": feature[i], "term": names[t], **one} for one in told]
    return _finished([one for own in rows for one in own] + _left_out(found), codes)


def _row(one: Adjustment, term: Term, active: Array, row: Array, code: Array, values: Array) -> dict[str, Any]:
    """One pair under one adjustment. active: rows above the threshold; row, code: all > 0, largest first."""
    layout, tp = one.layout, one.layout.count(active[term.positive[active]])
    fired = layout.count(active[term.known[active]])
    counts = tp, fired, one.positive, one.known
    within, crude = associate(layout, *counts), associate(_whole(layout), *(layout.by_block(c) for c in counts))
    yes, no = one.held
    flat = np.where(one.stratum >= 0, 0, -1)
    near, far = one.matched
    verdict, note = _verdict(within, crude, one, fired)
    total = float(one.known.sum())
    return {
        "covariates": shown(one.names),
        "main": False,
        "n_strata": layout.strata,
        "n_cells": int(one.positive.sum()),
        "prevalence": float(ratio(one.positive.sum(), total)),
        "informative": one.share,
        "log2_odds_crude": crude.log2_odds,
        "crude_lo": crude.odds.lo,
        "crude_hi": crude.odds.hi,
        "log2_odds": within.log2_odds,
        "se": within.odds.se,
        "lo": within.odds.lo,
        "hi": within.odds.hi,
        "attenuation": float(1 - ratio(within.log2_odds, crude.log2_odds)),
        "f1_chance": within.chance,
        "f1_above": within.excess,
        "f1_above_lo": within.above.lo,
        "f1_above_hi": within.above.hi,
        "auroc_crude": auroc_within(row, code, flat, term.positive, term.known, np.array([[yes.sum()], [no.sum()]])),
        "auroc": auroc_within(row, code, one.stratum, term.positive, term.known, np.stack([yes, no])),
        "auroc_matched": auroc(values[near], values[far]),
        "n_matched": len(near),
        "covariates_auroc": one.alone[0],
        "covariates_ap": one.alone[1],
        "z": within.z,
        "p": within.p,
        "n_blocks": within.above.blocks,
        "verdict": verdict,
        "note": note,
    }


def _whole(layout: Layout) -> Layout:
    """All strata of a block as one."""
    blocks = layout.blocks
    nothing = np.zeros(0, np.int32)
    return Layout(nothing, np.zeros(blocks, np.int64), np.arange(blocks), np.zeros(1, np.int64), blocks)


def _verdict(within: Association, crude: Association, one: Adjustment, fired: Array) -> tuple[str, str]:
    """In one word, and why it is not a plain one."""
    if not fired.sum():
        return "none", "never above the threshold where covariates are known"
    if not one.share >= DETERMINED:
        what = shown(one.names)
        return (
            "determined",
            f"{what} tells the term: {np.nan_to_num(one.share):.1%} of its positives have a negative like them",
        )
    low, high, value, note = within.odds.lo, within.odds.hi, crude.log2_odds, ""
    if not np.isfinite(low):  # one of the four counts is 0, in all blocks or once one is left out
        low, high, value, note = (
            within.above.lo,
            within.above.hi,
            crude.excess,
            "judged by f1_above: no finite odds ratio",
        )
    if not np.isfinite(low):
        return "none", within.above.reason or f"no interval: at least {MIN_BLOCKS} blocks needed"
    if low > 0:
        return "holds", note
    if high < 0:
        return "reversed", note
    return ("explained" if high < value else "open"), note


def _left_out(found: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for every term that was cross-fitted or not scored at all."""
    scored = set(found.loc[(found["split"] == TEST) & found["f1"].notna(), "term"].dropna())
    rest = found[found["term"].notna() & ~found["term"].isin(scored)].drop_duplicates("term")
    bare = {"feature": NO_FEATURE, "covariates": "", "main": True, "verdict": "none"}
    why = "cross-fitted: folds chose features of their own, and there is no one feature to adjust"
    notes = [
        str(line.note or "not scored") if line.split == TEST or pd.isna(line.f1) else why for line in rest.itertuples()
    ]
    return [{**bare, "term": term, "note": note} for term, note in zip(rest["term"], notes, strict=True)]


def _finished(rows: list[dict[str, Any]], codes: Field) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=_DECLARED)
    frame[["q", "q_by"]], frame["n_tests"] = np.nan, 0
    for _, own in frame.groupby([frame["main"], frame["covariates"].where(~frame["main"].astype(bool), "")]):
        tested = own.index[own["p"].notna()]
        frame.loc[own.index, "n_tests"] = len(tested)
        for name, method in (("q", "bh"), ("q_by", "by")) if len(tested) else ():
            p = frame.loc[tested, "p"].to_numpy(float)
            frame.loc[tested, name] = scipy.stats.false_discovery_control(p, method=method)
    for name in ("n_strata", "n_cells", "n_matched", "n_blocks"):
        frame[name] = frame[name].fillna(0)
    frame = tables.conform("adjusted", frame.assign(**tables.subject(codes.about)))
    frame.attrs["n_tests"] = int(frame.loc[frame["main"] & frame["p"].notna(), "p"].size)
    return frame
