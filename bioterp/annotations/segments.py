"""DICOM segmentation objects through highdicom (https://doi.org/10.1007/s10278-022-00683-y).

Frames of a binary SEG are one per segment and slice; empty ones need not be stored, so a slice between stored ones that
has no frame is background. Before the first and behind the last stored slice nothing is said (`outside` of `label`).
Segments may overlap. A fractional SEG is a map and no mask: it is taken with a threshold only.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bioterp import limits
from bioterp.annotations.scan_sources import Labels, stack
from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package
from bioterp.imaging.dicom import broken, element, read_dataset

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_segmentation(path: Path) -> bool:
    """True for a DICOM file whose modality is SEG."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return False
    try:
        told, _ = read_dataset(path, pixels=False, tags=["Modality"])
    except InputError:
        return False
    return str(element(told, "Modality")) == "SEG"


def read_segments(path: Path, *, threshold: float | None = None) -> Labels:
    """A SEG as layers of segment numbers; names are the segments' labels."""
    try:
        import highdicom
    except ImportError:
        raise missing_package("highdicom", "imaging", "reading DICOM segmentations") from None
    read_dataset(path, pixels=False)  # refuses a deflated one that unpacks to more than an image
    try:
        seg = highdicom.seg.segread(str(path))
        kind = str(seg.segmentation_type.value)
    except broken() as error:
        raise FileNotFoundError(f"its DICOM SEG {path} cannot be read ({_line(error)})") from None
    said = []
    if kind == "FRACTIONAL":
        if threshold is None:
            raise InputError(
                f"{path} is a fractional segmentation ({seg.get('SegmentationFractionalType', 'fractions')}), which is "
                "no mask; pass threshold=0.5 to take the voxels from there up as the segment"
            )
        said.append(f"{path.name} is fractional: voxels of {threshold:g} and more are taken as the segment")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_room(seg, path)
            volume = seg.get_volume(combine_segments=False)
    except InputError:
        raise
    except broken() as error:
        raise InputError(f"the frames of {path} do not make one regular volume ({_line(error)})") from None
    numbers = [int(n) for n in seg.segment_numbers]
    array = np.asarray(volume.array)
    array = array[..., None] if array.ndim == 3 else array
    layers: list[Array] = []
    for at, number in enumerate(numbers):
        stack(layers, array[..., at] >= threshold if kind == "FRACTIONAL" else array[..., at] > 0, number)
    return Labels(layers, LPS_TO_RAS @ np.asarray(volume.affine, np.float64), _names(seg, numbers), said)


def _check_room(seg: Any, path: Path) -> None:
    """InputError where the frames span more than is read: two of them may say they lie kilometres apart."""
    geometry = seg.get_volume_geometry(allow_missing_positions=True)
    if geometry is not None:
        voxels = math.prod(int(n) for n in geometry.spatial_shape) * max(int(seg.number_of_segments), 1)
        limits.check("VOXELS", voxels, f"{path} spans {voxels:,} voxels of all its segments")


def _names(seg: Any, numbers: list[int]) -> dict[int, str]:
    """Segment labels; one that comes twice gets its number."""
    labels = {n: str(seg.get_segment_description(n).segment_label).strip() or "segment" for n in numbers}
    told = list(labels.values())
    return {n: label if told.count(label) == 1 else f"{label}_{n}" for n, label in labels.items()}


def _line(error: BaseException) -> str:
    return type(error).__name__  # not what it says: an element's value could name a person
