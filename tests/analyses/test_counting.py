"""Counts against plain loops; they must not depend on batches."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import average_precision_score, roc_auc_score
from worlds import World, world

from bioterp.analyses import counting, dense_counts, parts, scoring
from bioterp.analyses.alignment import count_codes
from bioterp.analyses.blocks import BadCode, as_block
from bioterp.analyses.edges import bin_edges, levels, sample_active
from bioterp.analyses.parts import Part, active_rows
from bioterp.analyses.runs import cut, difference
from bioterp.field import Field


def binned(here: World, edges: np.ndarray) -> np.ndarray:
    """Bins by comparison with every edge, not by bisection."""
    return (here.dense[:, :, None] > edges[None]).sum(2)


@pytest.fixture(scope="module")
def here() -> World:
    return world(5)


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_every_histogram_equals_a_loop_over_rows(here, form, monkeypatch):
    monkeypatch.setattr(dense_counts, "TILE", 4)  # 9 columns: tiles of 3
    codes = here.codes if form == "sparse" else Field(here.rows, here.dense, kind="code")
    assert isinstance(as_block(codes.read(0, 50)), tuple) == (form == "sparse")
    counts, edges = count_codes(codes, here.labels)
    bins, split = binned(here, edges), here.split()
    for g, group in enumerate((split != "test", split == "test")):
        for t in range(here.labels.columns):
            positive, known, instances = here.masks(t)
            pair = scoring.of_term(counts, g, t)
            for f in range(here.dense.shape[1]):
                for hist, rows in ((pair.positive, positive & group), (pair.negative, known & ~positive & group)):
                    assert np.array_equal(hist[f], np.bincount(bins[rows, f], minlength=counting.BINS))
                tops = [bins[rows & group, f].max() for rows in instances.values() if (rows & group).any()]
                assert np.array_equal(pair.instances[f], np.bincount(tops, minlength=counting.BINS))


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_counts_do_not_depend_on_the_batch_size_or_threads(here, form):
    codes = here.codes if form == "sparse" else Field(here.rows, here.dense, kind="code")
    whole, edges = count_codes(here.codes, here.labels, threads=1)
    for size, threads in ((13, 2), (101, 3)):
        again, other = count_codes(codes, here.labels, threads=threads, size=size)
        assert np.array_equal(edges, other)
        for name, value in vars(whole).items():
            assert np.array_equal(value, getattr(again, name)), name


def test_dense_codes_and_stored_zeros_count_as_sparse_ones(here):
    whole, _ = count_codes(here.codes, here.labels)
    dense, _ = count_codes(Field(here.rows, here.dense, kind="code"), here.labels)
    stored = here.codes.values.copy()
    stored.data[:7] = 0
    zeros, _ = count_codes(Field(here.rows, stored, kind="code"), here.labels)
    removed = stored.copy()
    removed.eliminate_zeros()
    without, _ = count_codes(Field(here.rows, removed, kind="code"), here.labels)
    assert np.array_equal(whole.positive, dense.positive)
    assert np.array_equal(zeros.total, without.total)


def test_counts_of_two_halves_add_up(here):
    counts, _ = count_codes(here.codes, here.labels)
    twice = counts + counts
    assert np.array_equal(twice.instances, 2 * counts.instances)
    assert np.array_equal(twice.n_rows, 2 * counts.n_rows)


def test_areas_are_those_of_sklearn_on_the_binned_codes(here):
    counts, edges = count_codes(here.codes, here.labels)
    bins, split = binned(here, edges), here.split()
    for t in range(here.labels.columns):
        positive, known, _ = here.masks(t)
        rows = known & (split == "test")
        pair = scoring.of_term(counts, 1, t)
        ap, auroc = scoring.average_precision(pair), scoring.auroc(pair)
        for f in range(here.dense.shape[1]):
            assert ap[f] == pytest.approx(average_precision_score(positive[rows], bins[rows, f]), abs=1e-12)
            assert auroc[f] == pytest.approx(roc_auc_score(positive[rows], bins[rows, f]), abs=1e-12)


def test_edges_are_observed_codes_and_ties_stay_together():
    values = np.array([[1.0, 1, 1, 2, 3], [7, 7, 7, 7, 7], [0, 0, 0, 0, 0]], np.float32)
    edges = bin_edges(values, np.array([5, 5, 0]), 8)
    assert edges[0].tolist() == [0, 1, 2, *[np.inf] * 4]
    assert edges[1].tolist() == [0, *[np.inf] * 6]  # one level: active or not
    assert edges[2].tolist() == [0, *[np.inf] * 6]


def test_one_outlier_does_not_set_the_scale():
    rng = np.random.default_rng(2)
    plain = rng.gamma(2, 1, (1, 3001)).astype(np.float32)
    spoilt = plain.copy()
    spoilt[0, 17] = 1e30
    usual, other = (bin_edges(v, np.array([3001]))[0, :-1] for v in (plain, spoilt))
    assert np.quantile(np.abs(usual - other) / (usual + 1), 0.9) < 0.05


def test_levels_rise_and_leave_room_for_silence():
    for bins in (5, 8, 32, 64):
        found = levels(bins)
        assert len(found) == bins - 2
        assert (np.diff(found) > 0).all()
        assert 0 < found[0] < found[-1] < 1


def test_a_full_sample_is_a_random_part_that_batches_do_not_change():
    rng = np.random.default_rng(1)
    codes = rng.gamma(2, 1, (5003, 3)).astype(np.float32)
    codes[:, 1] *= rng.random(5003) < 0.01
    found = [sample_active(lambda lo, hi: codes[lo:hi], np.array([[0, 5003]]), 3, size, 256) for size in (97, 5003)]
    for (values, filled), (others, _) in [found]:
        assert filled[1] == (codes[:, 1] > 0).sum()
        for f in range(3):
            assert np.array_equal(values[f, : filled[f]], others[f, : filled[f]])
            assert filled[f] <= 256 and set(values[f, : filled[f]]) <= set(codes[:, f])
        for f in (0, 2):
            assert filled[f] >= 100
            assert abs(np.median(values[f, : filled[f]]) - np.median(codes[:, f])) < 0.35


def test_difference_and_cut_against_painted_rows():
    rng = np.random.default_rng(3)
    for _ in range(30):
        rows, terms = 53, 3
        runs = [(rng.integers(terms), *np.sort(rng.integers(0, rows + 1, 2))) for _ in range(12)]
        hidden = [(rng.integers(terms), *np.sort(rng.integers(0, rows + 1, 2))) for _ in range(5)]
        paint = np.zeros((2, terms, rows), bool)
        for which, group in enumerate((runs, hidden)):
            for t, a, b in group:
                paint[which, t, a:b] = True
        ours, theirs = (tuple(np.array(c, np.int64) for c in zip(*group, strict=True)) for group in (runs, hidden))
        again = np.zeros((terms, rows), int)
        term, start, stop = difference(*ours, without=theirs, rows=rows)
        for t, a, b in zip(term, start, stop, strict=True):
            again[t, a:b] += 1
        assert np.array_equal(again, (paint[0] & ~paint[1]).astype(int))
        edges = np.array([0, 7, 20, 21, rows])
        source, segment, lo, hi = cut(start, stop, edges)
        assert (lo >= edges[segment]).all() and (hi <= edges[segment + 1]).all() and (hi > lo).all()
        assert np.array_equal(np.bincount(source, hi - lo, len(start)), stop - start)


def test_a_sample_of_dense_codes_is_that_of_sparse_ones():
    rng = np.random.default_rng(4)
    codes = np.maximum(rng.standard_normal((3001, 70)), 0).astype(np.float32)  # more columns than a tile
    spans, matrix = np.array([[5, 1000], [1203, 3001]]), scipy.sparse.csr_matrix(codes)
    dense, full = sample_active(lambda lo, hi: codes[lo:hi], spans, 70, 97, 200)
    sparse, filled = sample_active(lambda lo, hi: matrix[lo:hi], spans, 70, 501, 200)
    assert np.array_equal(full, filled)
    for f in range(70):
        assert np.array_equal(dense[f, : full[f]], sparse[f, : full[f]])


def test_active_rows_are_the_same_from_dense_and_sparse_codes_and_in_chunks(monkeypatch):
    rng = np.random.default_rng(6)
    codes = np.maximum(rng.standard_normal((400, 11)), 0).astype(np.float32)
    matrix, part = scipy.sparse.csr_matrix(codes), Part(np.array([[3, 90], [90, 200], [310, 399]]), np.array([0, 1, 1]))
    feature, least = np.array([0, 2, 3, 7, 10]), np.array([0, 0.5, 3, 0.1, 1.0])
    monkeypatch.setattr(parts, "ENTRIES", 150)
    rows = np.r_[3:200, 310:399]
    for read in (lambda lo, hi: codes[lo:hi], lambda lo, hi: matrix[lo:hi]):
        chunks = list(active_rows(read, part, 11, feature, least))
        assert len(chunks) > 1
        found = {f: pair for chunk in chunks for f, pair in chunk.items()}
        assert sorted(found) == feature.tolist()
        for f, limit in zip(feature, least, strict=True):
            above = np.flatnonzero(codes[rows, f] > np.float32(limit))
            assert np.array_equal(found[f][0], above) and np.array_equal(found[f][1], codes[rows[above], f])


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
def test_a_bad_dense_code_is_told_by_row_and_column(value):
    codes = np.ones((9, 4), np.float32)
    codes[5, 2] = value
    with pytest.raises(BadCode) as told:
        as_block(codes, 100)
    assert (told.value.row, told.value.column) == (105, 2)


def test_a_dense_block_that_is_nearly_silent_is_counted_as_sparse():
    codes = np.zeros((8, 40), np.float32)
    codes[3, 7] = 2
    assert isinstance(as_block(codes), tuple)
