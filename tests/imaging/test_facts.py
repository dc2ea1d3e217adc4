"""Acquisition facts: what is allowed comes through, and nothing that names a person, a place or a day ever does."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from series import save, slices, turned, write

from bioterp.errors import InputError
from bioterp.imaging import open_volume
from bioterp.imaging.sheet import read_sheet

PLANE = turned(0.2, 0.1, -0.4)
KEYS = {
    "manufacturer", "scanner", "field_strength", "kernel", "slice_thickness", "slice_spacing", "sequence", "modality",
    "stored_type",
}  # fmt: skip
SCANNER = {
    "Manufacturer": "ACME Imaging", "ManufacturerModelName": "Magnet 3000", "MagneticFieldStrength": "2.9",
    "SliceThickness": "4.5", "ScanningSequence": ["GR", "IR"], "ConvolutionKernel": "B30f",
}  # fmt: skip
# Elements without which the series is not read, or which are the facts themselves.
NEEDED = {
    *SCANNER, "Modality", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "PixelSpacing",
    "ImageType", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "NumberOfFrames", "SeriesNumber",
    "RescaleSlope", "RescaleIntercept", "SpecificCharacterSet", "InstanceNumber",
}  # fmt: skip
SECRETS = {
    "PN": "Zaphod^Secret",
    "LO": "Secret", "SH": "Secret", "ST": "Secret", "LT": "Secret", "UT": "Secret", "UC": "Secret",
    "DA": "19430517", "DT": "19430517101112", "TM": "101112", "AS": "083Y", "CS": "SECRET", "UI": "9.8.7.6.5.4",
}  # fmt: skip


def with_secrets(one: Dataset) -> Dataset:
    """Every text, name, date and identifier of the DICOM dictionary filled in, except what the image needs."""
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if keyword and vr in SECRETS and not retired and keyword not in NEEDED and 0x0008 <= tag >> 16 < 0x5200:
            one.add_new(tag, vr, SECRETS[vr])
    return one


def secretless(*things: object) -> None:
    text = " ".join(repr(thing) for thing in things).lower()
    for secret in {*SECRETS.values(), "zaphod", "secret"}:
        assert secret.lower() not in text, secret


def test_no_element_outside_the_list_comes_through(tmp_path: Path) -> None:
    series = [with_secrets(one) for one in slices(*PLANE, **SCANNER)]
    assert len(series[0]) > 1500  # the dictionary is large, and it was written
    folder = write(tmp_path / "clinic", series)
    volume = open_volume(folder)
    assert volume.facts == {
        "manufacturer": "ACME Imaging", "scanner": "Magnet 3000", "field_strength": 2.9, "kernel": "B30f",
        "slice_thickness": 4.5, "slice_spacing": pytest.approx(2.3), "sequence": "GR IR", "modality": "MR",
        "stored_type": "int16",
    }  # fmt: skip
    sheet = read_sheet(folder)
    secretless(volume.facts, volume.notes, volume, sheet.frame.to_dict(), sheet.left_out.to_dict(), sheet)
    assert list(sheet.frame["scan"]) == ["clinic_17"]


def test_errors_do_not_tell_who(tmp_path: Path) -> None:
    series = [with_secrets(one) for one in slices(*PLANE, **SCANNER)]
    for spoil in (lambda s: s[:1], lambda s: s[:2] + s[3:]):
        folder = write(tmp_path / f"n{len(spoil(series))}", spoil(series))
        with pytest.raises(InputError) as caught:
            open_volume(folder)
        secretless(str(caught.value))


def test_thickness_is_not_spacing_and_absence_is_no_fact(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", slices(*PLANE, SliceThickness="", Manufacturer="", MagneticFieldStrength="15000"))
    facts = open_volume(folder).facts
    assert "slice_thickness" not in facts and "manufacturer" not in facts
    assert facts["field_strength"] == 1.5 and facts["slice_spacing"] == pytest.approx(
        2.3
    )  # gauss, as old scanners write


@pytest.mark.filterwarnings("ignore:The value length")
def test_text_of_a_fact_is_one_short_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", slices(*PLANE, Manufacturer="A\tB" + "x" * 300))
    said = str(open_volume(folder).facts["manufacturer"])
    assert said.isprintable() and len(said) == 64


def image(folder: Path, sidecar: str | bytes | None) -> Path:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2.0, 3, 4, 1])), folder / "a.nii.gz")
    if sidecar is not None:
        (folder / "a.json").write_bytes(sidecar if isinstance(sidecar, bytes) else sidecar.encode())
    return folder / "a.nii.gz"


def test_sidecar(tmp_path: Path) -> None:
    said = {
        "Manufacturer": "ACME", "ManufacturersModelName": "Magnet", "MagneticFieldStrength": 3,
        "SliceThickness": 1.1, "SpacingBetweenSlices": 1.3, "PulseSequenceType": "MPRAGE",
        "ScanningSequence": ["GR"], "Modality": "MR", "PatientName": "Zaphod^Secret", "PatientID": "Secret",
        "AcquisitionTime": "101112", "InstitutionName": "Secret",
        "DeviceSerialNumber": "Secret", "SeriesDescription": "Secret", "ConvolutionKernel": {"a": "Secret"},
    }  # fmt: skip
    volume = open_volume(image(tmp_path, json.dumps(said)))
    assert volume.facts == {
        "manufacturer": "ACME", "scanner": "Magnet", "field_strength": 3.0, "slice_thickness": 1.1,
        "slice_spacing": 1.3, "sequence": "MPRAGE", "modality": "MR", "stored_type": "int16",
    }  # fmt: skip
    assert set(volume.facts) <= KEYS
    secretless(volume.facts, volume.notes)
    # With none of the allowed keys there, no other one fills their place.
    names = [keyword for *_, keyword in DicomDictionary.values() if keyword and keyword not in {*SCANNER, "Modality"}]
    volume = open_volume(image(tmp_path, json.dumps(dict.fromkeys(names, "Secret") | {"SubjectName": "Secret"})))
    assert volume.facts.keys() <= {"stored_type", "slice_spacing", "sequence"}
    secretless({k: v for k, v in volume.facts.items() if k != "sequence"}, volume.notes)


@pytest.mark.parametrize("sidecar", [b"{", b"[1, 2]", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_bad_sidecar_is_noted_and_left_aside(tmp_path: Path, sidecar: bytes) -> None:
    volume = open_volume(image(tmp_path, sidecar))
    assert volume.facts == {"stored_type": "int16"} and "a.json" in volume.notes[0]


def test_odd_values_are_no_facts(tmp_path: Path) -> None:
    said = '{"MagneticFieldStrength": "strong", "SliceThickness": NaN, "Manufacturer": null, "Modality": true}'
    assert open_volume(image(tmp_path, said)).facts == {"stored_type": "int16"}
    assert open_volume(image(tmp_path, None)).notes == ()


@pytest.mark.needs_shared
def test_real_scanners(imaging: Path) -> None:
    series = open_volume(imaging / "totalseg" / "ct_dicom")
    assert series.facts["slice_thickness"] == 3.0 and series.facts["slice_spacing"] == pytest.approx(2.0)
    assert series.facts["kernel"] == "Br38f 3" and set(series.facts) <= KEYS
    enhanced = open_volume(imaging / "dicom/vendors/philips_enhanced_anatomical_001")
    assert enhanced.facts["scanner"] == "Achieva" and enhanced.facts["slice_thickness"] == 1.2


def test_facts_of_one_file_of_a_series_are_the_series(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    for k, one in enumerate(slices(*PLANE, **SCANNER)):
        save(one, folder / f"{k}.dcm")
    assert open_volume(folder / "3.dcm").facts == open_volume(folder).facts
