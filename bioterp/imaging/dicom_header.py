"""The header of one DICOM image file: its planes, where they lie and how their values are scaled.

Classic files hold one plane; enhanced multi-frame files hold many, each with its own place and scaling in the
functional groups. Positions are kept as DICOM says them (LPS, mm); `dicom_lattice.py` turns them into a lattice.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bioterp.errors import InputError
from bioterp.imaging import check_size
from bioterp.imaging.dicom import broken, check_syntax, element, not_an_image, read_dataset, short
from bioterp.imaging.facts import ELEMENTS, Facts, from_dicom


@dataclass(frozen=True)
class Plane:
    """One slice: file and frame, centre of its first voxel (LPS), row and column direction, spacing, scaling."""

    path: Path
    frame: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]  # between rows, between columns
    slope: float
    inter: float


@dataclass(frozen=True)
class Header:
    """What is kept of one file."""

    path: Path
    series: str = field(repr=False)
    rows: int
    columns: int
    stored: str
    planes: tuple[Plane, ...]
    facts: Facts


def read_header(path: Path) -> Header:
    """The header of an image file; InputError, in one sentence, for what cannot be read as planes of a volume."""
    dataset, there = read_dataset(path, pixels=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _header(dataset, path, there)
    except InputError:
        raise
    except broken() as error:
        raise InputError(f"{path} has a damaged DICOM header ({short(error)}); fetch it again") from None


def _header(dataset: Any, path: Path, there: int | None) -> Header:
    other = not_an_image(dataset)
    if other:
        raise InputError(
            f"{path} is {other}, and a CT, MR or PET image was wanted; give the folder of the image series"
        )
    rows, columns = _whole(dataset, "Rows", path), _whole(dataset, "Columns", path)
    frames = _whole(dataset, "NumberOfFrames", path, 1)
    bits, signed = _whole(dataset, "BitsAllocated", path, 16), _whole(dataset, "PixelRepresentation", path, 0)
    if "MOSAIC" in (element(dataset, "ImageType") or ()):
        raise InputError(f"{path} is a Siemens mosaic (many slices tiled into one picture); convert it with dcm2niix")
    if (
        _whole(dataset, "SamplesPerPixel", path, 1) != 1
        or element(dataset, "PhotometricInterpretation") == "PALETTE COLOR"
    ):
        raise InputError(f"{path} is a colour picture and one number per voxel was wanted; give the original series")
    if element(dataset, "ModalityLUTSequence"):
        raise InputError(
            f"{path} gives its values by a lookup table, which is not read; export it with a rescale slope"
        )
    if there == 0:
        raise InputError(f"{path} holds no pixels; fetch the whole file")
    packed = check_syntax(dataset, path)
    need = -(-rows * columns * frames * bits // 8)
    if there is not None and not packed and there < need:
        raise InputError(
            f"{path} is cut off: {rows} × {columns} × {frames} pixels need {need:,} bytes and {max(there, 0):,} "
            "are there; fetch it again"
        )
    if frames > 1 and len(element(dataset, "PerFrameFunctionalGroupsSequence") or ()) != frames:
        raise InputError(
            f"{path} has {frames} frames and does not say where each lies; convert it to NIfTI with its software"
        )
    check_size(path, (columns, rows, frames))
    kind = "float" if bits > 16 and "PixelRepresentation" not in dataset else "int" if signed else "uint"
    return Header(
        path, str(element(dataset, "SeriesInstanceUID") or ""), rows, columns, f"{kind}{max(bits, 8)}",
        tuple(_plane(dataset, path, frame) for frame in range(frames)),
        from_dicom(lambda name: _find(dataset, name, 0) if name in ELEMENTS else None),
    )  # fmt: skip


def _plane(dataset: Any, path: Path, frame: int) -> Plane:
    position = _numbers(dataset, "ImagePositionPatient", path, 3, frame)
    orientation = _numbers(dataset, "ImageOrientationPatient", path, 6, frame)
    spacing = _numbers(dataset, "PixelSpacing", path, 2, frame)
    slope, inter = _find(dataset, "RescaleSlope", frame), _find(dataset, "RescaleIntercept", frame)
    try:
        scale = 1.0 if slope in (None, "") else float(slope), 0.0 if inter in (None, "") else float(inter)
    except (TypeError, ValueError):
        scale = 0.0, 0.0
    if scale[0] == 0 or not np.isfinite(scale).all():
        raise InputError(
            f"{path} has the rescale slope {slope!s} and intercept {inter!s}, which make no values; fetch it again"
        )
    return Plane(path, frame, position, orientation, (spacing[0], spacing[1]), *scale)


def _find(dataset: Any, name: str, frame: int) -> Any:
    """An element of a frame: from its own functional groups, else the shared ones, else the file's top level."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        sequence = element(dataset, groups) or ()
        if index < len(sequence):
            for group in sequence[index]:
                if group.VR == "SQ" and group.value and name in group.value[0]:
                    return element(group.value[0], name)
    return element(dataset, name)


def _numbers(dataset: Any, name: str, path: Path, count: int, frame: int) -> tuple[float, ...]:
    value = _find(dataset, name, frame)
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        what = "is missing" if value is None else "is not readable"
        raise InputError(
            f"{path}: {name} {what}, so its place in the world is unknown (a scout, screenshot or stripped file?); "
            "give the original series"
        )
    return numbers


def _whole(dataset: Any, name: str, path: Path, default: int | None = None) -> int:
    value = element(dataset, name)
    try:
        number = int(default if value in (None, "") else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1
    if number < 0 or (number == 0 and name not in ("PixelRepresentation",)):
        raise InputError(f"{path} is damaged: {name} is not a usable number; fetch it again")
    return number
