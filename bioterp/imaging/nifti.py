"""NIfTI-1, NIfTI-2, .hdr/.img pairs and MGH/MGZ: nibabel reads the header, the voxels are read straight from the file.

Orientation, in this order: the sform when its code is above 0, else the qform when its code is above 0, else none:
such an image is refused (readers guess differently there, and a left-right flip cannot be seen afterwards).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package, one_line
from bioterp.imaging import Volume, check_affine, check_size
from bioterp.imaging.facts import from_sidecar
from bioterp.imaging.files import Run

# xyzt_units: metres and micrometres are turned into mm; 0 (not said) is taken as mm, as every reader does.
UNITS = {1: (1000.0, "metres"), 3: (0.001, "micrometres")}
DIFFERENT = 0.1  # of the smallest voxel edge: where qform and sform are further apart it is noted


def open_nifti(path: Path, head: bytes, assume_ras: bool = False) -> Volume:
    """A NIfTI file whose first bytes are `head` (unpacked)."""
    try:
        from nibabel import nifti1, nifti2, spatialimages
    except ImportError:
        raise missing_package("nibabel", "imaging", "reading NIfTI images") from None
    two = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    size = 540 if two else 348
    magic = head[4:12] if two else head[344:348]
    if len(head) < size:
        raise InputError(f"{path} is cut off within its header ({len(head)} of {size} bytes); fetch it again")
    if magic[:3] not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise InputError(
            f"{path} is an Analyze 7.5 image or a damaged NIfTI: it says no orientation; convert it to NIfTI with the "
            "program that wrote it"
        )
    broken = (spatialimages.HeaderDataError, ValueError, KeyError, OverflowError)
    try:
        # Unchecked: nibabel's checks repair silently (a spacing of 0 becomes 1 mm), and here such a file is refused.
        kind: Any = nifti2.Nifti2Header if two else nifti1.Nifti1Header
        header = kind(head[:size], check=False)
        dtype = _number(path, header.get_data_dtype())
        slope, inter = header.get_slope_inter()  # (None, None) where the slope is 0 or NaN: not scaled
        shape, frames = _shape(path, header)
        offset = int(header["vox_offset"])
    except broken as error:
        raise InputError(f"{path} has a damaged NIfTI header: {one_line(error)}; fetch it again") from None
    check_size(path, shape)
    pair = magic[:2] == b"ni"
    image = _pixels_of_pair(path) if pair else path
    slope, inter = (1.0, 0.0) if slope is None else (float(slope), float(inter))
    if offset < (0 if pair else size):
        if offset:
            raise InputError(f"{path} says its voxels begin inside its header (byte {offset}); fetch it again")
        offset = size + 4  # 0 in a single file: right after the header, as nibabel reads it
    run = Run(image, offset, dtype, shape, frames, slope, inter)
    run.check_claim()
    affine, codes, notes = _affine(path, header, shape, assume_ras)
    facts, said = from_sidecar(path)
    facts["stored_type"] = dtype.name
    return Volume(path, shape, affine, frames, facts, (*notes, *said), codes, run)


def open_mgh(path: Path, head: bytes, assume_ras: bool = False) -> Volume:
    """A FreeSurfer MGH or MGZ file whose first bytes are `head` (unpacked)."""
    try:
        from nibabel.freesurfer import mghformat
    except ImportError:
        raise missing_package("nibabel", "imaging", "reading MGZ images") from None
    begin, footer = mghformat.header_dtype.itemsize, mghformat.footer_dtype.itemsize
    if len(head) < mghformat.DATA_OFFSET:
        raise InputError(f"{path} is cut off within its header ({len(head)} bytes); fetch it again")
    try:
        # The footer lies behind the voxels and says nothing of the lattice: it is not read.
        kind: Any = mghformat.MGHHeader
        header = kind(head[:begin] + b"\0" * footer, check=False)
        dims = [int(n) for n in header["dims"]]
        dtype = _number(path, np.dtype(header.get_data_dtype()).newbyteorder(">"))
        affine = np.asarray(header.get_affine(), np.float64)
    except (ValueError, KeyError, OverflowError, mghformat.MGHError) as error:
        raise InputError(f"{path} has a damaged MGH header: {one_line(error)}; fetch it again") from None
    shape, frames = (dims[0], dims[1], dims[2]), dims[3]
    check_size(path, shape)
    if frames < 1:
        raise InputError(f"{path} has {frames} frames: it holds no image; fetch it again")
    codes: tuple[int, int] = (1, 1)
    notes: tuple[str, ...] = ()
    if head[28:30] != b"\0\1":  # goodRASFlag; nibabel fills in a default where it is 0
        affine, codes = _assumed(path, np.abs(header["delta"]), assume_ras), (0, 0)
        notes = (ASSUMED,)
    affine = check_affine(path, affine, "its header")
    run = Run(path, mghformat.DATA_OFFSET, dtype, shape, frames)
    run.check_claim()
    facts, said = from_sidecar(path)
    facts["stored_type"] = dtype.name
    return Volume(path, shape, affine, frames, facts, (*notes, *said), codes, run)


ASSUMED = "the header says no orientation: right, anterior, superior was assumed as asked"


def _shape(path: Path, header: Any) -> tuple[tuple[int, int, int], int]:
    """Voxels along x, y, z, and the number of time points."""
    count = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1 : 1 + count]] if 0 <= count <= 7 else []
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError(
            f"{path} has the size {' × '.join(map(str, sizes)) or count} in its header and a 3-D image was wanted; "
            "fetch it again"
        )
    sizes += [1] * (4 - len(sizes))
    values = int(np.prod(sizes[4:], dtype=object))
    if values > 1:
        raise InputError(
            f"{path} holds {values} numbers per voxel (a vector or displacement field) and one was wanted; "
            "give the scan itself"
        )
    return (sizes[0], sizes[1], sizes[2]), sizes[3]


def _affine(
    path: Path, header: Any, shape: tuple[int, int, int], assume_ras: bool
) -> tuple[Array, tuple[int, int], list[str]]:
    scale, unit = UNITS.get(int(header["xyzt_units"]) & 7, (1.0, ""))
    notes = [f"the header is in {unit}; turned into mm"] if unit else []
    to_mm = np.diag([scale, scale, scale, 1.0])
    codes = int(header["sform_code"]), int(header["qform_code"])
    if max(codes) <= 0:
        affine = _assumed(path, np.abs(header["pixdim"][1:4]), assume_ras)
        return check_affine(path, to_mm @ affine, "its pixdim"), (0, 0), [*notes, ASSUMED]
    qform = None
    if codes[1] > 0:
        try:
            header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
            header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # qfac; 0 means 1
            qform = to_mm @ np.asarray(header.get_qform(), np.float64)
        except (ValueError, ArithmeticError) as error:  # a quaternion that is none
            if codes[0] <= 0:
                raise InputError(f"{path}: its qform is damaged ({one_line(error)}); repair the header") from None
            notes.append("the qform is damaged; the sform is used")
    if codes[0] <= 0:
        assert qform is not None  # one of the two codes is above 0
        return check_affine(path, qform, "its qform"), codes, notes
    sform = check_affine(path, to_mm @ np.asarray(header.get_sform(), np.float64), "its sform")
    if qform is not None and np.isfinite(qform).all():
        corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape])).reshape(3, -1)
        apart = np.linalg.norm((sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:], axis=0).max()
        if apart > DIFFERENT * np.linalg.norm(sform[:3, :3], axis=0).min():
            notes.append(f"qform and sform differ by up to {apart:.1f} mm; the sform is used")
    return sform, codes, notes


def _assumed(path: Path, spacing: Array, assume_ras: bool) -> Array:
    if not assume_ras:
        raise InputError(
            f"{path} does not say its orientation (sform_code and qform_code are 0) and left could be right; "
            "set it in the header, or say assume_ras if you know that its axes run right, anterior, superior"
        )
    return np.diag([*np.asarray(spacing, np.float64), 1.0])


def _number(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "iuf":
        what = "complex numbers" if dtype.kind == "c" else "colours (RGB)" if dtype.fields else f"{dtype.name} values"
        raise InputError(
            f"{path} holds {what} and one real number per voxel was wanted; give the magnitude or grey image"
        )
    return dtype


def _pixels_of_pair(path: Path) -> Path:
    base = path.with_suffix("") if path.suffix == ".gz" else path
    for name in (base.with_suffix(".img"), base.with_suffix(".img.gz")):
        if name.is_file():
            return name
    raise InputError(
        f"{path} is the header of a pair whose voxels are in {base.with_suffix('.img').name}, which is not here"
    )
