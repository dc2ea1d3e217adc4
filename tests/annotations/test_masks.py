"""Label volumes onto rows of scans: conventions, unknowns, instances, and what is refused."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from scan_rows import affine_of, dense_cover, like, save, scan_rows, spin, states

from bioterp.annotations import join, label
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.rows import Rows

TWO = {1: "front", 2: "back"}


@pytest.fixture
def lumps(rng) -> np.ndarray:
    small = rng.integers(0, 3, (4, 3, 5)).astype(np.int16)
    return small.repeat(3, 0).repeat(5, 1).repeat(2, 2)  # (12, 15, 10)


def box(low, high) -> tuple[tuple[int, int, int], np.ndarray]:
    """One cell from `low` to `high` in mm."""
    low, high = np.array(low, float), np.array(high, float)
    return (1, 1, 1), affine_of(np.eye(3), high - low, low)


# ---------------------------------------------------------------------------------------------- the half voxel


def test_the_affines_origin_is_the_centre_of_the_first_voxel(tmp_path) -> None:
    """A voxel of 2 mm at the affine's origin (10, 20, 30) reaches from 9 to 11, 19 to 21, 29 to 31 mm."""
    array = np.zeros((5, 6, 7), np.uint8)
    array[0, 0, 0] = 1
    path = save(tmp_path / "a.nii.gz", array, affine_of(np.eye(3), (2, 2, 2), (10, 20, 30)))
    probes = {
        "whole": (((9, 19, 29), (11, 21, 31)), 1),
        "small": (((9.1, 19.1, 29.1), (9.9, 19.9, 29.9)), 1),
        "half": (((10, 19, 29), (12, 21, 31)), 1),
        "less": (((10.1, 19, 29), (12.1, 21, 31)), -1),
        "next": (((11, 21, 31), (13, 23, 33)), 0),
        "before": (((7, 19, 29), (9, 21, 31)), -1),  # outside the volume
        "into": (((8, 19, 29), (10, 21, 31)), 1),  # half outside, half in the voxel: positive all the same
    }
    rows = scan_rows(*((("s", *box(*place))) for place, _ in probes.values()))
    field = label(rows, {"s": path})
    assert dict(zip(probes, states(field, "label_1").tolist(), strict=True)) == {k: v for k, (_, v) in probes.items()}
    told = field.values.instances.iloc[0]
    assert told[["x", "y", "z", "mm3", "voxels"]].tolist() == pytest.approx([10, 20, 30, 8, 1])


def test_a_mask_shifted_by_half_a_voxel_leaves_half_covered_cells() -> None:
    array = np.zeros((6, 3, 4), np.uint8)
    array[2:4] = 1
    rows = like("s", (6, 3, 4), np.eye(4))
    same = states(label(rows, {"s": (array, np.eye(4))}), "label_1").reshape(6, 3, 4)
    assert (same == array).all()
    right = states(label(rows, {"s": (array, affine_of(np.eye(3), (1, 1, 1), (0.5, 0, 0)))}), "label_1")
    # The mask now covers 2.0 … 4.0 of the cells' centres: half of the cells 2 and 4, the whole of 3; cell 0 sticks out.
    assert right.reshape(6, 3, 4)[:, 1, 2].tolist() == [-1, 0, 1, 1, 1, 0]
    little = states(label(rows, {"s": (array, affine_of(np.eye(3), (1, 1, 1), (0.25, 0, 0)))}), "label_1")
    assert little.reshape(6, 3, 4)[:, 1, 2].tolist() == [-1, 0, 1, 1, -1, 0]


# ---------------------------------------------------------------------------------------------- orientations


def test_all_48_orientations_of_the_mask_give_the_same_labels(tmp_path, lumps) -> None:
    affine = affine_of(spin(5, -8, 12), (1.5, 1, 2), (-7, 11, 3))
    rows = like("s", lumps.shape, affine, stride=2)
    wanted = None
    seen = 0
    for order in np.array(np.meshgrid(*[range(3)] * 3)).T.reshape(-1, 3):
        if len(set(order)) < 3:
            continue
        for signs in np.array(np.meshgrid(*[(1, -1)] * 3)).T.reshape(-1, 3):
            turn = np.stack([order, signs], 1)
            array = np.ascontiguousarray(apply_orientation(lumps, turn))
            path = save(tmp_path / "a.nii", array, affine @ inv_ornt_aff(turn, lumps.shape))
            field = label(rows, {"s": path}, names=TWO)
            found = np.stack([states(field, name) for name in TWO.values()])
            wanted = found if wanted is None else wanted
            np.testing.assert_array_equal(found, wanted)
            seen += 1
    assert seen == 48
    assert {-1, 0, 1} == set(wanted.ravel().tolist())


def test_all_48_orientations_of_the_cells_give_the_same_labels_at_a_place(lumps) -> None:
    base = affine_of(np.eye(3), (1, 1, 1), (4, 5, 6))
    told = {}
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        for signs in np.array(np.meshgrid(*[(1, -1)] * 3)).T.reshape(-1, 3):
            turn = np.stack([order, signs], 1)
            shape = apply_orientation(lumps, turn).shape
            rows = like("s", shape, base @ inv_ornt_aff(turn, lumps.shape), stride=1)
            field = label(rows, {"s": (lumps, base)}, names=TWO)
            places = np.rint(rows.grid(0).centers * 8).astype(int)
            table = sorted(zip(map(tuple, places.tolist()), states(field, "back").tolist(), strict=True))
            told[tuple(order), tuple(signs)] = table
    first, *others = told.values()
    assert len(told) == 48
    assert all(other == first for other in others)
    assert sum(v for _, v in first) == (lumps == 2).sum()


@pytest.mark.parametrize(
    ("spacing", "shift", "turn"),
    [
        ((2.5, 5, 1.25), (0.25, -2, 0), (0, 0, 0)),
        ((0.5, 1, 0.25), (3, 2, 1), (0, 0, 0)),
        ((3, 2, 4), (1, 0, 1), (31, 12, -17)),
    ],
)
def test_the_three_states_follow_from_the_cover(lumps, spacing, shift, turn) -> None:
    centres = affine_of(spin(0, 0, 90), (1, 1, 1), (20, -3, 2))
    corner = centres[:3, :3] @ (np.array(shift) - 0.5) + centres[:3, 3]
    shape = (4, 2, 3)
    cells = affine_of(spin(*turn) @ spin(0, 0, 90), spacing, corner)
    field = label(scan_rows(("s", shape, cells)), {"s": (lumps, centres)}, names=TWO)
    for value, name in TWO.items():
        cover, outside = dense_cover(lumps, centres, cells, shape, value)
        wanted = np.where(cover >= 0.5, 1, np.where((cover > 0) | (outside > 0), -1, 0))
        sure = np.abs(cover - 0.5) > 0.1 if any(turn) else np.full(len(cover), True)
        sure &= (cover == 0) | (cover > 0.03) if any(turn) else True
        assert sure.mean() > 0.6
        np.testing.assert_array_equal(states(field, name)[sure], wanted[sure])


# ---------------------------------------------------------------------------------------------- instances


def test_instances_are_components_and_go_on_across_tiles() -> None:
    array = np.zeros((12, 4, 4), np.uint8)
    array[1:3], array[4:9] = 1, 1  # the second lies in both tiles
    tiles = [("s", (6, 4, 4), affine_of(np.eye(3), (1, 1, 1), (x, 0, 0))) for x in (-0.5, 5.5)]
    tiles = [
        (s, shape, a - np.array([[0, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 0.5], [0, 0, 0, 0]])) for s, shape, a in tiles
    ]
    field = label(scan_rows(*tiles), {"s": (array, np.eye(4))})
    runs = field.values
    per = {i: int((runs.stop - runs.start)[runs.instance == i].sum()) for i in set(runs.instance.tolist())}
    assert per == {1: 2 * 16, 2: 5 * 16}
    assert ((runs.stop <= 96) | (runs.start >= 96)).all()  # no run crosses from one item into the next
    told = field.values.instances
    assert told["instance"].tolist() == [1, 2]
    assert told[["start", "end"]].to_numpy().tolist() == [[16, 48], [64, 96 + 3 * 16]]
    assert told["contig"].tolist() == ["s", "s"]
    assert told["block"].tolist() == ["block-s", "block-s"]
    assert field.columns["n_instances"].tolist() == [2]


def test_a_component_is_an_instance_in_every_block_it_lies_in() -> None:
    """Blocks of one scan: the tissue of a brain is a single component, and must not be unknown in all but one."""
    array = np.zeros((9, 5, 4), np.uint8)
    array[1:8], array[0, 0, 0] = 1, 2
    tiles = [("s", (3, 5, 4), affine_of(np.eye(3), (1, 1, 1), (x - 0.5, -0.5, -0.5))) for x in (0, 3, 6)]
    field = label(scan_rows(*tiles, block=["a", "b", "b"], split=["train", "test", "test"]), {"s": (array, np.eye(4))})
    runs = field.values
    per = {i: int((runs.stop - runs.start)[(runs.instance == i) & (runs.term == 0)].sum()) for i in (1, 2)}
    assert per == {1: 2 * 20, 2: 3 * 20 + 2 * 20}
    told = runs.instances[runs.instances["term"] == 0]
    assert told["block"].tolist() == ["a", "b"] and told["instance"].tolist() == [1, 2]
    assert field.columns["n_instances"].tolist() == [2, 1]


def test_instances_are_numbered_through_the_scans_of_a_term() -> None:
    one = np.zeros((4, 5, 6), np.uint8)
    one[0, 0, 0], one[3, 4, 5], one[1, 1, 1] = 1, 1, 2
    two = np.zeros((4, 5, 6), np.uint8)
    two[2, 2, 2], two[0, 3, 0] = 1, 2
    cells = ((4, 5, 6), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5)))
    field = label(scan_rows(("a", *cells), ("b", *cells)), {"a": (one, np.eye(4)), "b": (two, np.eye(4))}, names=TWO)
    told = field.values.instances
    assert told[["term", "instance", "contig"]].to_numpy().tolist() == [
        [0, 1, "a"], [0, 2, "a"], [0, 3, "b"], [1, 1, "a"], [1, 2, "b"],
    ]  # fmt: skip
    assert told["name"].tolist() == ["a front 1", "a front 2", "b front 1", "a back 1", "b back 1"]


@pytest.mark.parametrize(("connectivity", "count"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity(connectivity, count) -> None:
    array = np.zeros((5, 4, 3), np.uint8)
    array[0, 0, 0], array[1, 1, 0], array[2, 2, 1] = 1, 1, 1  # by an edge, then by a corner
    field = label(like("s", array.shape, np.eye(4)), {"s": (array, np.eye(4))}, connectivity=connectivity)
    assert len(field.values.instances) == count


def test_small_components_are_unknown_and_counted() -> None:
    array = np.zeros((8, 4, 4), np.uint8)
    array[0:4] = 1
    array[6, 0, 0] = 1
    rows = like("s", array.shape, np.eye(4), stride=2)
    field = label(rows, {"s": (array, np.eye(4))})  # one voxel of eight: nowhere half of a cell
    assert states(field, "label_1").reshape(4, 2, 2)[:, 0, 0].tolist() == [1, 1, 0, -1]
    assert field.columns["n_instances"].tolist() == [1]
    assert any(w.startswith("1 of 2 components of 'label_1'") for w in field.about["warnings"])
    fine = like("s", array.shape, np.eye(4))
    field = label(fine, {"s": (array, np.eye(4))}, min_voxels=2)
    assert states(field, "label_1").reshape(8, 4, 4)[:, 0, 0].tolist() == [1, 1, 1, 1, 0, 0, -1, 0]
    assert len(field.values.instances) == 1


def test_a_cell_belongs_to_the_component_most_of_it_lies_in() -> None:
    array = np.zeros((4, 1, 1), np.uint8)
    array[0], array[2:4] = 1, 1
    field = label(like("s", (4, 1, 1), np.eye(4)), {"s": (array, np.eye(4))})
    assert len(field.values.instances) == 2
    one = scan_rows(("s", (1, 1, 1), affine_of(np.eye(3), (4, 1, 1), (-0.5, -0.5, -0.5))))
    field = label(one, {"s": (array, np.eye(4))})
    assert states(field, "label_1").tolist() == [1]  # a quarter and a half
    assert field.values.instances["voxels"].tolist() == [2]


# ---------------------------------------------------------------------------------------------- unknown


def test_outside_the_field_of_view_nothing_is_known() -> None:
    array = np.zeros((3, 4, 5), np.uint8)
    array[2] = 1
    rows = like("s", (6, 4, 5), np.eye(4))
    field = label(rows, {"s": (array, np.eye(4))})
    assert states(field, "label_1").reshape(6, 4, 5)[:, 0, 0].tolist() == [0, 0, 1, -1, -1, -1]
    field = label(rows, {"s": (array, np.eye(4))}, outside="negative")
    assert states(field, "label_1").reshape(6, 4, 5)[:, 0, 0].tolist() == [0, 0, 1, 0, 0, 0]


def test_values_that_are_not_known() -> None:
    array = np.zeros((3, 4, 5), np.int16)
    array[0], array[1, 0], array[1, 1] = 1, 255, -3
    field = label(like("s", array.shape, np.eye(4)), {"s": (array, np.eye(4))}, unknown=[255])
    assert field.columns["name"].tolist() == ["label_1"]
    assert states(field, "label_1").reshape(3, 4, 5)[:, :, 0].tolist() == [[1] * 4, [-1, -1, 0, 0], [0] * 4]


def test_scans_without_a_label_are_unknown_and_told(tmp_path) -> None:
    array = np.ones((3, 4, 5), np.uint8)
    save(tmp_path / "a.nii.gz", array, np.eye(4))
    (tmp_path / "torn.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:60])
    save(tmp_path / "far.nii.gz", np.ones((30, 20, 10), np.uint8), affine_of(np.eye(3), (1, 1, 1), (500, 0, 0)))
    sheet = pd.DataFrame(
        [
            ("a", "a.nii.gz"),
            ("b", ""),
            ("c", "gone.nii.gz"),
            ("d", "torn.nii.gz"),
            ("e", "far.nii.gz"),
            ("z", "a.nii.gz"),
        ],
        columns=["scan", "mask"],
    )
    sheet.to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    cells = ((3, 4, 5), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5)))
    rows = scan_rows(*((s, *cells) for s in "abcdef"))
    field = label(rows, tmp_path / "scans.tsv", column="mask")
    assert states(field, "label_1").reshape(6, 60).tolist() == [[1] * 60, *[[-1] * 60] * 5]
    said = field.about["warnings"]
    assert [line.split()[1] for line in said] == ["'b'", "'c'", "'d'", "'e'", "'f'"]
    for line, word in zip(said, ("no label", "not there", "cannot be read", "beside it", "no label"), strict=True):
        assert word in line
    with pytest.raises(InputError, match="no scan of the rows could be labelled"):
        label(scan_rows(("c", *cells), ("e", *cells)), tmp_path / "scans.tsv", column="mask")
    table = sheet.copy()
    table.attrs["folder"] = str(tmp_path)  # as the adapter's sheet says where it lies
    assert (states(label(rows, table, column="mask"), "label_1") == states(field, "label_1")).all()


def test_warnings_are_capped() -> None:
    cells = ((2, 2, 2), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5)))
    rows = scan_rows(*((f"s{i}", *cells) for i in range(31)))
    field = label(rows, {"s0": (np.ones((2, 2, 2), int), np.eye(4))})
    assert len(field.about["warnings"]) == 21
    assert field.about["warnings"][-1] == "and 10 more like this"


def test_a_label_that_stands_elsewhere_than_its_image_is_told() -> None:
    array = np.ones((4, 5, 6), np.uint8)
    native = {"shape": [4, 5, 6], "affine": affine_of(np.eye(3), (1, 1, 1), (2, 0, 0)).tolist(), "sform_code": 1}
    cells = ((4, 5, 6), affine_of(np.eye(3), (1, 1, 1), (1.5, -0.5, -0.5)))
    rows = scan_rows(("s", *cells), native=[json.dumps(native)])
    assert any("another affine (up to 2.0 mm" in w for w in label(rows, {"s": (array, np.eye(4))}).about["warnings"])
    right = (array, np.array(native["affine"]))
    assert not label(rows, {"s": right}).about["warnings"]
    flipped = right[1] @ np.array([[1, 0, 0, 0], [0, -1, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    assert not label(rows, {"s": (array[:, ::-1], flipped)}).about["warnings"]  # the same box, stored the other way


# ---------------------------------------------------------------------------------------------- small and empty


def test_an_empty_mask_beside_a_full_one() -> None:
    cells = ((3, 2, 4), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5)))
    empty, full = np.zeros((3, 2, 4), np.uint8), np.ones((3, 2, 4), np.uint8)
    field = label(scan_rows(("a", *cells), ("b", *cells)), {"a": (empty, np.eye(4)), "b": (full, np.eye(4))})
    assert states(field, "label_1").tolist() == [0] * 24 + [1] * 24
    nothing = label(scan_rows(("a", *cells)), {"a": (empty, np.eye(4))})
    assert nothing.shape == (24, 0)


def test_one_voxel() -> None:
    field = label(like("s", (1, 1, 1), np.eye(4)), {"s": (np.full((1, 1, 1), 7), np.eye(4))})
    assert field.columns["name"].tolist() == ["label_7"]
    assert states(field, "label_7").tolist() == [1]
    one = scan_rows(("s", (3, 1, 1), affine_of(np.eye(3), (1, 1, 1), (-1.5, -0.5, -0.5))))
    assert states(label(one, {"s": (np.full((1, 1, 1), 7), np.eye(4))}), "label_7").tolist() == [-1, 1, -1]


def test_names_terms_and_merged_values(tmp_path) -> None:
    array = np.array([0, 1, 2, 40000, 5, 5], np.int32).reshape(6, 1, 1)
    rows = like("s", (6, 1, 1), np.eye(4))
    source = {"s": (array, np.eye(4))}
    field = label(rows, source, names={1: "b", 2: "a"})
    assert field.columns["name"].tolist() == ["b", "a", "label_5", "label_40000"]  # by value
    assert field.about["warnings"] == ["2 values have no name in the label table and are called label_…: 5, 40000"]
    field = label(rows, source, names={1: "limbic", 2: "limbic"}, terms=["limbic"])
    assert field.columns["name"].tolist() == ["limbic"]
    assert states(field, "limbic").tolist() == [0, 1, 1, 0, 0, 0]
    assert len(field.values.instances) == 1
    with pytest.raises(InputError, match=r"term 'limbci'.*did you mean 'limbic'"):
        label(rows, source, names={1: "limbic"}, terms=["limbci"])


def test_values_far_apart() -> None:
    array = np.array([0, 3, 2_000_000_000, -7, 3, 1_000_000], np.int32).reshape(2, 3, 1)
    field = label(like("s", (2, 3, 1), np.eye(4)), {"s": (array, np.eye(4))})
    assert field.columns["name"].tolist() == ["label_3", "label_1000000", "label_2000000000"]
    assert states(field, "label_3").tolist() == [0, 1, 0, -1, 1, 0]
    assert states(field, "label_2000000000").tolist() == [0, 0, 1, -1, 0, 0]


def test_a_folder_of_masks_one_per_structure(tmp_path) -> None:
    folder = tmp_path / "segmentations"
    folder.mkdir()
    liver, spleen = np.zeros((2, 4, 3, 5), np.uint8)
    liver[:3], spleen[2:] = 1, 1  # they overlap in one plane
    save(folder / "liver.nii.gz", liver, np.eye(4))
    save(folder / "spleen.nii.gz", spleen, np.eye(4))
    field = label(like("s", liver.shape, np.eye(4)), folder, made_by="model")
    assert (states(field, "liver") == liver.ravel()).all()
    assert (states(field, "spleen") == spleen.ravel()).all()
    assert field.about["made_by"] == "model"
    assert field.columns["made_by"].tolist() == ["model", "model"]


def test_a_folder_of_files_named_as_the_scans(tmp_path) -> None:
    for i, scan in enumerate(("a", "b")):
        array = np.zeros((2, 3, 4), np.uint8)
        array[i] = 1
        save(tmp_path / f"{scan}.nii.gz", array, np.eye(4))
    cells = ((2, 3, 4), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5)))
    field = label(scan_rows(("b", *cells), ("a", *cells)), tmp_path)
    assert states(field, "label_1").tolist() == [0] * 12 + [1] * 12 + [1] * 12 + [0] * 12


def test_saved_joined_and_read_in_parts(tmp_path, lumps) -> None:
    rows = like("s", lumps.shape, np.eye(4), stride=2)
    field = label(rows, {"s": (lumps, np.eye(4))}, names=TWO)
    again = Field.open(field.save(tmp_path / "labels").path)
    for name in TWO.values():
        assert (states(again, name) == states(field, name)).all()
    both = join([field, label(rows, {"s": (lumps, np.eye(4))}, names={1: "one"}, terms=["one"], made_by="model")])
    assert both.columns["name"].tolist() == ["front", "back", "one"]
    assert both.columns["made_by"].tolist() == ["person", "person", "model"]
    assert (states(both, "one") == states(field, "front")).all()


def test_what_is_refused(tmp_path) -> None:
    rows = like("s", (3, 4, 5), np.eye(4))
    whole = np.zeros((3, 4, 5), np.uint8)
    source = {"s": (whole, np.eye(4))}
    parts = save(tmp_path / "part.nii.gz", np.full((3, 4, 5), 0.25, np.float32), np.eye(4))
    for given, options, words in (
        (source, {"upstream": 30}, "upstream= is for sequences; label volumes of scans take"),
        (source, {"strand": "sense"}, "strand= is for sequences"),
        (source, {"categorical": ["x"]}, "categorical= is for columns of a sheet"),
        (source, {"connectivity": 8}, "6, 18 or 26"),
        (source, {"made_by": "robot"}, "person, model"),
        (source, {"outside": "?"}, "'unknown' or 'negative'"),
        (source, {"density": True, "min_voxels": 3}, "min_voxels= is for terms"),
        ({"t": (whole, np.eye(4))}, {}, "labels for none of the 1 scans"),
        ({"s": (whole[0], np.eye(4))}, {}, "three axes"),
        ({"s": (whole, np.eye(3))}, {}, r"\(4, 4\)"),
        ({"s": (whole + 0.5, np.eye(4))}, {}, "not whole numbers.*threshold=0.5"),
        ({"s": parts}, {}, "threshold=0.5"),
        (tmp_path / "none.nii.gz", {}, "there is no file"),
    ):
        with pytest.raises(InputError, match=words):
            label(rows, given, **options)
    sheet = tmp_path / "scans.tsv"
    sheet.write_text("scan\tmask\ns\tx.nii\ns\ty.nii\n")
    with pytest.raises(InputError, match=r"no column 'label'.*mask"):
        label(rows, sheet)
    with pytest.raises(InputError, match="two label files for the scan 's'"):
        label(rows, sheet, column="mask")
    two = Rows.concat([rows, like("t", (3, 4, 5), np.eye(4))])
    with pytest.raises(InputError, match=r"2 scans and .* is one volume"):
        label(two, parts)


def test_options_of_scans_are_refused_on_sequences(tmp_path) -> None:
    from label_rows import tiled

    from bioterp.grid import Space

    rows = tiled(Space("c", "bp", 500), 100)
    (tmp_path / "a.bed").write_text("c\t10\t20\n")
    for name, value in (("names", {1: "x"}), ("threshold", 0.5), ("made_by", "model"), ("min_voxels", 2)):
        with pytest.raises(InputError, match=f"{name}= is for scans; annotations of sequences take"):
            label(rows, tmp_path / "a.bed", **{name: value})


# ---------------------------------------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def imaging(genomics):
    folder = genomics.parent / "imaging"
    if not folder.is_dir():
        pytest.skip("real imaging data are not here")
    return folder


def header(path) -> tuple[tuple[int, ...], np.ndarray]:
    image = nibabel.load(path)
    return image.shape[:3], image.affine


@pytest.mark.needs_shared
def test_hippocampi_have_the_published_numbers_of_voxels(imaging) -> None:
    cases = pd.read_csv(imaging / "msd_hippocampus/cases.tsv", sep="\t").iloc[::9]
    parts = [like(f.split(".")[0], *header(imaging / "msd_hippocampus/images" / f)) for f in cases["file"]]
    rows = Rows.concat(parts)
    field = label(rows, imaging / "msd_hippocampus/labels", names={1: "anterior", 2: "posterior"})
    assert not field.about["warnings"]
    for name in ("anterior", "posterior"):
        positive, known = field.values.mask(field.column(name))
        assert known.all()
        assert np.add.reduceat(positive.astype(int), rows.offsets[:-1]).tolist() == cases[f"vox_{name}"].tolist()


@pytest.mark.needs_shared
def test_brain_regions_have_the_published_volumes(imaging) -> None:
    """145 regions of a scan in PSR, on cells in RAS: mm³ of the positive cells are those of DLMUSE's own table."""
    scan = "IXI012-HH-1211"
    path = imaging / f"ixi_t1_2mm/dlmuse/{scan}-T1_ds_DLMUSE.nii.gz"
    image = nibabel.as_closest_canonical(nibabel.load(imaging / f"ixi_t1_2mm/nifti/{scan}-T1_ds.nii.gz"))
    field = label(like(scan, image.shape, image.affine), path, made_by="model")
    published = pd.read_csv(imaging / "ixi_t1_2mm/IXI_dlmuse.csv", index_col="MRID").loc[scan]
    regions = [n for n in field.columns["name"] if n.removeprefix("label_") in published.index]
    assert len(regions) == 145
    for name in regions:
        assert (states(field, name) == 1).sum() * 8 == published[name.removeprefix("label_")]


@pytest.mark.needs_shared
def test_names_inside_the_file_and_a_label_on_another_lattice(imaging) -> None:
    folder = imaging / "totalseg"
    coarse = like("ct", *header(folder / "example_ct_sm.nii.gz"), stride=2)
    field = label(coarse, folder / "example_seg.nii.gz", made_by="model")
    array, affine = (
        np.asarray(nibabel.load(folder / "example_seg.nii.gz").dataobj),
        header(folder / "example_seg.nii.gz")[1],
    )
    assert field.shape[1] == len(np.unique(array)) - 1 == 41
    assert "liver" in set(field.columns["name"])
    part = scan_rows(("ct", (3, 4, 5), affine_of(np.eye(3), (5, 5, 5), (-100, 150, 110))))
    named = label(part, folder / "example_seg.nii.gz", names=f"{folder / 'class_map.py.txt'}#total")
    for value, name in ((5, "liver"), (6, "stomach"), (1, "spleen")):
        cover, _ = dense_cover(array, affine, part.affines[0], (3, 4, 5), value, per_axis=15)  # 3 mm voxels: exact
        wanted = np.where(cover >= 0.5, 1, np.where(cover > 0, -1, 0))
        np.testing.assert_array_equal(states(named, name), wanted)


@pytest.mark.needs_shared
def test_a_label_of_another_size_beside_its_image_is_left_out(imaging) -> None:
    first, second = (imaging / f"msd_hippocampus/images/hippocampus_00{i}.nii.gz" for i in (1, 3))
    rows = Rows.concat([like("one", *header(first)), like("three", *header(second))])
    source = {
        "one": imaging / "messy/msd_hippocampus_281_label_512x512x94.nii.gz",
        "three": imaging / "msd_hippocampus/labels/hippocampus_003.nii.gz",
    }
    field = label(rows, source)
    assert len(field.about["warnings"]) == 1
    assert "512×512×94" in field.about["warnings"][0]
    n = rows.offsets[1]
    assert (states(field, "label_1")[:n] == -1).all()
    assert (states(field, "label_1")[n:] == 1).sum() == 1550


def test_unknown_voxels_stay_unknown_where_what_is_beside_the_mask_is_negative() -> None:
    array = np.zeros((6, 5, 4), np.int16)
    array[1], array[3] = 1, 9
    rows = scan_rows(("s", (8, 5, 4), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5))))
    field = label(rows, {"s": (array, np.eye(4))}, unknown=[9], outside="negative")
    by_plane = states(field, "label_1").reshape(8, 20)
    assert by_plane.min(1).tolist() == by_plane.max(1).tolist() == [0, 1, 0, -1, 0, 0, 0, 0]


def test_what_is_kept_of_a_label_names_no_folder(tmp_path) -> None:
    """Warnings and sources are stored with the rows' labels; a mask that is gone or broken is told by its name."""
    folder = tmp_path / "private"
    folder.mkdir()
    good = save(folder / "good.nii.gz", np.ones((3, 4, 5), np.uint8), np.eye(4))
    (folder / "cut.nii.gz").write_bytes(good.read_bytes()[:-12])
    sheet = folder / "masks.tsv"
    sheet.write_text("scan\tlabel\na\tgood.nii.gz\nb\tgone.nii.gz\nc\tcut.nii.gz\n")
    cells = (3, 4, 5), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5))
    rows = scan_rows(("a", *cells), ("b", *cells), ("c", *cells))
    for options in ({}, {"density": True}):
        field = label(rows, sheet, **options)
        kept = json.dumps(field.about) + field.columns.to_csv()
        assert str(folder) not in kept and "gone.nii.gz" in kept and "cut.nii.gz" in kept
