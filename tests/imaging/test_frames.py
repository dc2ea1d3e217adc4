"""Orientation and spacing: a ramp of world coordinates must read the same wherever it is brought."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
import scipy.ndimage

from bioterp.errors import InputError
from bioterp.imaging.frames import (
    Lattice,
    bring,
    extent,
    letters_of,
    obliqueness,
    oriented,
    parse_orientation,
    target,
)

ALL = ["".join(o) for axes in itertools.permutations(("LR", "AP", "SI")) for o in itertools.product(*axes)]
SLOPE = np.array([0.7, -1.3, 2.1])


def ramp(lattice: Lattice) -> np.ndarray:
    """A picture whose value at a voxel centre is a linear function of where in the world that is."""
    index = np.stack(np.meshgrid(*map(np.arange, lattice.shape), indexing="ij"), -1)
    world = index @ lattice.affine[:3, :3].T + lattice.affine[:3, 3]
    return (world @ SLOPE).astype(np.float32)


def stored(orientation: str, spacing=(0.9, 1.4, 2.3), shape=(7, 9, 11)) -> Lattice:
    """A lattice in one orientation, made by nibabel."""
    change = nibabel.orientations.axcodes2ornt(orientation)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for array_axis, (world, sign) in enumerate(change):
        affine[int(world), array_axis] = sign * spacing[array_axis]
    affine[:3, 3] = (-13.0, 4.5, 31.25)
    return Lattice(shape, affine)


def turned(degrees: float, axis: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


@pytest.mark.parametrize("own", ALL)
def test_flips_and_permutations_are_exact_and_are_nibabels(own: str) -> None:
    lattice = stored(own)
    assert letters_of(lattice.affine) == own == "".join(nibabel.aff2axcodes(lattice.affine))
    for wanted in ("RAS", "LIA", "SPL", "PSR"):
        made = target(lattice, wanted, None, True)
        image = nibabel.Nifti1Image(ramp(lattice), lattice.affine)
        change = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(lattice.affine), nibabel.orientations.axcodes2ornt(wanted)
        )
        theirs = image.as_reoriented(change)
        brought = bring(ramp(lattice), lattice, made)
        assert np.allclose(made.affine, theirs.affine)
        assert np.array_equal(brought, np.asarray(theirs.dataobj))  # copied, not interpolated
        assert oriented(lattice, wanted)[0].shape == made.shape


@pytest.mark.parametrize("own", ["RAS", "LPI", "ASL", "SPR"])
def test_a_new_spacing_keeps_the_first_centre_and_the_world(own: str) -> None:
    lattice = stored(own)
    made = target(lattice, "LIA", (1.1, 0.8, 1.7), True)
    plain = target(lattice, "LIA", None, True)
    assert np.allclose(made.affine[:3, 3], plain.affine[:3, 3])
    assert np.allclose(np.linalg.norm(made.affine[:3, :3], axis=0), (1.1, 0.8, 1.7))
    span = (np.array(plain.shape) - 1) * np.linalg.norm(plain.affine[:3, :3], axis=0)
    assert np.abs((np.array(made.shape) - 1) * (1.1, 0.8, 1.7) - span).max() <= 1.7 / 2 + 1e-9
    inner = (slice(0, -1),) * 3  # the last centre may lie beyond the last of the scan
    assert np.allclose(bring(ramp(lattice), lattice, made)[inner], ramp(made)[inner], atol=2e-4)


def test_an_oblique_scan_is_laid_on_the_axes_of_the_world() -> None:
    lattice = stored("RAS", (1.0, 1.2, 1.5), (31, 29, 23))
    oblique = Lattice(lattice.shape, turned(17, 0) @ turned(9, 2) @ lattice.affine)
    assert np.isclose(np.rad2deg(obliqueness(turned(9, 2))), 9) and obliqueness(lattice.affine) < 1e-6
    made = target(oblique, "RAS", (1.5, 1.5, 1.5), True)
    assert np.allclose(made.affine[:3, :3], np.diag([1.5] * 3))
    picture = bring(ramp(oblique), oblique, made, fill=np.nan)
    inside = np.isfinite(picture)
    assert inside.mean() > 0.3 and np.allclose(picture[inside], ramp(made)[inside], atol=2e-4)
    corners = np.array(list(itertools.product(*((0, n - 1) for n in oblique.shape)))) @ oblique.affine[:3, :3].T
    low, high = corners.min(0) + oblique.affine[:3, 3], corners.max(0) + oblique.affine[:3, 3]
    last = made.affine[:3, 3] + 1.5 * (np.array(made.shape) - 1)
    assert np.allclose(made.affine[:3, 3], low) and (np.abs(last - high) <= 0.75 + 1e-9).all()
    kept = target(oblique, "RAS", None, False)
    assert np.allclose(kept.affine, oblique.affine) and kept.shape == oblique.shape


def test_extent_of_a_padded_lattice_is_where_the_scan_is() -> None:
    lattice = stored("LPI", (1.0, 1.0, 1.0), (5, 6, 8))
    plain = target(lattice, "RAS", None, True)
    wider = Lattice(
        (15, 16, 18), plain.affine @ np.array([[1, 0, 0, -4], [0, 1, 0, -3], [0, 0, 1, -2], [0, 0, 0, 1.0]])
    )
    low, high = extent(lattice, wider)
    assert low.tolist() == [4, 3, 2] and high.tolist() == [9, 9, 10]


@pytest.mark.parametrize("wrong", ["RA", "RRS", "RAX", "", "RASL"])
def test_orientations_that_are_none(wrong: str) -> None:
    with pytest.raises(InputError, match="three letters"):
        parse_orientation(wrong)


@pytest.mark.parametrize("own", ["RAS", "LIP", "SPL"])
@pytest.mark.parametrize("spacing", [0.7, 1.3, 0.35])
def test_every_centre_inside_the_scan_gets_a_value_of_it(own: str, spacing: float) -> None:
    """A last centre that lies beyond the last of the scan, but in its last voxel, is not air."""
    lattice = stored(own, (1.0, 1.1, 1.2), (10, 9, 8))
    image = np.random.default_rng(2).uniform(50, 60, lattice.shape).astype(np.float32)
    plain = target(lattice, "RAS", (spacing,) * 3, True)
    move = np.eye(4)
    move[:3, 3] = -3
    for made in (plain, Lattice(tuple(n + 7 for n in plain.shape), plain.affine @ move)):
        brought = bring(image, lattice, made, fill=-1000)
        index = np.stack(np.meshgrid(*map(np.arange, made.shape), indexing="ij"), -1)
        through = np.linalg.inv(lattice.affine) @ made.affine
        there = index @ through[:3, :3].T + through[:3, 3]
        inside = ((there > -0.499) & (there < np.array(lattice.shape) - 0.501)).all(-1)
        beyond = ((there < -0.501) | (there > np.array(lattice.shape) - 0.499)).any(-1)
        assert (brought[inside] >= 50).all() and (brought[beyond] == -1000).all()
        middles = np.clip(there, 0, np.array(lattice.shape) - 1)[inside]
        theirs = scipy.ndimage.map_coordinates(image.astype(float), middles.T, order=1)
        assert np.allclose(brought[inside], theirs, atol=1e-3)
