"""Sheets, BIDS folders, plain folders and DICOM folders: who is in, who is left out and why, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from series import save, slices, turned, write

from bioterp.errors import InputError
from bioterp.imaging import open_volume
from bioterp.imaging.sheet import read_sheet

PLANE = turned(0.1, 0.2, 0.3)


def image(path: Path, value: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((2, 3, 4), value, np.int16), np.eye(4)), path)
    return path


def sheet(folder: Path, text: str, name: str = "scans.tsv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text.replace("|", "\t"), encoding="utf-8")
    return folder / name


def refusal(source, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_sheet(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sheet_with_everything(tmp_path: Path) -> None:
    for name in ("a", "b", "deep/c"):
        image(tmp_path / "img" / f"{name}.nii.gz")
    path = sheet(
        tmp_path,
        "scan|subject|image|block|split|age|site|label|t\n"
        "007|p1|img/a.nii.gz|x|train|61.5|HH|masks/a.nii.gz|0\n"
        "8|p1|./img/b.nii.gz|x|train|n/a|HH|n/a|n/a\n"
        "9|p2|img/deep/../deep/c.nii.gz|y|test|70|Guys|masks/c.nii.gz|3\n",
    )
    read = read_sheet(path)
    frame = read.frame
    assert list(frame.columns) == ["scan", "subject", "path", "block", "split", "t", "age", "site", "label"]
    assert list(frame["scan"]) == ["007", "8", "9"] and list(frame["subject"]) == ["p1", "p1", "p2"]
    assert list(frame["path"]) == [tmp_path / "img" / f"{name}.nii.gz" for name in ("a", "b", "deep/c")]
    assert all(path.is_absolute() for path in frame["path"])
    assert frame["age"].dtype == np.float64 and np.isnan(frame["age"][1]) and frame["age"][2] == 70
    assert frame["label"][0] == "masks/a.nii.gz" and pd.isna(frame["label"][1])
    assert frame["t"][0] == 0 and pd.isna(frame["t"][1]) and frame["t"][2] == 3
    assert read.folder == tmp_path and not len(read.left_out)


def test_the_least_sheet_and_other_ways_to_give_it(tmp_path: Path) -> None:
    image(tmp_path / "one.nii"), image(tmp_path / "two.nii.gz")
    path = sheet(tmp_path, "path\none.nii\ntwo.nii.gz\n")
    csv = sheet(tmp_path, '\ufeffpath,sex\none.nii,f\n"two.nii.gz", m\n', "s.csv")
    table = pd.DataFrame({"path": [tmp_path / "one.nii", str(tmp_path / "two.nii.gz")]})
    for source in (path, str(path), tmp_path, csv, table):
        frame = read_sheet(source).frame
        assert list(frame["scan"]) == ["one", "two"] == list(frame["subject"])
    assert list(read_sheet(csv).frame["sex"]) == ["f", "m"]
    assert list(read_sheet(tmp_path / "one.nii").frame["scan"]) == ["one"]
    assert list(table.columns) == ["path"]  # the user's table is left as it was


def test_scans_without_a_file_are_left_out_with_the_reason(tmp_path: Path) -> None:
    image(tmp_path / "a.nii")
    (tmp_path / "empty.nii").touch()
    (tmp_path / "link.nii").symlink_to(tmp_path / "annex" / "gone")
    path = sheet(tmp_path, "scan|path\na|a.nii\nb|b.nii\nc|empty.nii\nd|link.nii\ne|n/a\n")
    read = read_sheet(path)
    assert list(read.frame["scan"]) == ["a"] and list(read.left_out.columns) == ["scan", "path", "reason"]
    reasons = dict(zip(read.left_out["scan"], read.left_out["reason"], strict=True))
    assert reasons == {
        "b": "there is no such file", "c": "the file is empty", "d": "the link's content is not here (datalad get)",
        "e": "no path is given",
    }  # fmt: skip
    (tmp_path / "a.nii").unlink()
    assert "none of its 5 scans can be read (a: " in refusal(path)


BAD = {
    "no path column": ("scan|file\na|a.nii\n", "has no column 'path' or 'image'"),
    "both columns": ("path|image\na.nii|a.nii\n", "both a column 'path' and a column 'image'"),
    "no lines": ("scan|path\n", "lists no scans"),
    "empty": ("", "not a readable table|lists no scans|has no column"),
    "twice the scan": ("scan|path\na|a.nii\na|b.nii\n", "names the scan 'a' twice"),
    "twice the image": ("scan|path\na|a.nii\nb|./a.nii\n", "same image as the scans 'a' and 'b'"),
    "twice the column": ("scan|path|age|age\na|a.nii|1|2\n", "has the column 'age' twice"),
    "no id": ("scan|path\na|a.nii\nn/a|b.nii\n", "without a scan id"),
    "slash": ("scan|path\na/b|a.nii\n", "cannot name a folder"),
    "backslash": ("scan|path\na\\b|a.nii\n", "cannot name a folder"),
    "up": ("scan|path\n..|a.nii\n", "cannot name a folder"),
    "up within": ("scan|path\na..b|a.nii\n", "cannot name a folder"),
    "control": ("scan|path\na\x07b|a.nii\n", "cannot name a folder"),
    "colon": ("scan|path\na:0,0,0|a.nii\n", "cannot name a folder"),
    "long": (f"scan|path\n{'a' * 129}|a.nii\n", "cannot name a folder"),
    "subject": ("scan|subject|path\na|../x|a.nii\n", "the subject id '../x' cannot name a folder"),
    "negative frame": ("path|t\na.nii|-1\n", "column 't' holds"),
    "half a frame": ("path|t\na.nii|1.5\n", "column 't' holds"),
    "word as frame": ("path|t\na.nii|first\n", "column 't' holds 'first'"),
    "ragged": ("scan|path\na|a.nii|x|y\n", "not a readable table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sheets_give_one_sentence(tmp_path: Path, case: str) -> None:
    image(tmp_path / "a.nii"), image(tmp_path / "b.nii")
    text, expected = BAD[case]
    assert re.search(expected, refusal(sheet(tmp_path, text)))


def test_bad_sources(tmp_path: Path) -> None:
    assert "no sample sheet or folder" in refusal(tmp_path / "nowhere.tsv")
    (tmp_path / "bin.tsv").write_bytes(b"path\n\xff\xfe\xfa\n")
    assert "not UTF-8" in refusal(tmp_path / "bin.tsv")
    (tmp_path / "empty").mkdir()
    assert "holds no image (.nii" in refusal(tmp_path / "empty")
    table = pd.DataFrame([["a", "b"]], columns=["path", "path"])
    assert "column 'path' twice" in refusal(table)


def test_frames_of_one_4d_image_are_scans(tmp_path: Path) -> None:
    image(tmp_path / "a.nii")
    frame = read_sheet(sheet(tmp_path, "scan|path|t\na0|a.nii|0\na1|a.nii|1\n")).frame
    assert list(frame["t"]) == [0, 1] and frame["path"][0] == frame["path"][1]


def bids(folder: Path) -> Path:
    image(folder / "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz")
    image(folder / "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz")
    image(folder / "sub-01/ses-02/anat/sub-01_ses-02_acq-fast_T2w.nii")
    image(folder / "sub-02/anat/sub-02_T1w.nii.gz")
    image(folder / "sub-02/anat/sub-03_T1w.nii.gz")  # a file in another's folder
    image(folder / "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz")
    (folder / "sub-04/anat").mkdir(parents=True)
    (folder / "sub-04/anat/sub-04_T1w.nii.gz").symlink_to(folder / ".git/annex/gone")
    sheet(
        folder,
        "participant_id|age|sex|path|group\nsub-01|61|F|x|n/a\n02|n/a|M|y|case\nsub-05|44|F|z|case\n",
        "participants.tsv",
    )
    return folder


def test_bids(tmp_path: Path) -> None:
    read = read_sheet(bids(tmp_path), suffix="T1w")
    frame = read.frame
    assert list(frame["scan"]) == ["sub-01_ses-01_T1w", "sub-01_ses-02_T1w", "sub-02_T1w"]
    assert list(frame["subject"]) == ["sub-01", "sub-01", "sub-02"]
    assert list(frame["session"].fillna("")) == ["ses-01", "ses-02", ""]
    assert list(frame["age"][:2]) == [61, 61] and np.isnan(frame["age"][2]) and list(frame["sex"]) == ["F", "F", "M"]
    assert frame["path"][2] == tmp_path / "sub-02/anat/sub-02_T1w.nii.gz"
    assert list(frame["path_participants"]) == ["x", "x", "y"] and pd.isna(frame["group"][0])
    reasons = dict(zip(read.left_out["scan"], read.left_out["reason"], strict=True))
    assert reasons == {
        "sub-03_T1w": "its name does not belong to the folder sub-02", "sub-05": "no T1w image",
        "sub-04_T1w": "the link's content is not here (datalad get)",
    }  # fmt: skip
    assert list(read_sheet(tmp_path, suffix="T2w").frame["scan"]) == ["sub-01_ses-02_acq-fast_T2w"]


def test_bids_refusals(tmp_path: Path) -> None:
    folder = bids(tmp_path / "b")
    assert "several kinds of images: T1w (4), T2w (1); choose one with suffix" in refusal(folder)
    assert "holds no 't1w' images; did you mean 'T1w'" in refusal(folder, suffix="t1w")
    sheet(folder, "participant_id|age\nsub-01|6\n01|7\n", "participants.tsv")
    assert "lists sub-01 twice" in refusal(folder, suffix="T1w")
    sheet(folder, "id|age\nsub-01|6\n", "participants.tsv")
    assert "no column 'participant_id'" in refusal(folder, suffix="T1w")
    (folder / "participants.tsv").unlink()
    assert len(read_sheet(folder, suffix="T1w").frame) == 3
    (tmp_path / "c/sub-01").mkdir(parents=True)
    assert "holds no images named sub-" in refusal(tmp_path / "c")


def test_a_plain_folder(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nii", ".hidden.nii", "labels/a.nii"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert list(read_sheet(tmp_path).frame["scan"]) == ["a", "b"]
    image(tmp_path / "a.nii.gz")
    assert "names the scan 'a' twice" in refusal(tmp_path)
    (tmp_path / "outer").mkdir()
    image(tmp_path / "outer" / "imagesTr" / "x.nii")
    assert "its sub-folders imagesTr do" in refusal(tmp_path / "outer")


def test_dicom_folders(tmp_path: Path) -> None:
    ann = {"PatientID": "Ann-4711", "PatientName": "Ann"}
    write(tmp_path / "visit1" / "t1", slices(*PLANE, **ann))
    write(tmp_path / "visit2", slices(*PLANE, number=4, **ann, SeriesNumber="3"))
    for k, one in enumerate(slices(*PLANE, number=5, PatientID="Bob", SeriesNumber="5")):
        save(one, tmp_path / "mixed" / f"x{k}.dcm")
    for k, one in enumerate(slices(*PLANE, number=3, SeriesNumber="5")):
        save(one, tmp_path / "mixed" / f"y{k}.dcm")
    read = read_sheet(tmp_path)
    frame = read.frame
    assert list(frame["scan"]) == ["mixed_5", "mixed_5-2", "visit1_t1_17", "visit2_3"]
    assert list(frame["subject"]) == ["mixed_5", "mixed_5-2", "visit1_t1_17", "visit1_t1_17"]
    assert [open_volume(path).shape[2] for path in frame["path"]] == [5, 3, 6, 4]
    assert frame["path"][2] == tmp_path / "visit1" / "t1"
    text = frame.drop(columns="path").to_string() + repr(read)
    assert "Ann" not in text and "4711" not in text and "Bob" not in text


def test_dicom_series_over_several_folders(tmp_path: Path) -> None:
    for k, one in enumerate(slices(*PLANE)):
        save(one, tmp_path / "whole" / f"part{k // 4}" / f"{k}.dcm")
    other = slices(*PLANE, number=3, SeriesNumber="8")
    for k, one in enumerate(other):
        save(one, tmp_path / "other" / f"{k}.dcm")
        save(one, tmp_path / "other copy" / f"{k}.dcm")
    read = read_sheet(tmp_path)
    assert list(read.frame["scan"]) == ["other_8", "whole_17"] or list(read.frame["scan"]) == [
        "other-copy_8",
        "whole_17",
    ]
    assert [open_volume(path).shape[2] for path in read.frame["path"]] == [3, 6]
    assert "holds copies of the files of" in read.left_out["reason"][0]
    save(other[0], tmp_path / "whole" / "stray.dcm")
    again = read_sheet(tmp_path)
    assert "lie in several folders" in " ".join(again.left_out["reason"])


@pytest.mark.needs_shared
def test_shared_folders(imaging: Path) -> None:
    frame = read_sheet(imaging / "ixi_t1_2mm" / "nifti").frame
    assert len(frame) == 6 and frame["scan"][0] == "IXI012-HH-1211-T1_ds"
    vendors = read_sheet(imaging / "dicom" / "vendors")  # four of its ten folders hold one series, packed four ways
    assert len(vendors.frame) == 7 and vendors.frame["scan"].is_unique
    assert set(vendors.left_out["reason"]) == {"it holds copies of the files of generic_compressed_j2k_4"}
    for path in vendors.frame["path"]:
        assert min(open_volume(path).shape) >= 4
