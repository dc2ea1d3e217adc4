"""The report of a scan study: pictures that lie where they say, in a radiologist's convention; words that fit scans."""

from __future__ import annotations

import base64
import re

import numpy as np
import pandas as pd
import pytest

from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.report import report
from bioterp.report.best import sentence
from bioterp.report.panel import bar_of, levels, ramp
from bioterp.report.patches import patches_figure
from bioterp.report.scans import Peak, firsts, gather, label_cells, spread
from bioterp.report.slices import slices_figure
from bioterp.report.view import View, outline, whole, window
from bioterp.report.words import Words, cell_size
from bioterp.rows import Rows
from tests.scan_world import BALL, EVIL, OTHER, RADIUS, detection, head, image, in_ball, orientations, study, tilt
from tests.test_report import Page

TURNS = list(orientations())
BALLS = [[24, 31, 17], [-30, -40, 10], [5, 12, 30], [28, -36, -14]]


def view_of(one, codes=None):
    codes = codes or study([one])[0]
    return View(image(one), one.voxels, codes.rows, np.array([0]))


# ------------------------------------------------------------------ planes


@pytest.mark.parametrize("turn", range(48))
def test_right_is_left_anterior_and_superior_are_up(turn):
    """A ball to the right, in front and above: left in coronal and axial, left in sagittal, on top in all."""
    one = head("s", BALLS[0], model_turn=TURNS[turn], spacing=(4.0, 3.0, 3.5), shape=(44, 58, 50), stride=2)
    view = view_of(one)
    assert view.tilt < 1e-5
    wanted = {"sagittal": ("A", "P", "S", "I"), "coronal": ("R", "L", "S", "I"), "axial": ("R", "L", "A", "P")}
    places = {"sagittal": (31, 17), "coronal": (24, 17), "axial": (24, 31)}  # mm to the left and up from (0, 0, 0)
    for plane, letters in wanted.items():
        cut = view.cut(plane, one.ball)
        assert cut.letters == letters
        bright = np.argwhere(cut.image > 0.9)
        row, column = bright.mean(0) + 0.5
        x, y = column * cut.pixel[0], row * cut.pixel[1]
        assert abs(x - cut.at[0]) < 1.2 and abs(y - cut.at[1]) < 1.2, "the cross stands in the ball"
        middle = view.cut(plane, np.zeros(3))
        assert abs((middle.at[0] - cut.at[0]) - places[plane][0]) < 1e-9
        assert abs((middle.at[1] - cut.at[1]) - places[plane][1]) < 1e-9
    assert view.cut("sagittal", one.ball).text == "x 24 mm"


def test_one_voxel_by_hand():
    """2 × 3 × 4 voxels of 10 mm whose low corner is (0, 0, 0), stored as LPS; one bright voxel at world (15, 5, 35)."""
    array = np.zeros((1, 2, 3, 4), np.float32)
    array[0, 0, 2, 3] = 7  # x from the right end, y from the front end, z from below
    grid = Grid(Space("s", "mm"), (2, 3, 4), [[-10, 0, 0, 20], [0, -10, 0, 30], [0, 0, 10, 0], [0, 0, 0, 1]])
    items = pd.DataFrame({"item": ["s"], "sample": "s", "block": "s", "split": "test"})
    view = View(array, grid, Rows.from_grids(items, [grid]), np.array([0]))
    point = np.array([15.0, 5, 35])
    axial = view.cut("axial", point)
    assert axial.image.shape == (3, 2) and axial.image[2, 0] == 7 and axial.image.sum() == 7
    assert axial.at == (5, 25) and (axial.width, axial.height) == (20, 30)
    assert axial.cells[2, 0] == np.ravel_multi_index((0, 2, 3), (2, 3, 4))
    coronal, sagittal = view.cut("coronal", point), view.cut("sagittal", point)
    assert coronal.image[0, 0] == 7 and coronal.image.shape == (4, 2)
    assert sagittal.image[0, 2] == 7 and sagittal.image.shape == (4, 3)
    assert view.cut("axial", point - [0, 0, 10]).image.sum() == 0
    # A patch that hangs over the edge keeps its size, is dark outside, and knows no cells there.
    patch = view.cut("axial", point, side=40)
    assert patch.image.shape == (5, 5) and patch.image[2, 2] == 7 and patch.at == (25, 25)
    assert (patch.cells >= 0).sum() == 6 and (patch.cells[3:] == -1).all() and (patch.cells[:, :2] == -1).all()
    assert view.cut("axial", point + np.array([500, 0, 0]), side=40).image.shape == (5, 5)


@pytest.mark.parametrize("turn", [0, 9, 22, 47])
@pytest.mark.parametrize("degrees", [0, 17])
def test_heat_lies_on_what_fired(degrees, turn):
    """Cells of the voxels' own size on a tilted scan: every pixel is hot exactly where its middle is in the ball."""
    one = head("s", [8, 14, 11], model_turn=tilt(degrees) @ TURNS[turn], stride=1, spacing=(3.0, 3.0, 3.0),
               shape=(38, 41, 35))  # fmt: skip
    codes, _ = study([one])
    view = view_of(one, codes)
    code = codes.values[:, [BALL]].toarray().ravel()
    grey = image(one)[0].ravel()
    for plane in ("sagittal", "coronal", "axial"):
        cut = view.cut(plane, one.ball)
        np.testing.assert_array_equal(code[cut.cells] > 0, in_ball(one.cells.centers[cut.cells], one.ball))
        np.testing.assert_array_equal(cut.image, grey[cut.cells])  # cells are voxels here: the same place twice
        assert (code[cut.cells] > 0).sum() > 40
    assert abs(view.tilt - degrees) < 8 and (view.tilt == pytest.approx(0, abs=1e-5)) == (degrees == 0)


def test_the_grey_window_leaves_background_out():
    values = np.concatenate([np.full(9000, -1.0), np.linspace(0, 100, 1001), [np.nan]])
    low, high = window(values)
    assert 0.9 < low < 1.1 and 99.4 < high < 99.6
    assert window(np.full(7, 3.0)) == (0, 1) and window(np.array([0.0, 0, 5])) == (5, 6)
    assert levels((-160, 240)) == "W 400 L 40.0" and levels((-0.5, 0)) == "W 0.500 L −0.250"


def test_greys_are_set_for_the_place_looked_at():
    """Soft tissue from 0 to 100 in air at −1000: inside it the window is that of the tissue, not of the air."""
    rng = np.random.default_rng(4)
    array = np.full((1, 40, 44, 36), -1000.0, np.float32) + rng.normal(0, 5, (1, 40, 44, 36)).astype(np.float32)
    array[0, 8:32, 9:35, 6:30] = rng.uniform(0, 100, (24, 26, 24))
    grid = Grid(Space("s", "mm"), (40, 44, 36), np.diag([2.0, 2, 2, 1]))
    items = pd.DataFrame({"item": ["s"], "sample": "s", "block": "s", "split": "test"})
    view = View(array, grid, Rows.from_grids(items, [grid]), np.array([0]))
    low, high = view.window_at(np.array([40.0, 44, 36]), 20)
    quarter = (view.window[1] - view.window[0]) / 4
    assert high - low == pytest.approx(quarter) and low + high == pytest.approx(100, abs=3)
    edge = view.window_at(np.array([16.0, 44, 36]), 20)  # half in air
    assert edge[0] < -900 and 95 < edge[1] < 100
    assert view.window_at(np.array([900.0, 0, 0]), 20) == view.window


def test_outlines_run_along_pixels():
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:5] = True
    pieces = outline(mask, (2.0, 3.0))
    assert len(pieces) == 10 and np.abs(np.diff(pieces, axis=1)).sum() == 2 * (3 * 2.0) + 2 * (2 * 3.0)
    assert pieces[..., 0].min() == 4 and pieces[..., 0].max() == 10
    assert pieces[..., 1].min() == 3 and pieces[..., 1].max() == 9
    assert len(outline(np.ones((3, 4), bool), (1, 1))) == 0, "where the picture ends nothing is known to end"


# ------------------------------------------------------------------ which places


def test_distinct_scans_come_first():
    peaks = [Peak(scan, value, np.zeros(3), at) for at, (scan, value) in
             enumerate([("a", 9), ("a", 8), ("b", 7), ("a", 6), ("c", 5), ("b", 4)])]  # fmt: skip
    assert [peak.value for peak in spread(peaks, 5)] == [9, 7, 5, 8, 4]
    assert [peak.value for peak in firsts(peaks)] == [9, 7, 5]


@pytest.fixture(scope="module")
def world():
    names = [EVIL, "sub-1_T1w", "scan 2", "sub-3"]
    heads = [
        head(name, ball, model_turn=TURNS[(k * 13) % 48], spacing=(3.0, 3.0, 3.0), shape=(52, 62, 48))
        for k, (name, ball) in enumerate(zip(names, BALLS, strict=True))
    ]
    codes, truth = study(heads, ["test", "train", "test", "test"], tiles=True)
    images = {one.scan: (image(one, k), one.voxels) for k, one in enumerate(heads)}
    return heads, codes, truth, images


def test_what_is_gathered(world):
    heads, codes, truth, images = world
    asked = []

    def give(scan):
        asked.append(scan)
        return images[scan]

    made = gather(codes, truth, detection().iloc[:3], give)
    assert sorted(asked) == sorted({EVIL, "scan 2", "sub-3"}), "each test scan is read once, others never"
    ball, left, dead = made.features
    assert [one.feature for one in made.features] == [BALL, OTHER, 6] and made.split == "test"
    assert [shown.peak.scan for shown in ball.slices] == ["sub-3", "scan 2", EVIL]
    by_name = {one.scan: one for one in heads}
    for shown in ball.slices:
        assert np.linalg.norm(shown.peak.point - by_name[shown.peak.scan].ball) <= RADIUS
        assert len(shown.cuts) == 3 and all(np.nanmax(heat) == pytest.approx(shown.peak.value) for heat in shown.heat)
        for cut, heat, label in zip(shown.cuts, shown.heat, shown.label, strict=True):
            row, column = int(cut.at[1] / cut.pixel[1]), int(cut.at[0] / cut.pixel[0])
            assert cut.cells[row, column] == shown.cell and heat[row, column] == pytest.approx(shown.peak.value)
            np.testing.assert_array_equal(label == 1, np.nan_to_num(heat) > 0)
    assert len(left.patches) == 12 and {p.peak.scan for p in left.patches[:3]} == {EVIL, "scan 2", "sub-3"}
    for scan in (EVIL, "scan 2", "sub-3"):
        points = np.array([p.peak.point for p in left.patches if p.peak.scan == scan])
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e3 * np.eye(len(points))
        assert gaps.min() >= made.side / 2
    assert not dead.slices and not dead.patches
    unknown = label_cells(truth, EVIL, np.array([0, 1]), 5)
    assert (unknown == -1).all() and (label_cells(None, "ball", np.array([0]), 5) == -1).all()


def test_pictures_carry_letters_bars_and_windows(world):
    _, codes, truth, images = world
    ball = gather(codes, truth, detection(), images.__getitem__).features[0]
    figure = slices_figure(ball)
    panels = [axes for axes in figure.axes if axes.get_images() and len(axes.texts) >= 6]
    assert len(panels) == 9
    for axes in panels:
        told = [text.get_text() for text in axes.texts]
        assert {"S", "I"} <= set(told) or {"R", "L", "A", "P"} <= set(told)
        assert sum(text.endswith(" mm") and "\n" not in text for text in told) == 1
    scales = {round(axes.get_position().width * figure.get_size_inches()[0] / axes.get_xlim()[1], 6) for axes in panels}
    assert len(scales) == 1, "all planes on one scale"
    assert sum("W " in text.get_text() and " L " in text.get_text() for text in figure.texts) == 3
    montage = patches_figure(ball)
    assert len(montage.axes) == len(ball.patches) == 3
    assert any(EVIL[:10] in text.get_text() for text in montage.texts)
    assert [bar_of(width) for width in (300, 200, 61, 9, 1)] == [100, 50, 20, 2, 1]


def test_heat_grows_lighter():
    rgb = ramp()(np.linspace(0, 1, 64))
    light = rgb[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all() and (np.diff(rgb[:, 3]) > 0).all()
    # Told apart from the blue of outlines without red-green vision: by the blue channel alone.
    assert rgb[:, 2].max() < 0.5


# ------------------------------------------------------------------ the page


def told_of(text):
    page = Page(text)
    assert not page.open and not {"script", "link", "iframe", "object", "a", "form", "b"} & set(page.tags)
    return " ".join(page.text), [value for name, value in page.attributes if name == "src"]


def test_one_safe_page_of_scans(world, tmp_path):
    _, codes, truth, images = world
    given = {"tables": {"detection": detection()}, "codes": codes, "truth": truth, "images": images.__getitem__}
    about = {"scans": {"file": "scans.tsv"}, "model": "m"}
    file = report(tmp_path, about=about, **given)
    text = file.read_text(encoding="utf-8")
    told, pictures = told_of(text)
    wanted = [
        "What the features mean: scans.tsv", "Where the features fire", "What makes them fire most", EVIL,
        "Radiological convention", "mm RAS+", "3 test scans where it is strongest", "does not fire on these scans",
        "6 × 6 × 6 mm", "4 of 4 subjects", "train 1, valid 0, test 3", "the labels of another subject",
        "3 places in 3 scans; 3 of 3 cells carry the label", "intensity of the image",
        "one block (a subject) at a time", "All numbers are from scans that took no part",
    ]  # fmt: skip
    assert [words for words in wanted if words not in told] == []
    assert not re.search(r"\bbp\b|sequence|contig|strand|genome|k-mer|circular shift", told)
    png = [base64.b64decode(source.split(",")[1]) for source in pictures if source.startswith("data:image/png")]
    assert len(png) == 4 and all(picture[:4] == b"\x89PNG" for picture in png)
    again = report(tmp_path / "again.html", about=about, **given)
    assert again.read_text(encoding="utf-8") == text, "the same findings give the same file"


def test_what_is_missing_is_said(world, tmp_path):
    _, codes, truth, images = world
    tables = {"detection": detection()}
    told, pictures = told_of(report(tmp_path, tables=tables, codes=codes, truth=truth).read_text(encoding="utf-8"))
    untested = {"detection": detection().drop(columns="q")}
    bare, _ = told_of(report(tmp_path, tables=untested, codes=codes).read_text(encoding="utf-8"))
    assert "no p was worked out" in bare and "another subject" not in bare
    assert "the images (images=)" in told and not [p for p in pictures if p.startswith("data:image/png")]

    def broken(scan):
        if scan == "scan 2":
            raise InputError("the file is gone")
        return images[scan]

    told, _ = told_of(report(tmp_path, tables=tables, codes=codes, images=broken).read_text(encoding="utf-8"))
    assert "could not be read: scan 2" in told and "whether they carry the label is not known" in told
    assert "The 2 test scans where it is strongest" in told
    told, _ = told_of(report(tmp_path, tables={}, about={"modality": "volume"}).read_text(encoding="utf-8"))
    assert "Left out: it needs codes on the rows of scans" in told and "sequence" not in told
    with pytest.raises(InputError, match="leave it out"):
        report(tmp_path, tables=tables, codes=codes, locus="sub-3:5-90")


def test_labels_made_by_a_model_are_agreed_with_not_found(world, tmp_path):
    _, codes, truth, images = world
    by_model = Field(truth.rows, truth.data, truth.columns, "label", {"made_by": "model"})
    given = {"tables": {"detection": detection()}, "codes": codes, "images": images.__getitem__}
    told, _ = told_of(report(tmp_path, truth=by_model, **given).read_text(encoding="utf-8"))
    wanted = [
        "What the features agree with", f"feature {BALL} agrees with ball (labelled by a model): reaches 1.00",
        "All labels were made by a model: such a score is agreement with that model, not accuracy",
        "0.90 of its active cells inside", "Agreement with the model that made the label, F1 0.92",
    ]  # fmt: skip
    assert [words for words in wanted if words not in told] == []
    assert "fires on ball" not in told and "recalls" not in told
    some = truth.columns.assign(made_by=["person", "model", "person"])
    mixed = Field(truth.rows, truth.data, some, "label", {"made_by": "model"})
    del given["images"]
    told, _ = told_of(report(tmp_path, truth=mixed, **given).read_text(encoding="utf-8"))
    assert "feature 3 fires on ball" in told and "feature 5 agrees with left" in told
    assert "The labels of left were made by a model" in told and "What the features find" in told
    weak = pd.Series({"representation": "sae", "feature": 1.0, "term": "t", "f1": 0.2, "q": 0.3})
    assert "is not shown to agree with, t (labelled by a model): F1 0.20" in sentence(weak, agreement=True)


def test_words(world):
    _, codes, truth, _ = world
    assert (
        Words.of(None, None, {}) == Words() and not Words.of(None, None, {"config": {"source": {"kind": "dna"}}}).scans
    )
    assert Words.of(None, None, {"config": {"source": {"kind": "scans"}}}).scans and Words.of(codes, truth, {}).scans
    grids = [Grid(Space(name, "mm"), (2, 2, 2), np.diag([*steps, 1.0])) for name, steps in
             (("a", (1, 2, 3)), ("b", (1, 2, 4)))]  # fmt: skip
    turned = np.eye(4)
    turned[:3, :3] = tilt(9) @ TURNS[40] @ np.diag([1.0, 2, 3][::1])
    items = pd.DataFrame({"item": ["a", "b"], "sample": ["a", "b"], "block": "s", "split": "test"})
    assert cell_size(Rows.from_grids(items, grids)) == "1 × 2 × 3–4 mm"
    sides = cell_size(Rows.from_grids(items[:1], [Grid(Space("a", "mm"), (2, 2, 2), turned)]))
    along = np.abs(TURNS[40]) @ [1, 2, 3]
    assert sides == f"{along[0]:.0f} × {along[1]:.0f} × {along[2]:.0f} mm"
    assert [whole(v) for v in (-0.4, 3.5, -12.2)] == ["0", "4", "−12"]
