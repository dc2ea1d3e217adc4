"""Folders of arrays, tables and JSON, written beside and moved into place.

A stored folder holds `arrays.safetensors`, any number of `<name>.parquet`, and `meta.json`, which carries
the SHA-256 of the others and says who made them. It appears under its name whole or not at all: it is
written under a temporary name next to it, hashed, fsynced and renamed. Arrays are memory-mapped on
reading (`arrays.py`); a folder that this process neither wrote nor hashed before is hashed first, so that a flipped bit
or a file cut short is never taken for a result.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bioterp.arrays import Array, BFloat16, read_safetensors, write_safetensors
from bioterp.doors import parquet_of
from bioterp.errors import BioterpError, Damaged, InputError, StoreError, one_line, shown

SCHEMA = 2  # 1 had no hash of meta.json itself
SELF = "self"  # its hash of all the rest of it

_sound: dict[Path, tuple[int, int]] = {}  # meta.json of folders known to be whole → which file of that name it was


@dataclass
class Stored:
    """What `read` gives back."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, Array | BFloat16]
    tables: dict[str, Path] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame:
        try:
            return parquet_of(self.tables[name])
        except InputError as error:  # more cells than such a file holds
            raise StoreError(str(error)) from None
        except (pa.ArrowException, KeyError, OSError, ValueError, OverflowError):
            raise Damaged(self.path, f"its table {name} cannot be read") from None

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
def damaged(path: Path) -> Iterator[None]:
    """A StoreError for a folder whose meta.json or arrays are not what a writer of bioterp leaves."""
    try:
        yield
    except BioterpError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise StoreError(
            f"{path} is damaged, or was not written by bioterp ({type(error).__name__}: {one_line(error)}); delete it "
            "and run again"
        ) from error


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


LEFT = re.compile(r"\.(.+\.(partial|old)-[a-z0-9_]{8}|partial-\d+-.+)")  # names `writing_…` and `discard` give


def clear_partials(folder: str | Path, deep: bool = True, of: str = "") -> None:
    """Remove what killed writers left in a folder (deep: and below it; of: of this name only), and nothing else."""
    found = Path(folder).rglob(f".{of}*") if deep else Path(folder).glob(f".{of}*")
    for left in [path for path in found if LEFT.fullmatch(path.name)]:
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    for index in Path(folder).rglob(".index") if deep else ():  # emptied by a writer that was killed right after
        if (index.parent / "meta.json").exists() and not any(index.iterdir()):
            index.rmdir()


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
        record = json.loads(json.dumps(record, default=str))  # as it will be read: keys are strings
        (beside / "meta.json").write_text(json.dumps({**record, SELF: digest(record)}, indent=1))
    _sound[(Path(path) / "meta.json").resolve()] = _mark(Path(path) / "meta.json")


def read(path: str | Path, check: bool = False) -> Stored:
    """Open one stored folder; arrays are memory-mapped.

    Every file is hashed the first time this process reads what another one wrote; `check`: in any case. Raises Damaged
    when a hash is another or a file is missing; StoreError for a folder that is unfinished, or of a newer bioterp.
    """
    path = Path(path)
    meta = read_json(path / "meta.json")
    schema, listed = meta.get("schema_version", 0), meta.get("sha256", {})
    if not isinstance(schema, int) or not isinstance(listed, dict):
        raise StoreError(f"{path} is damaged: its meta.json was not written by bioterp; delete it and run again")
    if schema > SCHEMA:
        raise StoreError(f"{path} was written by a newer bioterp (schema {schema}); update bioterp")
    known, mark = (path / "meta.json").resolve(), _mark(path / "meta.json")
    check = check or _sound.get(known) != mark
    for name, sha in listed.items():
        if Path(name).name != name:
            raise StoreError(f"{path} lists a file {shown(name)}, which is not in it; it was not written by bioterp")
        if not (path / name).is_file():
            raise Damaged(path, f"it lacks {name}")
        if check and file_sha256(path / name) != sha:
            raise Damaged(path, f"the hash of {name} changed")
    _sound[known] = mark
    arrays = {}
    if (path / "arrays.safetensors").exists():
        arrays = read_safetensors(path / "arrays.safetensors")
    return Stored(path, meta, arrays, {file.stem: file for file in path.glob("*.parquet")})


def _mark(path: Path) -> tuple[int, int]:
    """Which file lies under a name: written again, it is another."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def read_json(path: Path) -> dict[str, Any]:
    """A record written by `write`, or another JSON object; Damaged when it is none, or not what was written."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path.parent} is not a finished bioterp folder: {path.name} is missing") from None
    except (ValueError, RecursionError):
        raise Damaged(path.parent, f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise Damaged(path.parent, f"{path.name} holds no record")
    said = value.pop(SELF, None)
    if said != digest(value) and (said is not None or value.get("schema_version") == SCHEMA):
        raise Damaged(path.parent, f"{path.name} is not what was written")
    return value
