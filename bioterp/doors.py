"""How files of strangers are opened: text that may be gzipped, settings in JSON and YAML, packed bytes.

Everything here reads no more than `limits.py` allows, and says in one sentence why it stops.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bioterp import limits
from bioterp.errors import InputError, one_line

PIECE = 1 << 20
DEEPEST = 64  # levels of YAML


class _Unpacked(io.RawIOBase):
    """What a gzip file unpacks to, counted: past what an honest file of its size can hold it is an InputError."""

    def __init__(self, path: Path):
        super().__init__()
        self._path, self._given = path, 0
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - closed in close()
        self._most = max(limits.most("EXPANDED"), limits.most("RATIO") * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self._file.readinto1(buffer)  # what lies before the damage of a damaged file comes through
        self._given += got
        if self._given > self._most:
            packed = self._path.stat().st_size
            raise limits.more("RATIO", f"{self._path} unpacks to more than {self._most:,} bytes from {packed:,}")
        return got

    def close(self) -> None:
        self._file.close()
        super().close()


def open_text(path: Path, text: bool = False) -> Any:
    """Open a plain, gzipped or bgzipped file for reading, told apart by content and not by name.

    InputError, here or while it is read, for what is no file (a pipe, a device), and a gzip file that is a bomb.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}" + (" (it is no plain file)" if path.exists() else ""))
    with open(path, "rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    if not packed:
        return open(path, "rt" if text else "rb")
    unpacked = io.BufferedReader(_Unpacked(path), PIECE)
    return io.TextIOWrapper(unpacked) if text else unpacked


def raw_lines(path: Path, limit: str = "LINE") -> Iterator[bytes]:
    """The lines of a file as bytes, plain or gzipped; InputError for one longer than the limit of that name."""
    most = limits.most(limit)
    with open_text(path) as file:
        for number, raw in enumerate(iter(functools.partial(file.readline, most + 1), b""), 1):
            if len(raw) > most:
                raise limits.more(limit, f"{path}, line {number} is longer than {most:,} bytes")
            yield raw


def text_lines(path: Path, limit: str = "LINE") -> Iterator[tuple[int, str]]:
    """(number, text) of each line, from plain or gzipped text, line ends of any system taken off.

    limit: the cap (`limits.py`) on a line's length; those of a VCF hold everybody's genotypes.
    """
    number = 0
    try:
        for number, raw in enumerate(raw_lines(path, limit), 1):
            yield number, raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {number}: not text; is the file of another format, or damaged?") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} ends early or is damaged after line {number} ({error}); fetch it again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def whole(path: Path, name: str) -> bytes:
    """All of a file, unpacked where it is gzipped; InputError past the limit of that name, before more is read."""
    most, pieces, total = limits.most(name), list[bytes](), 0
    try:
        with open_text(path) as file:
            while piece := file.read(PIECE):
                pieces.append(piece)
                total += len(piece)
                limits.check(name, total, f"{path} has more than {most:,} bytes")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from None
    return b"".join(pieces)


def text_of(path: Path, name: str = "SETTINGS") -> str:
    """A small text file whole, without its byte order mark. InputError for one that is large, or not UTF-8."""
    try:
        return whole(path, name).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; is it the right file, or damaged?") from None


def json_of(path: Path) -> Any:
    """What a JSON file says. InputError for one that is large, no JSON, or nested too deep."""
    text = text_of(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is not JSON ({one_line(error)})") from None


def yaml_of(path: Path, loader: Any = None) -> Any:
    """What a YAML file says, by the safe loader; aliases that multiply, or go round in a circle, are refused unread."""
    import yaml

    text = text_of(path, "RUNFILE")
    kind = yaml.SafeLoader if loader is None else loader
    try:
        _measure(yaml.parse(text, Loader=kind), path)
        _weigh(yaml.compose(text, Loader=kind), path)
        return yaml.load(text, Loader=kind)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} is not YAML: {one_line(error)}") from None


def _measure(events: Iterator[Any], path: Path) -> None:
    """Refuse what is nested deeper than DEEPEST, before anything is made of it."""
    depth = 0
    for event in events:
        depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
        if depth > DEEPEST:
            raise InputError(f"{path} is nested deeper than {DEEPEST} levels; run files need five")


def _weigh(node: Any, path: Path) -> None:
    """Refuse a tree that has too many values once its aliases are written out; they are not, to know it."""
    limit = limits.most("NODES")
    known: dict[int, int] = {}
    open_: set[int] = set()

    def weight(one: Any) -> int:
        key = id(one)
        if key in known:
            return known[key]
        if key in open_:
            raise InputError(f"{path} has an alias within what it stands for; write it out")
        open_.add(key)
        total = 1
        for child in one.value if isinstance(one.value, list) else ():
            for part in child if isinstance(child, tuple) else (child,):
                total += weight(part)
        open_.discard(key)
        known[key] = min(total, limit + 1)
        return known[key]

    if node is not None and weight(node) > limit:
        raise limits.more("NODES", f"{path} stands for more values than that with its aliases written out")


def parquet_of(path: Path) -> Any:
    """A Parquet file as a DataFrame; InputError for one of more cells than honest tables of its size have.

    A column of one value takes a few bytes for any number of rows.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as opened:  # type: ignore[no-untyped-call]
        cells = opened.metadata.num_rows * opened.metadata.num_columns
        if cells > limits.most("RATIO") * path.stat().st_size:
            limits.check("CELLS", cells, f"{path} says it has {cells:,} cells")
        return opened.read().to_pandas()


def check_inflated(path: Path, handle: IO[bytes], limit: int, what: str) -> None:
    """InputError where raw deflate data unpack to more than `limit` bytes; they are counted and not kept."""
    unpack, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while (raw := unpack.unconsumed_tail or handle.read(PIECE)) and not unpack.eof:
            total += len(unpack.decompress(raw, PIECE))
            if total > limit:
                raise InputError(f"{path} {what} unpacks to more than {limit:,} bytes; fetch it again, or convert it")
    except zlib.error as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again") from None
