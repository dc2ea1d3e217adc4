"""A folder of DICOM as rows of a sheet: one scan per series, named by folder and series number, never by a person."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bioterp.imaging.dicom_series import find_series
from bioterp.imaging.sheet import LONGEST


def dicom_rows(folder: Path) -> tuple[list[dict[str, str]], list[tuple[str, str, str]], str]:
    """Rows scan, subject, path; who is left out, with the reason; and what else in DICOM lies there, as a clause.

    Series of one patient share a subject, named by its first scan: the patient's number is compared and not kept.
    """
    listed, others = find_series(folder)
    rows: list[dict[str, str]] = []
    left: list[tuple[str, str, str]] = []
    people: dict[str, str] = {}
    seen: dict[str, str] = {}
    for series in listed:
        common = Path(os.path.commonpath([file.parent for file in series.files]))
        scan = _name(folder, common, series.number, {row["scan"] for row in rows} | {scan for scan, _, _ in left})
        if series.uid and series.uid in seen:
            left.append((scan, str(common), f"it holds copies of the files of {seen[series.uid]}"))
            continue
        # A folder of its own is the path; among other series a file stands for the series beside it.
        alone = all(other is series or not any(f.is_relative_to(common) for f in other.files) for other in listed)
        if not alone and any(file.parent != common for file in series.files):
            reason = "its files lie in several folders among other series; put them into a folder of their own"
            left.append((scan, str(common), reason))
            continue
        seen[series.uid] = scan
        subject = people.setdefault(series.person, scan) if series.person else scan
        rows.append({"scan": scan, "subject": subject, "path": str(common if alone else series.files[0])})
    return rows, left, ", ".join(f"it has {n} × {what}" for what, n in others.items()) or "it has none"


def _name(folder: Path, common: Path, number: str, taken: set[str]) -> str:
    place = "_".join(common.relative_to(folder).parts) or folder.name
    base = re.sub(r"[^\w+.-]|\.{2,}", "-", f"{place}_{number}" if number else place)[: LONGEST - 8]
    scan, copy = base, 2
    while scan in taken:
        scan, copy = f"{base}-{copy}", copy + 1
    return scan
