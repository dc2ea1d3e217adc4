"""Masks of scans: whether they are there, can be opened, and lie where their scans do."""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations.mask_place import extent, meet
from bioterp.annotations.scan_sources import resolve
from bioterp.annotations.segments import is_segmentation
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, some
from bioterp.errors import BioterpError
from bioterp.grid import Grid, Space
from bioterp.imaging import open_volume
from bioterp.records import Label
from bioterp.rows import SPLITS

MOST_MASKS = 200  # headers that are opened; of more scans evenly many


def masks(name: str, spec: Label, source: Any) -> Generator[Finding, None, int]:
    """Whether the masks are there, can be opened, and lie where their scans do; returns how many terms one has."""
    where, column, total = f"labels.{name}", spec.column, len(source.scans)
    if "columns" in spec.options:
        return len(spec.options["columns"])
    if spec.path is not None:
        if not spec.path.exists():
            return 0
        files, _ = resolve(_rows(source), spec.path, column or "label")
    else:
        assert column is not None
        files = source.files(column)
    absent = [scan for scan in source.scans if scan not in files or not files[scan].exists()]
    if len(absent) == total:
        said = f"such as {files[absent[0]].name!r}" if absent[0] in files else f"scan {absent[0]} has none"
        yield Finding(PROBLEM, where, f"no file that the column {column!r} names is there", said)
        return 0
    yield Finding(OK, where, f"masks of {total - len(absent)} of {total} scans")
    if absent:
        what = f"no mask for {len(absent)} scans, such as {absent[0]}"
        yield Finding(WARNING, where, what, "they are not scored")
    here = [scan for scan in source.scans if scan not in set(absent)]
    split = set(source.items.loc[source.items["sample"].isin(here), "split"])
    for part in SPLITS:
        if part in set(source.items["split"]) - split:
            what = f"no scan with a mask lies in {part}"
            yield Finding(PROBLEM, where, what, "give more masks, smaller blocks (source.blocks), or another seed")
    looked = (
        here if len(here) <= MOST_MASKS else [here[i] for i in np.linspace(0, len(here) - 1, MOST_MASKS, dtype=int)]
    )
    unread, apart, moved = [], [], []
    terms: int | None = 0 if spec.numbers else 1 if spec.options.get("threshold") is not None else None
    for scan in looked:
        if files[scan].is_dir() or is_segmentation(files[scan]):
            continue
        try:
            mask = open_volume(files[scan], assume_ras=source.assume_ras)
            if terms is None and mask.frames == 1:
                terms = max(len(np.unique(mask.read(None))) - 1, 1)
        except BioterpError as error:
            unread.append(f"{scan} ({str(error).replace(f'{files[scan].parent}/', '').partition('; ')[0]})")
            continue
        image, space = source.scans[scan].volumes[0], Space(scan, "mm")
        mine, theirs = (Grid.from_centers(space, one.shape, one.affine) for one in (image, mask))
        if not meet(mine, theirs):
            apart.append(f"{scan} ({extent([theirs])} mm, the scan {extent([mine])})")
        elif mask.shape == image.shape and not np.allclose(mask.affine, image.affine, atol=0.05):
            moved.append(scan)
    if unread:
        yield Finding(WARNING, where, f"{len(unread)} masks cannot be read: {some(unread)}", "they are not scored")
    if apart:
        level = PROBLEM if len(apart) == len(looked) else WARNING
        what = f"{len(apart)} masks lie where their scans are not: {some(apart, 1)}"
        yield Finding(level, where, what, "mend their headers, or name the right files")
    if moved:
        what = f"{len(moved)} masks have their image's shape and another affine, such as that of {some(moved, 1)}"
        yield Finding(WARNING, where, what, "the mask's own is used: see that its header is right")
    return 1 if terms is None else terms


def _rows(source: Any) -> Any:
    """What `resolve` asks of rows: the scans there are."""
    return SimpleNamespace(items=pd.DataFrame({"sample": list(source.scans)}))
