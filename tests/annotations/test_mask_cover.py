"""The cover of cells against dense supersampling by another path."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scan_rows import affine_of, dense_cover, spin

from bioterp.annotations.mask_cover import cover, mean
from bioterp.errors import InputError
from bioterp.grid import Grid, Space

SIZE = (9, 7, 8)


@pytest.fixture
def parts(rng) -> np.ndarray:
    """Random parts 0, 1, 2 in lumps of a few voxels."""
    lumps = rng.integers(0, 3, (5, 4, 4))
    return lumps.repeat(2, 0).repeat(2, 1).repeat(2, 2)[: SIZE[0], : SIZE[1], : SIZE[2]].astype(np.int32)


def shares(found, part: int, cells: int) -> np.ndarray:
    out = np.zeros(cells)
    mine = found.part == part
    assert len(set(found.cell[mine])) == mine.sum()  # one line per cell and part
    out[found.cell[mine]] = found.share[mine]
    return out


def edges_of(centres: np.ndarray, shape=SIZE) -> np.ndarray:
    return Grid.from_centers(Space("s", "mm"), shape, centres).affine


# Cell sizes and shifts in voxels, such that the voxels' edges part 20 points an axis evenly: then the oracle is exact.
CASES = [
    ((2, 2, 2), (0, 0, 0), (4, 3, 4)),
    ((2, 2, 2), (0.5, 0.5, 0.5), (4, 3, 3)),
    ((0.5, 1, 0.25), (0, 2, 1.75), (6, 4, 5)),
    ((2.5, 1.25, 2.5), (-1.25, 0.75, 0.5), (4, 5, 3)),
    ((2.5, 4, 5), (-4, -2, 1), (5, 3, 2)),
    ((1, 1, 1), (3.5, 0, -0.25), (3, 7, 4)),
]


@pytest.mark.parametrize(("size", "shift", "shape"), CASES)
def test_parallel_lattices_are_exact(parts, size, shift, shape) -> None:
    centres = affine_of(spin(20, -35, 50), (1.5, 2, 0.75), (-11, 4, 30))  # oblique in the world, parallel to each other
    cells = edges_of(centres) @ np.block(
        [[np.diag(size), np.array(shift)[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]
    )
    found = cover(parts, edges_of(centres), cells, shape)
    for part in (1, 2):
        wanted, outside = dense_cover(parts, centres, cells, shape, part)
        np.testing.assert_allclose(shares(found, part, np.prod(shape)), wanted, atol=1e-9)
        np.testing.assert_allclose(found.outside, outside, atol=1e-9)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:])
def test_permuted_and_flipped_axes_are_exact(parts, order) -> None:
    for signs in itertools.product((1, -1), repeat=3):
        turn = np.eye(3)[list(order)] * np.array(signs)
        centres = affine_of(turn, (1, 1, 1), (2, 3, 5))
        cells = affine_of(np.eye(3), (1.25, 2.5, 2), (-3.25, -1, 0.5))
        found = cover(parts, edges_of(centres), cells, (5, 4, 6))
        wanted, outside = dense_cover(parts, centres, cells, (5, 4, 6), 2)
        np.testing.assert_allclose(shares(found, 2, 120), wanted, atol=1e-9)
        np.testing.assert_allclose(found.outside, outside, atol=1e-9)


@pytest.mark.parametrize("spacing", [0.8, 1.7, 4.0])
def test_oblique_lattices_are_close(parts, spacing) -> None:
    centres = affine_of(spin(13, 27, -40), (1, 1.4, 0.9), (-3, 2, 1))
    middle = centres[:3, :3] @ (np.array(SIZE) / 2) + centres[:3, 3]
    shape = tuple(int(np.ceil(9 / spacing)) for _ in range(3))
    cells = affine_of(spin(-5, 60, 10), [spacing] * 3, middle - spin(-5, 60, 10) @ (np.array(shape) * spacing / 2))
    found = cover(parts, edges_of(centres), cells, shape)
    wanted, outside = dense_cover(parts, centres, cells, shape, 1)
    mine = shares(found, 1, np.prod(shape))
    assert np.abs(mine - wanted).max() < 0.12
    assert np.abs(mine - wanted).mean() < 0.015
    assert np.abs(found.outside - outside).max() < 0.12
    clear = np.abs(wanted - 0.5) > 0.12
    assert ((mine >= 0.5) == (wanted >= 0.5))[clear].all()


def test_shares_of_a_cell_add_to_one(parts) -> None:
    whole = np.where(parts == 0, 3, parts).astype(np.int32)
    for cells in (
        affine_of(np.eye(3), (1.3, 2.9, 0.7), (-2, 1, 0)),
        affine_of(spin(9, 9, 9), (1.3, 2.9, 0.7), (-2, 1, 0)),
    ):
        found = cover(whole, edges_of(np.eye(4)), cells, (7, 3, 9))
        total = np.bincount(found.cell, found.share, 189) + found.outside
        np.testing.assert_allclose(total, 1, atol=1e-9)


def test_hidden_voxels_are_outside() -> None:
    parts = np.zeros((4, 4, 4), np.int32)
    parts[1, 2, 3], parts[0, 2, 3] = -1, 1
    found = cover(parts, np.eye(4), np.diag([2, 2, 2, 1.0]), (2, 2, 2))
    assert np.flatnonzero(found.outside).tolist() == [0 * 4 + 1 * 2 + 1]
    assert found.outside[3] == pytest.approx(1 / 8)
    assert found.share.tolist() == [pytest.approx(1 / 8)]


def test_float32_affines_do_not_make_slivers() -> None:
    """The same lattice, once through float32: no cell touches its neighbour's voxel."""
    centres = affine_of(np.eye(3), (1.2, 1.0546875, 0.7), (107.4213, -151.5625, 33.9453))
    stored = centres.astype(np.float32).astype(float)
    parts = np.arange(1, 60 * 50 * 40 + 1, dtype=np.int32).reshape(60, 50, 40)
    found = cover(parts, edges_of(stored, parts.shape), edges_of(centres, parts.shape), parts.shape)
    assert (found.share == 1).all()
    assert (found.cell == found.part - 1).all()
    assert not found.outside.any()


def test_means_against_supersampling(parts, rng) -> None:
    volume = rng.normal(size=SIZE).astype(np.float32)
    volume[2, 3, 4] = np.nan
    cells = affine_of(np.eye(3), (1.25, 2.5, 2), (-1.25, 0, 0.5))
    held, hidden = mean(volume, edges_of(np.eye(4)), cells, (4, 2, 3))
    steps = (np.arange(20) + 0.5) / 20
    for at, cell in enumerate(np.ndindex(4, 2, 3)):
        points = np.stack(np.meshgrid(*[c + steps for c in cell], indexing="ij"), -1).reshape(-1, 3)
        voxel = np.rint(points * [1.25, 2.5, 2] + [-1.25, 0, 0.5]).astype(int)
        inside = ((voxel >= 0) & (voxel < SIZE)).all(1)
        values = volume[tuple(voxel[inside].T)]
        good = values[np.isfinite(values)]
        assert held[at] == pytest.approx(good.mean(), abs=1e-6)
        assert hidden[at] == pytest.approx(1 - len(good) / 8000, abs=1e-9)


def test_oblique_mean_of_a_ramp_is_the_ramp_at_the_cell() -> None:
    """A linear map has its own value at the middle of any cell, up to the width of a voxel."""
    volume = np.add.outer(np.add.outer(2.0 * np.arange(30), 3.0 * np.arange(30)), np.arange(30)).astype(np.float32)
    cells = affine_of(spin(30, 20, 10), (3, 3, 3), (12, 10, 8))
    held, hidden = mean(volume, edges_of(np.eye(4), volume.shape), cells, (2, 3, 2))
    index = np.stack(np.unravel_index(np.arange(12), (2, 3, 2)), 1) + 0.5
    middle = index @ cells[:3, :3].T + cells[:3, 3]
    np.testing.assert_allclose(held, middle @ [2.0, 3.0, 1.0], atol=0.5)
    np.testing.assert_allclose(hidden, 0, atol=1e-9)


def test_a_flat_affine_is_refused() -> None:
    with pytest.raises(InputError, match="inverted"):
        cover(np.zeros((2, 2, 2), np.int32), np.diag([1, 1, 0, 1.0]), np.eye(4), (2, 2, 2))
