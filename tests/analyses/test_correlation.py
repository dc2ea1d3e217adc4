"""Correlation with signals against scipy on plain arrays, every shift made by hand, and degenerate signals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from worlds import World, genomic_order, world

from bioterp.analyses.correlation import correlation
from bioterp.errors import InputError
from bioterp.field import Field

NAMES = ["follows", "against", "noise", "constant", "unknown"]


@pytest.fixture(scope="module")
def here() -> tuple[World, Field, np.ndarray]:
    """Signal 0 rises with feature 4, signal 1 falls with feature 2; every signal has gaps but the last has no value."""
    made, rng = world(7), np.random.default_rng(4)
    n = len(made.rows)
    y = rng.standard_normal((n, 5)).astype(np.float32) + 3
    y[:, 0] += made.dense[:, 4]
    y[:, 1] -= 0.7 * made.dense[:, 2]
    y[:, 3], y[:, 4] = 2.5, np.nan
    for t in range(4):
        y[rng.integers(n - 9) :, t][: t * 31 + 5] = np.nan
    return made, Field(made.rows, y, NAMES, kind="label"), y


@pytest.fixture(scope="module")
def found(here):
    return correlation(here[0].codes, here[1], per_term=3)


def test_numbers_of_every_row_are_those_of_scipy(here, found):
    made, _, y = here
    split = made.split()
    for row in found[found["feature"] >= 0].itertuples():
        signal = y[:, NAMES.index(row.term)]
        for keep, told in ((split == "test", row.pearson), (split != "test", row.pearson_select)):
            keep = keep & np.isfinite(signal)
            exact = scipy.stats.pearsonr(made.dense[keep, row.feature].astype(float), signal[keep].astype(float))[0]
            assert told == pytest.approx(exact, abs=1e-9)
        keep = (split == "test") & np.isfinite(signal)
        assert (row.n, row.n_active) == (keep.sum(), (made.dense[keep, row.feature] > 0).sum())
        assert row.spearman == pytest.approx(scipy.stats.spearmanr(made.dense[keep, row.feature], signal[keep])[0])


def test_features_are_chosen_on_train_and_valid_and_the_planted_ones_lead(here, found):
    made, _, y = here
    select = made.split() != "test"
    for t, name in enumerate(NAMES[:3]):
        keep = select & np.isfinite(y[:, t])
        r = np.array([abs(np.corrcoef(made.dense[keep, f], y[keep, t])[0, 1]) for f in range(made.dense.shape[1])])
        assert found[found["term"] == name]["feature"].tolist() == np.argsort(-r)[:3].tolist()
    best = found.drop_duplicates("term").set_index("term")
    assert (best["feature"]["follows"], best["feature"]["against"]) == (4, 2)
    assert best["pearson_lo"]["follows"] > 0 > best["pearson_hi"]["against"]
    assert best["q_by"]["follows"] < 0.05 and best["q_by"]["against"] < 0.05


def test_p_is_the_share_of_all_shifts_made_by_hand(here, found):
    made, _, y = here
    lines = genomic_order(made.rows, made.split() == "test")
    for row in found[found["p"].notna()].itertuples():
        size = row.n_shifts
        code, signal = np.zeros((2, size)), np.full((2, size), np.nan)
        for s, own in enumerate(lines):
            code[s, : len(own)] = made.dense[own, row.feature]
            signal[s, : len(own)] = y[own, NAMES.index(row.term)]
        known = np.isfinite(signal)
        every = [np.corrcoef(np.roll(code, shift, axis=1)[known], signal[known])[0, 1] for shift in range(size)]
        assert row.p == np.mean(np.abs(every) >= abs(every[0]) - 1e-9)
        assert row.pearson_null == pytest.approx(np.mean(every), abs=1e-9)
        assert row.z == pytest.approx((every[0] - np.mean(every)) / np.std(every))
    p = found["p"].dropna()
    assert found["q"].dropna().to_numpy() == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_signals_that_say_nothing_are_rows_that_say_so(found):
    for name in ("constant", "unknown"):
        (row,) = found[found["term"] == name].itertuples()
        assert row.feature == -1 and "constant or unknown" in row.note and np.isnan(row.pearson)


def test_intervals_and_infinite_numbers_are_refused(here):
    made, _, y = here
    with pytest.raises(InputError, match="these labels are intervals"):
        correlation(made.codes, made.truth)
    with pytest.raises(InputError, match="signal 'noise' holds an infinite number"):
        spoilt = y.copy()
        spoilt[3, 2] = np.inf
        correlation(made.codes, Field(made.rows, spoilt, NAMES, kind="label"))
