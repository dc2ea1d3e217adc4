"""One picture stored in many ways must give one result: orientation, format, obliqueness and spacing.

The picture is a sum of Gaussian blobs, known at every point of the world, so that it can be sampled on any lattice
without interpolating. The network is the reference scan model's architecture, drawn at random.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.ndimage

import bioterp as bt
from bioterp.adapters.volume import Scans
from tests.imaging.series import CT, save
from tests.test_scans import write

pytest.importorskip("monai")
RNG = np.random.default_rng(11)
BLOBS = [(RNG.uniform(-16, 16, 3), RNG.uniform(2.5, 5.0), RNG.uniform(100, 900)) for _ in range(60)]
LAYERS = {2: 2, 4: 4}  # block → voxels per cell


def picture(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The blobs at the voxel centres of a lattice, whole numbers below 4,096."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    total = sum(h * np.exp(-((world - c) ** 2).sum(-1) / (2 * s**2)) for c, s, h in BLOBS)
    return np.rint(np.minimum(np.asarray(total), 4000) + 10).astype(np.int16)


def lattice(
    spacing: tuple[float, float, float], half: float, turn: np.ndarray | None = None
) -> tuple[np.ndarray, tuple]:
    """A box of ± half mm around the origin, turned about it."""
    shape = tuple(round(2 * half / s) + 1 for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def about(axis: int, degrees: float) -> np.ndarray:
    i, j = [k for k in range(3) if k != axis]
    turn, angle = np.eye(3), np.deg2rad(degrees)
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn


def nifti(folder: Path, name: str, values: np.ndarray, affine: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    nibabel.save(image, folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


def dicom(folder: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """The same voxels as a CT series: slices along z, rows along y; RAS → LPS turns the first two axes round."""
    from pydicom.dataset import Dataset

    to_lps = np.diag([-1.0, -1.0, 1.0])
    size = np.linalg.norm(affine[:3, :3], axis=0)
    along = [to_lps @ affine[:3, axis] / size[axis] for axis in range(3)]
    for k in range(values.shape[2]):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = CT, f"1.2.3.{k + 1}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.SeriesNumber, one.Modality = "1.2", "1.2.9", "3", "CT"
        one.ImageType, one.InstanceNumber = ["ORIGINAL", "PRIMARY"], str(values.shape[2] - k)
        one.Rows, one.Columns, one.SamplesPerPixel = values.shape[1], values.shape[0], 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 1
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.PixelSpacing = [float(size[1]), float(size[0])]
        one.ImageOrientationPatient = [float(v) for v in (*along[0], *along[1])]
        one.ImagePositionPatient = [float(v) for v in to_lps @ (affine[:3, 3] + k * affine[:3, 2])]
        one.RescaleSlope, one.RescaleIntercept = "1", "0"
        one.PixelData = np.ascontiguousarray(values[:, :, k].T).astype("<i2").tobytes()
        save(one, folder / f"IM{(k * 7) % values.shape[2]:03d}")
    return folder


@pytest.fixture(scope="module")
def model():
    return bt.load_model("bioterp/scan-small", weights="random", seed=4)


def activations(model, path: Path, out: Path, **options) -> dict:
    source = Scans(path, spacing=1, multiple=8, blocks="scan", **options)
    return bt.activations(source, model, list(LAYERS), out)


@pytest.fixture(scope="module")
def plain(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    affine, shape = lattice((1, 1, 1), 23.5)
    return (
        affine,
        picture(affine, shape),
        activations(model, nifti(folder, "plain", picture(affine, shape), affine), folder / "a"),
    )


@pytest.mark.parametrize("how", ["LAS", "PIR", "dicom"])
def test_codes_do_not_know_how_a_scan_was_stored(model, plain, tmp_path: Path, how: str) -> None:
    affine, values, wanted = plain
    if how == "dicom":
        path = dicom(tmp_path / "series", values, affine)
    else:
        change = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(how)
        )
        image = nibabel.Nifti1Image(values, affine).as_reoriented(change)
        path = nifti(tmp_path, how, np.asarray(image.dataobj), image.affine)
    made = activations(model, path, tmp_path / "a")
    for layer, field in made.items():
        sae = bt.fit(wanted[layer], width=48, k=6, tokens=4000, seed=0)
        codes, other = sae.encode(wanted[layer]).values.toarray(), sae.encode(field).values.toarray()
        assert (codes > 0).any() and np.abs(codes - other).max() <= 1e-4 * codes.max()
        assert np.allclose(field.rows.grid(0).affine, wanted[layer].rows.grid(0).affine, atol=1e-6)


def at(field, points: np.ndarray) -> np.ndarray:
    """(k, channels) activations interpolated linearly at points of the world."""
    grid = field.rows.grid(0)
    index = np.linalg.inv(grid.to_centers()) @ np.c_[points, np.ones(len(points))].T
    maps = np.asarray(field.values).reshape(*grid.shape, -1)
    return np.stack([scipy.ndimage.map_coordinates(maps[..., c], index[:3], order=1) for c in range(maps.shape[-1])], 1)


@pytest.mark.parametrize(
    ("spacing", "turn", "least"),
    [((1, 1, 1), about(0, 14) @ about(2, 9), 0.9), ((1, 1, 3), None, 0.7)],
    ids=["oblique", "1x1x3"],
)
def test_another_sampling_of_the_same_world(model, plain, tmp_path: Path, spacing, turn, least: float) -> None:
    """Centroids of activation within half a voxel, and r, on the cells that both have, away from their borders."""
    _, _, wanted = plain
    affine, shape = lattice(spacing, 33 if turn is not None else 23.5, turn)
    made = activations(model, nifti(tmp_path, "other", picture(affine, shape), affine), tmp_path / "a")
    for layer, field in made.items():
        points = wanted[layer].rows.grid(0).centers
        points = points[np.abs(points).max(1) < 13]  # both have context there
        own, other = at(wanted[layer], points), at(field, points)
        moving = own.std(0) > 0.05 * own.std(0).max()
        r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(own.T[moving], other.T[moving], strict=True)])
        weight, weight_other = own - own.min(0), other - other.min(0)
        moved = (weight.T @ points) / weight.sum(0)[:, None] - (weight_other.T @ points) / weight_other.sum(0)[:, None]
        assert moving.sum() > 5 and np.median(r) >= least
        # A lost half voxel moves all centroids alike; one channel that is nearly flat may have its own anywhere.
        assert np.median(np.linalg.norm(moved[moving], axis=1)) < 0.5
        assert np.linalg.norm(moved[moving].mean(0)) < 0.25


def test_where_a_cell_is(model, tmp_path: Path) -> None:
    """The first centre of a NIfTI is its affine's origin; a cell lies where it looks: around the first of its voxels.

    Convolutions of stride 2 and padding 1 are centred there. A model of patches, or `anchor: middle`, tiles the voxels.
    """
    path = write(tmp_path, "one", (16, 24, 8))
    origin = nibabel.load(path).affine[:3, 3]
    for layer, stride in LAYERS.items():
        grid = bt.activations(Scans(path, multiple=8, blocks="scan"), model, [layer], tmp_path / f"a{layer}")[
            layer
        ].rows.grid(0)
        assert np.allclose(grid.centers[0], origin) and np.allclose(np.diag(grid.affine)[:3], stride)
        assert np.allclose(grid.affine[:3, 3], origin - stride / 2)
        assert grid.shape == (16 // stride, 24 // stride, 8 // stride)


def test_tiles_give_what_the_whole_gives(model, tmp_path: Path) -> None:
    """With a halo as wide as the network sees, a tiled scan has the activations of the whole one."""
    path = nifti(tmp_path, "big", picture(*lattice((1, 1, 1), 35.5)), lattice((1, 1, 1), 35.5)[0])
    whole = bt.activations(Scans(path, multiple=8, blocks="scan"), model, [2], tmp_path / "whole")[2]
    tiled = bt.activations(Scans(path, multiple=8, window=24, halo=24, blocks="scan"), model, [2], tmp_path / "tiled")[
        2
    ]
    assert len(whole) == len(tiled) and len(tiled.rows.items) == 27
    grid = whole.rows.grid(0)
    theirs = np.concatenate([one.centers for one in tiled.rows.grids()])
    place = grid.locate(theirs)
    assert len(np.unique(place)) == len(whole)
    inner = np.abs(theirs).max(1) < 22  # at the border of the scan padding is what differs
    assert np.allclose(np.asarray(tiled.values)[inner], np.asarray(whole.values)[place[inner]], atol=1e-4)
