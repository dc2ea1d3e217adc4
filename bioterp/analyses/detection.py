"""Which feature detects which term: chosen on train and valid, told on test; rare terms are cross-fitted."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import checked_labels
from bioterp.analyses.detecting import BLOCK, NULLS, RESULT, Detecting, Options
from bioterp.field import Field

ABOUT = Analysis(
    name="detection",
    question="Which feature, above which threshold, marks the cells and instances of which term?",
    needs=("codes", "interval labels on the same rows", "blocks in train or valid, and in test"),
    limits=(
        "All cells weigh the same. p holds for a stationary pair: a shift null knows runs, not isochores; the best "
        "pair of each term has p_local too, of shifts within its blocks, which knows regions longer than these and "
        "cannot find a term as long as a block. "
        "Thresholds are bin edges, so AUROC and AP are those of the binned code. A cross-fitted row is the score of "
        "choosing by labels, not of one feature: folds may choose different ones. The dictionary and the bin edges "
        "were fitted, without labels, on train rows that such a row is scored on. Its interval holds for the choices "
        "made, without what varies them; its p asks most folds to agree, and is a cautious one. Of scans, p asks "
        "whether a feature follows the anatomy of this subject rather than the place where such anatomy usually is: "
        "labels of another subject are laid on the scan, both centred, neither turned nor scaled. A feature that only "
        "knows the place has an f1_null near its F1; one that fires more in larger heads follows the subject, by size "
        "alone. Subjects must be exchangeable: of two sites in one part, what tells them apart can pass for anatomy."
    ),
    reference=(
        "InterPLM (Simon & Zou 2025) for F1 of cells beside recall of domains; circular shifts as in the block-aware "
        "tests of genome annotations (Bickel et al. 2010, GSC); permutations of subjects, the identity "
        "counted: Pitman 1937, Phipson & Smyth 2010; Benjamini & Hochberg 1995, Benjamini & Yekutieli 2001; "
        "cross-fitting: Stone 1974, Chernozhukov et al. 2018; p of several folds: Rüger 1978, Vovk & Wang 2020"
    ),
)


class Detected(NamedTuple):
    """The detection table, and by block the counts of the best pair of each term (the table 'blocks')."""

    table: pd.DataFrame
    blocks: pd.DataFrame


def detection(
    codes: Field,
    truth: Field,
    *,
    per_term: int = 10,
    per_feature: bool = True,
    min_instances: int = 2,
    min_test: int = 20,
    folds: int | None = 5,
    objective: str = "excess",
    null: str | None = "auto",
    threads: int = 2,
) -> pd.DataFrame:
    """The detection table: one row per chosen (feature, term) pair, best first.

    codes: Field (rows, m), ≥ 0, 0 = silent; truth: Field of interval labels on the same rows. On train and
    valid each pair gets the threshold (a bin edge; a cell is active when its code is greater) with the largest
    F1 (objective 'f1') or F1 above its chance level ('excess': fairer to features that fire often, when terms
    cover much of the genome). Then per term the best `per_term` features and, with `per_feature`, per feature
    its best term are chosen, both by F1 above chance, and scored on test at that threshold only.

    Terms with fewer than `min_test` instances in test are cross-fitted instead, and in no other row: over `folds`
    folds, of which test is one, every block is scored by the feature and threshold that are best on the other folds.
    Such a row has split 'cross-fitted'; its counts are of all blocks; `feature` is the one most folds chose, at the
    median of its thresholds; f1_select is the mean over folds of F1 on the others; z, auroc, ap, mutual_information and
    contrast are null; p is combined from the folds' own nulls. folds=None (or 0) scores those terms on test like the
    others.

    null='auto' is 'shift' for sequences and 'permutation' for scans: 999 permutations of the subjects of test (all of
    them when they are no more), the labels of one laid on the scan of another (`permuting`); of fewer than 5 subjects
    there is no p. None leaves z, p and q null and f1_null at its closed form.
    The best pair of each term (and every cross-fitted one) is turned within its blocks too: f1_local, p_local, and
    q_local over the terms. A small q with a large q_local says that feature and term may merely live in the same
    regions. Null elsewhere, and for scans.
    Terms with fewer than `min_instances` instances on either side (cross-fitted: twice as many in all, in two folds
    or more), dead features and the like are rows with a `note`. attrs tell n_tests, n_shifts (of test) and the
    options. Raises InputError for labels that are numbers, codes that are NaN, infinite or negative, and splits
    without rows; AlignmentError when rows differ.
    """
    return detect(
        codes,
        truth,
        per_term=per_term,
        per_feature=per_feature,
        min_instances=min_instances,
        min_test=min_test,
        folds=folds,
        objective=objective,
        null=null,
        threads=threads,
    ).table


def detect(
    codes: Field,
    truth: Field,
    *,
    per_term: int = 10,
    per_feature: bool = True,
    min_instances: int = 2,
    min_test: int = 20,
    folds: int | None = 5,
    objective: str = "excess",
    null: str | None = "auto",
    threads: int = 2,
) -> Detected:
    """`detection`, with the counts by block that intervals of differences between representations are made of.

    blocks: for the pair of each term with the largest f1_select − f1_select_null, one line per block of the scored
    part that holds known cells; the lines of a pair add up to its row.
    """
    if null == "auto":
        null = "permutation" if codes.rows.ndim == NULLS["permutation"] else "shift"
    options = Options(per_term, per_feature, min_instances, min_test, folds or 0, objective, null)
    rows, blocks, shifts = Detecting(codes, checked_labels(codes, truth), options, threads).rows()
    names = truth.columns["name"].astype(str).tolist()
    about = tables.subject(codes.about)
    frame = pd.DataFrame(rows, columns=RESULT)
    frame["term"] = [names[t] if t >= 0 else None for t in frame["term"]]
    _adjust(frame)
    # Ranked by what they were chosen by: the order must not be a second choice, made on test.
    frame["sort"] = (frame["f1_select"] - frame["f1_select_null"]).fillna(-np.inf)
    frame["unscored"] = frame["f1"].isna()
    frame = frame.sort_values(["unscored", "sort", "feature"], ascending=[True, False, True], kind="stable")
    frame = frame.drop(columns=["sort", "unscored"]).assign(**about)
    frame.attrs = {
        "n_tests": int(frame["p"].notna().sum()),
        "n_shifts": shifts,
        "options": {key: value for key, value in asdict(options).items() if key not in ("objective", "null")},
        "objective": objective,
        "null": null,
    }
    by_block = pd.DataFrame(blocks, columns=BLOCK)
    by_block = by_block.assign(term=[names[t] for t in by_block["term"]], **about)
    return Detected(tables.conform("detection", frame), tables.conform("blocks", by_block))


def _adjust(frame: pd.DataFrame) -> None:
    """Benjamini–Hochberg and Benjamini–Yekutieli over the pairs that have a p; q_local over the terms that have one."""
    tested = frame["p"].notna().to_numpy()
    frame["q"], frame["q_by"], frame["n_tests"] = np.nan, np.nan, int(tested.sum())
    if tested.any():
        p = frame.loc[tested, "p"].to_numpy(float)
        frame.loc[tested, "q"] = scipy.stats.false_discovery_control(p, method="bh")
        frame.loc[tested, "q_by"] = scipy.stats.false_discovery_control(p, method="by")
    frame["q_local"], local = np.nan, frame["p_local"].notna().to_numpy()
    if local.any():
        frame.loc[local, "q_local"] = scipy.stats.false_discovery_control(frame.loc[local, "p_local"].to_numpy(float))
