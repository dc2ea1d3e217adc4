"""Which DICOM series lie in a folder, and one series as a Volume, decoded plane by plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from bioterp.errors import InputError
from bioterp.imaging import Slab, Volume, check_size
from bioterp.imaging.dicom import decode, element, not_an_image, pydicom_here, read_dataset
from bioterp.imaging.dicom_header import Header, Plane, read_header
from bioterp.imaging.dicom_lattice import lattice
from bioterp.imaging.files import sniff

FIRST_LOOK = ("SeriesInstanceUID", "SeriesNumber", "PatientID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns")


@dataclass(frozen=True)
class Series:
    """The image files of one series, before their headers are read in full. `person` is only compared, never shown."""

    uid: str = field(repr=False)
    number: str
    person: str = field(repr=False)
    files: tuple[Path, ...]


@dataclass(frozen=True)
class SeriesPixels:
    """The planes of a series in order; decoded one by one, each with its own rescale."""

    planes: tuple[Plane, ...]
    rows: int
    columns: int

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(plane.path for plane in self.planes))

    def slabs(self, frame: int) -> Iterator[Slab]:
        at = 0
        for path, run in groupby(self.planes, key=lambda plane: plane.path):
            wanted = list(run)
            for plane, values in zip(wanted, decode(path, [plane.frame for plane in wanted]), strict=True):
                if values.shape != (self.rows, self.columns):
                    raise InputError(f"{path} holds pixels of another size than its header says; fetch it again")
                yield Slab(at, values.T[:, :, None], plane.slope, plane.inter)
                at += 1


def find_series(folder: Path, *, deep: bool = True) -> tuple[list[Series], dict[str, int]]:
    """The image series under a folder, in order of their first file, and what else in DICOM lies there, counted.

    A series may lie in several folders; where two folders hold the same instances they are copies, each a series here.
    """
    pydicom_here()
    found: dict[str, list[tuple[Path, str, str, str]]] = {}
    others: Counter[str] = Counter()
    for path in sorted(folder.rglob("*") if deep else folder.glob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if sniff(path)[0] != "dicom":
                continue
            dataset, _ = read_dataset(path, pixels=False, tags=FIRST_LOOK)
        except InputError:
            others["not readable"] += path.suffix.lower() in ("", ".dcm", ".ima")
            continue
        other = not_an_image(dataset)
        if other:
            others[other] += 1
            continue
        uid, number, person, instance = (str(element(dataset, name) or "") for name in FIRST_LOOK[:4])
        found.setdefault(uid, []).append((path, number, person, instance))
    listed = []
    for uid, files in found.items():
        instances = {(instance, path.parent) for path, _, _, instance in files if instance}
        copied = len({instance for instance, _ in instances}) < len(instances)
        if copied:
            files.sort(key=lambda file: (file[0].parent, file[0].name))
        for _, part in groupby(files, key=lambda file: file[0].parent if copied else None):
            lying = list(part)
            listed.append(Series(uid, lying[0][1], lying[0][2], tuple(file[0] for file in lying)))
    return listed, {what: n for what, n in others.items() if n}


def open_dicom(path: Path) -> Volume:
    """A folder with one series, an enhanced multi-frame file, or a single-frame file together with its series."""
    notes: list[str] = []
    if path.is_dir():
        listed, others = find_series(path)
        if not listed:
            what = ": it holds " + ", ".join(f"{n} × {name}" for name, n in others.items()) if others else ""
            raise InputError(
                f"the folder {path} holds no DICOM image{what}; give a folder of an image series, or a file"
            )
        if len(listed) > 1:
            raise InputError(
                f"the folder {path} holds {len(listed)} DICOM series and one was wanted; give the folder as the source "
                "(each series becomes a scan), or a file of the one you want"
            )
        headers = [read_header(file) for file in listed[0].files]
        if others:
            notes.append("left aside: " + ", ".join(f"{n} × {name}" for name, n in others.items()))
    else:
        first = read_header(path)
        headers = [first]
        if len(first.planes) == 1 and first.series:
            beside, _ = find_series(path.parent, deep=False)
            files = next((series.files for series in beside if series.uid == first.series), (path,))
            headers = [read_header(file) for file in files]
            if len(files) > 1:
                notes.append(f"read with the {len(files) - 1} other files of its series in the same folder")
    return _volume(path, headers, notes)


def _volume(path: Path, headers: list[Header], notes: list[str]) -> Volume:
    planes = [plane for header in headers for plane in header.planes]
    sizes = {(header.columns, header.rows) for header in headers}
    if len(sizes) > 1:
        shown = " and ".join(f"{x} × {y}" for x, y in sorted(sizes)[:2])
        raise InputError(
            f"{path}: slices of one series have different sizes ({shown}); export each part as its own series"
        )
    shape = (headers[0].columns, headers[0].rows, len(planes))
    check_size(path, shape)
    affine, order = lattice(path, planes)
    facts = dict(headers[0].facts)
    facts["slice_spacing"] = float(np.linalg.norm(affine[:3, 2]))
    facts["stored_type"] = headers[0].stored
    pixels = SeriesPixels(tuple(planes[i] for i in order), shape[1], shape[0])
    return Volume(path, shape, affine, 1, facts, tuple(notes), (1, 1), pixels)
