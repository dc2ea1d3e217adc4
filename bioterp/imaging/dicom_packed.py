"""What a compressed frame says of its own size, read before a decoder makes room for it.

A decoder believes the stream: one of a few hundred bytes may claim 65,535 × 65,535 pixels. Its size has to be what the
file's header says, which `check_size` has bounded. JPEG 2000 (ISO/IEC 15444-1, A.5.1: SIZ), also within a JP2 file;
JPEG and JPEG-LS (ISO/IEC 10918-1, B.2.2 and 14495-1, C.2.2: the frame header). RLE has no size of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bioterp.errors import InputError

J2K = b"\xff\x4f\xff\x51"
JP2 = b"\0\0\0\x0cjP  "
JPEG = b"\xff\xd8"
# Start-of-frame markers: every coding process of JPEG (C4, C8 and CC are others), and JPEG-LS.
FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


def size_of(stream: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components) of a stream; None for one that does not say, such as RLE."""
    try:
        if stream.startswith(JP2):
            return next((_siz(stream, at) for at in _boxes(stream)), None)
        if stream.startswith(J2K):
            return _siz(stream, 0)
        return _frame(stream) if stream.startswith(JPEG) else None
    except (struct.error, IndexError):
        return None  # cut off: the decoder says so


def check_streams(dataset: Any, path: Path) -> None:
    """InputError where a compressed frame is of another size than its file says."""
    from pydicom.encaps import generate_frames

    many = int(dataset.get("NumberOfFrames") or 1)
    wanted = int(dataset.Rows), int(dataset.Columns)
    for stream in generate_frames(dataset.PixelData, number_of_frames=many):
        said = size_of(stream)
        if said is not None and (said[:2] != wanted or said[2] != 1):
            raise InputError(
                f"{path}: its pixels are cut off or damaged (a frame is {said[0]} × {said[1]} × {said[2]} and "
                f"the file says {wanted[0]} × {wanted[1]} × 1); fetch it again"
            )


def _siz(stream: bytes, at: int) -> tuple[int, int, int]:
    width, height, left, top = struct.unpack_from(">4I", stream, at + 8)
    (components,) = struct.unpack_from(">H", stream, at + 40)
    return height - top, width - left, components


def _boxes(stream: bytes) -> Iterator[int]:
    """Where the code streams of a JP2 file begin."""
    at = 0
    while at + 8 <= len(stream):
        length, kind = struct.unpack_from(">I4s", stream, at)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", stream, at + 8), 16
        if kind == b"jp2c":
            yield at + head
        if length < head:  # 0: to the end
            return
        at += length


def _frame(stream: bytes) -> tuple[int, int, int] | None:
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            return None
        marker = stream[at + 1]
        if marker == 0xFF or marker in BARE:  # fill bytes, and markers that stand alone
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAME:
            rows, columns, components = struct.unpack_from(">HHB", stream, at + 5)
            return rows, columns, components
        at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
    return None
