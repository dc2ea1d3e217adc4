"""The exact row top-k against a sort of every row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba.core.errors import TypingError

from bioterp.topk import above, cut, more, top_k


def by_sorting(row: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest values > 0, the lower column first among equals."""
    best = np.lexsort((np.arange(len(row)), -row))[:k]
    return np.sort(best[row[best] > 0])


@pytest.mark.parametrize(
    ("rows", "columns", "k"), [(7, 5, 3), (1, 1, 1), (50, 9, 9), (301, 37, 16), (0, 4, 2), (99, 64, 7), (120, 200, 32)]
)
@pytest.mark.parametrize("ties", [False, True])
def test_top_k_is_the_head_of_the_sorted_row(rows, columns, k, ties):
    rng = np.random.default_rng(rows + columns)
    values = rng.standard_normal((rows, columns)) * rng.gamma(0.3, 3, (rows, 1))  # rows of very different size
    values = (np.round(values) if ties else values).astype(np.float32)
    bias = (rng.integers(-3, 3, columns) / 2).astype(np.float32)
    data, indices, indptr = top_k(values, bias, k, 0.5)
    values = values + bias
    assert len(indptr) == rows + 1 and indptr[-1] == len(data) == len(indices)
    for r, row in enumerate(values):
        own = slice(indptr[r], indptr[r + 1])
        expected = by_sorting(row, k)
        assert indices[own].tolist() == expected.tolist()
        assert data[own].tolist() == (row[expected] * np.float32(0.5)).tolist()


def test_without_ties_it_is_torch_topk():
    values = np.random.default_rng(3).standard_normal((211, 143)).astype(np.float32)
    _, indices, _ = top_k(values, np.zeros(143, np.float32), 11, 1.0)
    assert np.array_equal(indices.reshape(211, 11), np.sort(torch.from_numpy(values).topk(11).indices.numpy(), 1))


def test_nan_is_never_among_the_largest():
    values = np.array([[np.nan, 2, 1], [np.nan] * 3, [3, np.inf, np.nan]], np.float32)
    _, indices, indptr = top_k(values, np.zeros(3, np.float32), 2, 1.0)
    assert indices.tolist() == [1, 2, 0, 1] and indptr.tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 192, 300])
def test_above_is_what_a_comparison_finds(columns):
    rng = np.random.default_rng(columns)
    values, bias = rng.standard_normal((40, columns)).astype(np.float32), rng.standard_normal(columns)
    values[3] = np.nan
    values[4, ::7] = np.inf
    bias = bias.astype(np.float32)
    own = rng.standard_normal(columns).astype(np.float32)
    for bar in (np.float32(0), np.float32(0.5), np.float32(9), own):
        data, indices, indptr = above(values, bias, bar, 0.25)
        row, column = np.nonzero(values + bias > bar)
        assert indices.tolist() == column.tolist()
        assert np.diff(indptr).tolist() == np.bincount(row, minlength=40).tolist()
        assert data.tolist() == (np.float32(0.25) * (values + bias)[row, column]).tolist()


@pytest.mark.parametrize("ties", [False, True])
def test_a_cut_is_reached_by_the_k_largest_and_their_equals(ties):
    rng = np.random.default_rng(11)
    for trial in range(200):
        n = int(rng.integers(1, 150))
        values = np.abs(rng.standard_normal(n)) + 1e-3
        values = (np.ceil(3 * values) if ties else values).astype(np.float32)
        held = np.zeros(-(-n // 64) * 64, np.float32)
        held[:n] = values
        ordered = np.sort(values)[::-1]
        for k in {1, n, int(rng.integers(1, n + 1))}:
            for below in (0, ordered[k - 1], ordered[k - 1] / 2, ordered[-1]):
                if below > ordered[k - 1]:
                    continue
                bar = cut(held, k, np.float32(below))
                assert 0 < bar <= ordered[k - 1], (trial, k, below)
                assert (values >= bar).sum() == (values >= ordered[k - 1]).sum()
                assert more(held, bar) == (values > bar).sum()
        assert cut(held, n + 1, np.float32(0)) == 0


def test_values_that_are_not_in_rows_are_refused_rather_than_misread():
    with pytest.raises(TypingError, match="contiguous"):
        above(np.asfortranarray(np.ones((3, 70), np.float32)), np.zeros(70, np.float32), np.float32(0.5), 1.0)
