"""Scans as hospitals and archives have them: one scan written in many ways is one scan, and bad ones stop nothing."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from bioterp import cli, config
from bioterp.adapters.volume import Scans
from bioterp.field import Field
from bioterp.study import Study
from tests import scan_studies as planted
from tests.conftest import SHARED
from tests.planted import leftovers, same_tables, snapshot, tables_of
from tests.scan_studies import DICOM, NAMES, native, write_sheet, write_study

CHEAP = {"baselines": [], "analyses": ["detection"], "layers": [0], "dictionary.tokens": "9k"}
FEW = (0, 2, 3, 5, 7, 9, DICOM)


@pytest.fixture(scope="session")
def imaging() -> Path:
    """The folder of real scans, good and malformed; the test is skipped where it is absent."""
    if not (SHARED / "imaging").is_dir():
        pytest.skip("real imaging data are not here (set BIOTERP_SHARED to the folder that holds data/)")
    return SHARED / "imaging"


def left_out(out: Path) -> dict[str, str]:
    """scan → reason, of what the run says of it; every reason one short sentence that tells no folder."""
    told = pd.read_csv(out / "left_out.tsv", sep="\t")
    assert list(told.columns) == ["scan", "reason"] and not told["scan"].duplicated().any()
    for reason in told["reason"]:
        assert 10 < len(reason) < 400 and "\n" not in reason and "Traceback" not in reason, reason
        assert not any(f"/{name}/" in reason for name in (*out.parts[1:3], "shared", "data")), reason
    return dict(zip(told["scan"], told["reason"], strict=True))


def blocks(field: Field) -> dict[str, np.ndarray]:
    """scan → its rows of a dense Field, or of labels its states, in order."""
    ends = field.rows.offsets
    return {
        name: np.asarray(field.read(int(ends[i]), int(ends[i + 1])))
        for i, name in enumerate(field.rows.items["sample"])
    }


# ---------------------------------------------------------------------- one scan, written in many ways

SAME = (
    "plain", "unpacked", "big-endian", "float64", "NIfTI-2", "pair", "MGZ", "scaled", "unsigned", "4-D", "left-handed",
    "turned", "sform and qform differ", "qform alone", "metres", "a fourth axis of one", "DICOM",
)  # fmt: skip


def written(folder: Path, how: str) -> dict[str, object]:
    """Scan 10 in one of SAME; its columns of the sheet. Values are whole numbers, so that no way of writing rounds."""
    shape, affine = native(10)
    values = np.rint(planted.world(10).brightness(planted.centres(shape, affine))).astype(np.int16)
    stem = folder / how.replace(" ", "-")
    made = nibabel.Nifti1Image(values, affine)
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    path = stem.with_name(f"{stem.name}.nii.gz")
    if how == "unpacked":
        path = stem.with_name(f"{stem.name}.nii")
    elif how == "big-endian":
        made = nibabel.Nifti1Image(values.astype(">i2"), affine, nibabel.Nifti1Header(endianness=">"))
        made.set_sform(affine, 1)
    elif how == "float64":
        made = nibabel.Nifti1Image(values.astype(np.float64), affine)
    elif how == "NIfTI-2":
        made = nibabel.Nifti2Image(values, affine)
    elif how == "pair":
        made, path = nibabel.Nifti1Pair(values, affine), stem.with_name(f"{stem.name}.hdr")
    elif how == "MGZ":
        made, path = nibabel.MGHImage(values, affine), stem.with_name(f"{stem.name}.mgz")
    elif how == "scaled":  # stored = (value − 7) / 0.25
        made = nibabel.Nifti1Image(((values - 7) * 4).astype(np.int16), affine)
        nibabel.save(made, path)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[112:120] = np.array([0.25, 7], "<f4").tobytes()
        path.write_bytes(gzip.compress(bytes(raw)))
        assert nibabel.load(path).dataobj.slope == 0.25
        return {"path": path.name}
    elif how == "unsigned":
        made = nibabel.Nifti1Image(values.astype(np.uint16), affine)
    elif how == "4-D":
        made = nibabel.Nifti1Image(np.stack([values * 0 + 3, values, values[::-1]], -1), affine)
    elif how == "left-handed":
        flip = np.diag([-1.0, 1, 1, 1])
        flip[0, 3] = shape[0] - 1
        made = nibabel.Nifti1Image(np.ascontiguousarray(values[::-1]), affine @ flip)
    elif how == "turned":
        order = [1, 2, 0]
        made = nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(order)), affine[:, [*order, 3]])
    elif how == "sform and qform differ":
        moved = affine.copy()
        moved[:3, 3] += [8, -5, 3]
        made.set_qform(moved, 1)
    elif how == "qform alone":
        made.set_sform(None, 0)
    elif how == "metres":
        small = np.diag([0.001, 0.001, 0.001, 1]) @ affine
        made = nibabel.Nifti1Image(values, small)
        made.header.set_xyzt_units("meter")
    elif how == "a fourth axis of one":
        made = nibabel.Nifti1Image(values[..., None], affine)
    elif how == "DICOM":
        planted.write_dicom(stem, values, affine)
        return {"path": stem.name}
    nibabel.save(made, path)
    return {"path": path.name, **({"t": 1} if how == "4-D" else {})}


def test_one_scan_in_many_files_is_one_scan(tmp_path: Path) -> None:
    """Activations and labels are the same to rounding, whatever the file and whichever way its axes run."""
    write_study(tmp_path, (10,))
    lines = []
    for number, how in enumerate(SAME):
        split = ("train", "valid", "test")[number % 3]
        lines.append(
            {"scan": how.replace(" ", "-"), **written(tmp_path, how), "mask": "mask-10.nii.gz", "split": split}
        )
    write_sheet(tmp_path, pd.DataFrame(lines))
    study = Study(config.load(write_study(tmp_path, **CHEAP)))
    acts, truth = study.activate()[0], study.truth(study.rows())
    assert not len(study.source.left_out) and list(truth.rows.items["sample"]) == [line["scan"] for line in lines]
    made = blocks(acts)
    first = made.pop("plain")
    assert np.ptp(first[:, 0]) > 1 and len(made) == len(SAME) - 1
    edges = truth.rows.affines
    state = [
        truth.read(int(a), int(b)).mask(0)[0] for a, b in zip(truth.rows.offsets, truth.rows.offsets[1:], strict=False)
    ]
    for i, (name, values) in enumerate(made.items(), 1):
        np.testing.assert_allclose(edges[i], edges[0], atol=2e-4, err_msg=name)  # positions of 32 bits
        np.testing.assert_allclose(values, first, atol=2e-3, err_msg=name)
        assert (state[i] == state[0]).mean() > 0.999 and state[0].any(), name
    notes = {name: scan.volumes[0].notes for name, scan in study.source.scans.items()}
    assert "qform and sform differ" in " ".join(notes["sform-and-qform-differ"]) and notes["plain"] == ()
    assert "metres" in " ".join(notes["metres"])


def test_voxels_that_are_not_finite(tmp_path: Path) -> None:
    """Air as NaN, and one voxel as infinity: the scan is used, its facts tell, and nothing of it spreads."""
    write_study(tmp_path, FEW)
    shape, affine = native(7)
    values = planted.world(7).brightness(planted.centres(shape, affine)).astype(np.float32)
    many = int((values == 0).sum())
    values[values == 0] = np.nan
    values[shape[0] // 2, shape[1] // 2, shape[2] // 2] = np.inf
    planted.save(tmp_path / f"{NAMES[7]}.nii.gz", values, affine)
    file = write_study(tmp_path, FEW, **CHEAP, exports=["nifti"], export_features=2)
    assert cli.main(["run", str(file), "--quiet"]) == 0
    rows = Field.open(tmp_path / "results" / "rows" / "cells=2x2x2").rows
    told = rows.items.set_index("sample")["not_finite"]
    assert told[NAMES[7]] == many + 1 and told[NAMES[5]] == 0
    for image in (tmp_path / "results" / "exports" / "maps").rglob("*.nii.gz"):
        assert np.isfinite(nibabel.load(image).get_fdata()).all()
    assert not (tmp_path / "results" / "left_out.tsv").exists()


# ---------------------------------------------------------------------- bad ones among good ones

BAD = {
    "empty": "the file is empty",
    "text": "is neither NIfTI",
    "cut": "",  # told by its header, or when its voxels are read
    "cut within the header": "cut off within its header",
    "no orientation": "does not say its orientation",
    "flat": "gives voxels no volume",
    "one value": "every voxel has the value 7",
    "all NaN": "holds no finite voxel",
    "colours": "holds colours (RGB)",
    "complex": "holds complex numbers",
    "a vector field": "holds 3 numbers per voxel",
    "4-D": "is 4-D with 3 frames",
    "not there": "there is no such file",
    "no path": "no path is given",
    "a folder of nothing": "",
    "one slice": "",
}


def broken(folder: Path, how: str) -> str:
    """A file that is no scan in one of these ways; its name in the sheet."""
    shape, affine = native(8)
    values = planted.world(8).brightness(planted.centres(shape, affine)).astype(np.float32)
    path = folder / f"bad-{how.replace(' ', '-')}.nii.gz"
    if how == "no path":
        return ""
    if how == "a folder of nothing":
        (folder / "nothing").mkdir()
        return "nothing"
    if how == "one slice":
        planted.write_dicom(folder / "slice", values[:, :, :1], affine)
        return "slice"
    if how == "colours":
        rgb = np.zeros(shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        nibabel.save(nibabel.Nifti1Image(rgb, affine), path)
    elif how == "complex":
        nibabel.save(nibabel.Nifti1Image(values.astype(np.complex64), affine), path)
    elif how == "a vector field":
        nibabel.save(nibabel.Nifti1Image(np.stack([values] * 3, -1)[:, :, :, None], affine), path)
    elif how == "4-D":
        nibabel.save(nibabel.Nifti1Image(np.stack([values] * 3, -1), affine), path)
    elif how == "no orientation":
        image = nibabel.Nifti1Image(values, None)
        image.header["sform_code"] = image.header["qform_code"] = 0
        nibabel.save(image, path)
    elif how == "flat":
        image = nibabel.Nifti1Image(values, affine)
        image.header["srow_y"] = image.header["srow_x"]
        with gzip.open(path, "wb") as handle:
            image.header.set_sform(np.vstack([affine[:1], affine[:1], affine[2:]]), 1)
            handle.write(image.header.binaryblock + b"\0" * 4 + values.tobytes(order="F"))
    elif how not in ("empty", "text", "not there"):
        fill = {"one value": 7, "all NaN": np.nan}
        planted.save(path, np.full(shape, fill[how], np.float32) if how in fill else values, affine)
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("dear colleague, please find the scan attached\n" * 20)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-700])
    elif how == "cut within the header":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:200]))
    return path.name


def test_bad_scans_are_left_out_and_the_rest_is_as_if_they_were_not_there(tmp_path: Path, capfd) -> None:
    plain, mixed = tmp_path / "plain", tmp_path / "mixed"
    Study(config.load(write_study(plain, FEW, **CHEAP))).analyse_all()
    write_study(mixed, FEW)
    table = pd.read_csv(mixed / "scans.tsv", sep="\t")
    bad = [{"scan": how.replace(" ", "-"), "path": broken(mixed, how), "split": "test"} for how in BAD]
    write_sheet(mixed, pd.concat([table.iloc[:3], pd.DataFrame(bad), table.iloc[3:]]))
    file = write_study(mixed, FEW, **CHEAP)
    assert cli.main(["check", str(file), "--quiet"]) == 0
    assert "is left out" in capfd.readouterr().out
    assert cli.main(["run", str(file)]) == 0
    said = capfd.readouterr().err
    out = mixed / "results"
    told = left_out(out)
    assert set(told) == {how.replace(" ", "-") for how in BAD}
    for how, wanted in BAD.items():
        name = how.replace(" ", "-")
        assert wanted in told[name], (how, told[name])
        assert said.count(f"left out: {name}: ") == 1
    same_tables(plain / "results", out)
    assert json.loads((out / "run.json").read_text())["scans"]["left_out"] == len(BAD)
    before = snapshot(out / "tables"), (out / "left_out.tsv").read_bytes()
    assert cli.main(["run", str(file), "--quiet"]) == 0
    assert (snapshot(out / "tables"), (out / "left_out.tsv").read_bytes()) == before
    again = json.loads((out / "run.json").read_text())["scans"]
    assert (again["scans"], again["left_out"]) == (len(FEW), len(BAD))  # also those known by their voxels only
    page = (out / "report.html").read_text()
    assert str(tmp_path) not in page + (out / "left_out.tsv").read_text() + (out / "run.json").read_text()


def test_an_image_without_orientation_can_be_vouched_for(tmp_path: Path) -> None:
    write_study(tmp_path, FEW)
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t")
    table.loc[0, "path"] = broken(tmp_path, "no orientation")
    write_sheet(tmp_path, table)
    study = Study(config.load(write_study(tmp_path, FEW, **CHEAP, **{"source.assume_ras": True})))
    assert not len(study.source.left_out) and table.loc[0, "scan"] in study.source.scans


def test_reasons_of_a_second_channel_tell_no_folder(tmp_path: Path) -> None:
    write_study(tmp_path, FEW)
    (tmp_path / "secret-clinic").mkdir()
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t")
    table["flair"] = table["path"]
    (tmp_path / "secret-clinic" / "flair.nii.gz").write_bytes(b"no image")
    table.loc[0, "flair"] = "secret-clinic/flair.nii.gz"
    table.loc[1, "flair"] = "secret-clinic/gone.nii.gz"
    table.loc[2, "flair"] = ""
    write_sheet(tmp_path, table)
    source = Scans(tmp_path / "scans.tsv", channels=["path", "flair"], spacing=3.0)
    reasons = source.left_out.set_index("scan")["reason"]
    assert list(reasons.index) == list(table["scan"][:3]) and "flair" in " ".join(reasons)
    assert "secret-clinic" not in " ".join(reasons) and str(tmp_path) not in " ".join(reasons)
    assert [array.shape[0] for _, array, _ in source] == [2] * (len(FEW) - 3)


# ---------------------------------------------------------------------- bad masks


def test_masks_that_are_none(tmp_path: Path, capfd) -> None:
    """Without a mask a scan is unknown, not negative; the others are labelled; each is told in one sentence."""
    write_study(tmp_path, FEW)
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t")
    shape, affine = native(2)
    (tmp_path / table.loc[0, "mask"]).write_bytes(b"")
    (tmp_path / table.loc[1, "mask"]).unlink()
    table.loc[2, "mask"] = ""
    packed = (tmp_path / table.loc[3, "mask"]).read_bytes()
    (tmp_path / table.loc[3, "mask"]).write_bytes(packed[: len(packed) // 2])
    elsewhere = planted.world(7)
    elsewhere = planted.World(elsewhere.middle + 400, elsewhere.half, elsewhere.bright + 400, elsewhere.dark + 400)
    planted.write_mask(tmp_path / table.loc[4, "mask"], 7, elsewhere)
    write_sheet(tmp_path, table)
    study = Study(config.load(write_study(tmp_path, FEW, **CHEAP)))
    truth = study.truth(study.rows())
    said = " ".join(truth.about["warnings"])
    for i, name in enumerate(table["scan"]):
        block = truth.read(int(truth.rows.offsets[i]), int(truth.rows.offsets[i + 1]))
        positive, known = block.mask(truth.column("bright"))
        assert positive.any() == (i > 4) and known.any() == (i > 4), name
        assert (f"scan {name!r} is unknown to every term" in said) == (i <= 4)
    assert "lies beside it" in said and str(tmp_path) not in said
    assert cli.main(["check", str(tmp_path / "run.yaml"), "--quiet"]) == 0
    assert f"no mask for 2 scans, such as {NAMES[2]}" in capfd.readouterr().out
    # A map of fractions is no mask: nothing is guessed.
    planted.save(tmp_path / table.loc[5, "mask"], np.full(shape, 0.3, np.float32), affine)
    capfd.readouterr()
    assert cli.main(["run", str(tmp_path / "run.yaml"), "--quiet"]) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "threshold=0.5" in line and "whole numbers" in line


def test_a_mask_of_somebody_else_is_noticed(tmp_path: Path) -> None:
    """A label volume that covers the scan, with none of its structures in it: most likely of another scan."""
    write_study(tmp_path, FEW)
    whole = np.zeros((60, 62, 64), np.uint8)
    whole[2:9, 3:9, 2:8] = 1
    affine = planted.affine_of("RAS", (4.0, 4.1, 3.9), whole.shape, planted.world(7).middle)
    planted.save(tmp_path / "mask-07.nii.gz", whole, affine)
    study = Study(config.load(write_study(tmp_path, FEW, **CHEAP)))
    truth = study.truth(study.rows())
    assert any(NAMES[7] in line for line in truth.about["warnings"]), truth.about["warnings"]


# ---------------------------------------------------------------------- the real ones

USABLE = {  # of messy/ and dicom/, by the reader's notes and by hand: everything else there is no volume of a person
    "valid_headers__sub-01__anat__sub-01_T1w.nii.gz", "msd_hippocampus_010_label_without_image.nii.gz",
    "msd_hippocampus_118_image_without_label.nii.gz", "anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz",
    "msd_hippocampus_281_label_512x512x94.nii.gz", "ge_anatomical_001", "philips_anatomical_001",
    "siemens_anatomical_001", "hyperfine_anatomical_001", "philips_enhanced_anatomical_001",
    "siemens_multiframe_anatomical_001", "generic_compressed_rle", "generic_compressed_j2k",
}  # fmt: skip
BY_DECODER = {"generic_compressed_jpeg": "libjpeg", "generic_compressed_jpegls": "jpeg_ls"}


def everything(imaging: Path) -> list[Path]:
    """Files and series of messy/ and dicom/."""
    found: dict[Path, None] = {}
    for file in sorted((*(imaging / "messy").rglob("*"), *(imaging / "dicom").rglob("*"))):
        series = file.parent.parent.name in ("vendors",) or "dicom_failing" in file.parent.name
        if file.is_file() and file.parent.name != "CT2_77654033":
            found[file.parent if series else file] = None
    return [*found, imaging / "dicom" / "pydicom" / "CT2_77654033"]


def test_scans_without_a_cell_are_left_out(tmp_path: Path, capfd) -> None:
    """A scan of one voxel's thickness has no cell of two; when none has one, that is said and nothing is run."""
    write_study(tmp_path, FEW)
    shape, affine = native(7)
    thin = planted.world(7).brightness(planted.centres((*shape[:2], 1), affine)).astype(np.float32)
    planted.save(tmp_path / f"{NAMES[7]}.nii.gz", thin + np.arange(shape[0])[:, None, None], affine)
    file = write_study(tmp_path, FEW, **CHEAP)
    assert cli.main(["run", str(file)]) == 0
    told = left_out(tmp_path / "results")
    assert list(told) == [NAMES[7]] and "it has no cell" in told[NAMES[7]]
    assert capfd.readouterr().err.count("left out: ") == 1
    assert cli.main(["run", str(file), "--quiet"]) == 0 and left_out(tmp_path / "results") == told
    file = write_study(tmp_path, FEW, **CHEAP, out="none", **{"source.spacing": 90.0})
    capfd.readouterr()
    assert cli.main(["run", str(file), "--quiet"]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "none of the 7 scans has a cell of the model" in said, said


@pytest.mark.needs_shared
@pytest.mark.slow
def test_good_scans_among_every_messy_file(imaging: Path, tmp_path: Path) -> None:
    write_study(tmp_path, FEW)
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t")
    files = everything(imaging)
    assert len(files) > 40
    names = [f"real{i:02d}" for i in range(len(files))]
    real = pd.DataFrame({"scan": names, "path": [str(file) for file in files], "split": "test"})
    write_sheet(tmp_path, pd.concat([real.iloc[::2], table, real.iloc[1::2]]))
    changes = {
        **CHEAP,
        "model.wants": {**planted.WANTS, "spacing": [4.0, 4.0, 4.0]},
        "analyses": ["detection", "candidates"],
    }
    file = write_study(tmp_path, FEW, **changes, exports=["tsv", "nifti", "h5ad"], export_features=2)
    assert cli.main(["run", str(file), "--quiet"]) == 0
    out = tmp_path / "results"
    told = left_out(out)
    of = {name: path.name for name, path in zip(names, files, strict=True)}
    gone = {of[name] for name in told}
    known = {of[name] for name in names} - set(BY_DECODER)
    thin = {of[name] for name, reason in told.items() if "it has no cell" in reason}  # mini series of four slices
    assert gone - set(BY_DECODER) - thin == known - USABLE and thin <= USABLE | set(BY_DECODER)
    for name, module in BY_DECODER.items():
        if name in gone - thin:
            (reason,) = [told[n] for n in told if of[n] == name]
            assert "no decoder for it is installed: pip install" in reason and "dcm2niix" in reason
            assert importlib.util.find_spec(module) is None
    rows = Field.open(out / "rows" / "cells=2x2x2").rows
    used = set(rows.items["sample"])
    assert used == (set(names) - set(told)) | set(table["scan"])
    (las,) = [name for name in names if of[name] == "anatomical.nii"]
    line = rows.items.set_index("sample").loc[las]
    assert line["stored_orientation"] == "LAS" and json.loads(line["native"])["shape"] == [33, 41, 25]
    assert (out / "report.html").is_file() and not leftovers(out) and tables_of(out)["detection"]["f1"].notna().any()
    for page in ("report.html", "run.json", "left_out.tsv"):
        text = (out / page).read_text()
        assert str(imaging) not in text and str(tmp_path) not in text
    assert json.loads((out / "run.json").read_text())["scans"]["left_out"] == len(told)


@pytest.mark.needs_shared
def test_labels_that_belong_elsewhere_among_real_ones(imaging: Path, tmp_path: Path, capfd) -> None:
    """A label of 512 × 512 × 94 beside an image of 35 × 51 × 35; an image without label; a label without image."""
    real, messy = imaging / "msd_hippocampus", imaging / "messy"
    numbers = ["001", "003", "004", "006", "007", "008", "011"]
    lines = [
        {
            "scan": f"h{n}",
            "path": str(real / "images" / f"hippocampus_{n}.nii.gz"),
            "label": str(real / "labels" / f"hippocampus_{n}.nii.gz"),
            "split": ("train", "test", "valid")[i % 3],
        }
        for i, n in enumerate(numbers)
    ]
    lines[1]["label"] = str(messy / "msd_hippocampus_281_label_512x512x94.nii.gz")
    without = {"scan": "h118", "path": str(messy / "msd_hippocampus_118_image_without_label.nii.gz"), "split": "test"}
    lone = {"scan": "h010", "path": "", "label": str(messy / "msd_hippocampus_010_label_without_image.nii.gz")}
    planted.write_weights(tmp_path / "tiny.safetensors")
    write_sheet(tmp_path, pd.DataFrame([*lines, without, lone]))
    labels = {"labels": {"parts": {"column": "label", "names": {1: "anterior", 2: "posterior"}}}}
    file = write_study(tmp_path, (), **CHEAP, **labels)
    assert cli.main(["run", str(file)]) == 0
    said = capfd.readouterr().err
    out = tmp_path / "results"
    assert left_out(out) == {"h010": "no path is given"} and "scan 'h118' is unknown to every term: it has no l" in said
    assert "scan 'h003'" in said  # whose label is of another body
    (folder,) = (out / "labels").glob("rows=*")
    truth = Field.open(folder / "parts")
    for i, name in enumerate(truth.rows.items["sample"]):
        block = truth.read(int(truth.rows.offsets[i]), int(truth.rows.offsets[i + 1]))
        positive, known = block.mask(truth.column("anterior"))
        assert positive.any() == (name not in ("h003", "h118")) and (known.any() or name in ("h003", "h118")), name
