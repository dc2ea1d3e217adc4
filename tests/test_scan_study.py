"""A run on scans from end to end: a planted world, what is found in it, what is done again, what a kill leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import anndata
import nibabel
import numpy as np
import pandas as pd
import pytest

from bioterp import cli, config, tables
from bioterp.errors import InputError, StoreError
from bioterp.field import Field
from bioterp.models.base import Model
from bioterp.records import BASELINES, OF_KIND
from bioterp.study import Study
from tests import scan_studies as planted
from tests.faulty import Warm
from tests.planted import leftovers, same_tables, snapshot, tables_of
from tests.scan_studies import DICOM, NAMES, SCANS, TEST, native, near, world, write_mask, write_sheet, write_study
from tests.test_study import unfinished

FULL = {"dictionary.seeds": [0, 1], "exports": ["tsv", "parquet", "nifti", "h5ad"], "export_features": 4}
FEW = (0, 2, 3, 5, 7, 9, DICOM)  # three people to learn from, one to choose by, three to test on
CHEAP = {"baselines": [], "analyses": ["detection"], "layers": [0], "dictionary.tokens": "9k"}


def analyse(file: Path) -> None:
    """All but exports and report: every table."""
    Study(config.load(file)).analyse_all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run with everything in it; tests read it, or copy what they change."""
    folder = tmp_path_factory.mktemp("whole")
    assert cli.main(["run", str(write_study(folder, **FULL)), "--quiet"]) == 0
    return folder


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows at every forward pass of any model over arrays of a source (probes of noise do not come this way)."""
    calls: list[int] = []
    real = Model.run

    def counted(self, batch, layers, *args, **options):
        calls.append(len(batch))
        return real(self, batch, layers, *args, **options)

    monkeypatch.setattr(Model, "run", counted)
    return calls


def truth_of(out: Path, step: float) -> Field:
    """The stored labels on the lattice whose cells have sides of `step` mm."""
    found = [Field.open(folder / "blobs") for folder in (out / "labels").glob("rows=*")]
    (one,) = [one for one in found if np.isclose(np.linalg.norm(one.rows.affines[0][:3, 0]), step)]
    return one


def states(truth: Field, term: str) -> np.ndarray:
    """(rows,) 1 positive, 0 negative, −1 unknown."""
    positive, known = truth.read().mask(truth.column(term))
    return np.where(positive, 1, np.where(known, 0, -1))


# ---------------------------------------------------------------------- what is found


def test_every_table_of_every_representation(whole: Path) -> None:
    found = tables_of(whole / "results")
    wanted = {"detection", "enrichment", "adjusted", "features", "blocks", "layers", "comparison", "candidates"}
    wanted |= {"replication", "discoveries", "loci", "headline"}
    assert set(found) == wanted | {"dictionaries", "density", "stability"}
    for name, frame in found.items():
        pd.testing.assert_frame_equal(tables.conform(name, frame), frame)
        read = tables.read(whole / "results" / "tables" / f"{name}.tsv")
        pd.testing.assert_frame_equal(read, frame, check_dtype=False, check_exact=False, rtol=1e-6)
        assert [c.name for c in tables.columns(name)] == list(frame.columns)
    scored = found["detection"][found["detection"]["f1"].notna()]
    assert set(scored["representation"]) == {"dictionary", *BASELINES, *OF_KIND["scans"]}
    assert scored["q"].dropna().between(0, 1).all() and set(scored["term"]) == {"bright", "dark"}
    own = scored[scored["representation"] == "dictionary"]
    assert set(zip(own["layer"], own["seed"], strict=True)) == {("0", 0), ("0", 1), ("1", 0), ("1", 1)}
    alone = scored[scored["representation"].isin(OF_KIND["scans"])]
    assert set(alone["layer"]) == {"cells=4x4x4", "cells=8x8x8"}  # once per lattice
    assert set(found["features"]["representation"]) == {"dictionary"} and len(found["features"]) == 2 * 2 * 17


def test_the_blobs_are_found_where_position_does_not_find_them(whole: Path) -> None:
    found = tables_of(whole / "results")
    scored = found["detection"][found["detection"]["f1"].notna() & (found["detection"]["term"] == "bright")]
    best = scored.sort_values("f1_select", ascending=False).drop_duplicates(["representation", "layer", "seed"])
    own = best[(best["representation"] == "dictionary") & (best["layer"] == "0")]
    assert len(own) == 2 and (own["f1"] > 0.9).all() and (own["q"] < 0.01).all()
    assert ((own["f1_null"] < 0.4) & (own["n_blocks"] == len({SCANS[NAMES.index(t)][0] for t in TEST}))).all()
    lost = best[(best["representation"] == "position") & (best["split"] == "test")]
    assert len(lost) and ((lost["f1"] - lost["f1_null"]).abs() < 0.2).all()
    against = found["comparison"].query("term == 'bright' and baseline == 'position'")
    assert set(against["seed"]) == {0, 1} and (against["result"] == "win").all() and (against["lo"] > 0.3).all()


def test_candidates_are_facts_of_the_files(whole: Path) -> None:
    rows = tables_of(whole / "results")["candidates"]
    (made,) = [g for _, g in rows.groupby(["layer", "seed"]) if (g["layer"].iloc[0], g["seed"].iloc[0]) == ("0", 0)]
    made = made.set_index("candidate")
    assert made.loc["manufacturer", "n_scans"] == len(SCANS) and made.loc["manufacturer", "n_levels"] == 2
    assert made.loc["manufacturer", "levels"] == "Borg & Sons: 9; ACME: 6" and made.loc["manufacturer", "note"] == ""
    assert made.loc["voxel_volume", "kind"] == "numeric" and made.loc["orientation", "n_scans"] == len(SCANS)
    assert "PatientName" not in made.index and "age" not in made.index


@pytest.mark.parametrize("step", [4.0, 8.0])
def test_labels_are_the_planted_blobs(whole: Path, step: float) -> None:
    """Cells, as boxes in mm, against balls in mm: no image, no mask file and no affine of either is asked."""
    truth = truth_of(whole / "results", step)
    offsets = np.stack(np.meshgrid(*[(np.arange(6) + 0.5) / 6 - 0.5] * 3, indexing="ij"), -1).reshape(-1, 3) * step
    for term, kind in (("bright", "bright"), ("dark", "dark")):
        state = states(truth, term)
        for i, name in enumerate(truth.rows.items["sample"]):
            own = state[truth.rows.offsets[i] : truth.rows.offsets[i + 1]]
            middles = getattr(world(NAMES.index(name)), kind)
            points = truth.rows.grid(i).centers
            share = near(points[:, None] + offsets, middles).mean(1)
            far = np.linalg.norm(points[:, None] - middles, axis=-1).min(1)
            assert (own[share > 0.7] == 1).all() and (own[share < 0.3] != 1).all()
            clear = far > planted.RADIUS + step * 0.87 + 2.6  # half a cell's diagonal, and a voxel's of the mask
            assert clear.sum() > 100 / step and (own[clear] != 1).all() and (own[clear] == 0).mean() > 0.9
            assert (own[(share > 0) & (share < 0.3)] != 1).all()


# ---------------------------------------------------------------------- what a run leaves


def test_no_folder_and_no_name_is_told(whole: Path) -> None:
    """Of the report, run.json and every export: no path of this machine, and nobody's name."""
    out = whole / "results"
    page = (out / "report.html").read_text()
    assert page.count("data:image") >= 3 and "<script" not in page
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?\s*(?!data:|#)[^"'\s>]+""", page)
    for word in ("bright", "dark", "15 scans", "position", "intensity"):
        assert word in page, word
    for file in out.rglob("*"):
        if file.is_file():
            held = file.read_bytes()
            assert b"Zaphod" not in held, file
            assert str(whole).encode() not in held, file
    told = (out / "run.json").read_text()
    for text in (page, told):
        assert not re.search(r"(?:/tmp/|/home/|/root/|/Users/|/work/)", text)


def test_run_json_says_what_was_run(whole: Path) -> None:
    told = json.loads((whole / "results" / "run.json").read_text())
    source = told["config"]["source"]
    assert (source["kind"], source["items"], source["window"]) == ("scans", "scans.tsv", None)
    assert told["config"]["model"]["weights"] == "tiny.safetensors" and told["config"]["dictionary"]["seeds"] == [0, 1]
    assert told["scans"]["scans"] == len(SCANS) and told["scans"]["left_out"] == 0
    assert told["scans"]["orientation"] == "RAS" and told["scans"]["spacing"] == [2.0, 2.0, 2.0]
    assert told["splits"] == {"train": 4, "valid": 2, "test": 7}  # families, not scans
    hashes = {one["representation"]: one["model_hash"] for one in told["quality"]}
    assert set(hashes) == {"dictionary", "random-weights"} and len(set(hashes.values())) == 2


def test_maps_lie_over_the_images(whole: Path) -> None:
    """The map of the feature for 'bright' is high in the balls and low elsewhere, in mm, through the file alone."""
    maps = whole / "results" / "exports" / "maps"
    assert (maps / "dataset_description.json").is_file()
    files = sorted(maps.glob("sub-*/*.nii.gz"))
    features = {file.name.split("_desc-")[1] for file in files}
    assert 2 <= len(features) <= 4 and len(files) == len(TEST) * len(features)
    assert len(list(maps.glob("sub-*/*.json"))) == len(files)
    seen = set()
    for file in files:
        told = json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text())
        number = NAMES.index(told["Scan"])
        assert file.parent.name == f"sub-{SCANS[number][0]}"
        image = nibabel.load(file)
        if number != DICOM:  # a series has no file whose axes could be kept
            theirs = nibabel.load(whole / f"{NAMES[number]}.nii.gz")
            assert image.shape == theirs.shape == native(number)[0]
            np.testing.assert_allclose(image.affine, theirs.affine, atol=1e-4)
            assert [int(image.header[f"{form}form_code"]) for form in "sq"] == [1, 1]
        if told["Term"] != "bright" or told["Threshold"] is None:
            continue
        values, points = image.get_fdata(), planted.centres(image.shape, image.affine)
        high = values > told["Threshold"]
        far = np.linalg.norm(points[..., None, :] - world(number).bright, axis=-1).min(-1)
        reach = 8 * 0.87  # a voxel has the value of a cell its middle lies in
        if high[far < 2].mean() > 0.9 and not high[far > planted.RADIUS + 2 * reach].any():
            seen.add(number)
    assert seen == {NAMES.index(name) for name in TEST}  # a feature does it in every scan of test, the series included


def test_the_matrix_opens(whole: Path) -> None:
    made = anndata.read_h5ad(whole / "results" / "exports" / "codes.h5ad")
    assert list(made.obs_names) == list(NAMES) and 2 <= made.n_vars <= 4
    assert list(made.obs["split"]) == [one[1] for one in SCANS]
    assert list(made.obs["age"]) == [30 + int(one[0][1:]) for one in SCANS]
    assert {"subject", "block", "manufacturer", "n_cells"} <= set(made.obs.columns)
    assert not {"path", "mask", "native"} & set(made.obs.columns)
    shown = made.uns["bioterp"]
    about = json.loads(shown["about"])
    folder = whole / "results/dictionaries/topk-17-k2" / f"layer={about['layer']}" / "seed=0/codes"
    codes = Field.open(folder)
    for row, name in enumerate(NAMES):
        (item,) = np.flatnonzero(codes.rows.items["sample"] == name)
        block = codes.read(int(codes.rows.offsets[item]), int(codes.rows.offsets[item + 1]))
        mean = np.asarray(block.mean(axis=0)).ravel()[made.var["feature"]]
        np.testing.assert_allclose(np.asarray(made.X[row].todense()).ravel(), mean, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_scanpy_takes_the_matrix(whole: Path) -> None:
    scanpy = pytest.importorskip("scanpy")
    made = scanpy.read_h5ad(whole / "results" / "exports" / "codes.h5ad")
    scanpy.pp.pca(made, n_comps=2)
    assert made.obsm["X_pca"].shape == (len(SCANS), 2)


# ---------------------------------------------------------------------- the same again, and changes


def test_again_runs_no_model(whole: Path, tmp_path: Path, forwards: list[int]) -> None:
    shutil.copytree(whole, tmp_path / "again", symlinks=True)
    out = tmp_path / "again" / "results"
    # Copies have times of their own: only what is written now is new.
    made = {p: p.stat().st_mtime_ns for p in out.glob("*/**/arrays.safetensors")}
    before = {name: snapshot(out / name) for name in ("tables", "dictionaries", "rows", "labels", "exports/maps")}
    assert cli.main(["run", str(tmp_path / "again" / "run.yaml"), "--quiet"]) == 0
    assert not forwards and len(made) > 10
    assert {p: p.stat().st_mtime_ns for p in made} == made
    for name, held in before.items():
        assert snapshot(out / name) == held, name
    assert not leftovers(out)


def test_the_same_run_elsewhere_gives_the_same_tables(whole: Path, tmp_path: Path) -> None:
    analyse(write_study(tmp_path, **FULL))
    same_tables(whole / "results", tmp_path / "results")


def test_a_redrawn_mask_changes_the_tables(tmp_path: Path, forwards: list[int]) -> None:
    """The blobs of one test scan are drawn where there are none: the stored labels must not be shown again."""
    analyse(write_study(tmp_path / "a", FEW, **CHEAP))
    first, before = len(forwards), tables_of(tmp_path / "a" / "results")["detection"]
    moved = world(7)
    moved = planted.World(moved.middle, moved.half, moved.dark, moved.bright)
    write_study(tmp_path / "b", FEW, **CHEAP)
    for folder in ("a", "b"):
        write_mask(tmp_path / folder / "mask-07.nii.gz", 7, moved)
    analyse(tmp_path / "a" / "run.yaml")
    assert len(forwards) == first  # the model did not run again
    assert not before.equals(tables_of(tmp_path / "a" / "results")["detection"])
    analyse(tmp_path / "b" / "run.yaml")
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")


@pytest.mark.parametrize("named", ["in a sheet of labels", "as folders of masks", "as a header and its voxels"])
def test_a_redrawn_mask_is_seen_however_it_is_named(named: str, tmp_path: Path) -> None:
    """The file that changes is not the one the run file or the sheet names."""
    file = write_study(tmp_path, FEW, **CHEAP)
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t")
    label = {"column": "mask"}
    for number, name in zip(FEW, table["mask"], strict=True):
        mask = nibabel.load(tmp_path / name)
        if named == "as folders of masks":
            (tmp_path / f"masks-{number}").mkdir()
            one = (mask.get_fdata() == 1).astype("u1")
            planted.save(tmp_path / f"masks-{number}" / "bright.nii.gz", one, mask.affine)
        elif named == "as a header and its voxels":
            nibabel.save(nibabel.Nifti1Pair(np.asarray(mask.dataobj), mask.affine), tmp_path / f"mask-{number:02d}.hdr")
    if named == "in a sheet of labels":
        table[["scan", "mask"]].to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
        label["path"] = "labels.tsv"
    else:
        ending = "masks-{}" if named == "as folders of masks" else "mask-{:02d}.hdr"
        table["mask"] = [ending.format(number) for number in FEW]
    write_sheet(tmp_path, table)
    file = write_study(tmp_path, FEW, **CHEAP, **{"labels.blobs": label})
    cells = {}
    for turn in ("before", "after"):
        study = Study(config.load(file))
        truth = study.truth(study.rows())
        (item,) = np.flatnonzero(truth.rows.items["sample"] == NAMES[7])
        own = slice(truth.rows.offsets[item], truth.rows.offsets[item + 1])
        cells[turn] = states(truth, truth.columns["name"][0])[own] == 1
        changed = {"as folders of masks": "masks-7/bright.nii.gz", "as a header and its voxels": "mask-07.img"}
        place = tmp_path / changed.get(named, "mask-07.nii.gz")
        if place.suffix == ".img":
            place.write_bytes(place.read_bytes().translate(bytes([0, 2, 1, *range(3, 256)])))
        else:
            held = nibabel.load(place)
            planted.save(
                place, (world(7).kind(planted.centres(held.shape, held.affine)) == 2).astype("u1"), held.affine
            )
    assert cells["before"].any() and cells["after"].any() and not (cells["before"] & cells["after"]).any()


def test_other_masks_in_the_sheet_change_the_labels(tmp_path: Path, forwards: list[int]) -> None:
    analyse(write_study(tmp_path, FEW, **CHEAP))
    first, before = len(forwards), tables_of(tmp_path / "results")["detection"]
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t")
    table.loc[table["scan"] == NAMES[7], "mask"] = ""
    write_sheet(tmp_path, table)
    analyse(tmp_path / "run.yaml")
    after = tables_of(tmp_path / "results")["detection"]
    assert len(forwards) == first and not before.equals(after)
    truth = truth_of(tmp_path / "results", 4.0)
    (item,) = np.flatnonzero(truth.rows.items["sample"] == NAMES[7])
    own = states(truth, "bright")[truth.rows.offsets[item] : truth.rows.offsets[item + 1]]
    assert (own == -1).all()  # without a mask nothing is known, which is not negative


@pytest.mark.parametrize("change", ["a scan less", "another split", "another age", "another image", "another sidecar"])
def test_another_sheet_is_refused_or_redone(change: str, tmp_path: Path) -> None:
    """What tables and exports were made of is in the recipe: yesterday's numbers never stand beside today's sheet."""
    analyse(write_study(tmp_path / "a", FEW, **CHEAP))
    before = snapshot(tmp_path / "a" / "results")
    write_study(tmp_path / "b", FEW, **CHEAP)
    for folder in (tmp_path / "a", tmp_path / "b"):
        table = pd.read_csv(folder / "scans.tsv", sep="\t")
        if change == "a scan less":
            table = table.iloc[1:]
        elif change == "another split":
            table.loc[table["scan"] == NAMES[2], "split"] = "test"
        elif change == "another age":
            table.loc[table["scan"] == NAMES[2], "age"] = 77
        elif change == "another image":
            shape, affine = native(2)
            planted.save(folder / f"{NAMES[2]}.nii.gz", np.arange(np.prod(shape), dtype="i2").reshape(shape), affine)
        else:
            (folder / f"{NAMES[2]}.json").write_text(json.dumps({"Manufacturer": "Third"}))
        write_sheet(folder, table)
    file = tmp_path / "a" / "run.yaml"
    try:
        analyse(file)
    except StoreError as error:
        assert re.search(r"made with other settings \(they differ in .*source.*choose another output", str(error))
        assert snapshot(tmp_path / "a" / "results") == before
    else:
        analyse(tmp_path / "b" / "run.yaml")
        same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")
        mine, theirs = truth_of(tmp_path / "a" / "results", 4.0), truth_of(tmp_path / "b" / "results", 4.0)
        pd.testing.assert_frame_equal(mine.rows.items, theirs.rows.items)


# ---------------------------------------------------------------------- other shapes of a study


@pytest.mark.slow
def test_short_of_disk_the_tables_are_the_same(tmp_path: Path, forwards: list[int]) -> None:
    settings = {"dictionary.seeds": [0, 3], "baselines": ["neurons", "random-weights", "intensity"]}
    analyse(write_study(tmp_path / "a", FEW, **settings))
    rows = len(truth_of(tmp_path / "a" / "results", 4.0))
    disk = round((1.1 * rows * 6 * 4 + 2 * rows * (8 * 2 + 8)) * 8 / 7)  # layer 0 alone, and codes
    file = write_study(tmp_path / "b", FEW, **settings, disk=disk)
    analyse(file)
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")
    assert not list((tmp_path / "b" / "results").glob("activations*/layer=*")) and not leftovers(tmp_path / "b")
    first = len(forwards)
    analyse(file)
    assert len(forwards) == first
    with pytest.raises(InputError, match="disk: the activations of layer"):
        analyse(write_study(tmp_path / "b", FEW, **settings, disk=1_000))


@pytest.mark.parametrize("scans", [1, 7])
def test_tiles_and_cubes_of_scans(scans: int, tmp_path: Path) -> None:
    """In tiles a cell is positive where it is in the whole scan; the last tiles are too thin for a coarse cell."""
    tiled = {"source.window": 12, "source.halo": 4, "source.blocks": "24mm" if scans == 1 else "subject"}
    settings = {**CHEAP, "layers": [0, 1], "baselines": ["position", "intensity"], "exports": ["nifti", "h5ad"]}
    file = write_study(tmp_path, FEW[:scans], **settings, **tiled)
    if scans == 1:  # its cubes are divided by their names
        write_sheet(tmp_path, pd.read_csv(tmp_path / "scans.tsv", sep="\t").drop(columns=["block", "split"]))
    detection = Study(config.load(file)).execute()["detection"]
    made = truth_of(tmp_path / "results", 8.0)
    assert len(made.rows.items) > 10 * scans and made.rows.items["sample"].nunique() == scans
    study = Study(config.load(file))
    assert len(made.rows.items) < len(study.rows(0).rows.items) and (np.diff(made.rows.offsets) > 0).all()
    whole = Study(config.load(write_study(tmp_path, FEW[:scans], **settings, out="whole")))
    plain = whole.truth(whole.rows(1))
    for term in ("bright", "dark"):
        cells = [positions(one, states(one, term) >= 0) for one in (made, plain)]
        yes = [positions(one, states(one, term) == 1) for one in (made, plain)]
        assert cells[0] and yes[0]
        # Tiles of nothing but air have no rows; instances are at home in one split, which cubes may cut.
        assert yes[0] == yes[1] if scans == 7 else yes[0] <= yes[1]
        assert len(positions(made, np.ones(len(made), bool))) == len(made)
    assert (tmp_path / "results" / "report.html").is_file()
    maps = list((tmp_path / "results" / "exports").glob("maps/sub-*/*.nii.gz"))
    if scans == 1:  # what a blob has in each cube is an instance, but of one subject there is no p
        assert detection["p"].isna().all() and detection["note"].str.contains("no p: one subject").any()
    else:
        assert maps and (tmp_path / "results" / "report.html").read_text().count("data:image") >= 1


def positions(field: Field, keep: np.ndarray) -> set[tuple]:
    """(scan, x, y, z) in mm of some rows."""
    at = np.concatenate([grid.centers for grid in field.rows.grids()])[keep]
    who = np.repeat(field.rows.items["sample"].to_numpy(), np.diff(field.rows.offsets))[keep]
    return set(zip(who.tolist(), *at.round(2).T.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_shipped_model_and_narrow_types(dtype: str, tmp_path: Path) -> None:
    model = {"name": "bioterp/scan-small"}
    settings = {**CHEAP, "layers": [2, 4], "dtype": dtype, "model": model, "analyses": ["detection", "candidates"]}
    study = Study(config.load(write_study(tmp_path, FEW, **settings)))
    assert study.source.spacing == (1, 1, 1) and study.source.multiple == (8, 8, 8)  # what the model was trained with
    joined = study.execute()
    scored = joined["detection"]
    best = scored[(scored["term"] == "bright") & scored["f1"].notna()].iloc[0]
    assert best["f1"] - best["f1_null"] > 0.2 and (tmp_path / "results" / "report.html").is_file()


# ---------------------------------------------------------------------- kill -9

MARKS = (
    "results/rows/cells=*/.*.partial-*",
    "results/activations/layer=1/.*.partial-*",
    "results/labels/rows=*/.blobs.partial-*",
    "results/dictionaries/*/layer=1/.tables.partial-*",
    "results/exports/maps/sub-*/*.json",
    "results/run.json",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "places", [[(1, 4)], pytest.param([(0, 1), (2, 3), (4, 5)], marks=pytest.mark.stress)], ids=["one", "three"]
)
def test_kill_9_at_any_moment(places: list[tuple[int, int]], tmp_path: Path, warm: Warm) -> None:
    settings = {"baselines": ["neurons", "position", "random-weights"], "exports": ["tsv", "nifti", "h5ad"]}
    settings |= {"export_features": 2, "dictionary.seeds": [0]}
    reference = tmp_path / "reference"
    write_study(reference, FEW, **settings)
    warm.run(reference)  # the first child compiles what numba has not cached yet
    write_study(tmp_path / "timed", FEW, **settings)
    killed, seconds = warm.run(tmp_path / "timed")
    assert not killed
    same_tables(reference / "results", tmp_path / "timed" / "results")
    kills = planned = 0
    moments = [(seconds * share, "") for share in np.random.default_rng(31).uniform(0.02, 0.8, 6)]
    for number, (first, second) in enumerate(places):
        folder = tmp_path / "cut" / str(number)
        write_study(folder, FEW, **settings)
        for limit, mark in (moments[first], (300.0, MARKS[first]), (300.0, MARKS[second]), moments[second]):
            planned += 1
            kills += warm.run(folder, limit, mark)[0]
            for meta in (folder / "results").rglob("meta.json"):  # what has its name is whole
                if not unfinished(meta):
                    assert all((meta.parent / name).is_file() for name in json.loads(meta.read_text())["sha256"])
            for image in (folder / "results").rglob("maps/sub-*/*.nii.gz"):
                if ".partial-" not in image.name:
                    nibabel.load(image).get_fdata()
        assert not warm.run(folder)[0]
        same_tables(reference / "results", folder / "results")
        assert not leftovers(folder / "results")
        assert set(snapshot(folder / "results")) == set(snapshot(reference / "results"))
        maps = [snapshot(one / "results/exports/maps") for one in (reference, folder)]
        made = [{name: held for name, held in one.items() if name.endswith(".nii.gz")} for one in maps]
        assert made[0] == made[1] and made[0]
    assert kills >= 2 * len(places), f"only {kills} of {planned} runs were still alive when the signal came"
