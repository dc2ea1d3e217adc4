"""One scan under two names in different splits, told by the bytes of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # bytes looked at in three places of a file, before it is read whole


def same_scans(source: Any) -> Iterator[tuple[str, str]]:
    """Pairs of scans in different splits whose image files hold the same bytes, whatever they are called.

    source: `bioterp.Scans`. Files of one size are told apart by a piece of their beginning, middle and end; those that
    agree are read whole. The same picture stored in another way (another compression, DICOM beside NIfTI) is not found.
    """
    split = source.items.drop_duplicates("sample").set_index("sample")["split"]
    seen: dict[Any, list[str]] = {}
    for name, scan in source.scans.items():
        if name in split.index:
            files = [file for volume in scan.volumes for file in _files(volume.path)]
            seen.setdefault((tuple(file.stat().st_size for file in files), scan.frame), []).append(name)
    for told in (_ends, _whole):  # first what is quick
        finer: dict[Any, list[str]] = {}
        for key, names in seen.items():
            if len(set(split[names])) > 1:
                for name in names:
                    files = [file for volume in source.scans[name].volumes for file in _files(volume.path)]
                    finer.setdefault((key, tuple(told(file) for file in files)), []).append(name)
        seen = finer
    for names in seen.values():
        for name in names[1:]:
            if split[name] != split[names[0]]:
                yield names[0], name


def _files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _ends(path: Path) -> bytes:
    size, digest = path.stat().st_size, hashlib.blake2b(digest_size=16)
    with path.open("rb") as handle:
        for at in (0, max(size // 2 - CHUNK // 2, 0), max(size - CHUNK, 0)):
            handle.seek(at)
            digest.update(handle.read(CHUNK))
    return digest.digest()


def _whole(path: Path) -> bytes:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").digest()
