"""Counts of sparse codes against products of sparse matrices and against the codes themselves; large batches."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import mutual_info_score, roc_auc_score

from bioterp.analyses import blocks, counting, scoring
from bioterp.analyses.blocks import BATCH, as_csr, batch_rows, stream
from bioterp.analyses.edges import bin_edges, bin_means, sample_active, thinned
from bioterp.analyses.runs import plan
from bioterp.values import Intervals

ROWS, FEATURES, TERMS = 4_103, 67, 5
CUTS, GROUPS = np.array([0, 1_009, 2_117, 3_011, ROWS]), np.array([0, 1, -1, 0])


@pytest.fixture(scope="module")
def codes() -> scipy.sparse.csr_matrix:
    rng = np.random.default_rng(8)
    dense = np.where(rng.random((ROWS, FEATURES)) < 0.05, rng.gamma(2, 1, (ROWS, FEATURES)), 0)
    dense[:, 11] = 0
    return scipy.sparse.csr_matrix(np.round(dense, 1).astype(np.float32))  # with ties, and some rounded to nothing


@pytest.fixture(scope="module")
def labels() -> Intervals:
    """Instances of one or two runs that overlap each other and may lie in several groups; unknown rows of two terms."""
    rng = np.random.default_rng(9)
    runs = []
    for t in range(TERMS):
        for i in range(1, 83):
            a = int(rng.integers(ROWS - 1))
            runs.append((t, i, a, min(a + int(rng.geometric(1 / 23)), ROWS)))
            if i % 7 == 0:
                b = int(rng.integers(ROWS - 30))
                runs.append((t, i, b, b + 29))
        runs += [(t, -1, a, a + 37) for a in rng.integers(0, ROWS - 40, 6).tolist()] if t in (1, 4) else []
    return Intervals.of(*zip(*runs, strict=True), ROWS, TERMS)


def counted(codes, labels, size, threads=1):
    bins = bin_edges(*sample_active(lambda lo, hi: codes[lo:hi], np.array([[0, ROWS]]), FEATURES, 500))
    counts = counting.count(lambda lo, hi: codes[lo:hi], bins, plan(labels, CUTS, GROUPS, 2, size), threads)
    return counts, bins


def indicators(labels: Intervals, g: int) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix, list[np.ndarray]]:
    """(terms, rows) positive and unknown in group g, and of each term its instances (instances, rows)."""
    own = np.repeat(GROUPS, np.diff(CUTS)) == g
    positive, unknown, instances = np.zeros((TERMS, ROWS)), np.zeros((TERMS, ROWS)), []
    for t in range(TERMS):
        positive[t], known = labels.mask(t)
        unknown[t] = ~known
        runs = labels.runs(t)
        each = np.zeros((83, ROWS))
        for i, a, b in zip(runs.instance, runs.start, runs.stop, strict=True):
            if i > 0:
                each[i, a:b] = 1
        instances.append(each * own)
    return scipy.sparse.csr_matrix(positive * own), scipy.sparse.csr_matrix(unknown * own), instances


@pytest.mark.parametrize(("size", "threads"), [(173, 1), (2_048, 3), (ROWS, 2)])
def test_above_every_edge_the_counts_are_products_of_sparse_matrices(codes, labels, size, threads, monkeypatch):
    monkeypatch.setattr(blocks, "BATCH", 300)  # larger batches are read in pieces
    counts, bins = counted(codes, labels, size, threads)
    for g in range(2):
        positive, unknown, instances = indicators(labels, g)
        for e in range(bins.shape[1]):
            active = codes.copy()
            active.data = (codes.data > bins[codes.indices, e]).astype(float)
            assert np.array_equal(counts.positive[g, :, :, e + 1 :].sum(2), (positive @ active).toarray())
            assert np.array_equal(counts.unknown[g, :, :, e + 1 :].sum(2), (unknown @ active).toarray())
            for t, each in enumerate(instances):
                met = ((scipy.sparse.csr_matrix(each) @ active).toarray() > 0).sum(0)
                assert np.array_equal(counts.instances[g, t, :, e + 1 :].sum(1), met)


def test_areas_of_binned_codes_are_near_those_of_the_codes_themselves(codes, labels):
    """The oracle that knows no bins: 31 quantile edges lose next to nothing of the order of the values."""
    counts, _ = counted(codes, labels, 1_000)
    own = np.repeat(GROUPS, np.diff(CUTS)) == 0
    dense = codes.toarray()
    for t in range(TERMS):
        positive, known = labels.mask(t)
        found = scoring.auroc(scoring.of_term(counts, 0, t))
        for f in range(FEATURES):
            exact = roc_auc_score(positive[known & own], dense[known & own, f])
            assert found[f] == pytest.approx(exact, abs=2e-3)


def test_information_is_that_of_sklearn_and_contrast_near_that_of_the_codes_themselves(codes, labels):
    read, spans = (lambda lo, hi: codes[lo:hi]), np.array([[0, ROWS]])
    values, filled = sample_active(read, spans, FEATURES, 500)
    bins = bin_edges(values, filled)
    means = bin_means(values, filled, bins)
    counts = counting.count(read, bins, plan(labels, CUTS, GROUPS, 2, 1_000), 1)
    dense, own = codes.toarray(), np.repeat(GROUPS, np.diff(CUTS)) == 0
    for t in range(TERMS):
        positive, known = labels.mask(t)
        pair, rows = scoring.of_term(counts, 0, t), known & own
        told, contrast = scoring.mutual_information(pair), scoring.contrast(pair, means)
        inside, outside = dense[rows & positive].mean(0), dense[rows & ~positive].mean(0)
        assert contrast == pytest.approx(inside - outside, abs=0.01 * float(dense.max()))
        for f in range(FEATURES):
            which = (dense[rows, f, None] > bins[f]).sum(1)
            assert told[f] * np.log(2) == pytest.approx(mutual_info_score(positive[rows], which), abs=1e-12)
    assert told[11] == contrast[11] == 0  # a dead feature tells nothing


def test_a_term_of_no_cell_or_of_every_cell_has_no_contrast_and_no_information():
    some, none = np.array([[3, 4, 2]]), np.zeros((1, 3), int)
    for pair in (scoring.Pair(some, none, none), scoring.Pair(none, some, none)):
        assert scoring.mutual_information(pair) == 0
        assert np.isnan(scoring.contrast(pair, np.array([[0, 1.0, 2.5]])))
    assert np.isnan(scoring.mutual_information(scoring.Pair(none, none, none)))


def test_a_large_batch_is_the_rows_of_its_pieces_and_tells_the_row_of_a_bad_code(codes, monkeypatch):
    monkeypatch.setattr(blocks, "BATCH", 400)
    (lo, hi, block), *rest = stream(lambda lo, hi: codes[lo:hi], np.array([100, 1_901, 2_500]))
    assert (lo, hi, len(rest)) == (100, 1_901, 1)
    for mine, whole in zip(block, as_csr(codes[100:1_901]), strict=True):
        assert np.array_equal(mine, whole)
    spoilt = codes.copy()
    spoilt.data[codes.indptr[1_333]] = np.nan
    with pytest.raises(blocks.BadCode) as told:
        list(stream(lambda lo, hi: spoilt[lo:hi], np.array([0, ROWS])))
    assert told.value.row == int(np.searchsorted(codes.indptr, codes.indptr[1_333], side="right")) - 1


def test_batches_are_large_for_sparse_codes_alone():
    assert batch_rows(32 * 5_000, 5_000, 8_192) == 131_072
    assert batch_rows(500 * 5_000, 5_000, 100_000) == 2 * BATCH
    assert batch_rows(256 * 5_000, 5_000, 512) == batch_rows(0, 0, 512) == BATCH  # dense; nothing seen
    assert batch_rows(0, 5_000, 512) == 131_072  # silent


def test_rows_for_edges_are_all_when_few_and_spread_without_overlap_when_many():
    few = np.array([[3, 500], [700, 1_003]])
    assert thinned(few) is few
    spans = np.stack([np.arange(0, 600_000, 600), np.arange(0, 600_000, 600) + 577], 1)  # gaps of 23
    found = thinned(spans, least=20_000, share=64, size=100)
    assert (found[1:, 0] >= found[:-1, 1]).all() and (found[:, 1] > found[:, 0]).all()
    assert 15_000 < (found[:, 1] - found[:, 0]).sum() <= 20_000
    owner = np.searchsorted(spans[:, 0], found[:, 0], side="right") - 1
    assert (found[:, 1] <= spans[owner, 1]).all()
    assert np.diff(np.histogram(found[:, 0], bins=10, range=(0, 600_000))[0]).max() <= 3
    assert len(np.unique(found[:, 0] % 600)) > 50  # at no fixed place of an item
