"""From what `label` was given for scans to one label volume per scan, read when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.imaging.sheet import SHEET, read_sheet, read_table
from bioterp.rows import Rows

VOLUMES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img", ".dcm")
TABLES = (".tsv", ".csv", ".txt", ".tab")
KEYS = ("scan", "item", "sample", "id")


@dataclass(frozen=True)
class Labels:
    """The labels of one scan as read: layers (x, y, z) of whole numbers on one lattice, affine (4, 4) from voxel
    centres to mm RAS+. What overlaps lies in different layers. names: value → term where the file tells them."""

    layers: list[Array]
    affine: Array
    names: dict[int, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def resolve(rows: Rows, source: Any, column: str) -> tuple[dict[str, Any], str]:
    """{scan id: path or (array, affine)} for the scans of the rows that have one, and what the source is called."""
    scans = list(dict.fromkeys(rows.items["sample"].astype(str)))
    if isinstance(source, pd.DataFrame):
        base = Path(source.attrs.get("folder", ""))  # where the sheet it came from lies, if its reader said so
        found, title = _of_table(source, column, base, "the table"), "table"
    elif isinstance(source, Mapping):
        found, title = {str(key): value for key, value in source.items()}, "mapping"
    else:
        path = Path(source)
        title = str(path)
        if not path.exists():
            raise InputError(f"there is no file {path}; give a sheet, a label volume or a folder of label volumes")
        if (path / SHEET).is_file():
            path = path / SHEET
        if path.is_file() and path.name.lower().endswith(TABLES):
            found = _of_table(_sheet(path), column, path.parent, str(path))
        else:
            found = _by_name(path, scans) if path.is_dir() else {}
            if not found and len(scans) > 1:
                what = "holds no file named after any of them" if path.is_dir() else "is one volume"
                raise InputError(
                    f"the rows have {len(scans)} scans and {path} {what}; give a sheet with a column of label "
                    "files, {scan: file}, or a folder of files named as the scans"
                )
            found = found or {scans[0]: path}
    have = {scan: found[scan] for scan in scans if scan in found}
    if not have:
        theirs = list(found)
        raise InputError(
            f"{title} has labels for none of the {len(scans)} scans of the rows: theirs are called "
            f"{', '.join(repr(s) for s in scans[:3])}; {nearest(scans[0], theirs)}"
        )
    return have, title


def _sheet(path: Path) -> pd.DataFrame:
    """A sheet's table; scans without ids are called after their images, as the adapter calls them."""
    table: pd.DataFrame = read_table(path)
    if not set(KEYS) & set(table.columns) and {"path", "image"} & set(table.columns):
        table = read_sheet(path).frame
    return table


def _of_table(table: pd.DataFrame, column: str, base: Path, title: str) -> dict[str, Any]:
    """Label files of a sheet's scans; a relative path counts from the sheet."""
    key = next((name for name in KEYS if name in table.columns), None)
    if key is None:
        raise InputError(f"{title} has no column {' or '.join(map(repr, KEYS))} that names the scans")
    if column not in table.columns:
        raise InputError(f"{title} has no column {column!r} of label files (column=); {nearest(column, table.columns)}")
    told = table[[key, column]].dropna()
    told = told[told[column].astype(str).str.strip() != ""]
    twice = told[key].astype(str).duplicated()
    if twice.any():
        raise InputError(f"{title} has two label files for the scan {told[key].astype(str)[twice].iloc[0]!r}")
    return {str(scan): base / str(path).strip() for scan, path in zip(told[key], told[column], strict=True)}


def stem(path: Path) -> str:
    """The file's name without the ending of a volume."""
    name = path.name
    for ending in sorted(VOLUMES, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _by_name(folder: Path, scans: list[str]) -> dict[str, Any]:
    """Files (or folders) called as the scans."""
    inside = {stem(path): path for path in sorted(folder.iterdir()) if not path.name.startswith(".")}
    return {scan: inside[scan] for scan in scans if scan in inside}


def told(error: Exception, entry: Any) -> str:
    """Why a scan has no label, as it is kept with the results: without the folders, which are private."""
    path = None if entry is None or isinstance(entry, tuple) else Path(entry)
    return str(error) if path is None else str(error).replace(str(path), path.name).replace(f"{path.parent}/", "")


def read_labels(entry: Any, *, threshold: float | None = None, name: str | None = None) -> Labels:
    """One scan's labels. With a threshold, values from it up are the one term `name` and NaN is unknown (−1).

    Raises FileNotFoundError where the file is absent or cannot be read (the scan is then left out), InputError where
    it is not labels.
    """
    if isinstance(entry, tuple):
        array, affine = np.asarray(entry[0]), np.asarray(entry[1], np.float64)
        return Labels([_layer(array, threshold, "the array")], _affine(affine), _one(threshold, name))
    path = Path(entry)
    if not path.exists():
        raise FileNotFoundError(f"its label file {path} is not there")
    if path.is_dir() and any(p.name.lower().endswith((".nii", ".nii.gz", ".mgz")) for p in path.iterdir()):
        return _folder(path, threshold)
    from bioterp.annotations import segments

    if segments.is_segmentation(path):
        return segments.read_segments(path, threshold=threshold)
    volume = _open(path)
    if threshold is not None:
        return Labels([_layer(volume.read(), threshold, str(path))], volume.affine, _one(threshold, name or stem(path)))
    from bioterp.annotations.label_tables import names_inside

    try:
        array = volume.read_labels()
    except InputError as error:
        try:
            volume.read()
        except InputError as unreadable:
            raise FileNotFoundError(f"its label file cannot be read ({unreadable})") from None
        raise InputError(f"{error}; a map of fractions is labelled with density=True or threshold=0.5") from None
    return Labels([_layer(array, None, str(path))], volume.affine, names_inside(path))


def read_density(entry: Any) -> tuple[Array, Array]:
    """(x, y, z) float32 and the affine of one scan's map."""
    if isinstance(entry, tuple):
        array, affine = np.asarray(entry[0], np.float32), _affine(np.asarray(entry[1], np.float64))
    else:
        if not Path(entry).exists():
            raise FileNotFoundError(f"its file {entry} is not there")
        volume = _open(Path(entry))
        array, affine = np.asarray(volume.read(), np.float32), volume.affine
    if array.ndim != 3:
        raise InputError(f"a map has three axes; got an array of shape {array.shape}")
    return array, affine


def _open(path: Path) -> Any:
    from bioterp.imaging import open_volume

    try:
        volume = open_volume(path)
    except InputError as error:
        raise FileNotFoundError(f"its file cannot be read ({error})") from None
    if volume.frames > 1:
        raise InputError(f"{path} has {volume.frames} frames; a label volume has one, so give one file per term")
    return volume


def _one(threshold: float | None, name: str | None) -> dict[int, str]:
    return {} if threshold is None else {1: name or "mask"}


def _affine(affine: Array) -> Array:
    if affine.shape != (4, 4):
        raise InputError(f"the affine of a label array is (4, 4), voxel centres to mm RAS+; got {affine.shape}")
    return affine


def _layer(array: Array, threshold: float | None, what: str) -> Array:
    """Whole numbers as int32; values past a threshold as 1."""
    if array.ndim != 3:
        raise InputError(f"labels have three axes; {what} has the shape {array.shape}")
    if threshold is not None:
        with np.errstate(invalid="ignore"):
            return np.where(np.isnan(array), -1, array >= threshold).astype(np.int32)
    if array.dtype.kind not in "iub" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise InputError(
            f"the values of {what} are not whole numbers, so they are no labels; a map of fractions is labelled with "
            "density=True or threshold=0.5"
        )
    if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise InputError(f"{what} has label values past 2^31")
    return array.astype(np.int32)


def _folder(path: Path, threshold: float | None) -> Labels:
    """A folder with one mask per structure, named after it."""
    layers: list[Array] = []
    names: dict[int, str] = {}
    affine: Array | None = None
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith((".nii", ".nii.gz", ".mgz")))
    for number, file in enumerate(files, 1):
        volume = _open(file)
        if affine is None:
            affine = volume.affine
        elif not np.allclose(affine, volume.affine, atol=1e-3) or layers[0].shape != tuple(volume.shape):
            raise InputError(f"the masks in {path} lie on different lattices: {files[0].name} and {file.name}")
        array = _layer(volume.read() if threshold is not None else volume.read_labels(), threshold, str(file))
        stack(layers, array > 0, number)
        names[number] = stem(file)
    return Labels(layers, np.asarray(affine), names)


def stack(layers: list[Array], mask: Array, number: int) -> None:
    """Put a binary mask into the first layer it does not overlap with, so that few layers hold many masks."""
    for layer in layers:
        if not layer[mask].any():
            layer[mask] = number
            return
    layers.append(np.where(mask, number, 0).astype(np.int32))
