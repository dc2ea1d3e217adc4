"""The files a sheet names: which columns do, and what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bioterp.imaging import Volume

FILES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img", ".dcm", ".seg")
ENDS = 1 << 20  # bytes at each end of a file that its fingerprint covers


def names_files(column: pd.Series) -> bool:
    """Whether a column names images: such names are private, and no covariates."""
    told = [str(one).lower() for one in column.dropna()]
    return bool(told) and all(one.endswith(FILES) or "/" in one for one in told)


def contents(volumes: Sequence[Volume], frame: int | None) -> list[str]:
    """What the voxels of a scan hang on: its files, those that lie beside them (.img, a series), and the frame."""
    told = [fingerprint(file) for volume in volumes for file in (volume.path, *volume.beside)]
    return told if frame is None else [*told, f"t={frame}"]


def without_folders(reason: str, files: Sequence[Path]) -> str:
    """A reason that can be passed on: folders are private, also those of what lies beside a file or in it."""
    for file in files:
        reason = reason.replace(str(file), file.name)
    for folder in sorted({f"{file.parent}/" for file in files}, key=len, reverse=True):
        reason = reason.replace(folder, "")
    return reason


def fingerprint(path: Path) -> str:
    """A hash of a file's size and both its ends, or of a folder's files: 50,000 scans are not read twice for it."""
    digest = hashlib.blake2b(digest_size=12)
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    for one in files:
        size = one.stat().st_size
        digest.update(f"{one.name}:{size}".encode())
        with one.open("rb") as handle:
            digest.update(handle.read(ENDS))
            if size > ENDS:
                handle.seek(max(size - ENDS, ENDS))
                digest.update(handle.read(ENDS))
    return digest.hexdigest()
