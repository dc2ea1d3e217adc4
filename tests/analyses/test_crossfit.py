"""Cross-fitting against plain loops, planted and hand-made truth, and independence."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rare import FOLDS, fold_of_items, rare, rare_world, slow
from worlds import World, f1, genome, labels_on, of, persistent

from bioterp.analyses import crossfit
from bioterp.analyses.detection import detect, detection
from bioterp.values import Intervals


@pytest.fixture(scope="module")
def here() -> World:
    return rare_world()


@pytest.fixture(scope="module")
def found(here):
    return detect(here.codes, here.truth, per_term=3, min_test=15)


@pytest.mark.parametrize("term", [1, 2])
def test_a_cross_fitted_row_is_that_of_slow_loops(here, found, term):
    (row,) = rare(found.table)[rare(found.table)["term"] == f"term{term}"].to_dict("records")
    told = slow(here, term)
    told.pop("masks")
    features = [f for f, _ in told["chosen"]]
    assert ", ".join(map(str, features)) in row["note"]
    assert features.count(row["feature"]) == max(features.count(f) for f in features)
    assert row["threshold"] == pytest.approx(np.median([e for f, e in told.pop("chosen") if f == row["feature"]]))
    for name, value in told.items():
        assert row[name] == pytest.approx(value), name
    assert row["n_shifts"] == len(here.rows) // 2
    assert np.isnan([row["z"], row["auroc"], row["ap"]]).all()


def test_its_interval_is_that_of_deleted_blocks(here, found):
    row = rare(found.table).set_index("term").loc["term1"]
    predicted, positive, known = slow(here, 1)["masks"]
    blocks = here.blocks()
    names = np.unique(blocks[known & (predicted | positive)])
    left = [f1(predicted[known & (blocks != b)], positive[known & (blocks != b)]) for b in names]
    assert row["n_blocks"] == len(names)
    half = np.std(left) * np.sqrt(len(left) - 1) * 2
    assert row["f1_lo"] == pytest.approx(row["f1"] - half, abs=0.1 * half)  # t's quantile is near 2


def test_a_planted_feature_is_chosen_in_every_fold(here, found):
    row = rare(found.table).set_index("term").loc["term1"]
    positive, known, _ = here.masks(1)
    assert row["feature"] == 3 and "chosen per fold: 3, 3, 3, 3, 3" in row["note"]
    assert row["f1"] == pytest.approx(f1(here.dense[known, 3] > row["threshold"], positive[known]), abs=0.03)
    assert row["q"] < 0.05 and row["f1"] > 0.7 > 0.2 > row["f1_null"]
    assert row["instance_recall"] > row["instance_recall_null"]
    assert "instances in test, fewer than 15" in row["note"]


def test_a_rare_term_has_one_row_and_the_others_are_as_ever(here, found):
    table = found.table
    assert sorted(rare(table)["term"]) == ["term1", "term2"]
    others = table[(table["split"] == "test") & table["term"].notna()]
    assert set(others["term"]) == {"term0", "term3"}
    # Feature 3 is best at a rare term, and is not told of on test for it.
    plain = detection(here.codes, here.truth, per_term=3, folds=None)
    both = others.merge(plain, on=["feature", "term"], suffixes=("", "_plain"))
    assert len(both) > 4
    for name in ("threshold", "f1", "f1_null", "p", "f1_select", "auroc", "n_instances"):
        assert np.allclose(both[name], both[f"{name}_plain"]), name


def test_p_of_rare_terms_are_corrected_with_the_others(found):
    tested = found.table[found.table["p"].notna()]
    assert (tested["n_tests"] == len(tested)).all() and {"test", "cross-fitted"} == set(tested["split"])


def test_what_holds_in_one_fold_only_does_not_leak():
    """The term is feature 0 in fold 1, where most of it lies, and feature 4 elsewhere: none is told by its own."""
    rng = np.random.default_rng(2)
    rows = genome()
    fold = np.repeat(fold_of_items(rows), np.diff(rows.offsets))
    dense = persistent(rng, len(rows), 6, 0.05)
    starts = np.flatnonzero(np.arange(len(rows)) % 40 == 20)
    starts = starts[[len(np.unique(fold[a : a + 8])) == 1 for a in starts]]
    starts = np.sort(np.concatenate([starts[fold[starts] == k][: 30 if k == 1 else 2] for k in range(FOLDS)]))
    assert (fold[starts] == 1).sum() > 20
    dense[:, [0, 4]] = 0
    for a in starts:
        dense[a : a + 8, 0 if fold[a] == 1 else 4] = 2
    labels = Intervals.of(np.zeros(len(starts)), np.arange(len(starts)) + 1, starts, starts + 8, len(rows), 1)
    here = of(rows, dense, labels)
    found = detect(here.codes, here.truth)
    (row,) = rare(found.table).to_dict("records")
    assert "chosen per fold: 0, 4, 0, 0, 0" in row["note"] and row["feature"] == 0
    assert (row["f1"], row["recall"], row["p"]) == (0, 0, 1) and row["f1_select"] > 0.8
    assert found.blocks["positives"].sum() == 8 * len(starts) and found.blocks["tp"].sum() == 0


def independent(seeds: range, terms: int = 5):
    """Worlds whose rare terms and features know nothing of each other."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows = genome({"c1": 2300})
        yield of(rows, persistent(rng, len(rows), 14, 0.1, 0.7), labels_on(rng, rows, terms, 40))


def test_independent_rare_terms_pass_no_more_often_than_they_may(monkeypatch):
    """200 terms; and within a fold, where p is a plain share of shifts, it must be level, or a choice has leaked."""
    folds: list[float] = []
    combined = crossfit.combined
    monkeypatch.setattr(crossfit, "combined", lambda s: folds.extend(e.null.p for e in s) or combined(s))
    tables = [rare(detection(w.codes, w.truth, per_feature=False, threads=1)) for w in independent(range(40))]
    p, of_folds = pd.concat(tables)["p"].to_numpy(), np.array(folds)
    assert len(p) == 200 and len(of_folds) == 1000
    for level in (0.01, 0.05, 0.1, 0.2):
        assert (p <= level).mean() < level + 3 * np.sqrt(level * (1 - level) / len(p))
        assert abs((of_folds <= level).mean() - level) < 4 * np.sqrt(level * (1 - level) / len(of_folds))


def test_the_score_of_independent_terms_is_chance_on_average():
    tables = [rare(detection(w.codes, w.truth, per_feature=False, threads=1)) for w in independent(range(50, 70))]
    above = pd.concat(tables).eval("f1 - f1_null").to_numpy()
    selected = pd.concat(tables).eval("f1_select - f1_select_null").to_numpy()
    assert abs(above.mean()) < 3 * above.std() / np.sqrt(len(above))
    assert selected.mean() > 3 * selected.std() / np.sqrt(len(selected))  # what choosing alone would have claimed


def test_p_of_folds_are_combined_by_a_majority():
    def fold(p, positives=3):
        return SimpleNamespace(null=SimpleNamespace(p=p), table=SimpleNamespace(positives=np.array([0, positives])))

    assert crossfit.combined([fold(p) for p in (0.9, 0.01, 0.03, 1.0, 0.02)]) == pytest.approx(0.05)
    assert crossfit.combined([fold(p) for p in (0.03, 0.3)]) == 0.3
    assert crossfit.combined([fold(p) for p in (0.03, 0.9, 0.8)]) == 1.0
    assert crossfit.combined([fold(0.5), fold(0.001, 0), fold(0.25)]) == 0.5  # nothing to find there: no evidence
    assert np.isnan(crossfit.combined([fold(0.5, 0)]))
    # Folds that all say the same, or nothing of each other: never below its level.
    rng = np.random.default_rng(0)
    for same in (0, 1):
        draws = rng.random((4000, 5 if not same else 1)).repeat(5 if same else 1, axis=1)
        p = np.array([crossfit.combined([fold(x) for x in draw]) for draw in draws])
        assert (p <= 0.05).mean() <= 0.05
