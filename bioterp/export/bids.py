"""Names of files as BIDS derivatives want them: plain, inside their folder, and never the same twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

# sub-01_ses-02_run-1_T1w: entities, then what kind of image it is.
_LIKE_BIDS = re.compile(r"(sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)(?:_([A-Za-z0-9]+))?")
_LONGEST = 100


def scan_stems(scans: Sequence[str]) -> dict[str, str]:
    """Scan id → the start of its files' names: `sub-01_ses-02_T1w` as `sub-01_ses-02_mod-T1w`, others made safe."""
    return _told_apart({scan: _stem(scan) for scan in dict.fromkeys(scans)})


def subject_folders(subjects: Sequence[str]) -> dict[str, str]:
    """Subject → `sub-<label>`, letters and digits only."""
    names = {subject: f"sub-{label(subject.removeprefix('sub-')) or 'unnamed'}" for subject in dict.fromkeys(subjects)}
    return _told_apart(names)


def label(text: str) -> str:
    """A BIDS label: letters and digits, nothing else."""
    return re.sub(r"[^A-Za-z0-9]", "", text)[:_LONGEST]


def _stem(scan: str) -> str:
    like = _LIKE_BIDS.fullmatch(scan)
    if like and len(scan) <= _LONGEST:
        return f"{like[1]}_mod-{like[2]}" if like[2] else like[1]
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", re.sub(r"\.(nii(\.gz)?|mgz|mgh|dcm)$", "", scan)).strip("-_")
    return plain[:_LONGEST] or "unnamed"


def _told_apart(names: dict[str, str]) -> dict[str, str]:
    """Where two names are the same (also on disks that ignore case), each gets a hash of what it was made from."""
    many: dict[str, int] = {}
    for name in names.values():
        many[name.lower()] = many.get(name.lower(), 0) + 1
    return {
        given: name
        if many[name.lower()] == 1
        else f"{name}x{hashlib.blake2b(given.encode(), digest_size=4).hexdigest()}"
        for given, name in names.items()
    }
