"""Scans on disk → voxels, in mm, RAS+. Knows no model and no rows.

`open_volume` reads headers only; voxels are read by `Volume.read`. What a file is, is told by its content, not by its
name. An image whose place in the world is unknown, uneven or contradictory is refused with one sentence: a wrong
orientation would go unnoticed through everything that follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bioterp import limits
from bioterp.arrays import Array
from bioterp.errors import InputError

# An affine whose cell is flatter than this (volume over product of its edges) has lost an axis.
FLATTEST = 1e-4
EDGES = (1e-6, 1e3)  # mm; a voxel outside is a damaged header


class Slab(NamedTuple):
    """Planes of a file as stored: the first z, (x, y, k) raw values, and what makes them numbers."""

    at: int
    values: Array
    slope: float
    inter: float


class Pixels(Protocol):
    """Where a Volume's values come from, a few planes at a time, so that no raw copy of a whole image is held."""

    def slabs(self, frame: int) -> Iterator[Slab]: ...

    @property
    def files(self) -> tuple[Path, ...]: ...


@dataclass(frozen=True, eq=False)
class Volume:
    """One image file or DICOM series: its lattice and how to read it.

    shape      voxels along x, y, z, in the file's own axis order
    affine     (4, 4) from voxel indices to voxel centres, mm, RAS+
    frames     1, or the time points of a 4-D image
    facts      how it was acquired (`facts.py`); nothing that identifies a person
    notes      what a reader of the results should know, one sentence each
    codes      sform_code, qform_code as stored; (1, 1) where a format has only one orientation; (0, 0) when assumed
    """

    path: Path
    shape: tuple[int, int, int]
    affine: Array
    frames: int
    facts: dict[str, str | float | None]
    notes: tuple[str, ...]
    codes: tuple[int, int]
    pixels: Pixels = field(repr=False)

    @property
    def beside(self) -> tuple[Path, ...]:
        """The other files voxels are read from: the .img of a pair, the series that one of its files stands for."""
        return tuple(file for file in self.pixels.files if file != self.path and not file.is_relative_to(self.path))

    def read(self, frame: int | None = None) -> Array:
        """(x, y, z) float32 with slope and intercept applied. A 4-D image needs `frame`. NaN voxels stay NaN."""
        frame = self.check_frame(frame)
        out = np.empty(self.shape, np.float32)
        try:
            with np.errstate(over="raise", invalid="ignore"):
                for at, values, slope, inter in self.pixels.slabs(frame):
                    part = out[:, :, at : at + values.shape[2]]
                    part[...] = values if (slope, inter) == (1, 0) else values * np.float64(slope) + inter
        except FloatingPointError:
            raise InputError(
                f"{self.path} holds values above 3.4e38, which do not fit float32; rescale the image first"
            ) from None
        return out

    def read_labels(self) -> Array:
        """(x, y, z) whole numbers, in the stored integer type where there is one."""
        frame = self.check_frame(None)
        out: Array | None = None
        for at, values, slope, inter in self.pixels.slabs(frame):
            if values.dtype.kind in "iu" and (slope, inter) == (1, 0):
                whole = values.astype(values.dtype.newbyteorder("="), copy=False)
            else:
                numbers = values * np.float64(slope) + inter
                wrong = ~(np.isfinite(numbers) & (np.rint(numbers) == numbers) & (np.abs(numbers) < 2**31))
                if wrong.any():
                    raise InputError(
                        f"{self.path} is no label image: it holds the value {numbers[wrong].flat[0]:g} "
                        "and whole numbers were wanted; give a mask or segmentation, or threshold it first"
                    )
                whole = numbers.astype(np.int32)
            if out is None:
                out = np.empty(self.shape, whole.dtype)
            elif out.dtype != whole.dtype:  # slices of one series with different slopes
                out = out.astype(np.promote_types(out.dtype, whole.dtype))
            out[:, :, at : at + whole.shape[2]] = whole
        assert out is not None  # every shape has at least one plane
        return out

    def check_frame(self, frame: int | None) -> int:
        """The frame to read; InputError for one that is not there, and for none of a 4-D image."""
        if frame is None:
            if self.frames > 1:
                raise InputError(
                    f"{self.path} is 4-D with {self.frames} frames and one 3-D image was wanted; choose one, "
                    f"0 to {self.frames - 1}: column 't' of the sheet, or read(frame=…)"
                )
            return 0
        if not 0 <= frame < self.frames:
            raise InputError(f"{self.path} has frames 0 to {self.frames - 1}; frame {frame} was asked for")
        return int(frame)


def open_volume(path: str | Path, *, assume_ras: bool = False) -> Volume:
    """A NIfTI-1/2 image (.nii, .nii.gz, .hdr/.img), MGZ/MGH, a DICOM folder (one series) or a DICOM file.

    A single-frame DICOM file stands for its series: the files of the same series in its folder are read with it.
    assume_ras: read a NIfTI or MGH image whose header says no orientation as if its axes ran right, anterior,
    superior, the first voxel at 0 mm. Without it such an image is refused.
    """
    from bioterp.imaging.files import sniff

    path = Path(path)
    kind, head = sniff(path)
    if kind == "dicom":
        from bioterp.imaging.dicom_series import open_dicom

        return open_dicom(path)
    from bioterp.imaging import nifti

    if kind == "mgh":
        return nifti.open_mgh(path, head, assume_ras)
    return nifti.open_nifti(path, head, assume_ras)


def check_affine(path: Path, affine: Array, what: str) -> Array:
    """The affine as float64, or InputError when it is not finite or maps voxels onto a plane or a point."""
    affine = np.asarray(affine, np.float64)
    with np.errstate(all="ignore"):
        edges = np.linalg.norm(affine[:3, :3], axis=0)
        flat = abs(np.linalg.det(affine[:3, :3])) / edges.prod() if edges.all() else 0.0
    if np.isfinite(affine).all() and edges.all() and not (EDGES[0] < edges.min() <= edges.max() < EDGES[1]):
        shown = " × ".join(f"{edge:.3g}" for edge in edges)
        raise InputError(f"{path}: {what} makes voxels of {shown} mm, which no scanner does; repair the header")
    if not np.isfinite(affine).all() or not flat > FLATTEST:
        raise InputError(
            f"{path}: {what} gives voxels no volume (zero or undefined spacing, or two axes in one direction); "
            "repair the header, or leave the scan out"
        )
    return affine


def check_size(path: Path, shape: tuple[int, int, int]) -> None:
    """InputError for an image without voxels, or with more than are read; before anything is allocated."""
    if min(shape) < 1:
        raise InputError(
            f"{path} has a size of {' × '.join(map(str, shape))} voxels: it holds no image; fetch it again"
        )
    voxels = shape[0] * shape[1] * shape[2]
    limits.check(
        "VOXELS", voxels, f"{path} says it has {' × '.join(map(str, shape))} voxels, {voxels * 4 / 1e9:,.1f} GB"
    )
