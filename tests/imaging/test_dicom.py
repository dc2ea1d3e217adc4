"""DICOM: series planted from a known world, real ones against highdicom, broken ones in one sentence."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, generate_uid
from series import COLUMNS, ROWS, SLICES, SPACING, STEP, dataset, enhanced, save, slices, turned, world, write

from bioterp.errors import InputError
from bioterp.imaging import Volume, open_volume

AXIAL = (np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
SAGITTAL = (np.array([0, 1.0, 0]), np.array([0, 0, -1.0]))
CORONAL = (np.array([1.0, 0, 0]), np.array([0, 0, -1.0]))
OBLIQUE = turned(0.3, -0.5, 0.9)


def assert_world(volume: Volume, within: float = 0.51) -> None:
    """Every voxel holds the world's value at the place the affine gives it."""
    read = volume.read()
    assert read.shape == volume.shape and read.dtype == np.float32
    for index in np.ndindex(volume.shape):
        x, y, z, _ = volume.affine @ [*index, 1]
        assert abs(read[index] - world(x, y, z)) < within, index


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_volume(path).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("plane", [AXIAL, SAGITTAL, CORONAL, OBLIQUE], ids=["axial", "sagittal", "coronal", "oblique"])
def test_shuffled_series_lie_where_they_were_planted(tmp_path: Path, plane) -> None:
    volume = open_volume(write(tmp_path / "s", slices(*plane)))
    assert volume.shape == (COLUMNS, ROWS, SLICES) and volume.codes == (1, 1) and volume.frames == 1
    assert_world(volume)
    np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), [SPACING[1], SPACING[0], STEP], rtol=1e-6)


def test_corner_by_hand(tmp_path: Path) -> None:
    # Sagittal: rows run to posterior, columns downwards, and the normal (0,1,0) × (0,0,−1) = (−1,0,0) to the right; so
    # the first plane is the one with the largest LPS x, which is the smallest x of RAS.
    volume = open_volume(write(tmp_path / "s", slices(*SAGITTAL)))
    np.testing.assert_allclose(volume.affine[:3, 3], [7.5, -12.25, -3.0])
    last = volume.affine @ [COLUMNS - 1, ROWS - 1, SLICES - 1, 1]
    np.testing.assert_allclose(last[:3], [7.5 + 5 * 2.3, -12.25 - 6 * 0.8, -3.0 - 4 * 1.25])
    assert nib.aff2axcodes(volume.affine) == ("P", "I", "R")


def test_a_file_stands_for_its_series(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", slices(*OBLIQUE))
    for k, one in enumerate(slices(*AXIAL, number=4)):  # another series beside it
        save(one, folder / f"other{k}.dcm")
    volume = open_volume(folder / "IM0003")
    assert volume.shape == (COLUMNS, ROWS, SLICES) and "5 other files" in volume.notes[0]
    assert_world(volume)
    assert "holds 2 DICOM series" in refusal(folder)


def test_rescale_of_each_slice_and_signed_values(tmp_path: Path) -> None:
    series = []
    for k, place in enumerate(slices(*OBLIQUE)):
        slope, inter = str(0.25 + 0.5 * k), str(-1000.5 + 3 * k)
        series.append(
            dataset(place.ImagePositionPatient, *OBLIQUE, "1.2.9", RescaleSlope=slope, RescaleIntercept=inter)
        )  # fmt: skip
    assert_world(open_volume(write(tmp_path / "s", series)), within=0.5 * (0.25 + 0.5 * 5) + 0.01)


def test_unsigned_above_32767(tmp_path: Path) -> None:
    series = slices(*AXIAL, PixelRepresentation=0, RescaleIntercept="-40000")
    volume = open_volume(write(tmp_path / "s", series))
    assert_world(volume)
    assert volume.facts["stored_type"] == "uint16"


@pytest.mark.parametrize("how", ["implicit", "no meta", "no syntax"])
def test_other_ways_to_write_it(tmp_path: Path, how: str) -> None:
    for k, one in enumerate(slices(*OBLIQUE)):
        syntax = {"implicit": ImplicitVRLittleEndian, "no meta": ImplicitVRLittleEndian, "no syntax": None}[how]
        save(one, tmp_path / "s" / f"{9 - k}", syntax, meta=how != "no meta")
    assert_world(open_volume(tmp_path / "s"))


def test_enhanced_multiframe_with_frames_in_any_order(tmp_path: Path) -> None:
    places = slices(*OBLIQUE)
    series = [
        dataset(p.ImagePositionPatient, *OBLIQUE, "1.2.9", RescaleSlope=str(0.5 + k), RescaleIntercept=str(7 * k))
        for k, p in enumerate(places)
    ]
    whole = enhanced(series, [3, 0, 5, 1, 4, 2])
    volume = open_volume(save(whole, tmp_path / "e.dcm"))
    assert volume.shape == (COLUMNS, ROWS, SLICES)
    assert_world(volume, within=0.5 * 5.5 + 0.01)
    assert volume.facts["slice_spacing"] == pytest.approx(STEP) and volume.facts["slice_thickness"] == 9.0
    del whole.PerFrameFunctionalGroupsSequence
    assert "does not say where each lies" in refusal(save(whole, tmp_path / "f.dcm"))


def test_what_is_no_image_is_left_aside(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", slices(*AXIAL))
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", generate_uid()
    save(report, folder / "report.dcm")
    (folder / "notes.txt").write_text("seen by nobody")
    (folder / ".hidden").write_bytes(b"\0" * 999)
    volume = open_volume(folder)
    assert volume.notes == ("left aside: 1 × a structured report",)
    assert "is a structured report" in refusal(folder / "report.dcm")
    for file in folder.glob("IM*"):
        file.unlink()
    assert "holds no DICOM image: it holds 1 × a structured report" in refusal(folder)


def change(name: str, value, which: slice = slice(None)):
    def apply(series: list[Dataset]) -> list[Dataset]:
        for one in series[which]:
            setattr(one, name, value)
        return series

    return apply


def without(name: str):
    def apply(series: list[Dataset]) -> list[Dataset]:
        for one in series:
            delattr(one, name)
        return series

    return apply


def moved(series: list[Dataset], k: int, by) -> list[Dataset]:
    series[k].ImagePositionPatient = [a + b for a, b in zip(series[k].ImagePositionPatient, by, strict=True)]
    return series


def tilted(series: list[Dataset]) -> list[Dataset]:
    for k in range(len(series)):
        moved(series, k, (0, 0.4 * k, 0))
    return series


def cut(series: list[Dataset]) -> list[Dataset]:
    series[2].PixelData = series[2].PixelData[:-8]
    return series


BROKEN = {
    "one slice": (lambda s: s[:1], "holds one slice and a volume needs at least 3"),
    "two slices": (lambda s: s[:2], "holds 2 slices and a volume needs at least 3"),
    "a missing slice": (lambda s: s[:3] + s[4:], r"2.3 to 4.6 mm apart, 2.3 mm mostly\): one slice seems"),
    "uneven": (lambda s: moved(s, 3, (0, 0, 0.1)), "unevenly spaced"),
    "tilt": (tilted, r"sheared by 9.9° \(gantry tilt\)"),
    "sideways": (lambda s: moved(s, 2, (0.5, 0, 0)), "shifted sideways"),
    "same place": (change("ImagePositionPatient", [1, 2, 3]), r"all lie at the same place \(0 mm apart\)"),
    "time points": (lambda s: s + slices(*AXIAL, uid=s[0].SeriesInstanceUID), "12 slices lie at 6 places"),
    "orientations": (change("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], slice(4, 6)), r"2 orientations .*\(2 of 6"),
    "spacings": (change("PixelSpacing", [2, 2], slice(0, 1)), "pixel spacing is zero or differs"),
    "zero spacing": (change("PixelSpacing", [0, 1]), "pixel spacing is zero or differs"),
    "sizes": (lambda s: cut_row(s), "different sizes"),
    "skewed axes": (change("ImageOrientationPatient", [1, 0, 0, 0.5, 0.5, 0]), "not at right angles"),
    "no position": (without("ImagePositionPatient"), "ImagePositionPatient is missing"),
    "no orientation": (without("ImageOrientationPatient"), "ImageOrientationPatient is missing"),
    "no spacing": (without("PixelSpacing"), "PixelSpacing is missing"),
    "short position": (change("ImagePositionPatient", [1, 2]), "ImagePositionPatient is not readable"),
    "no pixels": (without("PixelData"), "holds no pixels"),
    "cut pixels": (cut, "is cut off: 5 × 7 × 1 pixels need 70 bytes and 62 are there"),
    "colour": (change("SamplesPerPixel", 3), "is a colour picture"),
    "mosaic": (change("ImageType", ["ORIGINAL", "PRIMARY", "MOSAIC"]), "Siemens mosaic"),
    "slope 0": (change("RescaleSlope", "0"), "rescale slope 0"),
    "dose": (change("SOPClassUID", "1.2.840.10008.5.1.4.1.1.481.2"), "image: it holds 6 × a radiotherapy dose"),
    "gigantic": (lambda s: change("Rows", 65535)(change("Columns", 65535)(s)), "is cut off"),
}  # fmt: skip


def cut_row(series: list[Dataset]) -> list[Dataset]:
    series[4].Rows = ROWS - 1
    return series


@pytest.mark.parametrize("case", BROKEN)
def test_broken_series_give_one_sentence(tmp_path: Path, case: str) -> None:
    spoil, expected = BROKEN[case]
    assert re.search(expected, refusal(write(tmp_path / "s", spoil(slices(*AXIAL)))))


def test_spacing_rounded_in_the_file_is_even(tmp_path: Path) -> None:
    series = slices(*AXIAL)
    for one in series:
        one.ImagePositionPatient = [round(float(v), 2) for v in one.ImagePositionPatient]
    assert_world(open_volume(write(tmp_path / "s", moved(series, 2, (0, 0, 0.02)))), within=1.3)


def test_bad_values_of_elements(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", slices(*AXIAL, NumberOfFrames="1"))
    file = folder / "IM0002"
    file.write_bytes(file.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x001A"))
    assert "NumberOfFrames is not a usable number" in refusal(folder)
    file.write_bytes(b"")
    assert "1 × not readable" in open_or_refuse(folder)
    file.write_bytes(b"\0" * 128 + b"DICM" + bytes(range(256)) * 4)
    refusal(file)


def open_or_refuse(path: Path) -> str:
    try:
        return " ".join(open_volume(path).notes)
    except InputError as error:
        return str(error) + " 1 × not readable"


def test_compressed_without_a_decoder(tmp_path: Path) -> None:
    from pydicom.pixels import get_decoder

    if get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for lossless JPEG is installed here")
    for k, one in enumerate(slices(*AXIAL)):
        one.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        one["PixelData"].is_undefined_length = True
        save(one, tmp_path / "s" / str(k), JPEGLosslessSV1)
    said = refusal(tmp_path / "s")
    assert "pip install pylibjpeg-libjpeg" in said and "GPL" in said


def test_damaged_compressed_pixels(tmp_path: Path) -> None:
    for k, one in enumerate(slices(*AXIAL)):
        one.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(40)])
        one["PixelData"].is_undefined_length = True
        save(one, tmp_path / "s" / str(k), JPEG2000Lossless)
    assert "cut off or damaged" in refusal(tmp_path / "s")


def test_a_missing_reader_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "s", slices(*AXIAL))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "pip install 'bioterp[imaging]'" in refusal(folder)


VENDORS = (
    "ge_anatomical_001", "siemens_anatomical_001", "philips_anatomical_001", "generic_compressed_j2k",
    "generic_compressed_rle", "hyperfine_anatomical_001",
    "philips_enhanced_anatomical_001", "siemens_multiframe_anatomical_001",
)  # fmt: skip


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", [*(f"dicom/vendors/{vendor}" for vendor in VENDORS), "totalseg/ct_dicom"])
def test_real_series_as_highdicom_reads_them(imaging: Path, name: str) -> None:
    highdicom = pytest.importorskip("highdicom")
    files = sorted((imaging / name).iterdir())
    theirs = []
    for file in files:
        one = dcmread(file)
        one.FrameOfReferenceUID = "1.2.3.4"  # left out of these files, and asked for
        one.StudyInstanceUID = one.get("StudyInstanceUID") or "1.2.3"
        one.SOPClassUID = one.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.2"
        theirs.append(one)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if len(files) > 1:
            box = highdicom.get_volume_from_series(theirs)
        else:
            box = highdicom.Image.from_dataset(theirs[0]).get_volume()
    ras = np.diag([-1, -1, 1, 1]) @ box.affine  # theirs is LPS, slices first
    expected = nib.as_closest_canonical(nib.Nifti1Image(box.array.astype(np.float32), ras))
    volume = open_volume(imaging / name)
    ours = nib.as_closest_canonical(nib.Nifti1Image(volume.read(), volume.affine))
    np.testing.assert_allclose(ours.affine, expected.affine, atol=5e-4)
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(expected.dataobj))


@pytest.mark.needs_shared
def test_decoders_agree_on_the_same_series(imaging: Path) -> None:
    plain = open_volume(imaging / "dicom/vendors/generic_compressed_rle").read()
    for kind in ("j2k", "jpegls"):
        volume = open_volume(imaging / f"dicom/vendors/generic_compressed_{kind}")
        np.testing.assert_array_equal(volume.read(), plain)


@pytest.mark.needs_shared
def test_a_compressed_file_cut_short(imaging: Path, tmp_path: Path) -> None:
    for file in (imaging / "dicom/vendors/generic_compressed_j2k").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    spoilt = tmp_path / "IM-0001-0003-0001.dcm"
    spoilt.write_bytes(spoilt.read_bytes()[:30_000])
    assert "cut off" in refusal(tmp_path)


SHARED = {
    "dicom_failing_gantrytilting_001": r"sheared by 14.0° \(gantry tilt\)",
    "dicom_failing_notavolume_001": "4 slices all lie at the same place",
    "dicom_failing_slicecount_001": "holds 2 slices",
    "dicom_failing_sliceincrement_002": r"unevenly spaced \(0.75 to 1.5 mm apart.*one slice seems to be missing",
    "dicom_failing_sliceorientation_001": "mixes 2 orientations",
    "nibabel/0.dcm": "Siemens mosaic",
    "nibabel/csa_slice_norm.dcm": "Siemens mosaic",
    "nibabel/decimal_rescale.dcm": "holds one slice",
    "nibabel/slicethickness_empty_string.dcm": "holds one slice",
    "pydicom/MR_truncated.dcm": "is cut off: 64 × 64 × 1 pixels",
    "pydicom/badVR.dcm": "is a radiotherapy dose",
    "pydicom/empty_charset_LEI.dcm": "is a DICOM object without an image",
    "pydicom/meta_missing_tsyntax.dcm": "is a DICOM object without an image",
    "pydicom/no_meta.dcm": "neither NIfTI, MGZ nor DICOM",  # a stray byte before its first element
    "pydicom/rtplan_truncated.dcm": "is a radiotherapy plan",
    "pydicom/rtstruct.dcm": "is a radiotherapy structure set",
    "../dicom/highdicom/seg_image_ct_binary.dcm": "give it as a label",
    "../dicom/pydicom/CT2_77654033": "161 slices seem to be missing",
}


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", SHARED)
def test_shared_messy_dicom(imaging: Path, name: str) -> None:
    assert re.search(SHARED[name], refusal(imaging / "messy" / name))


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    """Bytes of headers overwritten at random: either a volume is read, or one sentence is raised."""
    rng = np.random.default_rng(8)
    folder = write(tmp_path / "s", slices(*OBLIQUE, number=3))
    whole = {file: file.read_bytes() for file in sorted(folder.iterdir())}
    for trial in range(150):
        for file, content in whole.items():
            spoilt = bytearray(content)
            for _ in range(1 + trial % 4):
                spoilt[rng.integers(132, len(spoilt))] = rng.integers(256)
            file.write_bytes(spoilt[: len(spoilt) if trial % 3 else int(rng.integers(100, len(spoilt)))])
        try:
            open_volume(folder).read()
        except InputError as error:
            assert "\n" not in str(error)
