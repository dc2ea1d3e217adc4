"""Erasure against the theorem, the published formula with square roots, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.covariance
import sklearn.linear_model

from bioterp.analyses.leace import Moments, erase, ledoit_wolf
from bioterp.errors import InputError


def _world(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    group = draw.integers(0, 3, n)
    z = np.eye(3)[group]
    mixing = draw.normal(size=(d, d)) / np.sqrt(d)
    return draw.normal(size=(n, d)) @ mixing + z @ draw.normal(size=(3, d)) + 5, z


def test_nothing_linear_is_left() -> None:
    """The theorem: no linear predictor of z beats the constant one on the erased rows."""
    x, z = _world(311, 17)
    erased = erase(x, z, 0.0)(x)
    assert np.abs(np.cov(erased.T, z.T)[:17, 17:]).max() < 1e-10
    fitted = sklearn.linear_model.LinearRegression().fit(erased, z)
    assert fitted.score(erased, z) < 1e-10


def test_it_is_the_formula_of_the_paper() -> None:
    """W⁺ P W with W the symmetric root of the inverse covariance, by other routines."""
    x, z = _world(211, 13, 1)
    centred = x - x.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    w = vectors @ np.diag(values**-0.5) @ vectors.T
    u, s, _ = np.linalg.svd(w @ (centred.T @ (z - z.mean(0))) / len(x), full_matrices=False)
    u = u[:, s > 1e-10]
    expected = x - centred @ (np.linalg.inv(w) @ u @ u.T @ w).T
    np.testing.assert_allclose(erase(x, z, 0.0)(x), expected, atol=1e-8)
    assert erase(x, z, 0.0).rank == 2  # three levels, two directions


def test_it_changes_the_rows_least() -> None:
    """Among affine maps that leave no covariance, none is nearer the rows: here the projection off the means."""
    x, z = _world(401, 7, 2)
    centred = x - x.mean(0)
    cross = centred.T @ (z - z.mean(0))
    q = np.linalg.svd(cross, full_matrices=False)[0][:, :2]
    projected = x - centred @ q @ q.T
    assert ((erase(x, z, 0.0)(x) - x) ** 2).sum() < ((projected - x) ** 2).sum()


@pytest.mark.parametrize(("n", "d"), [(97, 41), (43, 129)])
def test_shrunk_erasure_still_leaves_no_covariance(n: int, d: int) -> None:
    x, z = _world(n, d, 3)
    shrunk = erase(x, z)
    assert np.abs((shrunk(x) - shrunk(x).mean(0)).T @ (z - z.mean(0))).max() / n < 1e-8


def test_both_roads_agree() -> None:
    """Few rows and many channels (Woodbury) against the covariance itself."""
    x, z = _world(37, 71, 4)
    np.testing.assert_allclose(erase(x, z, 0.3)(x), Moments(71, 3).add(x, z).eraser(0.3)(x), atol=1e-8)


def test_pieces_add_up() -> None:
    x, z = _world(307, 11, 5)
    pieces = Moments(11, 3)
    for lo, hi in ((0, 1), (1, 100), (100, 100), (100, 307)):
        pieces.add(x[lo:hi], z[lo:hi])
    np.testing.assert_allclose(pieces.eraser()(x), erase(x, z, 0.0)(x), atol=1e-9)


def test_the_share_is_scikit_learns() -> None:
    for n, d in ((53, 19), (23, 67)):
        x, _ = _world(n, d, 6)
        assert ledoit_wolf(x) == pytest.approx(sklearn.covariance.ledoit_wolf_shrinkage(x), abs=1e-9)


def test_a_confounder_that_is_not_there_takes_nothing_away() -> None:
    x, _ = _world(59, 5, 7)
    assert erase(x, np.ones((59, 2)), 0.0).rank == 0
    np.testing.assert_array_equal(erase(x, np.ones((59, 2)), 0.0)(x), x)


def test_rows_must_be_finite_and_enough() -> None:
    x, z = _world(31, 5)
    with pytest.raises(InputError, match="finite"):
        erase(np.where(np.arange(31)[:, None] == 3, np.nan, x), z, 0.0)
    with pytest.raises(InputError, match="two rows"):
        erase(x[:1], z[:1], 0.0)
