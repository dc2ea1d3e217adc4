"""DICOM series written from a world known in closed form, by the standard's own equation for where a pixel lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR, ENHANCED = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "4.1"))
ROWS, COLUMNS, SLICES = 5, 7, 6
SPACING = (1.25, 0.8)  # between rows, between columns
STEP = 2.3


def world(x: float, y: float, z: float) -> float:
    """RAS mm → a value; no two axes and no two directions alike."""
    return 11.0 * x - 23.0 * y + 37.0 * z + 400.0


def turned(a: float, b: float, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Row and column directions (LPS) turned about the three axes."""

    def about(angle: float, i: int, j: int) -> np.ndarray:
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        return turn

    both = about(a, 0, 1) @ about(b, 1, 2) @ about(c, 0, 2)
    return both[:, 0], both[:, 1]


def dataset(position: Any, row: Any, column: Any, uid: str, **elements: Any) -> Dataset:
    """One slice of the planted world, values rounded to steps of `RescaleSlope` (1 where absent)."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = MR, generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.SeriesNumber = "1.2.3", uid, "17"
    one.FrameOfReferenceUID = "1.2.3.4"
    one.Modality, one.ImageType = "MR", ["ORIGINAL", "PRIMARY"]
    one.Rows, one.Columns, one.SamplesPerPixel = ROWS, COLUMNS, 1
    one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 1
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
    one.PixelSpacing = list(SPACING)
    one.ImagePositionPatient = [round(float(v), 9) for v in position]
    one.ImageOrientationPatient = [round(float(v), 9) for v in (*row, *column)]
    for name, value in elements.items():
        setattr(one, name, value)
    stored = pixels(position, row, column, one)
    one.PixelData = stored.astype("<i2" if one.PixelRepresentation else "<u2").tobytes()
    return one


def pixels(position: Any, row: Any, column: Any, scaling: Any) -> np.ndarray:
    """Stored values; pixel (r, c) lies at position + row·c·(column spacing) + column·r·(row spacing) (C.7.6.2)."""
    slope, inter = float(scaling.get("RescaleSlope", 1)), float(scaling.get("RescaleIntercept", 0))
    values = np.empty((ROWS, COLUMNS))
    for r in range(ROWS):
        for c in range(COLUMNS):
            left, posterior, up = np.asarray(position) + row * SPACING[1] * c + column * SPACING[0] * r
            values[r, c] = (world(-left, -posterior, up) - inter) / slope
    return np.rint(values)


def slices(row: Any, column: Any, number: int = SLICES, uid: str = "", **elements: Any) -> list[Dataset]:
    """A regular series in order of position."""
    uid, normal = uid or generate_uid(), np.cross(row, column)
    start = np.array([-7.5, 12.25, -3.0])
    return [dataset(start + STEP * k * normal, row, column, uid, **elements) for k in range(number)]


def save(one: Dataset, path: Path, syntax: Any = ExplicitVRLittleEndian, meta: bool = True) -> Path:
    header = FileMetaDataset()
    header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    if syntax:
        header.TransferSyntaxUID = syntax
    whole = FileDataset(
        str(path), one, file_meta=header if meta else FileMetaDataset(), preamble=b"\0" * 128 if meta else None
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(
        path, enforce_file_format=meta and bool(syntax), implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=True
    )
    return path


def write(folder: Path, series: list[Dataset], seed: int = 5) -> Path:
    """The series with file names and instance numbers in an order that has nothing to do with position."""
    for number, k in enumerate(np.random.default_rng(seed).permutation(len(series))):
        series[k].InstanceNumber = str(int(number) + 1)
        save(series[k], folder / f"IM{number:04d}")
    return folder


def enhanced(series: list[Dataset], order: list[int]) -> Dataset:
    """One multi-frame object of the series' planes in the given order, each with its own rescale."""
    whole = Dataset()
    for name in (
        "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "FrameOfReferenceUID", "Modality",
        "ImageType", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation",
        "BitsAllocated", "BitsStored", "HighBit",
    ):  # fmt: skip
        setattr(whole, name, getattr(series[0], name))
    whole.SOPClassUID, whole.NumberOfFrames = ENHANCED, len(order)
    whole.PixelData = b"".join(series[k].PixelData for k in order)
    whole.SharedFunctionalGroupsSequence = Sequence(
        [groups(PlaneOrientationSequence=[("ImageOrientationPatient", series[0].ImageOrientationPatient)],
                PixelMeasuresSequence=[("PixelSpacing", series[0].PixelSpacing), ("SliceThickness", 9.0)])]
    )  # fmt: skip
    whole.PerFrameFunctionalGroupsSequence = Sequence(
        groups(PlanePositionSequence=[("ImagePositionPatient", series[k].ImagePositionPatient)],
               PixelValueTransformationSequence=[("RescaleSlope", series[k].get("RescaleSlope", 1)),
                                                 ("RescaleIntercept", series[k].get("RescaleIntercept", 0))])
        for k in order
    )  # fmt: skip
    return whole


def groups(**sequences: list[tuple[str, Any]]) -> Dataset:
    outer = Dataset()
    for name, elements in sequences.items():
        inner = Dataset()
        for keyword, value in elements:
            setattr(inner, keyword, value)
        setattr(outer, name, Sequence([inner]))
    return outer
