"""What a file is, by its first bytes, and voxels that lie in it as one run (NIfTI, MGH), gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError, one_line
from bioterp.imaging import Slab

HEAD = 544  # the NIfTI-2 header is the longest
GZIP = b"\x1f\x8b"
DEFLATE_MOST = 1040  # deflate cannot pack more bytes than this into one
SLAB_BYTES = 1 << 20
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
# Formats people try, told by their first bytes, so that the sentence can name them.
OTHERS = {
    b"NRRD": "an NRRD image",
    b"ObjectType": "a MetaImage",
    b"NDims": "a MetaImage",
    b"\x89HDF": "an HDF5 file (MINC-2?)",
    b"CDF": "a NetCDF file (MINC-1?)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"PK\x03\x04": "a zip archive",
    b"\x93NUMPY": "a numpy array, which has no orientation",
    b"%PDF": "a PDF document",
}
POINTERS = (b"/annex/objects", b"../.git/annex", b"version https://git-lfs")


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked on the fly when it is gzipped (whatever its name says)."""
    handle: IO[bytes] = open(path, "rb")  # noqa: SIM115
    packed = handle.read(2) == GZIP
    handle.seek(0)
    if not packed:
        return handle
    handle.close()
    unpacked: Any = gzip.open(path, "rb")  # noqa: SIM115
    return unpacked  # type: ignore[no-any-return]


def sniff(path: Path) -> tuple[str, bytes]:
    """'nifti', 'mgh' or 'dicom', and the first bytes; InputError, in one sentence, for anything else."""
    if path.is_dir():
        return "dicom", b""
    if not path.exists():
        why = " (a link whose content is not here: datalad get, or git annex get)" if path.is_symlink() else ""
        raise InputError(f"there is no image {path}{why}")
    if not path.is_file():
        raise InputError(f"{path} is no plain file (a pipe or device) and an image was wanted")
    if path.suffix == ".img" and path.with_suffix(".hdr").is_file():
        return sniff(path.with_suffix(".hdr"))
    try:
        with opened(path) as handle:
            head = handle.read(HEAD)
    except DAMAGED as error:
        raise InputError(f"{path} is a damaged gzip file ({one_line(error)}); fetch it again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from None
    if not head:
        raise InputError(f"{path} is empty; fetch it again")
    if head[128:132] == b"DICM" or head[:4] in (b"\x02\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\0\0"):
        return "dicom", head
    if any(int.from_bytes(head[:4], order) in (348, 540) for order in ("little", "big")):  # type: ignore[arg-type]
        return "nifti", head
    if head[:4] == b"\0\0\0\1":
        return "mgh", head
    if head.lstrip(b".").startswith(POINTERS):
        raise InputError(
            f"{path} is a pointer to a file that is not here; fetch its content (git annex get, git lfs pull)"
        )
    what = next((f"it is {name}" for start, name in OTHERS.items() if head.startswith(start)), "")
    raise InputError(
        f"{path} is neither NIfTI, MGZ nor DICOM{': ' if what else ''}{what}; convert it to NIfTI (.nii.gz)"
    )


@dataclass(frozen=True)
class Run:
    """Voxels that lie in a file one after another, x fastest, frame after frame."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    frames: int
    slope: float = 1.0
    inter: float = 0.0

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def plane(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def check_claim(self) -> None:
        """InputError when the file cannot hold what its header says; nothing is unpacked for it."""
        size = self.path.stat().st_size
        claimed = self.offset + self.plane * self.shape[2] * self.frames
        with open(self.path, "rb") as handle:
            most = size * DEFLATE_MOST if handle.read(2) == GZIP else size
        if claimed > most:
            raise self._cut(f"its header says {claimed:,} bytes and the file has {size:,}")

    def slabs(self, frame: int) -> Iterator[Slab]:
        """Some planes at a time, straight from the file; only the bytes up to the frame's end are unpacked."""
        nx, ny, nz = self.shape
        many = max(1, SLAB_BYTES // max(self.plane, 1))
        try:
            with opened(self.path) as handle:
                handle.seek(self.offset + frame * nz * self.plane)
                for at in range(0, nz, many):
                    k = min(many, nz - at)
                    values: Array = np.empty(nx * ny * k, self.dtype)
                    got = _fill(handle, values)
                    if got < values.nbytes:
                        have = (frame * nz + at) * self.plane + got
                        raise self._cut(
                            f"{self.plane * nz * self.frames:,} bytes of voxels were wanted, {have:,} are there"
                        )
                    yield Slab(at, values.reshape((nx, ny, k), order="F"), self.slope, self.inter)
                if frame == self.frames - 1:
                    handle.read(1)  # past the last voxel gzip checks its checksum
        except DAMAGED as error:
            raise self._cut(str(error).rstrip(".")) from None

    def _cut(self, why: str) -> InputError:
        return InputError(f"{self.path} is cut off or damaged: {why}; fetch it again")


def _fill(handle: IO[bytes], values: Array) -> int:
    view = memoryview(values.view(np.uint8))  # type: ignore[arg-type]
    got = 0
    while got < len(view):
        part = handle.readinto(view[got:])  # type: ignore[attr-defined]
        if not part:
            break
        got += part
    return got
