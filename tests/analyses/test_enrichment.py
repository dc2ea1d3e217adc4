"""Log odds against statsmodels and explicit deletion; the features table against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.contingency_tables import Table2x2
from worlds import of, world

from bioterp.analyses.detection import detect, detection
from bioterp.analyses.enrichment import enrichment
from bioterp.analyses.features import features
from bioterp.errors import InputError


@pytest.fixture(scope="module")
def here():
    return world(4)


@pytest.fixture(scope="module")
def found(here):
    return detection(here.codes, here.truth, per_term=2, folds=None)


def odds(active, positive):
    table = [[(active & positive).sum(), (active & ~positive).sum()], [(~active & positive).sum()]]
    table[1].append((~active & ~positive).sum())
    return Table2x2(np.array(table) + 0.5).log_oddsratio / np.log(2)


def test_log_odds_and_their_jackknife(here, found):
    result = enrichment(here.codes, here.truth, found)
    pairs = found[found["threshold"].notna()].reset_index(drop=True)
    assert result[["feature", "term"]].equals(pairs[["feature", "term"]])
    test, blocks = here.split() == "test", here.blocks()
    for row, pair in zip(result.itertuples(), pairs.itertuples(), strict=True):
        positive, known, _ = here.masks(int(row.term[-1]))
        keep = known & test
        active = here.dense[:, row.feature] > pair.threshold
        left = [odds(active[keep & (blocks != b)], positive[keep & (blocks != b)]) for b in np.unique(blocks[keep])]
        se = np.std(left) * np.sqrt(len(left) - 1)
        assert row.log2_odds == pytest.approx(odds(active[keep], positive[keep]))
        assert row.se == pytest.approx(se)
        assert row.hi - row.lo == pytest.approx(2 * se * scipy.stats.t.ppf(0.975, len(left) - 1))


def test_a_table_of_other_labels_is_refused(here, found):
    with pytest.raises(InputError, match="'gene' that the labels lack"):
        enrichment(here.codes, here.truth, found.assign(term="gene"))
    with pytest.raises(InputError, match="names feature 99"):
        enrichment(here.codes, here.truth, found.assign(feature=np.int32(99)))


def test_cross_fitted_pairs_are_scored_by_their_counts_or_not_at_all(here):
    mixed, blocks = detect(here.codes, here.truth, per_term=2, min_test=18)
    told = mixed[mixed["f1"].notna()].reset_index(drop=True)
    assert set(told["split"]) == {"test", "cross-fitted"}
    both, plain = enrichment(here.codes, here.truth, mixed, blocks), enrichment(here.codes, here.truth, mixed)
    on_test = told["split"] == "test"
    assert both[["feature", "term"]].equals(told[["feature", "term"]])
    assert plain.equals(both[on_test].reset_index(drop=True))
    for pair, row in zip(told[~on_test].itertuples(), both[~on_test].itertuples(), strict=True):
        tp = round(pair.recall * pair.n_cells)
        fp, known = round(tp / pair.precision) - tp, round(pair.n_cells / pair.prevalence)
        table = np.array([[tp, fp], [pair.n_cells - tp, known - pair.n_cells - fp]]) + 0.5
        assert row.log2_odds == pytest.approx(Table2x2(table).log_oddsratio / np.log(2))
        assert row.lo < row.log2_odds < row.hi
    with pytest.raises(InputError, match="the counts by block lack the cross-fitted term"):
        enrichment(here.codes, here.truth, mixed, blocks.iloc[:0])


def test_nothing_found_is_an_empty_table(here, found):
    assert len(enrichment(here.codes, here.truth, found.iloc[:0])) == 0


def test_features_are_described_as_numpy_describes_them(here, found):
    dense = here.dense.copy()
    dense[:, 6] = 0
    table = features(of(here.rows, dense, here.labels).codes, found)
    for row in table.itertuples():
        active = dense[dense[:, row.feature] > 0, row.feature]
        assert row.density == pytest.approx((dense[:, row.feature] > 0).mean())
        assert row.dead == (len(active) == 0)
        if len(active):
            expected = active.mean(dtype=float), active.max(), np.quantile(active, 0.999)
            assert (row.mean_active, row.max, row.p999) == pytest.approx(expected)
    assert np.isnan(table["mean_active"][6]) and table["max"][6] == 0


def test_the_best_term_is_the_one_chosen_best_not_the_one_tested_best(here, found):
    table = features(here.codes, found)
    scored = found[found["f1"].notna()]
    for row in table.itertuples():
        own = scored[scored["feature"] == row.feature]
        if len(own):
            best = own.loc[(own["f1_select"] - own["f1_select_null"]).idxmax()]
            assert (row.best_term, row.best_f1) == (best["term"], best["f1"])
        else:
            assert row.best_term is None
    assert features(here.codes)["best_term"].isna().all()
