"""Resampled blocks, shifts within blocks, and the table of headline claims that is made of them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from worlds import genome, genomic_order, labels_on, of, persistent, world

import bioterp as bt
from bioterp import tables
from bioterp.analyses import bootstrap as kernel
from bioterp.analyses.alignment import part_of, ring_of
from bioterp.analyses.bootstrap import bootstrap, resampled
from bioterp.analyses.local_shifts import local_null
from bioterp.analyses.shifts import Side
from bioterp.errors import InputError
from bioterp.report.best import sentence, shares_regions


def precision(tp, fp):
    return np.asarray(tp) / (np.asarray(tp) + fp)


def test_every_draw_has_as_many_blocks_of_each_contig():
    strata = np.array([3, 3, 3, 3, 8, 8, 8, 5, 6, 7])
    times = resampled(strata, 400, seed=1)
    for own in ([0, 1, 2, 3], [4, 5, 6], [7, 8, 9]):  # the three lone contigs are drawn from together
        assert (times[:, own].sum(1) == len(own)).all()
    assert times.mean(0) == pytest.approx(1, abs=0.25) and times[:, 7].max() > 1


def test_the_interval_is_that_of_scipy(monkeypatch):
    """Without the widening for few blocks, the BCa interval of scipy, up to the draws."""
    rng = np.random.default_rng(4)
    tp, fp = rng.poisson(30, 24), rng.poisson(rng.gamma(2.0, 9.0, 24))
    monkeypatch.setattr(kernel.scipy.stats.t, "isf", lambda q, n: scipy.stats.norm.isf(q) * np.sqrt(n / (n + 1)))
    mine = bootstrap(precision, (tp, fp), np.zeros(24), tp, draws=19_999)
    known = scipy.stats.bootstrap(
        (tp, fp), lambda a, b, axis: a.sum(axis) / (a.sum(axis) + b.sum(axis)), paired=True, n_resamples=19_999, rng=2
    )
    width = known.confidence_interval.high - known.confidence_interval.low
    assert mine.lo == pytest.approx(known.confidence_interval.low, abs=0.03 * width)
    assert mine.hi == pytest.approx(known.confidence_interval.high, abs=0.03 * width)
    assert mine.se == pytest.approx(known.standard_error, rel=0.03)


def test_few_blocks_and_one_that_holds_all_give_a_reason():
    three = np.array([5, 6, 7, 0, 0])
    assert bootstrap(precision, (three, three), np.zeros(5), three).reason == "no interval: 3 blocks, at least 4 needed"
    one = np.array([9, 0, 0, 0, 0, 0])
    found = bootstrap(precision, (one, one + 1), np.zeros(6), one)
    assert found.reason == "no interval: positives in fewer than two blocks" and np.isnan(found.lo)
    lone = np.array([4, 3, 0, 0, 0, 0])  # a draw that lacks the first two blocks has nothing active: 0 / 0
    found = bootstrap(lambda tp, known: np.where(tp > 0, 1.0, np.nan), (lone, lone + 1), np.zeros(6), lone + 1)
    assert found.reason == "no interval: undefined in some draws of blocks" and np.isnan(found.hi)


def planted_counts(rng, blocks, n=700):
    """Blocks of two contigs whose precision and share of the term vary: TP and FP."""
    positives = rng.binomial(n, rng.beta(2.0, 14.0, blocks))
    tp = rng.binomial(positives, rng.beta(7.0, 3.0, blocks))
    return tp, rng.binomial(n - positives, rng.beta(2.0, 60.0, blocks))


def test_coverage_of_the_interval_over_worlds():
    rng = np.random.default_rng(12)
    tp, fp = planted_counts(rng, 400_000)
    truth = float(precision(tp.sum(), fp.sum()))
    inside = []
    for _ in range(250):
        tp, fp = planted_counts(rng, 21)
        found = bootstrap(precision, (tp, fp), np.arange(21) % 2, tp, draws=499)
        inside.append(found.lo <= truth <= found.hi)
    # 95 % within three standard errors of 250 worlds, and the point or two that 21 blocks may cost.
    assert 0.89 <= np.mean(inside) <= 0.99


@pytest.fixture(scope="module")
def here():
    return world(seed=5)


@pytest.fixture(scope="module")
def told(here):
    detected = bt.detect(here.codes, here.truth, per_term=3, folds=None)
    return detected, bt.headline(here.codes, here.truth, detected.table, detected.blocks)


def test_p_within_blocks_is_that_of_rolled_blocks():
    """Three short blocks on two strands, every combination of shifts rolled; some cells are unknown."""
    rng = np.random.default_rng(8)
    edges = np.array([0, 7, 16, 21])
    feature, term, hidden = (rng.random((2, 21)) < share for share in (0.4, 0.3, 0.1))
    term &= ~hidden
    scores = []
    for a in range(7):
        for b in range(9):
            for c in range(5):
                pieces = [feature[:, lo:hi] for lo, hi in itertools.pairwise(edges)]
                rolled = np.concatenate([np.roll(p, s, 1) for p, s in zip(pieces, (a, b, c), strict=True)], 1)
                tp, active = (rolled & term).sum(), (rolled & ~hidden).sum()
                scores.append(2 * tp / (active + term.sum()))
    exact = np.mean(np.array(scores) >= scores[0] - 1e-12)
    found = local_null(Side(feature), Side(term), Side(hidden), edges, draws=20_000)
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000)) and found.draws == 20_001
    assert 0.05 < exact < 0.95


def test_what_only_shares_regions_is_not_called_within_blocks():
    """Feature and term both live in every other block, and do not know each other there."""
    rng = np.random.default_rng(9)
    edges, none = np.arange(0, 4001, 200), Side(np.zeros((1, 4000), bool))
    within, far = [], []
    chains = persistent(rng, 4000, 300, 0.2, 0.8).T > 0
    for i in range(150):
        rich = np.repeat(rng.permutation(np.arange(20) % 2 == 0), 200)
        feature, term = chains[i] & rich, chains[150 + i] & rich
        found = local_null(Side(feature[None]), Side(term[None]), none, edges, draws=199)
        within.append(found.p)
        far.append(found.expected[0] > feature.sum() * term.sum() / 4000)
    error = np.sqrt(0.05 * 0.95 / 150)
    assert 0.05 - 3 * error <= np.mean(np.array(within) <= 0.05) <= 0.05 + 3 * error
    assert np.all(far), "the chance level within blocks counts what the regions share"


def test_numbers_are_those_of_the_cells(here, told):
    detected, claims = told
    assert claims["term"].tolist() == [f"term{t}" for t in range(4)]
    on_test = here.split() == "test"
    for _, row in claims.iterrows():
        pair = detected.table[(detected.table["term"] == row["term"]) & (detected.table["feature"] == row["feature"])]
        pair = pair.iloc[0]
        positive, known, _ = here.masks(int(row["term"][4:]))
        keep, active = on_test & known, here.dense[:, row["feature"]] > np.float32(pair["threshold"])
        tp, fired, positives = (int(mask[keep].sum()) for mask in (active & positive, active, positive))
        chance = 2 * fired * positives / keep.sum() / (fired + positives)
        assert row["f1"] == pytest.approx(2 * tp / (fired + positives)) == pytest.approx(pair["f1"])
        assert row["above"] == pytest.approx(row["f1"] - chance)
        assert row["precision"] == pytest.approx(tp / fired) and row["recall"] == pytest.approx(tp / positives)
        for name in ("f1", "above", "precision", "recall"):
            assert row[f"{name}_lo"] <= row[name] <= row[f"{name}_hi"]
        assert 1 / row["n_draws"] <= row["p_local"] <= 1
    assert claims["q_local"].to_numpy() == pytest.approx(
        scipy.stats.false_discovery_control(claims["p_local"].to_numpy())
    )


def test_the_ring_tells_where_blocks_begin(here):
    ring = ring_of(here.rows, part_of(here.rows, "test"))
    plus, _ = genomic_order(here.rows, here.split() == "test")
    new = np.flatnonzero(here.blocks()[plus][1:] != here.blocks()[plus][:-1]) + 1
    assert ring.edges.tolist() == [0, *new.tolist(), len(plus)]


def test_a_planted_match_is_sure_within_blocks():
    rng = np.random.default_rng(21)
    rows = genome({"c1": 2300, "c2": 1900})
    labels = labels_on(rng, rows, 2, 130)
    here = of(rows, persistent(rng, len(rows), 7), labels)
    positive, _, _ = here.masks(1)
    dense = here.dense.copy()
    dense[:, 4] = np.where(positive & (rng.random(len(rows)) < 0.8), 2 + rng.random(len(rows)), 0)
    planted = of(rows, dense.astype(np.float32), labels)
    detected = bt.detect(planted.codes, planted.truth, folds=None)
    claims = bt.headline(planted.codes, planted.truth, detected.table, detected.blocks).set_index("term")
    assert claims.loc["term1", "feature"] == 4 and claims.loc["term1", "p_local"] == 1 / claims.loc["term1", "n_draws"]
    assert claims.loc["term1", "above_lo"] > 0.3 and claims.loc["term0", "p_local"] > 0.001


def test_a_pair_that_only_shares_regions_says_so():
    """Feature and term live in the same third of the blocks and ignore each other there: q is small, q_local is not."""
    rng = np.random.default_rng(35)
    rows = genome({"c1": 9100})
    free = of(rows, persistent(rng, len(rows), 5, 0.5, 0.6), labels_on(rng, rows, 2, 900))
    block = pd.Series(free.blocks()).str.split(":").str[1].astype(int).floordiv(100).to_numpy()
    rich = (rng.random(91) < 0.25)[block]
    dense = np.where(rich[:, None] & (np.arange(5) == 2), free.dense, 0).astype(np.float32)
    dense[:, 3] = np.where(free.masks(1)[0] & (rng.random(len(rows)) < 0.7), 2, 0)
    keep = rich[free.labels.start] | (free.labels.term == 1)
    parts = [getattr(free.labels, name)[keep] for name in ("term", "instance", "start", "stop")]
    here = of(rows, dense, type(free.labels).of(*parts, len(rows), 2, free.labels.instances))
    found = bt.detection(here.codes, here.truth, folds=None, threads=1).set_index(["term", "feature"])
    only, true = found.loc[("term0", 2)], found.loc[("term1", 3)]
    assert only["q"] <= 0.02 and only["p_local"] > 0.05 and only["f1_local"] > 1.5 * only["f1_null"]
    assert true["q"] <= 0.01 and true["p_local"] == pytest.approx(1e-4)
    assert found["p_local"].notna().sum() == 2, "the best pair of each term, and no other"
    lines = found.reset_index()
    assert "same regions" in sentence(lines[lines["term"] == "term0"].iloc[0])
    assert "same regions" not in sentence(lines[lines["term"] == "term1"].iloc[0])
    assert shares_regions(lines).sum() == 1


def test_terms_that_were_not_scored_and_cross_fitted_ones_are_rows(here):
    keep = here.labels.term != 2
    parts = [getattr(here.labels, name)[keep] for name in ("term", "instance", "start", "stop")]
    labels = type(here.labels).of(*parts, here.labels.rows, here.labels.columns, here.labels.instances)
    few = of(here.rows, here.dense, labels)
    detected = bt.detect(few.codes, few.truth, min_test=40)  # most terms are cross-fitted
    claims = bt.headline(few.codes, few.truth, detected.table, detected.blocks).set_index("term")
    assert claims.loc["term2", "feature"] == -1 and claims.loc["term2", "note"].startswith("not scored")
    assert claims.loc["term2", "method"] == "none" and np.isnan(claims.loc["term2", "f1"])
    crossed = claims[claims["split"] == "cross-fitted"]
    assert len(crossed) and crossed[["p_local", "f1_local", "f1"]].notna().all(axis=None)
    assert crossed["f1_local"].between(0, 1).all() and crossed["p_local"].between(1e-4, 1).all()


def test_tables_of_something_else_are_refused(here, told):
    detected, _ = told
    with pytest.raises(InputError, match="have no such block"):
        bt.headline(here.codes, here.truth, detected.table, detected.blocks.assign(block="elsewhere"))
    with pytest.raises(InputError, match="term 'term9' that the labels lack"):
        bt.headline(here.codes, here.truth, detected.table, detected.blocks.assign(term="term9"))
    with pytest.raises(InputError, match="does not score"):
        bt.headline(here.codes, here.truth, detected.table, detected.blocks.assign(feature=8, split="valid"))


def test_the_table_keeps_its_declared_columns(told, tmp_path):
    _, claims = told
    again = tables.read(tables.write(claims, tmp_path / "headline.parquet"))
    pd.testing.assert_frame_equal(again, claims)
