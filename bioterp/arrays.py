"""Arrays as stored: bfloat16, narrowing without silent overflow, safetensors files.

numpy has no bfloat16, so it travels as `BFloat16`, a tagged view of its 16 bits.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bioterp import limits
from bioterp.errors import StoreError, one_line, shown

Array = np.ndarray[Any, Any]
# safetensors' names of element types ↔ numpy's. BF16 is read as the upper half of a float32.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
MOST_AXES = 32
REMEDY = "if bioterp wrote it, delete the folder it is in and run the same command again"


@dataclass(frozen=True)
class BFloat16:
    """An array of bfloat16, held as its 16 bits. `float32()` widens it exactly."""

    bits: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bits.shape)

    def __getitem__(self, key: Any) -> BFloat16:
        return BFloat16(self.bits[key])

    def __len__(self) -> int:
        return len(self.bits)

    def float32(self) -> Array:
        return (np.asarray(self.bits).astype(np.uint32) << 16).view(np.float32)

    @classmethod
    def of(cls, values: Array) -> BFloat16:
        """Round float32 to nearest-even bfloat16; NaN stays NaN."""
        raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
        rounded = ((raw + (0x7FFF + ((raw >> 16) & 1))) >> 16).astype(np.uint16)
        nan = np.isnan(values)
        if nan.any():
            rounded[nan] = 0x7FC0
        return cls(rounded)


def float32(values: Array | BFloat16) -> Array:
    """Any stored array as float32, without a copy where it is already that."""
    if isinstance(values, BFloat16):
        return values.float32()
    return np.asarray(values, np.float32)


def taken(values: Array | BFloat16) -> Array:
    """A stored array as float32 in memory of its own; the pages it was read from leave this process.

    Pages of a mapped file count as its memory until the system takes them back, which it does late: a pass over a
    genome's activations would seem to need as much memory as they have bytes. They stay in the system's cache.
    """
    if isinstance(values, BFloat16):
        copy = values.float32()
    else:
        copy = np.array(values, np.float32)
    give_back(values)
    return copy


def give_back(values: Array | BFloat16) -> None:
    """Unmap the pages of a memory-mapped array from this process; reading it again brings them back."""
    mapped = getattr(values.bits if isinstance(values, BFloat16) else values, "_mmap", None)
    held = values.bits if isinstance(values, BFloat16) else values
    if mapped is not None and getattr(held, "mode", "") != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def narrow(values: Array, dtype: str) -> Array | BFloat16:
    """Float32 values in a storage type; a value that does not fit is an OverflowError, never a silent inf."""
    if str(values.dtype) == dtype:  # already in it: nothing can be lost
        return values
    if dtype == "bfloat16":
        kept: Array | BFloat16 = BFloat16.of(values)
    else:
        with np.errstate(over="ignore"):
            kept = np.asarray(values).astype(dtype, copy=False)
    if dtype in ("bfloat16", "float16"):
        lost = np.isfinite(values) & ~np.isfinite(float32(kept))
        if lost.any():
            raise OverflowError(f"{values[lost].flat[0]:.4g} does not fit {dtype}")
    return kept


def write_safetensors(path: Path, arrays: Mapping[str, Array | BFloat16]) -> None:
    """The safetensors format, streamed array by array: a header of offsets, then the bytes."""
    header: dict[str, Any] = {}
    names = {np.dtype(code).str: name for name, code in DTYPES.items() if name != "BF16"}
    at, plain = 0, {}
    for name, array in arrays.items():
        bits = np.ascontiguousarray(array.bits if isinstance(array, BFloat16) else array)
        bits = bits.astype(bits.dtype.newbyteorder("<"), copy=False)
        kind = "BF16" if isinstance(array, BFloat16) else names[bits.dtype.str]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + bits.nbytes]}
        plain[name] = bits
        at += bits.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for bits in plain.values():
            handle.write(bits.data if bits.size else b"")


def read_safetensors(path: Path) -> dict[str, Array | BFloat16]:
    """Memory-map every array of a safetensors file; the header is checked against the file first."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > size - 8:
            raise StoreError(f"{path} is cut off or no safetensors file; {REMEDY}")
        limits.check("TENSORS", length, f"{path} has a header of {length:,} bytes")
        try:
            header = json.loads(handle.read(length))
        except (ValueError, RecursionError):
            raise StoreError(f"{path} is no safetensors file: its header is not JSON; {REMEDY}") from None
    if not isinstance(header, dict):
        raise StoreError(f"{path} is no safetensors file: its header is no record; {REMEDY}")
    arrays: dict[str, Array | BFloat16] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            code, shape, (lo, hi) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            if not all(type(n) is int and 0 <= n < 1 << 62 for n in (*shape, lo, hi)) or len(shape) > MOST_AXES:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"{path}: array {shown(name)} has a type or shape this reader does not know") from None
        dtype = np.dtype(code)
        if not 0 <= lo <= hi <= size - 8 - length or math.prod(shape) * dtype.itemsize != hi - lo:
            raise StoreError(f"{path} is truncated or damaged at array {shown(name)}; {REMEDY}")
        try:
            empty = math.prod(shape) == 0
            flat: Array = np.zeros(shape, dtype) if empty else np.memmap(path, dtype, "r", 8 + length + lo, shape)
        except (OSError, ValueError, OverflowError) as error:  # more arrays than files may be open, say
            raise StoreError(f"{path}: array {shown(name)} cannot be mapped ({one_line(error)})") from None
        arrays[name] = BFloat16(flat) if entry["dtype"] == "BF16" else flat
    return arrays
