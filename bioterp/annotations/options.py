"""Which keywords of `label` belong to which rows: what does not apply is refused, not silently ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioterp.errors import InputError

SEQUENCES = (
    "types", "attributes", "exclude", "having", "by", "strand", "upstream", "within", "contigs", "sequence", "code",
)  # fmt: skip
SCANS = ("column", "names", "density", "threshold", "unknown", "outside", "min_voxels", "connectivity", "made_by")
RECORDS = ("columns", "categorical", "key")
DENSITY = ("terms", "names", "unknown", "outside", "min_voxels", "connectivity")  # these mean nothing to numbers
EVERY = ("terms", "name")


def refuse(given: Mapping[str, Any], defaults: Mapping[str, Any], ndim: int, records: bool) -> None:
    """Raise InputError for the first keyword that was given and is for other rows."""
    changed = [name for name, value in given.items() if not _same(value, defaults[name])]
    allowed: tuple[str, ...]
    if records:
        allowed, what = (*RECORDS, "name"), "columns of a sheet"
    elif ndim == 3:
        allowed, what = (*SCANS, *EVERY), "label volumes of scans"
    else:
        allowed, what = (*SEQUENCES, *EVERY), "annotations of sequences"
    for name in changed:
        if name not in allowed:
            home = "sequences" if name in SEQUENCES else "scans" if name in SCANS else "columns of a sheet"
            raise InputError(f"{name}= is for {home}; {what} take {', '.join(allowed)}")
    if "density" in changed and given["threshold"] is None:
        for name in changed:
            if name in DENSITY:
                raise InputError(
                    f"{name}= is for terms and density=True gives numbers; threshold= makes a term of them"
                )


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))
