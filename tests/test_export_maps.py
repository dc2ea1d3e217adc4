"""Maps lie where the image lies: read back by nibabel, checked in world coordinates by other arithmetic than ours."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from bioterp.errors import AlignmentError, InputError
from bioterp.export import export
from bioterp.export.bids import scan_stems, subject_folders
from bioterp.export.lattice import cell_numbers
from bioterp.export.maps import choose_scans, descriptions
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from tests.scan_world import BALL, EVIL, OTHER, detection, head, in_ball, orientations, study, tilt

nibabel = pytest.importorskip("nibabel")
TURNS = list(orientations())


def world_of(image):
    """(x, y, z, 3) mm of every voxel's centre, as nibabel says it."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij"), -1)
    return nibabel.affines.apply_affine(image.affine, index)


def nearest_cell(one, points):
    """Position of the cell whose middle is nearest, walked cell by cell along the lattice's own edges (no Grid)."""
    corner = one.cells.affine[:3, 3]
    edges = one.cells.affine[:3, :3]
    at = np.linalg.solve(edges, (points - corner).reshape(-1, 3).T).T  # in cells from the lattice's corner
    middle = [np.arange(n) + 0.5 for n in one.cells.shape]
    near = np.stack([np.abs(at[:, [k]] - middle[k]).argmin(1) for k in range(3)], 1)
    inside = (np.abs(at - near - 0.5) < 0.5).all(1)
    border = (np.abs(at - np.rint(at)) < 1e-5).any(1)  # the header holds 32-bit numbers: there, either is right
    return near, inside, border


def only_map(files):
    (image,) = [file for file in files if file.name.endswith(".nii.gz")]
    return nibabel.load(image), image


@pytest.mark.parametrize("turn", range(48))
def test_every_orientation_of_the_file(turn, tmp_path):
    """Cells of the model's own lattice, the file turned every way: the ball is where the ball is, nowhere else."""
    model = TURNS[(turn * 7 + 3) % 48]
    one = head("sub-07", [-15, 13, 9], native_turn=TURNS[turn], model_turn=model, spacing=(2.0, 2.0, 2.0), stride=1,
               shape=(47, 44, 41), native_spacing=(3.2, 2.6, 4.4), native_shape=(23, 29, 17))  # fmt: skip
    codes, _ = study([one])
    image, _ = only_map(export(codes, [BALL], tmp_path, "nifti"))
    assert image.shape == (23, 29, 17) and nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(
        np.array(one.native["affine"])
    )
    values, world = np.asarray(image.dataobj), world_of(image)
    distance = np.linalg.norm(world - one.ball, axis=-1)
    seen = (np.abs(np.linalg.solve(model, (world - [1.3, -2.2, 3.1]).reshape(-1, 3).T)).T < [46, 43, 40]).all(1)
    half = np.sqrt(3)  # of a cell's diagonal: nearer to the ball's rim than this a cell may say either
    clear = seen.reshape(world.shape[:3]) & (np.abs(distance - 14) > half)
    np.testing.assert_array_equal(values[clear] > 0, distance[clear] < 14)
    assert (values[clear] > 0).sum() > 100 and not values[~seen.reshape(values.shape) & (distance > 20)].any()
    # The middle of mass of the map is the middle of the ball.
    assert np.linalg.norm((world * values[..., None]).sum((0, 1, 2)) / values.sum() - one.ball) < 1


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize(("degrees", "turn"), [(0, 0), (0, 29), (23, 13)])
def test_each_voxel_takes_the_value_of_the_cell_its_centre_lies_in(degrees, turn, tiles, tmp_path):
    """Cells of 9.3 mm on an oblique lattice, voxels of 2.3 to 4.1 mm tilted another way; whole or in two tiles."""
    one = head("a", [20, -25, 5], native_turn=tilt(-degrees / 2) @ TURNS[turn], model_turn=tilt(degrees) @ TURNS[5],
               spacing=(3.1, 3.1, 3.1), stride=3, shape=(51, 45, 48), native_spacing=(2.3, 4.1, 3.7),
               native_shape=(79, 37, 43))  # fmt: skip
    for axis, off in enumerate((0.21, 0.17, -0.13)):  # no centre on a border: that is the next test but one
        one.native["affine"][axis][3] += off
    codes, _ = study([one], tiles=tiles)
    image, _ = only_map(export(codes, [OTHER], tmp_path, "nifti"))
    plain, _ = study([one])  # the cells of the whole, in C order
    cells = plain.values[:, [OTHER]].toarray().reshape(one.cells.shape)
    near, inside, border = nearest_cell(one, world_of(image))
    wanted = np.where(inside, cells[tuple(near.T)], 0).reshape(image.shape)
    clear = ~border.reshape(image.shape)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[clear], wanted[clear])
    assert border.sum() < 40
    assert 500 < (wanted > 0).sum() < wanted.size / 2 and not inside.all()


def test_half_a_voxel_by_hand(tmp_path):
    """Five voxels of 1 mm centred at 0 … 4 mm; two cells of 2 mm from the first voxel's low edge at −0.5 mm."""
    native = {"shape": [5, 1, 1], "affine": np.eye(4).tolist(), "sform_code": 4, "qform_code": 3}
    items = {"item": ["s"], "sample": ["s"], "block": ["s"], "split": ["test"], "native": [json.dumps(native)]}
    edges = np.array([[2, 0, 0, -0.5], [0, 1, 0, -0.5], [0, 0, 1, -0.5], [0, 0, 0, 1.0]])
    rows = Rows.from_grids(pd.DataFrame(items), [Grid(Space("s", "mm"), (2, 1, 1), edges)])
    field = Field(rows, np.array([[5.0], [7.0]], np.float32), kind="code", about={"layer": "encoder.2"})
    image, file = only_map(export(field, [0], tmp_path, "nifti"))
    assert np.asarray(image.dataobj).ravel().tolist() == [5, 5, 7, 7, 0]
    assert file.name == "s_desc-Lencoder2F0_map.nii.gz" and file.parent.name == "sub-s"
    # The other way round the cells are met in the other order; a half voxel lost would show at one end.
    turned = np.array([[-2, 0, 0, 4.5], [0, 1, 0, -0.5], [0, 0, 1, -0.5], [0, 0, 0, 1.0]])
    flipped = Rows.from_grids(pd.DataFrame(items), [Grid(Space("s", "mm"), (2, 1, 1), turned)])
    other = Field(flipped, np.array([[5.0], [7.0]], np.float32), kind="code")
    image, _ = only_map(export(other, [0], tmp_path / "turned", "nifti"))
    assert np.asarray(image.dataobj).ravel().tolist() == [0, 7, 7, 5, 5]


def test_centres_on_borders_belong_to_one_cell_everywhere():
    """Voxels of 1 mm, cells of 2 mm whose borders run through voxel centres: always the higher index, in every tile."""
    edges = np.diag([2.0, 2, 2, 1])
    edges[:3, 3] = 0.1 + 0.2  # 0.30000000000000004
    centres = np.eye(4)
    centres[:3, 3] = 0.3
    items = pd.DataFrame({"item": ["a", "b"], "sample": "s", "block": "s", "split": "test"})
    second = edges.copy()
    second[0, 3] += 6
    space = Space("s", "mm")
    rows = Rows.from_grids(items, [Grid(space, (3, 2, 2), edges), Grid(space, (2, 2, 2), second)])
    numbers = cell_numbers(rows, [0, 1], centres, (11, 5, 5))
    assert numbers[:, 0, 0].tolist() == [0, 0, 4, 4, 8, 8, 12, 12, 16, 16, -1]
    assert numbers[0, 0].tolist() == [0, 0, 1, 1, -1] and numbers[3, 3, 3] == 7


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 3), (4, 1), (0, 0)])
@pytest.mark.parametrize("degrees", [0, 11])
def test_sform_and_qform_say_the_same_place_with_the_same_codes(codes, degrees, tmp_path):
    one = head("s", [5, 5, 5], native_turn=tilt(degrees) @ TURNS[17], codes=codes)
    field, _ = study([one])
    image, _ = only_map(export(field, [BALL], tmp_path, "nifti"))
    np.testing.assert_allclose(image.affine, one.native["affine"], atol=1e-4)
    (sform, s), (qform, q) = image.get_sform(coded=True), image.get_qform(coded=True)
    if codes == (0, 0):  # a file that says nothing lies elsewhere, so the map has to speak
        assert (s, q) == (1, 0)
    else:
        assert (s, q) == codes
    for affine in (sform, qform):
        assert affine is None or np.allclose(affine, one.native["affine"], atol=1e-3)
    assert image.header.get_xyzt_units()[0] == "mm" and image.get_data_dtype() == np.float32


def test_a_file_without_codes_keeps_them_where_the_zooms_say_the_place(tmp_path):
    bare = nibabel.Nifti1Header()
    bare.set_data_shape((61, 83, 41))
    bare.set_zooms((3.0, 2.5, 4.5))
    one = head("s", [5, 5, 5], codes=(0, 0))
    one.native["affine"] = bare.get_best_affine().tolist()
    image, _ = only_map(export(study([one])[0], [BALL], tmp_path, "nifti"))
    assert image.get_sform(coded=True)[1] == image.get_qform(coded=True)[1] == 0
    np.testing.assert_allclose(image.affine, one.native["affine"], atol=1e-4)


def test_a_qform_of_its_own_and_a_sheared_sform_are_kept(tmp_path):
    one = head("s", [5, 5, 5], codes=(2, 1))
    affine = np.array(one.native["affine"])
    affine[0, 2] += 0.9  # gantry tilt
    qform = np.array(one.native["affine"])
    qform[:3, 3] += [3, 1, 4]
    one.native["affine"], one.native["qform"] = affine.tolist(), qform.tolist()
    image, _ = only_map(export(study([one])[0], [BALL], tmp_path, "nifti"))
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(coded=True)[0], qform, atol=1e-3)


def test_a_map_is_turned_like_its_image(tmp_path):
    """What nibabel makes of both when it turns them to RAS+ agrees: values and place."""
    one = head("s", [-18, 9, 14], native_turn=TURNS[31], spacing=(1.5, 1.5, 1.5), stride=1, shape=(87, 95, 83))
    image, _ = only_map(export(study([one])[0], [BALL], tmp_path, "nifti"))
    native = nibabel.Nifti1Image(in_ball(world_of(image), one.ball).astype(np.uint8), np.array(one.native["affine"]))
    ours, theirs = nibabel.as_closest_canonical(image), nibabel.as_closest_canonical(native)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    a, b = np.asarray(ours.dataobj) > 0, np.asarray(theirs.dataobj) > 0
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.93


# ------------------------------------------------------------------ names, choice, what is said


def names(n):
    return [head(f"sub-{k:02d}_ses-1_T1w", [k, 0, 0], native_shape=(7, 9, 5), shape=(8, 10, 6)) for k in range(n)]


def test_ten_scans_of_test_are_written_unless_others_are_asked_for(tmp_path):
    heads = names(29)
    codes, _ = study(heads, ["train"] * 4 + ["test"] * 25)
    files = export(codes, [BALL, OTHER], tmp_path, "nifti", table=detection())
    images = [file for file in files if file.name.endswith(".nii.gz")]
    assert len(images) == 20 and len(files) == 41 and len({file.parent for file in images}) == 10
    assert images[0].relative_to(tmp_path).as_posix() == "maps/sub-p4/sub-04_ses-1_mod-T1w_desc-L4F3_map.nii.gz"
    assert images[-1].parent.name == "sub-p28"
    root = json.loads((tmp_path / "maps" / "dataset_description.json").read_text())
    assert root["DatasetType"] == "derivative" and root["GeneratedBy"][0]["Name"] == "bioterp"
    assert "10 of the 25 scans of the test split" in root["GeneratedBy"][0]["Description"]
    assert len(choose_scans(codes.rows, "all")[0]) == 29
    assert choose_scans(codes.rows, ["sub-02_ses-1_T1w"] * 2)[0] == ["sub-02_ses-1_T1w"]
    with pytest.raises(InputError, match="did you mean 'sub-02_ses-1_T1w'"):
        choose_scans(codes.rows, "sub-02_ses1_T1w")
    with pytest.raises(InputError, match="scans='all'"):
        choose_scans(codes.rows, [])
    train, _ = study(heads[:3], ["train"] * 3)
    assert len(choose_scans(train.rows, None)[0]) == 3


def test_the_json_beside_a_map(tmp_path):
    codes, _ = study(names(2))
    files = export(codes, [OTHER, 2], tmp_path, "nifti", table=detection(), scans="sub-01_ses-1_T1w")
    told = {file.name.split("_desc-")[1]: json.loads(file.read_text()) for file in files if "_desc-" in file.name
            and file.suffix == ".json"}  # fmt: skip
    first, second = told["L4F5_map.json"], told["L4F2_map.json"]
    wanted = {"Feature": 5, "Layer": "4", "Dictionary": "d", "Term": "left", "Units": "code", "Threshold": 0.2,
              "Scan": "sub-01_ses-1_T1w", "Split": "test", "Seed": 0}  # fmt: skip
    assert {key: first[key] for key in wanted} == wanted and 0 < first["VoxelsCovered"] <= 1
    assert second["Term"] is None and second["Threshold"] is None and second["Feature"] == 2
    again = export(codes, [2], tmp_path / "again", "nifti", threshold=0.25)
    assert json.loads(again[2].read_text())["Threshold"] == 0.25


def test_names_are_plain_stay_inside_and_differ(tmp_path):
    scans = ["../../etc/passwd", "/abs/x", "a b", "a-b", "A-B", "sub-1_T1w", "sub-1_mod-T1w", EVIL, "..", "", "é",
             "ü", "x" * 300, "x" * 299 + "y", "scan.nii.gz", "CON"]  # fmt: skip
    stems = scan_stems(scans)
    assert len({stem.lower() for stem in stems.values()}) == len(scans)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,120}", stem) for stem in stems.values())
    assert stems["scan.nii.gz"] == "scan" and stems == scan_stems(scans[::-1])
    folders = subject_folders(["sub-1", "1", "p/../q", "P q", "", "007"])
    assert folders["007"] == "sub-007" and len({name.lower() for name in folders.values()}) == 6
    assert all(re.fullmatch(r"sub-[A-Za-z0-9]+", name) for name in folders.values())
    heads = [head(scan, [0, 0, 0], native_shape=(3, 4, 2), shape=(4, 6, 2)) for scan in scans[:9]]
    files = export(study(heads)[0], [BALL], tmp_path / "out", "nifti")
    assert len(set(files)) == 19 and all((tmp_path / "out" / "maps") in file.resolve().parents for file in files)
    assert not list((tmp_path / "out").rglob(".*"))


def test_the_same_map_is_the_same_file(tmp_path):
    codes, _ = study(names(1))
    first, second = (export(codes, [BALL], tmp_path / name, "nifti")[1] for name in "ab")
    assert first.read_bytes() == second.read_bytes() and first.name.endswith(".nii.gz")


def test_labels_and_activations(tmp_path):
    one = head("s", [10, 10, 10])
    codes, truth = study([one])
    files = export(truth, None, tmp_path, "nifti")
    images = {file.name: np.asarray(nibabel.load(file).dataobj) for file in files if file.name.endswith(".gz")}
    assert len(images) == 3 and "s_desc-ball_map.nii.gz" in images
    ball = images["s_desc-ball_map.nii.gz"]
    fired = np.asarray(nibabel.load(export(codes, [BALL], tmp_path / "c", "nifti")[1]).dataobj)
    np.testing.assert_array_equal(ball == 1, fired > 0)
    assert np.isnan(ball).any() and (ball == 0).any(), "outside every cell a label is unknown, not negative"
    acts = Field(codes.rows, codes.values.toarray(), [f"u/{k}" for k in range(codes.shape[1])])
    assert descriptions(acts, [1, 2]) == ["u1", "u2"]
    assert descriptions(Field(codes.rows, acts.values[:, :3], ["a b", "ab", "-"]), [0, 1, 2]) == ["abC0", "abC1", "C2"]


def test_rows_of_a_scan_that_overlap_are_refused(tmp_path):
    """Two time points under one scan id, say: a map could only show one of them."""
    one = head("s", [0, 0, 0])
    codes, _ = study([one, one])
    with pytest.raises(AlignmentError, match="'s' and 's' of scan 's' overlap"):
        export(codes, [BALL], tmp_path / "x", "nifti")
    assert not (tmp_path / "x").exists()


def test_refusals(tmp_path):
    codes, _ = study(names(2))
    bare = codes.rows.items.drop(columns="native")
    rows = Rows(bare, codes.rows.spaces, codes.rows.space_code, codes.rows.shapes, codes.rows.affines)
    with pytest.raises(InputError, match="column 'native'"):
        export(Field(rows, codes.values, kind="code"), [BALL], tmp_path / "x", "nifti")
    broken = Rows(bare.assign(native='{"shape": [3]}'), rows.spaces, rows.space_code, rows.shapes, rows.affines)
    with pytest.raises(InputError, match="column 'native'"):
        export(Field(broken, codes.values, kind="code"), [BALL], tmp_path / "x", "nifti")
    assert not (tmp_path / "x").exists()
    line = Rows.from_grids(pd.DataFrame({"item": ["a"], "sample": "s", "block": "b", "split": "test"}),
                           [Grid.line(Space("c"), 0, 5)])  # fmt: skip
    with pytest.raises(InputError, match="3 axes"):
        export(Field(line, np.ones((5, 1), np.float32)), [0], tmp_path, "nifti")
    with pytest.raises(InputError, match="export scans as nifti or h5ad"):
        export(codes, [BALL], tmp_path)


# ------------------------------------------------------------------ matrices of scans


def test_scans_are_the_observations_of_a_matrix(tmp_path):
    anndata = pytest.importorskip("anndata")
    heads = [head(f"s{k}", [6 * k, 4, -5], spacing=(4, 4, 4 + k)) for k in range(3)]
    whole, _ = study(heads)
    codes, _ = study(heads, tiles=True)
    data = anndata.read_h5ad(export(codes, [BALL, OTHER], tmp_path, "h5ad")[0])
    assert data.obs_names.tolist() == ["s0", "s1", "s2"] and data.uns["bioterp"]["observations"] == "scans"
    assert data.obs["age"].tolist() == [20, 21, 22] and "native" not in data.obs and data.obs["subject"][1] == "p1"
    for k in range(3):
        mine = whole.values[whole.rows.offsets[k] : whole.rows.offsets[k + 1]].toarray()[:, [BALL, OTHER]]
        np.testing.assert_allclose(data.X[[k]].toarray()[0], mine.mean(0), rtol=1e-4)
        np.testing.assert_allclose(data.layers["max"][[k]].toarray()[0], mine.max(0))
    named = anndata.read_h5ad(export(codes, [BALL], tmp_path / "b.h5ad", "h5ad", observations="blocks")[0])
    assert named.obs_names.tolist() == ["p0", "p1", "p2"]


def test_the_cells_of_a_single_scan_are(tmp_path):
    anndata = pytest.importorskip("anndata")
    one = head("s", [12, -9, 3])
    codes, _ = study([one], tiles=True)
    data = anndata.read_h5ad(export(codes, [BALL, OTHER], tmp_path, "h5ad")[0])
    assert data.shape == (one.cells.size, 2) and data.uns["bioterp"]["observations"] == "cells"
    fires = data.X[:, [0]].toarray().ravel() > 0
    np.testing.assert_array_equal(fires, in_ball(data.obsm["spatial"], one.ball))
    np.testing.assert_array_equal(data.obs["x_mm"], data.obsm["spatial"][:, 0])
    assert set(data.obs["item"]) == {"s:0,0,0", "s:1,0,0"}
    pair, _ = study([one, head("t", [0, 0, 0])])
    assert anndata.read_h5ad(export(pair, [1], tmp_path / "2.h5ad", "h5ad", observations="cells")[0]).n_obs == len(pair)
    with pytest.raises(InputError, match="blocks, scans, cells"):
        export(codes, [1], tmp_path, "h5ad", observations="people")
