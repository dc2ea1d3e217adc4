"""Where cells are: conventions checked with arithmetic of their own, in one and three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioterp.errors import InputError
from bioterp.grid import Grid, Space

CONTIG = Space("c", "bp", 1013)
RING = Space("ring", "bp", 101, circular=True)
SCAN = Space("scan", "mm")


def slow_locate(bounds, point):
    """The first cell whose half-open interval holds the point."""
    return next((i for i, (lo, hi) in enumerate(bounds) if lo <= point < hi), -1)


def test_line_plus_and_minus_by_hand():
    plus, minus = Grid.line(CONTIG, 7, 12), Grid.line(CONTIG, 7, 12, "-")
    assert plus.bounds.tolist() == [[7, 8], [8, 9], [9, 10], [10, 11], [11, 12]]
    assert minus.bounds.tolist() == [[11, 12], [10, 11], [9, 10], [8, 9], [7, 8]]
    assert plus.centers.ravel().tolist() == [7.5, 8.5, 9.5, 10.5, 11.5]
    assert minus.centers.ravel().tolist() == [11.5, 10.5, 9.5, 8.5, 7.5]
    assert (plus.strand, minus.strand) == ("+", "-")
    # A base belongs to the cell that starts at it, on either strand.
    assert plus.locate([6, 7, 11, 12]).tolist() == [-1, 0, 4, -1]
    assert minus.locate([6, 7, 11, 12]).tolist() == [-1, 4, 0, -1]


@settings(max_examples=80, deadline=None)
@given(
    start=st.integers(0, 500), n=st.integers(1, 40), width=st.integers(1, 9), minus=st.booleans(),
    points=st.lists(st.floats(-5, 900, allow_nan=False), min_size=1, max_size=20),
)  # fmt: skip
def test_locate_is_the_interval_that_holds_the_point(start, n, width, minus, points):
    end = start + n * width
    affine = [[-width, end], [0, 1]] if minus else [[width, start], [0, 1]]
    grid = Grid(CONTIG, (n,), affine)
    naive = [[start + i * width, start + (i + 1) * width] for i in range(n)]
    naive = naive[::-1] if minus else naive
    assert grid.bounds.tolist() == naive
    assert grid.locate(points).tolist() == [slow_locate(naive, p) for p in points]
    assert grid.locate(grid.centers).tolist() == list(range(n))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=15), st.booleans(), st.integers())
def test_irregular_cells_with_gaps_and_insertions(steps, minus, seed):
    at, bounds = 11, []
    for gap, width in steps:  # width 0 is an insertion, a gap is masked
        bounds.append([at + gap, at + gap + width])
        at += gap + width
    bounds = bounds[::-1] if minus else bounds
    grid = Grid(CONTIG, (len(bounds),), bounds=bounds, step=-1 if minus else 1)
    points = np.random.default_rng(abs(seed)).uniform(5, at + 7, 13)
    assert grid.locate(points).tolist() == [slow_locate(bounds, p) for p in points]
    keep = np.arange(0, len(bounds), 2)
    assert grid.take(keep).bounds.tolist() == [bounds[i] for i in keep] and grid.take(keep).step == grid.step


def test_take_of_contiguous_cells_stays_regular():
    grid = Grid.line(CONTIG, 20, 37, "-")
    part = grid.take(np.arange(3, 9))
    assert part.affine is not None and part.bounds.tolist() == grid.bounds[3:9].tolist()
    odd = grid.take(np.array([0, 1, 5]))
    assert odd.affine is None and odd.step == -1 and odd.bounds.tolist() == grid.bounds[[0, 1, 5]].tolist()


def test_circular_points_are_found_past_the_origin():
    grid = Grid.line(RING, 95, 107)
    assert grid.locate([95.5, 100.5, 0.5, 5.5, 6.5, 102.5]).tolist() == [0, 5, 6, 11, -1, 7]


def oblique():
    """A rotation with anisotropic voxels, built from angles and not from bioterp."""
    a, b = 0.31, -0.72
    rz = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    full = np.eye(4)
    full[:3, :3] = rz @ rx @ np.diag([1.5, 2.0, -3.0])
    full[:3, 3] = [-20.0, 13.0, 7.0]
    return full


@pytest.mark.parametrize("affine", [np.diag([2.0, 3.0, 4.0, 1.0]), np.diag([-1.0, -1.0, 2.0, 1.0]), oblique()])
def test_nifti_centres_in_three_dimensions(affine):
    shape = (3, 5, 7)
    grid = Grid.from_centers(SCAN, shape, affine)
    # NIfTI: the centre of voxel (i, j, k) is affine @ (i, j, k, 1). Written out, voxel by voxel.
    wanted = np.array([affine @ [i, j, k, 1] for i in range(3) for j in range(5) for k in range(7)])[:, :3]
    np.testing.assert_allclose(grid.centers, wanted, atol=1e-9)
    np.testing.assert_allclose(grid.to_centers(), affine, atol=1e-9)
    assert grid.locate(wanted).tolist() == list(range(105))
    # Each box holds its voxel's eight corners, which are half an index away from the centre.
    corners = np.array([[di, dj, dk] for di in (-0.5, 0.5) for dj in (-0.5, 0.5) for dk in (-0.5, 0.5)])
    at = (np.column_stack([corners + np.array([2, 4, 3]), np.ones(8)]) @ affine.T)[:, :3]
    box = grid.bounds[2 * 35 + 4 * 7 + 3]
    np.testing.assert_allclose(box, np.stack([at.min(0), at.max(0)], 1), atol=1e-9)


def test_agreement_with_nibabel():
    affines = pytest.importorskip("nibabel.affines")
    affine = oblique()
    grid = Grid.from_centers(SCAN, (4, 2, 6), affine)
    index = np.stack(np.unravel_index(np.arange(48), (4, 2, 6)), 1)
    np.testing.assert_allclose(grid.centers, affines.apply_affine(affine, index), atol=1e-9)


def test_coarsen_merges_whole_cells():
    fine = Grid.line(CONTIG, 30, 42, "-")
    merged = fine.coarsen(3)
    wanted = [[fine.bounds[3 * i : 3 * i + 3].min(), fine.bounds[3 * i : 3 * i + 3].max()] for i in range(4)]
    assert merged.bounds.tolist() == wanted
    volume = Grid.from_centers(SCAN, (4, 6, 2), oblique())
    coarse = volume.coarsen([2, 3, 1])
    middle = volume.centers.reshape(2, 2, 2, 3, 2, 1, 3).mean((1, 3, 5)).reshape(-1, 3)
    np.testing.assert_allclose(coarse.centers, middle, atol=1e-9)
    with pytest.raises(InputError, match="not divisible"):
        fine.coarsen(5)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_compose_gives_tokens_their_bases(strand):
    grid = Grid.line(CONTIG, 100, 119, strand)
    index = Space("index", "cell")
    whole = list(range(100, 119)) if strand == "+" else list(range(118, 99, -1))
    kmers = grid.compose(Grid(index, (3,), [[6, 0], [0, 1]]))
    assert kmers.bounds.tolist() == [[min(p), max(p) + 1] for p in (whole[0:6], whole[6:12], whole[12:18])]
    tokens = grid.compose(Grid(index, (3,), bounds=[[0, 4], [4, 5], [5, 11]]))
    assert tokens.bounds.tolist() == [[min(p), max(p) + 1] for p in (whole[0:4], whole[4:5], whole[5:11])]
    assert tokens.step == (1 if strand == "+" else -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (3,)}, "either an affine or bounds"),
        ({"shape": (3,), "affine": np.eye(2), "bounds": [[0, 1]] * 3}, "either an affine or bounds"),
        ({"shape": (3,), "affine": np.eye(4)}, "needs an affine"),
        ({"shape": (3,), "affine": [[0, 1], [0, 1]]}, "invertible"),
        ({"shape": (3,), "affine": [[np.nan, 1], [0, 1]]}, "finite"),
        ({"shape": (2,), "bounds": [[0, 1]]}, "bounds for 1 cells"),
        ({"shape": (1,), "bounds": [[5, 4]]}, "start ≤ end"),
    ],
)
def test_impossible_grids_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Grid(CONTIG, **arguments)


def test_equality_is_of_cells_not_of_their_description():
    assert Grid.line(CONTIG, 3, 8) == Grid(CONTIG, (5,), bounds=[[i, i + 1] for i in range(3, 8)])
    assert Grid.line(CONTIG, 3, 8) != Grid.line(CONTIG, 3, 8, "-")
    assert Grid.line(CONTIG, 3, 8) != Grid.line(RING, 3, 8)
