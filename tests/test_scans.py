"""Scans as arrays: every voxel where it was in the world, in one core, and what cannot be used left out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from bioterp.adapters.tiles import parse_three, tiles_of
from bioterp.adapters.volume import Scans
from bioterp.errors import InputError

SLOPE = np.array([0.7, -1.3, 2.1])


def write(folder: Path, name: str, shape=(17, 22, 13), orientation="RAS", spacing=(1.0, 1.0, 1.0), seed=0) -> Path:
    """An image whose voxels hold a linear function of world coordinates (so that they say where they are)."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(nibabel.orientations.axcodes2ornt(orientation)):
        affine[int(world), axis] = sign * spacing[axis]
    affine[:3, 3] = np.random.default_rng(seed).uniform(-40, 40, 3).round(2)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    values = (index @ affine[:3, :3].T + affine[:3, 3]) @ SLOPE
    image = nibabel.Nifti1Image(values.astype(np.float32), affine)
    image.set_sform(affine, 1)
    nibabel.save(image, folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    rows = []
    for i, (own, shape) in enumerate([("RAS", (17, 22, 13)), ("LPI", (14, 19, 23)), ("SLA", (21, 12, 18))]):
        write(tmp_path, f"s{i}", shape, own, seed=i)
        rows.append(
            {"scan": f"s{i}", "path": f"s{i}.nii.gz", "subject": f"p{i}", "age": 40 + i, "mask": f"m{i}.nii.gz"}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    return tmp_path / "scans.tsv"


def says(array: np.ndarray, grid: object) -> np.ndarray:
    """What the ramp would be at the centres of a Grid."""
    return (grid.centers @ SLOPE).reshape(array.shape[1:])  # type: ignore[attr-defined]


@pytest.mark.parametrize("orientation", ["RAS", "LIA", "SPL"])
def test_every_voxel_is_where_it_was_in_the_world(sheet: Path, orientation: str) -> None:
    for item, array, grid in Scans(sheet, orientation=orientation, intensity="none"):
        assert "".join(nibabel.aff2axcodes(grid.to_centers())) == orientation
        assert np.allclose(array[0], says(array, grid), atol=1e-3)
        assert item.record["age"] >= 40 and "mask" not in item.record and "path" not in item.record
        native = json.loads(item.record["native"])
        file = nibabel.load(sheet.parent / f"{item.record['item']}.nii.gz")
        assert native["shape"] == list(file.shape) and np.allclose(native["affine"], file.affine)


@pytest.mark.parametrize(("window", "halo", "multiple"), [(8, 4, 4), ([6, 9, 5], [2, 0, 3], 1), (32, 0, 2)])
def test_cores_tile_a_scan_and_halos_are_its_voxels(sheet: Path, window: object, halo: object, multiple: int) -> None:
    source = Scans(sheet, intensity="none", window=window, halo=halo, multiple=multiple)  # type: ignore[arg-type]
    whole = {name: source.volume(name) for name in source.scans}
    counts = {name: np.zeros(array.shape[1:], int) for name, (array, _) in whole.items()}
    shapes = set()
    for item, array, grid in source:
        name = item.record["sample"]
        image, lattice = whole[name]
        shapes.add(array.shape)
        at = lattice.locate(grid.centers).reshape(array.shape[1:])
        inside = at >= 0
        assert np.array_equal(array[0][inside], image.ravel()[at[inside]])
        low, high = (side.astype(int) for side in item.core)
        core = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        np.add.at(counts[name].ravel(), at[core].ravel(), 1)
    assert all((count == 1).all() for count in counts.values())
    assert len(shapes) == 1  # what is short is padded, so that one batch takes all


def test_whole_scans_are_padded_to_a_multiple_and_their_core_is_the_scan(sheet: Path) -> None:
    source = Scans(sheet, intensity="zscore", multiple=(8, 4, 5))
    for (item, array, _), scan in zip(source, source.scans.values(), strict=True):
        assert all(n % m == 0 for n, m in zip(array.shape[1:], (8, 4, 5), strict=True))
        assert item.core[0].tolist() == [0, 0, 0] and tuple(item.core[1].astype(int)) == scan.wanted.shape
        x, y, z = scan.wanted.shape
        assert (array[0, x:] == 0).all() and (array[0, :, y:] == 0).all() and (array[0, :, :, z:] == 0).all()


def test_a_shape_is_taken_around_the_middle(sheet: Path) -> None:
    for item, array, grid in Scans(sheet, intensity="none", shape=(20, 20, 20)):
        assert array.shape == (1, 20, 20, 20)
        low, high = (side.astype(int) for side in item.core)
        core = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        assert np.allclose(array[0][core], says(array, grid)[core], atol=1e-3)
        own = nibabel.load(sheet.parent / f"{item.record['item']}.nii.gz").shape
        assert sorted(high - low) == sorted(min(n, 20) for n in own)


def test_cubes_are_blocks_of_one_scan(tmp_path: Path) -> None:
    write(tmp_path, "one", (40, 36, 28), spacing=(2.0, 2.0, 2.0))
    source = Scans(tmp_path / "one.nii.gz", blocks="16mm", window=4, multiple=4)
    items = source.items
    assert items["block"].nunique() == 5 * 5 * 4 and set(items["split"]) == {"train", "valid", "test"}
    for (_, tile), block in zip(source.tiles, items["block"], strict=True):
        assert block == f"one:{','.join(str(at // 8) for at in tile.start)}"


def test_what_cannot_be_used_is_left_out_and_the_others_go_on(sheet: Path) -> None:
    folder = sheet.parent
    (folder / "s1.nii.gz").write_bytes(b"")
    (folder / "s2.nii.gz").write_bytes((folder / "s2.nii.gz").read_bytes()[:-400])
    source = Scans(sheet)
    assert list(source.left_out["scan"]) == ["s1"]  # known by its header
    assert [item.record["item"] for item, _, _ in source] == ["s0"]
    assert set(source.left_out["scan"]) == {"s1", "s2"} and source.left_out["reason"].str.len().gt(10).all()
    assert not source.left_out["reason"].str.contains(str(folder)).any()  # reasons are told, folders are private
    (folder / "s0.nii.gz").unlink()
    with pytest.raises(InputError, match="none of"):
        Scans(pd.DataFrame({"scan": ["a"], "path": [str(folder / "s1.nii.gz")]}))


def test_subjects_and_blocks_stay_in_one_split(sheet: Path) -> None:
    table = pd.read_csv(sheet, sep="\t").assign(subject="p", split=["train", "test", "test"])
    table.to_csv(sheet, sep="\t", index=False)
    with pytest.raises(InputError, match="lies in several splits"):
        Scans(sheet)


def test_not_finite_voxels_do_not_spread(tmp_path: Path) -> None:
    image = np.random.default_rng(1).gamma(2, 50, (11, 13, 9)).astype(np.float32)
    image[5, 6, 4] = np.nan
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1, 1, 2, 1])), tmp_path / "holed.nii.gz")
    ((item, array, _),) = Scans(tmp_path / "holed.nii.gz", spacing=0.7, assume_ras=True)
    assert np.isfinite(array).all() and item.record["not_finite"] == 1


def test_channels_share_the_first_lattice(tmp_path: Path) -> None:
    write(tmp_path, "t1", (12, 14, 10), "LPS", seed=3)
    write(tmp_path, "flair", (30, 30, 30), "PSL", (0.9, 0.9, 0.9), seed=3)
    frame = pd.DataFrame({"scan": ["a"], "path": ["t1.nii.gz"], "flair": ["flair.nii.gz"]})
    frame.to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    source = Scans(tmp_path / "scans.tsv", channels=["path", "flair"], intensity="none")
    ((_, array, grid),) = source
    assert array.shape[0] == source.channels == 2 and np.allclose(array[0], says(array, grid), atol=1e-3)
    inside = array[1] != array[1].min()
    assert inside.any() and np.abs(array[1] - says(array, grid))[inside].mean() < 0.5


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"orientation": "RAX"}, "three letters"),
        ({"spacing": [1, 0, 1]}, "mm above 0"),
        ({"window": 2.5}, "whole numbers"),
        ({"window": 6, "multiple": 4}, "must be multiples"),
        ({"blocks": "48"}, "cubes of a scan"),
        ({"oblique": "yes"}, "'straighten' or 'keep'"),
        ({"intensity": "zscor"}, "did you mean 'zscore'"),
        ({"halo": -1}, "whole numbers"),
    ],
)
def test_options_that_make_no_sense(sheet: Path, options: dict, what: str) -> None:
    with pytest.raises(InputError, match=what):
        Scans(sheet, **options)


def test_an_edited_file_is_another_source(sheet: Path) -> None:
    before = Scans(sheet).recipe
    assert Scans(sheet).recipe == before
    write(sheet.parent, "s1", (14, 19, 23), "LPI", seed=9)
    assert Scans(sheet).recipe["files"] != before["files"]


def test_three_numbers_or_one() -> None:
    assert parse_three(4, "window", int) == (4, 4, 4) and parse_three([1, 2.5, 3], "spacing", float) == (1, 2.5, 3)
    whole = list(tiles_of((9, 9, 9), (np.zeros(3), np.full(3, 9)), np.ones(3), None, (0, 0, 0), (4, 4, 4), "subject"))
    assert len(whole) == 1 and whole[0].array_shape == (12, 12, 12)
    assert list(itertools.chain(whole[0].size)) == [9, 9, 9]


def test_what_pads_to_a_shape_takes_no_part_in_z_scores(tmp_path: Path) -> None:
    """A scan in the middle of a large box has the numbers it has alone, and the box around it the least of them."""
    image = np.random.default_rng(4).gamma(9, 40, (9, 12, 14)).astype(np.float32)
    saved = nibabel.Nifti1Image(image, np.eye(4))
    saved.set_sform(np.eye(4), 1)
    nibabel.save(saved, tmp_path / "a.nii.gz")
    for recipe in ("zscore", {"zscore": "otsu"}, {"zscore": "all"}, "minmax"):
        ((_, alone, _),) = Scans(tmp_path / "a.nii.gz", intensity=recipe)
        ((item, boxed, _),) = Scans(tmp_path / "a.nii.gz", intensity=recipe, shape=(40, 44, 36))
        core = tuple(slice(int(a), int(b)) for a, b in zip(*item.core, strict=True))
        assert np.allclose(boxed[0][core], alone[0], atol=1e-5)
        assert np.isclose(boxed[0, 0, 0, 0], alone.min()) and np.isclose(boxed.min(), alone.min())


def test_each_channel_is_padded_with_its_own_least(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    for name, values in (("ct", random.uniform(-1000, 900, (9, 7, 11))), ("pet", random.uniform(2, 5, (9, 7, 11)))):
        image = nibabel.Nifti1Image(values.astype(np.float32), np.eye(4))
        image.set_sform(np.eye(4), 1)
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    frame = pd.DataFrame({"scan": ["a"], "path": ["ct.nii.gz"], "pet": ["pet.nii.gz"]})
    frame.to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    ((_, array, _),) = Scans(tmp_path / "scans.tsv", channels=["path", "pet"], intensity="none", multiple=(8, 8, 4))
    assert array.shape == (2, 16, 8, 12)
    for channel in array:
        inner = channel[:9, :7, :11]
        assert (channel[9:] == inner.min()).all() and (channel[:, :, 11:] == inner.min()).all()


def test_another_frame_and_another_file_beside_are_another_source(tmp_path: Path) -> None:
    values = np.random.default_rng(6).normal(100, 9, (7, 9, 8, 3)).astype(np.float32)
    for kind, name, data in (
        (nibabel.Nifti1Image, "movie.nii.gz", values),
        (nibabel.Nifti1Pair, "pair.hdr", values[..., 0]),
    ):
        image = kind(data, np.eye(4))
        image.set_sform(np.eye(4), 1)
        nibabel.save(image, tmp_path / name)

    def recipe(**columns: list) -> dict:
        return Scans(pd.DataFrame({"scan": ["a"], **columns})).recipe

    movie, pair = [str(tmp_path / "movie.nii.gz")], [str(tmp_path / "pair.hdr")]
    assert recipe(path=movie, t=[1]) == recipe(path=movie, t=[1]) != recipe(path=movie, t=[2])
    before = recipe(path=pair)
    raw = bytearray((tmp_path / "pair.img").read_bytes())
    raw[40:44] = np.float32(7).tobytes()
    (tmp_path / "pair.img").write_bytes(raw)
    assert recipe(path=pair) != before


def test_reasons_name_no_folder_whatever_file_was_at_fault(sheet: Path) -> None:
    """Of a second channel, of the .img of a pair; a 4-D image without a frame is known by its header."""
    folder = sheet.parent
    for name in ("flair", "late"):
        write(folder, name, (9, 11, 8))
    cut = (folder / "late.nii.gz").read_bytes()
    (folder / "late.nii.gz").write_bytes(cut[:-30])
    pair = nibabel.Nifti1Pair(np.ones((5, 6, 7), np.float32), np.eye(4))
    pair.set_sform(np.eye(4), 1)
    nibabel.save(pair, folder / "pair.hdr")
    (folder / "pair.img").write_bytes(b"12345")
    movie = nibabel.Nifti1Image(np.ones((5, 6, 7, 2), np.float32), np.eye(4))
    movie.set_sform(np.eye(4), 1)
    nibabel.save(movie, folder / "movie.nii.gz")
    paths = {"good": "s0", "second": "s1", "gone": "s2"}
    frame = pd.DataFrame([{"scan": k, "path": f"{v}.nii.gz"} for k, v in paths.items()])
    frame["other"] = ["flair.nii.gz", "late.nii.gz", "nowhere.nii.gz"]
    frame.to_csv(sheet, sep="\t", index=False)
    both = Scans(sheet, channels=["path", "other"])
    assert [item.record["item"] for item, _, _ in both] == ["good"]
    frame = pd.DataFrame({"scan": ["good", "pair", "movie"], "path": ["s0.nii.gz", "pair.hdr", "movie.nii.gz"]})
    frame.to_csv(sheet, sep="\t", index=False)
    plain = Scans(sheet)
    assert set(plain.left_out["scan"]) == {"pair", "movie"}
    reasons = [*both.left_out["reason"], *plain.left_out["reason"]]
    assert len(reasons) == 4 and not any(str(folder) in one for one in reasons)


def test_a_halo_without_tiles_is_refused(sheet: Path) -> None:
    with pytest.raises(InputError, match="halo is context around tiles"):
        Scans(sheet, halo=4)
    assert len(Scans(sheet, halo=4, blocks="8mm")) > 3
