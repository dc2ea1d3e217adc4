"""Labels and features that say nothing: every table has a row that says so, and no number is missing in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from worlds import genome, labels_on, persistent

import bioterp as bt
from bioterp.analyses.layers import layers
from bioterp.field import Field
from bioterp.values import Intervals

ROWS = genome({"c1": 1700, "c2": 900})
SPLIT = np.repeat(ROWS.items["split"].to_numpy(), np.diff(ROWS.offsets))
BLOCK = np.repeat(ROWS.items["block"].to_numpy(), np.diff(ROWS.offsets))
LABELS = ("all", "none", "one", "one block", "only train", "only test", "unknown", "known negative", "half unknown")
CODES = ("ordinary", "dead", "constant", "one cell", "silent on test", "only on test", "two levels")


def labels(kind: str) -> Intervals:
    """Two terms: an ordinary one, and one of the kind."""
    rng = np.random.default_rng(3)
    usual = labels_on(rng, ROWS, 1, 70)
    n = len(ROWS)
    starts, stops = ROWS.offsets[:-1], ROWS.offsets[1:]
    every = list(zip(range(1, len(starts) + 1), starts.tolist(), stops.tolist(), strict=True))

    def inside(mask: np.ndarray) -> list[tuple[int, int, int]]:
        at = [i for i, (_, a, b) in enumerate(every) if mask[a:b].all()]
        return [(k + 1, every[i][1], every[i][1] + 9) for k, i in enumerate(at)]

    kinds: dict[str, list[tuple[int, int, int]]] = {
        "all": every,
        "none": [],
        "one": [(1, 40, 61)],
        "one block": inside(BLOCK[SPLIT == "test"][0] == BLOCK),
        "only train": inside(SPLIT == "train"),
        "only test": inside(SPLIT == "test"),
        "unknown": [(-1, 0, n)],
        # Every cell that is not positive is unknown: nothing is negative.
        "known negative": [(-1, 0, n), *inside(np.ones(n, bool))],
        "half unknown": [(-1, 0, n // 2), *inside(np.ones(n, bool))],
    }
    lines = np.array(kinds[kind], np.int64).reshape(-1, 3)
    own = np.zeros(len(usual.term), np.int64), usual.instance, usual.start, usual.stop
    new = np.ones(len(lines), np.int64), *lines.T
    return Intervals.of(*(np.concatenate(pair) for pair in zip(own, new, strict=True)), n, 2)


def codes(kind: str, form: str) -> Field:
    """Five ordinary features and one of the kind."""
    dense = persistent(np.random.default_rng(8), len(ROWS), 6)
    column = dense[:, 5].copy()
    dense[:, 5] = {
        "ordinary": column,
        "dead": 0 * column,
        "constant": 0 * column + 3,
        "one cell": np.where(np.arange(len(column)) == 45, 2, 0),
        "silent on test": np.where(SPLIT == "test", 0, column),
        "only on test": np.where(SPLIT == "test", column, 0),
        "two levels": 1.0 + (column > 0),
    }[kind]
    about = {"dictionary": "toy", "seed": 0, "representation": "dictionary", "layer": "2"}
    held = scipy.sparse.csr_matrix(dense) if form == "sparse" else dense.astype(np.float32)
    return Field(ROWS, held, kind="code", about=about)


def truth(kind: str) -> Field:
    return Field(ROWS, labels(kind), ["usual", "odd"], kind="label")


def silent(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Rows in which one of these numbers is missing (or infinite) and nothing is said."""
    number = table[list(columns)].to_numpy(float)
    return table[~np.isfinite(number).all(1) & (table["note"].fillna("") == "")]


def check(found: Field, known: Field, folds: int | None) -> pd.DataFrame:
    """Every table there is of these codes and labels, and that none has a number that is missing in silence."""
    detected = bt.detect(found, known, folds=folds, min_test=3, threads=1)
    table = detected.table
    assert {"usual", "odd"} <= set(table["term"].dropna())
    assert set(range(6)) <= set(table["feature"]) or (table["note"] != "").any()
    figures = ["n_cells", "n_instances", "n_blocks", "n_shifts", "prevalence", "f1", "f1_null", "f1_lo", "f1_hi", "p"]
    figures += ["precision", "recall", "instance_recall", "instance_recall_null", "instance_f1"]
    assert not len(silent(table, *figures)), silent(table, *figures)[["feature", "term", *figures]].T
    on_test = table[table["split"] == "test"]
    assert not len(silent(on_test, "z", "auroc", "ap")), silent(on_test, "z", "auroc", "ap").T
    scored = table[table["p"].notna()]
    assert scored["p"].between(1 / table["n_shifts"].max() if len(scored) else 0, 1).all()
    assert scored["q"].notna().all() and (scored["q"] >= scored["p"]).all()

    odds = bt.enrichment(found, known, table, detected.blocks)
    assert len(odds) == (table["threshold"].notna() & (table["feature"] >= 0)).sum()
    assert not len(silent(odds, "log2_odds", "se", "lo", "hi"))

    claims = bt.headline(found, known, table, detected.blocks)
    assert set(claims["term"]) == {"usual", "odd"}
    named = [name for name in claims.columns if claims[name].dtype == float and not name.endswith("_local")]
    assert not len(silent(claims, *named)), silent(claims, *named).T
    claimed = claims[claims["split"] == "test"]
    assert not len(silent(claimed, "f1_local", "p_local")), claimed.T

    about = bt.features(found, table)
    assert about["feature"].tolist() == list(range(6))
    assert (about["dead"] == (about["density"] == 0)).all() and about.loc[~about["dead"], "max"].notna().all()

    best = layers(table)
    assert not len(silent(best, "f1", "above", "select"))

    rival = {"representation": "neurons", "dictionary": "neurons"}
    both = pd.concat([table, table.assign(**rival)], ignore_index=True)
    versus = bt.comparison(both, pd.concat([detected.blocks, detected.blocks.assign(**rival)], ignore_index=True))
    assert not len(silent(versus, "above", "baseline_above", "difference", "lo", "hi"))
    assert (versus["result"].eq("none") == versus["lo"].isna()).all()
    return table


@pytest.mark.parametrize(
    ("kind", "folds"), [(kind, 4) for kind in LABELS] + [(kind, None) for kind in ("all", "none", "one block")]
)
def test_degenerate_labels(kind: str, folds: int | None) -> None:
    table = check(codes("ordinary", "sparse"), truth(kind), folds)
    odd = table[table["term"] == "odd"]
    if kind in ("none", "unknown", "one"):
        assert odd["f1"].isna().all() and odd["note"].str.contains("not scored").all()
    if kind in ("all", "known negative"):
        assert odd["p"].fillna(1).min() == 1, "where nothing is negative nothing can be found"


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, "sparse") for kind in CODES] + [("dead", "dense"), ("one cell", "dense")]
)
def test_degenerate_features(kind: str, form: str) -> None:
    table = check(codes(kind, form), truth("half unknown"), None)
    own = table[table["feature"] == 5]
    if kind in ("dead", "only on test"):
        assert own["note"].tolist() == ["dead: never active on train and valid"] and own["f1"].isna().all()
    if kind == "constant":
        assert own["note"].str.contains("constant").all() and own["q"].fillna(1).min() > 0.05


@pytest.mark.parametrize("kind", ["dead", "constant"])
@pytest.mark.parametrize("odd", ["none", "all", "unknown"])
def test_nothing_on_either_side(kind: str, odd: str) -> None:
    """All features are of the kind, and the term is odd."""
    value = 0.0 if kind == "dead" else 2.0
    dense = np.full((len(ROWS), 6), value, np.float32)
    about = {"dictionary": "toy", "seed": 0, "representation": "dictionary", "layer": "2"}
    table = check(Field(ROWS, dense, kind="code", about=about), truth(odd), 4)
    assert table["q"].fillna(1).min() > 0.05
