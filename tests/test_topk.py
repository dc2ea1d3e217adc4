"""The exact row top-k against a sort of every row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioterp.topk import top_k


def by_sorting(row: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest values > 0, the lower column first among equals."""
    best = np.lexsort((np.arange(len(row)), -row))[:k]
    return np.sort(best[row[best] > 0])


@pytest.mark.parametrize(("rows", "columns", "k"), [(7, 5, 3), (1, 1, 1), (50, 9, 9), (301, 37, 16), (0, 4, 2)])
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
