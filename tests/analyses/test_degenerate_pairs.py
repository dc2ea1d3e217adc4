"""Labels, features and covariates that say nothing, under `adjusted`, `screen`, `relations` and `probing`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_degenerate import CODES, LABELS, ROWS, codes, silent, truth

import bioterp as bt
from bioterp.analyses.probing import probing
from bioterp.errors import InputError
from bioterp.field import Field

ADJUSTED = ["log2_odds_crude", "log2_odds", "se", "lo", "hi", "f1_chance", "f1_above", "f1_above_lo", "f1_above_hi"]
ADJUSTED += ["auroc_crude", "auroc", "auroc_matched", "covariates_auroc", "covariates_ap", "z", "p", "q"]
VERDICTS = ("holds", "reversed", "explained", "open", "determined", "none")
COVARIATES = ("usual", "constant", "unknown", "one cell")


def covariate(kind: str) -> Field:
    """One number or class per row."""
    usual = np.random.default_rng(77).random(len(ROWS))
    usual[:203] = np.nan
    values = {
        "usual": usual,
        "constant": np.full(len(ROWS), 3.0),
        "unknown": np.full(len(ROWS), np.nan),
        "one cell": np.where(np.arange(len(ROWS)) == 5, 1.0, 0.0),
    }[kind]
    one = kind == "one cell"
    columns = {"name": [kind], "kind": ["class" if one else "number"], "bins": [0 if one else 20], "covariate": [kind]}
    return Field(ROWS, values[:, None].astype(np.float32), pd.DataFrame(columns), "label")


@pytest.mark.parametrize(
    ("code", "label", "beside"),
    [("ordinary", kind, "usual") for kind in LABELS]
    + [(kind, "half unknown", "usual") for kind in CODES[1:]]
    + [("ordinary", "half unknown", kind) for kind in COVARIATES[1:]],
)
def test_within_strata_and_screened(code: str, label: str, beside: str) -> None:
    """Every pair of detection has a row; what could not be worked out is said."""
    found, known = codes(code, "sparse"), truth(label)
    table = bt.detection(found, known, folds=None, min_test=3, threads=1)
    within = bt.adjusted(found, known, covariate(beside), table)
    assert not len(silent(within, *ADJUSTED)), silent(within, *ADJUSTED).T
    assert {"usual", "odd"} <= set(within["term"]) and within["verdict"].isin(VERDICTS).all()
    scored = table[table["f1"].notna()]
    main = within[within["main"] & (within["feature"] >= 0)]
    assert len(main) == len(scored.drop_duplicates(["feature", "term"]))
    if beside == "unknown":
        assert (main["verdict"] == "none").all() and main["note"].str.contains("where covariates are known").all()

    pairs = bt.screen(found, known, per_term=None, threads=1)
    assert len(pairs) == found.shape[1] * 2
    numbers = ["threshold", "overlap", "overlap_null", "overlap_sd", "z", "p_normal", "q_normal"]
    assert not len(silent(pairs, *numbers)), silent(pairs, *numbers).T


@pytest.mark.parametrize("code", CODES)
def test_relations_of_features_that_say_nothing(code: str) -> None:
    """A line per feature: one that is never active has no cluster, one that always is has a whole number."""
    found, rng = codes(code, "sparse"), np.random.default_rng(6)
    decoder = rng.normal(size=(6, 11)).astype(np.float32)
    decoder[4] = 0  # a direction of no length has no cosine
    own = bt.Dictionary(
        encoder=decoder, b_enc=np.zeros(6, np.float32), decoder=decoder, b_dec=np.zeros(11, np.float32),
        mean=np.zeros(11, np.float32), scale=1.0, activation="relu",
    )  # fmt: skip
    table = bt.relations(found, own, [own])
    assert table["feature"].tolist() == list(range(6)) and np.isfinite(table["stability"]).all()
    dead = table.loc[5, "cluster"] == -1
    assert dead == (code == "dead") and table["cluster_size"].tolist().count(0) == int(dead)
    assert (table["strand"].notna() <= table["strand_share"].notna()).all(), "no word without its number"


@pytest.mark.parametrize("label", LABELS)
def test_probes_of_terms_that_say_nothing(label: str) -> None:
    found = probing(codes("constant", "dense"), truth(label), ks=(1,), sample=900, min_test=3, folds=3).table
    assert set(found["term"]) == {"usual", "odd"}
    numbers = ["auroc", "auroc_lo", "auroc_hi", "ap", "ap_lo", "ap_hi", "prevalence"]
    assert not len(silent(found, *numbers)), silent(found, *numbers).T


def test_numbers_that_are_no_codes_are_refused() -> None:
    bad = np.zeros((len(ROWS), 6), np.float32)
    bad[len(ROWS) // 2, 3] = np.nan
    field = Field(ROWS, bad, kind="code")
    for ask in (bt.screen, bt.detection):
        with pytest.raises(InputError, match="holds nan at item"):
            ask(field, truth("one"), threads=1)
