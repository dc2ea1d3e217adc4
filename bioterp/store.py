"""Folders of arrays, tables and JSON, written beside and moved into place (floor 1).

A stored folder holds `arrays.safetensors`, any number of `<name>.parquet`, and `meta.json`, which carries
the SHA-256 of the others and says who made them. It appears under its name whole or not at all: it is
written under a temporary name next to it, hashed, fsynced and renamed. Arrays are memory-mapped on
reading. bfloat16 is kept as such; numpy has no such type, so it travels as `BFloat16`, a tagged view.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bioterp.errors import StoreError

Array = np.ndarray[Any, Any]
SCHEMA = 1
# safetensors' names of element types ↔ numpy's. BF16 is read as the upper half of a float32.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
MAX_HEADER = 100_000_000


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


@dataclass
class Stored:
    """What `read` gives back."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, Array | BFloat16]
    tables: dict[str, Path] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame:
        try:
            return pd.read_parquet(self.tables[name])
        except (pa.ArrowException, KeyError):
            raise StoreError(f"{self.path} is damaged at {name}; delete that folder and run again") from None

    def array(self, name: str) -> Array:
        found = self.arrays[name]
        if isinstance(found, BFloat16):
            raise StoreError(f"{self.path}: array {name!r} is bfloat16 where plain numbers were expected")
        return found


def provenance() -> dict[str, Any]:
    """Who made a file: versions, time, command line without its folders."""
    from importlib.metadata import version

    names = ("bioterp", "numpy", "torch", "transformers", "pandas")
    versions = {}
    for name in names:
        if name == "bioterp" or name in sys.modules:
            try:
                versions[name] = version(name)
            except ImportError:
                versions[name] = "unknown"
    command = [Path(word).name for word in sys.argv]  # of paths only the name: folders are private
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"versions": versions, "python": platform.python_version(), "time": now, "command": command}


def digest(value: Any) -> str:
    """A short hash of anything JSON can say: the identity of a recipe."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def file_sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes when it does not."""
    path = Path(path)
    if path.exists() and not (path / "meta.json").exists():
        raise StoreError(f"{path} exists and was not written by bioterp; choose another name or remove it yourself")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        yield beside
        for file in beside.rglob("*"):
            _fsync(file)
        beside.chmod(0o755)
        if path.exists():
            # A folder cannot be renamed over a full one: move the old away, then the new in.
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
            path.replace(old / path.name)
            beside.replace(path)
            shutil.rmtree(old)
        else:
            beside.replace(path)
        _fsync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def writing_file(path: str | Path) -> Iterator[Path]:
    """A temporary file name that becomes `path` when the block ends well, and vanishes when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: some writers choose the format by it.
    beside = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield beside
        _fsync(beside)
        beside.replace(path)
        _fsync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def discard(path: str | Path) -> None:
    """Remove a stored folder so that a kill at any moment leaves it whole or gone, never in part."""
    path = Path(path)
    if path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
        path.replace(old / path.name)
        shutil.rmtree(old)


def clear_partials(folder: str | Path) -> None:
    """Remove what killed writers left under `folder`."""
    for left in [
        path for name in (".*.partial-*", ".partial-*", ".*.old-*") for path in Path(folder).glob(f"**/{name}")
    ]:
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def write(
    path: str | Path,
    arrays: Mapping[str, Array | BFloat16] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write one stored folder, whole or not at all."""
    with writing_folder(path) as beside:
        if arrays:
            write_safetensors(beside / "arrays.safetensors", arrays)
        for name, table in (tables or {}).items():
            table.to_parquet(beside / f"{name}.parquet", index=False)
        sha = {file.name: file_sha256(file) for file in sorted(beside.iterdir())}
        record = {"schema_version": SCHEMA, **(meta or {}), "sha256": sha, "made_by": provenance()}
        (beside / "meta.json").write_text(json.dumps(record, indent=1, default=str))


def read(path: str | Path, check: bool = False) -> Stored:
    """Open one stored folder; arrays are memory-mapped. `check` re-hashes every file first."""
    path = Path(path)
    meta = read_json(path / "meta.json")
    if meta.get("schema_version", 0) > SCHEMA:
        raise StoreError(f"{path} was written by a newer bioterp (schema {meta['schema_version']}); update bioterp")
    for name, sha in meta.get("sha256", {}).items():
        if not (path / name).is_file():
            raise StoreError(f"{path} lacks {name}; delete the folder and run the same command again")
        if check and file_sha256(path / name) != sha:
            raise StoreError(f"{path / name} is damaged (its hash changed); delete {path} and run the command again")
    arrays = {}
    if (path / "arrays.safetensors").exists():
        arrays = read_safetensors(path / "arrays.safetensors")
    return Stored(path, meta, arrays, {file.stem: file for file in path.glob("*.parquet")})


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path.parent} is not a finished bioterp folder: {path.name} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise StoreError(f"{path} is damaged: it is not JSON; delete {path.parent} and run again") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} is damaged: it holds no record")
    return value


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
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise StoreError(f"{path} is not a whole safetensors file: its header says {length} bytes")
        try:
            header = json.loads(handle.read(length))
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise StoreError(f"{path} is not a safetensors file: its header is not JSON") from None
    arrays: dict[str, Array | BFloat16] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            code, shape, (lo, hi) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"{path}: array {name!r} has a type or shape this reader does not know") from None
        dtype = np.dtype(code)
        if not 0 <= lo <= hi <= size - 8 - length or math.prod(shape) * dtype.itemsize != hi - lo:
            raise StoreError(f"{path} is truncated or damaged at array {name!r}")
        if math.prod(shape) == 0:
            flat: Array = np.zeros(shape, dtype)
        else:
            flat = np.memmap(path, dtype, "r", 8 + length + lo, shape)
        arrays[name] = BFloat16(flat) if entry["dtype"] == "BF16" else flat
    return arrays
