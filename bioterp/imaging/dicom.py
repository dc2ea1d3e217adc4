"""One DICOM file through pydicom: its elements, whether it is an image, and its decoded pixels."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bioterp import doors, limits
from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package, one_line
from bioterp.imaging.dicom_packed import check_streams

# What pydicom and its decoders fail with on a file that is cut or damaged.
BROKEN = (
    ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, RuntimeError, struct.error, ArithmeticError,
    AssertionError, MemoryError,
)  # fmt: skip
# Objects that are no scan, by the end of their storage class (1.2.840.10008.5.1.4.1.1.…).
STORAGE = "1.2.840.10008.5.1.4.1.1."
OBJECTS = {
    "481.2": "a radiotherapy dose", "481.3": "a radiotherapy structure set", "481.4": "a radiotherapy treatment record",
    "481.5": "a radiotherapy plan", "481.8": "a radiotherapy ion plan", "66.4": "a segmentation (give it as a label)",
    "66.5": "a surface segmentation", "66.1": "a spatial registration", "66.3": "a deformation field",
    "66": "raw data or fiducials",
    "88": "a structured report", "11": "a presentation state", "104.1": "a PDF",
}  # fmt: skip
DEFLATED = "1.2.840.10008.1.2.1.99"
PIXELS = (0x0008, 0x0009, 0x0010)  # of group 7FE0: float, double and integer pixel data
DECODERS = {"JPEG 2000": "pylibjpeg-openjpeg", "High-Throughput": "pylibjpeg-openjpeg", "JPEG-LS": "pyjpegls"}
GPL_DECODER = "pylibjpeg-libjpeg"  # the other JPEG kinds; GPL-3.0, therefore the user's choice


def pydicom_here() -> Any:
    try:
        import pydicom
    except ImportError:
        raise missing_package("pydicom", "imaging", "reading DICOM") from None
    return pydicom


def broken() -> tuple[type[Exception], ...]:
    """BROKEN and pydicom's own errors, which are of no standard kind."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*BROKEN, BytesLengthException, InvalidDicomError)


def read_dataset(path: Path, *, pixels: bool, tags: Sequence[str] | None = None) -> tuple[Any, int | None]:
    """The file's elements and, when pixels are not read, the bytes there are for them (None: not told)."""
    pydicom = pydicom_here()
    try:
        with open(path, "rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_deflated(handle, path)
            dataset = pydicom.dcmread(
                handle, force=True, stop_before_pixels=not pixels, specific_tags=None if tags is None else list(tags)
            )
            at = handle.tell()
            start = handle.read(4)
            before = 8 if dataset.original_encoding[0] else 12  # tag, (type) and length of the pixel element
    except InputError:
        raise
    except broken() as error:
        raise InputError(f"{path} is damaged or no DICOM file ({short(error)}); fetch it again") from None
    if pixels or str(_syntax(dataset)) == DEFLATED:  # such a file is unpacked whole
        return dataset, None
    there = any(struct.pack(order + "HH", 0x7FE0, code) == start for code in PIXELS for order in "<>")
    return dataset, path.stat().st_size - at - before if there else 0


def _check_deflated(handle: Any, path: Path) -> None:
    """Refuse a file whose elements are deflated and unpack to more than an image: pydicom unpacks them whole."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    read_preamble(handle, True)
    meta = _read_file_meta_info(handle)
    if str(element(meta, "TransferSyntaxUID") or "").strip("\0 ") == DEFLATED:
        doors.check_inflated(path, handle, 4 * limits.most("VOXELS"), "is deflated and")
    handle.seek(0)


def not_an_image(dataset: Any) -> str | None:
    """What a file is when it is no scan: a clause for a sentence."""
    meta = getattr(dataset, "file_meta", {})
    storage = str(element(dataset, "SOPClassUID") or element(meta, "MediaStorageSOPClassUID") or "")
    tail = storage.removeprefix(STORAGE) if storage.startswith(STORAGE) else ""
    for length in (2, 1):
        known = OBJECTS.get(".".join(tail.split(".")[:length]))
        if known:
            return known
    if storage == "1.2.840.10008.1.3.10":
        return "a DICOMDIR index"
    if not (element(dataset, "Rows") and element(dataset, "Columns")):
        return "a DICOM object without an image"
    return None


def decode(path: Path, frames: Sequence[int]) -> Iterator[Array]:
    """The (rows, columns) stored values of some frames, in the order asked for."""
    pydicom_here()
    from pydicom.pixels.utils import iter_pixels

    dataset, _ = read_dataset(path, pixels=True)
    failures: tuple[type[Exception], ...] = (StopIteration, *broken())
    if check_syntax(dataset, path):
        try:
            check_streams(dataset, path)
        except InputError:
            raise
        except failures as error:
            raise InputError(f"{path}: its pixels are cut off or damaged ({short(error)}); fetch it again") from None
    decoded = iter_pixels(dataset, indices=list(frames))
    for _ in frames:
        try:
            with warnings.catch_warnings():  # around each frame, so that the caller's own warnings are left alone
                warnings.simplefilter("ignore")
                values = next(decoded)
        except failures as error:
            raise InputError(f"{path}: its pixels are cut off or damaged ({short(error)}); fetch it again") from None
        yield values


def element(dataset: Any, name: str) -> Any:
    """An element's value, None where it is absent, empty or of a kind its own type does not allow."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset.get(name)
    except broken():
        return "?" if name == "NumberOfFrames" else None  # there, and unreadable: not the same as absent
    return None if value is None or (isinstance(value, str) and not value) else value


def _syntax(dataset: Any) -> Any:
    return element(getattr(dataset, "file_meta", {}), "TransferSyntaxUID")


def check_syntax(dataset: Any, path: Path) -> bool:
    """Whether the pixels are compressed; fills in a missing transfer syntax, refuses one without a decoder."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    uid = _syntax(dataset)
    if not uid:
        implicit, little = dataset.original_encoding
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = FileMetaDataset()
        uid = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid
    named = one_line(uid.name, 60)
    try:
        decoder = get_decoder(uid)
        ready, packed = decoder.is_available, decoder.is_encapsulated
    except NotImplementedError:
        raise InputError(
            f"{path} is stored as {named}, which pydicom cannot decode; convert it to NIfTI with dcm2niix"
        ) from None
    if not ready:
        plug = next((plug for kind, plug in DECODERS.items() if kind in uid.name), GPL_DECODER)
        licence = " (its licence is GPL-3.0)" if plug == GPL_DECODER else ""
        raise InputError(
            f"{path} is compressed as {named} and no decoder for it is installed: pip install {plug}{licence}, "
            "or convert the series to NIfTI with dcm2niix"
        )
    return bool(packed)


def short(error: BaseException) -> str:
    """What failed, without what the file says: an element's value could name a person."""
    return type(error).__name__
