"""AUROC by strata against scikit-learn and a double loop; DeLong against the variance of repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from bioterp.analyses.concordance import auroc, delong


def test_one_stratum_is_scikit_learns_with_weights_and_ties() -> None:
    draw = np.random.default_rng(0)
    score, case, weight = draw.integers(0, 9, 83).astype(float), draw.random(83) < 0.3, draw.integers(0, 4, 83) * 1.0
    got = auroc(score, case, np.zeros(83, int), weight)
    assert got == pytest.approx(sklearn.metrics.roc_auc_score(case, score, sample_weight=weight), abs=1e-12)


def test_only_pairs_within_strata_count() -> None:
    draw = np.random.default_rng(1)
    score, case, stratum = draw.normal(size=61), draw.random(61) < 0.5, draw.integers(0, 5, 61)
    won = every = 0.0
    for i in np.flatnonzero(case):
        for j in np.flatnonzero(~case & (stratum == stratum[i])):
            won += (score[i] > score[j]) + 0.5 * (score[i] == score[j])
            every += 1
    assert auroc(score, case, stratum) == pytest.approx(won / every, abs=1e-12)
    assert np.isnan(auroc(score, case, case.astype(int)))


def test_delong_is_the_variance_of_repeated_draws() -> None:
    draw = np.random.default_rng(2)
    values, told = [], []
    for _ in range(600):
        case = np.arange(97) < 41
        shared = draw.normal(size=97)
        scores = np.stack([shared + draw.normal(size=97), shared + 0.5 * draw.normal(size=97)]) + np.outer(
            [0.8, 1.2], case
        )
        found = delong(scores, case)
        values.append(found.auroc)
        told.append(found.covariance)
    np.testing.assert_allclose(np.mean(told, 0), np.cov(np.array(values).T), rtol=0.15)


def test_delong_interval_covers_and_differences_are_paired() -> None:
    draw = np.random.default_rng(3)
    truth = 0.7602  # P(N(1, 1) > N(0, 1))
    held = 0
    for _ in range(400):
        case = np.arange(73) < 31
        found = delong((draw.normal(size=73) + case)[None], case, draw.integers(0, 3, 73))
        lo, hi = found.interval(0)
        held += lo <= truth <= hi
    assert 0.91 <= held / 400 <= 0.985
    same = draw.normal(size=59)
    gap, lo, hi, p = delong(np.stack([same, same]), np.arange(59) < 20).difference(0, 1)
    assert (gap, lo, hi, p) == (0, 0, 0, 1)
