"""What the place and the image alone know, against voxels counted one by one."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage

from bioterp.analyses.detection import detection
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.placing import places_of
from bioterp.rows import Rows
from bioterp.scan_baselines import intensity, position
from bioterp.values import Intervals

SPLITS = ["train", "train", "train", "valid", "test", "test", "test", "test", "test", "test"]


def rows_of(grids: list[Grid], splits: list[str], samples: list[str] | None = None, **columns) -> Rows:
    samples = [f"scan{i}" for i in range(len(grids))] if samples is None else samples
    items = pd.DataFrame({"item": [f"{s}:{i}" for i, s in enumerate(samples)], "sample": samples, "split": splits})
    items = items.assign(subject=samples, block=samples, **columns)
    if len(set(samples)) == len(samples):
        items["item"] = items["sample"]
    return Rows.from_grids(items, grids)


def masks(rows: Rows, *positive: np.ndarray) -> Field:
    """A Field of terms from bool masks of rows; an instance per item."""
    runs = []
    for t, mask in enumerate(positive):
        for i, (lo, hi) in enumerate(zip(rows.offsets[:-1], rows.offsets[1:], strict=True)):
            turns = np.flatnonzero(np.diff(mask[lo:hi], prepend=False, append=False)) + lo
            runs += [(t, i + 1, a, b) for a, b in zip(turns[::2], turns[1::2], strict=True)]
    labels = Intervals.of(*np.array(runs).reshape(-1, 4).T, len(rows), len(positive))
    return Field(rows, labels, [f"term{t}" for t in range(len(positive))], kind="label")


def column(codes: Field, name: str) -> np.ndarray:
    return codes.values[:, codes.column(name)]


def scan(i: int, shape=(6, 7, 8), step=(2.0, 3.0, 4.0), origin=(10.0, -20.0, 5.0)) -> Grid:
    return Grid(Space(f"scan{i}", "mm"), shape, [[step[0], 0, 0, origin[0]], [0, step[1], 0, origin[1]],
                                                 [0, 0, step[2], origin[2]], [0, 0, 0, 1]])  # fmt: skip


def test_sides_are_those_of_the_body_whatever_the_order_of_the_array():
    plain, turned = (
        scan(0),
        Grid(Space("scan1", "mm"), (8, 6, 7), [[0, -2, 0, 7], [0, 0, 3, 2], [-4, 0, 0, 9], [0, 0, 0, 1]]),
    )
    rows = rows_of([plain, turned], ["train", "test"])
    codes = position(rows, masks(rows, np.zeros(len(rows), bool)))
    for i, grid in enumerate((plain, turned)):
        own = slice(rows.offsets[i], rows.offsets[i + 1])
        world = grid.centers - grid.centers.mean(0)
        for axis, (up, down) in enumerate((("right", "left"), ("front", "back"), ("head", "foot"))):
            share = world[:, axis] / (6, 10.5, 16)[axis]  # half of 6·2, 7·3 and 8·4 mm
            assert np.allclose(column(codes, f"signed:{up}")[own], np.maximum(share, 0), atol=1e-6)
            assert np.allclose(column(codes, f"signed:{down}")[own], np.maximum(-share, 0), atol=1e-6)
            assert np.allclose(column(codes, f"half-space:{down}")[own], (1 - share) / 2, atol=1e-6)
    assert (codes.values >= 0).all() and codes.about["representation"] == "position"
    assert codes.about["layer"] == "position"
    assert np.array_equal(codes.read(50, 400), codes.values[50:400])


def test_balls_are_largest_at_their_middles():
    rows = rows_of([scan(i, (9, 9, 9), (2.0, 2.0, 2.0)) for i in range(2)], ["train", "test"])
    codes = position(rows, masks(rows, np.zeros(len(rows), bool)))
    at = np.unravel_index(column(codes, "ball3:0,1,2")[:729].argmax(), (9, 9, 9))
    assert at == (1, 4, 7)
    assert column(codes, "ball3:0,1,2")[:729].max() == pytest.approx(1)
    one_away = column(codes, "ball3:1,1,1")[:729].reshape(9, 9, 9)[4 + 3, 4, 4]
    assert one_away == pytest.approx(np.exp(-0.5), abs=1e-6)


def test_the_atlas_is_the_share_of_train_scans_and_sees_no_other():
    grids = [scan(i) for i in range(10)]
    rows = rows_of(grids, SPLITS)
    rng = np.random.default_rng(0)
    mask = rng.random(len(rows)) < 0.2
    codes = position(rows, masks(rows, mask))
    train = mask[: 3 * 336].reshape(3, 6, 7, 8).astype(float)
    blurred = scipy.ndimage.gaussian_filter(train.sum(0), 1, mode="constant")
    every = scipy.ndimage.gaussian_filter(np.full((6, 7, 8), 3.0), 1, mode="constant")
    own = slice(rows.offsets[9], rows.offsets[10])
    assert np.allclose(column(codes, "atlas1:term0")[own], (blurred / every).ravel(), atol=1e-6)
    # What is told of a train scan's place comes from the others: its own labels are no part of its codes.
    others = scipy.ndimage.gaussian_filter(train[[0, 2]].sum(0), 1, mode="constant") / (every * 2 / 3)
    own = slice(rows.offsets[1], rows.offsets[2])
    assert np.allclose(column(codes, "atlas1:term0")[own], others.ravel(), atol=1e-6)
    changed = mask.copy()
    changed[own] = ~changed[own]
    assert np.array_equal(position(rows, masks(rows, changed)).values[own], codes.values[own])
    other = mask.copy()
    other[3 * 336 :] = False
    assert np.array_equal(position(rows, masks(rows, other)).values, codes.values)


def test_unknown_cells_are_no_part_of_the_atlas():
    rows = rows_of([scan(0), scan(1)], ["train", "test"])
    labels = Intervals.of([0, 0], [1, -1], [0, 168], [168, 336], len(rows), 1)
    codes = position(rows, Field(rows, labels, ["half"], kind="label"))
    assert column(codes, "atlas1:half")[336 : 336 + 168] == pytest.approx(1)


def test_what_a_block_is_told_is_the_same_however_little_of_the_atlas_is_made_anew():
    """Four tiles of one long scan, each a block: without its own labels, by a whole atlas made without them."""
    tiles = [scan(0, (30, 9, 8), (2.0, 2.0, 2.0), (60.0 * k, 0.0, 0.0)) for k in range(4)]
    splits = ["train", "train", "train", "test"]
    rows = rows_of(tiles, splits, ["scan0"] * 4)
    rows.items["block"] = [f"scan0:{k}" for k in range(4)]
    mask = np.random.default_rng(8).random(len(rows)) < 0.3
    told = position(rows, masks(rows, mask)).values
    for k in range(3):
        own = slice(rows.offsets[k], rows.offsets[k + 1])
        counted = np.repeat([j < 3 and j != k for j in range(4)], 30).astype(float)
        every = np.broadcast_to(counted[:, None, None], (120, 9, 8))
        yes = every * np.concatenate([mask[rows.offsets[j] : rows.offsets[j + 1]].reshape(30, 9, 8) for j in range(4)])
        for blur, name in ((1.0, "atlas1:term0"), (2.5, "atlas2.5:term0")):
            # The lattice ends with the train tiles, which a blur with nothing beyond them shows as well.
            top, bottom = (scipy.ndimage.gaussian_filter(one[:90], blur, mode="constant") for one in (yes, every))
            share = np.where(bottom > 1e-9, top / np.maximum(bottom, 1e-9), 0)[30 * k : 30 * k + 30].ravel()
            found = told[own, [*position(rows, masks(rows, mask)).columns["name"]].index(name)]
            assert np.allclose(found, share, atol=1e-5)


def test_where_folds_are_scored_the_place_knows_nothing_of_their_labels():
    """Blobs at random, too few in test: train is scored too, and an atlas with its own labels would find them."""
    above = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        splits = ["train"] * 4 + ["valid"] * 2 + ["test"] * 3
        rows = rows_of([scan(i, (12, 13, 14), (2.0, 2.0, 2.0)) for i in range(9)], splits)
        mask = np.zeros((9, 12, 13, 14), bool)
        for own in mask[:8]:
            x, y, z = rng.integers(0, 9, 3)
            own[x : x + 3, y : y + 3, z : z + 3] = True
        truth = masks(rows, mask.ravel())
        found = detection(position(rows, truth), truth, per_term=1).iloc[0]
        assert found["split"] == "cross-fitted"
        above.append(found["f1"] - found["f1_null"])
    assert np.mean(above) < 0.03


def test_tiles_are_placed_within_the_scan_by_its_file():
    """One tile in a corner of a scan of 20 × 21 × 22 voxels of 1 mm."""
    native = json.dumps({"shape": [20, 21, 22], "affine": np.diag([1, 1, 1, 1]).tolist()})
    tile = Grid.from_centers(Space("scan0", "mm"), (4, 5, 6), np.eye(4))
    rows = rows_of([tile, tile], ["train", "test"], ["scan0", "scan1"], native=[native] * 2)
    rows.items["item"] = ["scan0:0,0,0", "scan1:0,0,0"]
    assert places_of(rows).centers(0)[0] == pytest.approx([-9.5, -10, -10.5])
    assert places_of(rows).half[0] == pytest.approx([10, 10.5, 11])
    whole = rows_of([tile, tile], ["train", "test"], native=[native] * 2)
    assert places_of(whole).centers(0)[0] == pytest.approx([-1.5, -2, -2.5])
    rows.items["native"] = "{"
    with pytest.raises(InputError, match="shape and an affine"):
        places_of(rows)


def test_a_feature_that_knows_the_place_is_met_by_the_position():
    rng = np.random.default_rng(3)
    grids = [scan(i, (8, 8, 8), (2.0, 2.0, 2.0)) for i in range(12)]
    rows = rows_of(grids, ["train"] * 5 + ["valid"] + ["test"] * 6)
    at = grids[0].centers - grids[0].centers.mean(0)
    mask = np.concatenate([np.linalg.norm(at - (3, -2, 1) - rng.normal(0, 0.5, 3), axis=1) < 4 for _ in grids])
    found = detection(position(rows, masks(rows, mask)), masks(rows, mask), per_term=1, min_test=2)
    best = found.iloc[0]
    assert best["f1"] > 0.7 and best["p"] > 0.05 and abs(best["f1"] - best["f1_null"]) < 0.1


class Shown:
    """A stand-in source: scans held in memory."""

    def __init__(self, scans: dict[str, tuple[np.ndarray, Grid]]):
        self.scans, self.asked = scans, 0

    def volume(self, scan: str):
        self.asked += 1
        return self.scans[scan]


def images(n: int, shape=(12, 10, 8), channels: int = 1, seed: int = 0):
    """n scans of 1.5 × 1 × 2 mm voxels, and the grids of cells of 3 × 2 × 2 voxels, the first axis turned round."""
    rng, scans, grids = np.random.default_rng(seed), {}, []
    for i in range(n):
        voxels = Grid(Space(f"scan{i}", "mm"), shape, np.diag([1.5, 1, 2, 1]))
        image = rng.normal(-3, 2, (channels, *shape)).astype(np.float32)
        scans[f"scan{i}"] = image, voxels
        affine = np.array([[-4.5, 0, 0, 18], [0, 2, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
        grids.append(Grid(Space(f"scan{i}", "mm"), (4, 5, 4), affine))
    return scans, grids


def test_cells_hold_what_their_voxels_hold():
    scans, grids = images(5)
    rows = rows_of(grids, ["train", "train", "valid", "test", "test"])
    codes = intensity(Shown(scans), rows)
    assert (codes.values >= 0).all() and codes.about["representation"] == codes.about["layer"] == "intensity"
    train = [scans[f"scan{i}"][0][0] for i in (0, 1)]
    boxes = lambda image: image[::-1].reshape(4, 3, 5, 2, 4, 2).transpose(0, 2, 4, 1, 3, 5).reshape(80, 12)  # noqa: E731
    darkest = min(boxes(one).min() for one in train)
    brightest = max(boxes(one).mean(1).max() for one in train)
    for i in (0, 3):
        own, cells = slice(80 * i, 80 * i + 80), boxes(scans[f"scan{i}"][0][0])
        assert np.allclose(column(codes, "mean")[own], np.maximum(cells.mean(1) - darkest, 0), atol=1e-5)
        assert np.allclose(column(codes, "dark")[own], np.maximum(brightest - cells.mean(1), 0), atol=1e-5)
        assert np.allclose(column(codes, "sd")[own], cells.std(1), atol=1e-4)
        assert np.allclose(column(codes, "min")[own], np.maximum(cells.min(1) - darkest, 0), atol=1e-5)
        assert np.allclose(column(codes, "max")[own], np.maximum(cells.max(1) - darkest, 0), atol=1e-5)
        slopes = np.gradient(scans[f"scan{i}"][0][0], 1.5, 1, 2)
        edge = boxes(np.sqrt(sum(one**2 for one in slopes))).mean(1)
        assert np.allclose(column(codes, "edge")[own], edge, atol=1e-4)
        smooth = boxes(scipy.ndimage.gaussian_filter(scans[f"scan{i}"][0][0], (3, 2, 2))).mean(1)
        assert np.allclose(column(codes, "smooth1")[own], np.maximum(smooth - darkest, 0), atol=1e-4)


@pytest.mark.parametrize("stride", [2, 4])
def test_cells_about_a_voxel_have_the_brightness_of_where_they_are(stride: int):
    """Of a ramp along each axis: the mean of a cell is the ramp at its middle, not half a voxel beside it."""
    voxels = Grid.from_centers(Space("scan0", "mm"), (16, 16, 16), np.diag([-0.9375, 1.1, 1.3, 1.0]))
    index = np.stack(np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij"))
    image = (index * np.array([1.0, 17.0, 290.0])[:, None, None, None]).sum(0)[None].astype(np.float32)
    corner = np.diag([stride, stride, stride, 1.0])
    corner[:3, 3] = (1 - stride) / 2  # cell i about voxel i · stride
    cells = Grid(Space("scan0", "mm"), (16 // stride,) * 3, voxels.affine @ corner)
    codes = intensity(Shown({"scan0": (image, voxels)}), rows_of([cells], ["train"]))
    mean = column(codes, "mean").reshape(cells.shape)
    wanted = image[0][::stride, ::stride, ::stride]
    inner = (slice(1, None),) * 3  # the first cells begin outside the image
    assert np.ptp((mean - wanted)[inner]) < 1e-2
    step = np.diff(mean, axis=0)[1:]
    assert np.allclose(step, stride, atol=1e-2)
    off = mean[1, 1, 1] - (wanted[1, 1, 1] - image.min())
    assert abs(off) < 1e-2


def test_a_band_is_about_its_quantile_and_can_be_cut_to_any_width():
    scans, grids = images(6, seed=1)
    rows = rows_of(grids, ["train"] * 3 + ["test"] * 3)
    codes = intensity(Shown(scans), rows)
    mean = column(codes, "mean")
    train = np.sort(mean[:240])
    band = column(codes, "band0.719")
    top = mean[:240][band[:240].argmax()]
    assert abs(np.searchsorted(train, top) / 240 - 0.719) < 0.02
    inside = np.sort(mean[:240][band[:240] > 1 - 0.1 / 0.25])  # within 0.1 ranks
    assert abs(len(inside) - 0.2 * 240) <= 3 and np.array_equal(inside, train[np.isin(train, inside)])
    assert np.diff(np.flatnonzero(np.isin(train, inside))).max() == 1


def test_train_alone_fits_and_passes_do_not_read_again():
    scans, grids = images(4, seed=2)
    rows = rows_of(grids, ["train", "train", "test", "test"])
    source = Shown(scans)
    codes = intensity(source, rows)
    first = codes.values
    asked = source.asked
    assert np.array_equal(codes.read(33, 201), first[33:201]) and source.asked == asked
    scans["scan3"] = scans["scan3"][0] * 9, scans["scan3"][1]
    assert np.array_equal(intensity(Shown(scans), rows).values[:240], first[:240])


def test_cells_beyond_the_image_are_silent_and_small_cells_have_their_voxel():
    scans, _ = images(2, (4, 4, 4), channels=2)
    voxels = scans["scan0"][1]
    beyond = Grid(Space("scan0", "mm"), (3, 1, 1), voxels.affine @ np.diag([2.0, 4, 4, 1]))
    small = Grid(Space("scan1", "mm"), (8, 4, 4), voxels.affine @ np.diag([0.5, 1, 1, 1]))
    rows = rows_of([beyond, small], ["train", "test"])
    codes = intensity(Shown(scans), rows)
    assert codes.shape[1] == 2 * 24 and (codes.values[2] == 0).all() and (codes.values[:2] > 0).any()
    mean = column(codes, "dark:1")[3:].reshape(8, 4, 4)
    assert np.array_equal(mean[::2], mean[1::2]) and len(np.unique(mean)) > 30


def test_what_cannot_be_done_is_refused():
    scans, grids = images(2)
    line = Rows.from_grids(
        pd.DataFrame({"item": ["a"], "sample": "s", "block": "b", "split": "train"}), [Grid.line(Space("c"), 0, 9)]
    )
    with pytest.raises(InputError, match="three-dimensional"):
        position(line, Field(line, Intervals.of([], [], [], [], 9, 1), ["a"], kind="label"))
    with pytest.raises(InputError, match="three-dimensional"):
        intensity(Shown(scans), line)
    rows = rows_of(grids, ["train", "test"])
    with pytest.raises(InputError, match="these are numbers"):
        position(rows, Field(rows, np.zeros((len(rows), 1)), ["density"], kind="label"))
    slanted = np.eye(4)
    slanted[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turned = rows_of([Grid(g.space, g.shape, slanted) for g in grids], ["train", "test"])
    with pytest.raises(InputError, match="do not run along the axes"):
        intensity(Shown(scans), turned).read()
