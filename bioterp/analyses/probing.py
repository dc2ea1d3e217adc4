"""How well do linear probes tell each term: on all columns of a representation, and on its best few?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import checked_labels
from bioterp.analyses.probe_fits import ALL
from bioterp.analyses.probes import Options, Probes
from bioterp.errors import InputError
from bioterp.field import Field

ABOUT = Analysis(
    name="probing",
    question="How well does a linear probe tell each term, on all columns of a representation and on its best few?",
    needs=("codes or activations", "interval labels on the same rows"),
    limits=(
        "Probes are fitted on a sample of rows that serves all terms (weighted, so that it stands for all rows), and "
        "see linear effects of columns as they are. Columns are standardised, so a feature that fires seldom is shrunk "
        "no more than others. A few columns are taken by the squared error of a linear fit, one after the other, which "
        "need not be the best few for AP. The interval is of the test blocks, not of the fit. Scores of a "
        "cross-fitted term are ranks within folds; its interval leaves fits as they are. The curve thins blocks as it "
        "thins all rows."
    ),
    reference=(
        "Alain & Bengio 2017 (linear probes); Gurnee et al. 2023 (k-sparse probes); Kantamneni et al. 2025 (sparse "
        "autoencoders beside probes); Chen, Billings & Luo 1989 (orthogonal least squares); Horvitz & Thompson 1952 "
        "(weights of the sample); Davis & Goadrich 2006 (AP)"
    ),
)
KS = (1, 2, 5, 20, ALL)
CURVE = (1, 5, ALL)
SAMPLE = 131_072


class Probed(NamedTuple):
    """The table of probes, what each is without each block (the table 'probe_blocks'), and learning curves."""

    table: pd.DataFrame
    blocks: pd.DataFrame
    curves: pd.DataFrame


def probing(
    values: Field,
    truth: Field,
    *,
    ks: Sequence[int] = KS,
    curve: Sequence[int] = (),
    sample: int = SAMPLE,
    min_instances: int = 2,
    min_test: int = 20,
    folds: int | None = 5,
    seed: int = 0,
) -> Probed:
    """The table of probes: one row per term and k.

    values: Field (rows, d) of activations or codes, dense or sparse; truth: Field of interval labels on the same rows.
    ks: how many columns a probe may use, taken one after the other on train (0 = ALL columns). Logistic regression
    with an L2 penalty on standardised columns, fitted on about `sample` rows of train (fewer where they would take
    more than 256 MB); the penalty is the one of a grid with the largest AP on about half as many rows of valid. AP
    and AUROC are those of all known rows of test, with delete-one-block jackknife intervals; `above` is F1 above
    chance at the cut-off chosen on valid.

    Terms with fewer than `min_test` instances in test are cross-fitted: each of `folds` folds of blocks is scored by
    probes fitted on the others, the next one for valid; split says so. folds=None scores them on test like the others.
    curve: for these k, the table 'curves' of probes fitted on 1, 2, 4 … of the blocks of train.

    What cannot be fitted or scored is a row with a note. Raises InputError for labels that are numbers, values that
    are NaN or infinite and splits without rows; AlignmentError when rows differ.
    """
    if not ks or min(*ks, *curve, 0) < 0 or (folds or 0) == 1 or sample < 1:
        raise InputError(f"ks and curve are counts of columns ≥ 0, folds 2 or more; got {ks}, {curve} and {folds}")
    options = Options(tuple(ks), tuple(curve), sample, min_instances, min_test, folds or 0, seed)
    made = Probes(values, checked_labels(values, truth), options)
    made.on_test()
    made.across_folds()
    names, about = truth.columns["name"].astype(str).tolist(), tables.subject(values.about)
    frames = []
    for name, lines in (("probing", made.lines), ("probe_blocks", made.blocks), ("curves", made.curves)):
        frame = pd.DataFrame(lines, columns=None if lines else ["term"])
        if lines:  # terms as the labels have them, all columns last
            wide = frame["k"].where(frame["k"] != ALL, np.iinfo(np.int32).max)
            frame = frame.assign(_wide=wide).sort_values(["term", "_wide"], kind="stable", ignore_index=True)
        frame = frame.assign(**about, term=[names[t] for t in frame["term"]])
        frames.append(tables.conform(name, frame.reindex(columns=[c.name for c in tables.columns(name)])))
    return Probed(*frames)
