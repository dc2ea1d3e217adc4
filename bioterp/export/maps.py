"""Features as NIfTI maps on each scan's own grid, named as BIDS derivatives.

A voxel of the file takes the value of the cell its centre lies in; tiles of a scan are put together; voxels in no
cell are 0 (NaN for labels: unlabelled is not negative). The map opens over the image it was made from.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package, nearest
from bioterp.export.bed import cuts_of
from bioterp.export.bids import label, scan_stems, subject_folders
from bioterp.export.lattice import cell_numbers, check_tiles, check_volumes, columns_of, items_by_scan, one_column
from bioterp.export.var import best_rows
from bioterp.field import Field
from bioterp.progress import say, track
from bioterp.rows import Rows
from bioterp.store import provenance, writing_file

MOST_SCANS = 10
UNITS = {"code": "code", "activation": "activation", "label": "1 = positive, 0 = negative, NaN = unknown"}


@dataclass(frozen=True)
class Native:
    """The grid of an image file as it lies on disk; affines take voxel indices to mm of their centres."""

    shape: tuple[int, int, int]
    affine: Array
    codes: tuple[int, int]  # sform, qform
    qform: Array | None = None  # where the file's qform says something else than its sform

    @classmethod
    def of(cls, rows: Rows, item: int) -> Native:
        """From the column `native` of the items. Raises InputError where it is missing or says nothing."""
        scan = rows.items["sample"].iloc[item]
        text = rows.items["native"].iloc[item] if "native" in rows.items.columns else None
        try:
            told = json.loads(text)  # type: ignore[arg-type]
            shape = tuple(int(n) for n in told["shape"])
            affine = np.asarray(told["affine"], np.float64)
            qform = None if told.get("qform") is None else np.asarray(told["qform"], np.float64)
            codes = (int(told.get("sform_code", 1)), int(told.get("qform_code", 0)))
            if len(shape) != 3 or affine.shape != (4, 4) or min(shape) < 1 or not np.isfinite(affine).all():
                raise ValueError
        except (TypeError, ValueError, KeyError, AttributeError):
            raise InputError(
                f"the rows do not say on which grid the scan {scan!r} lies on disk (column 'native'), as a map needs; "
                "take activations with bioterp.Scans, or export as h5ad"
            ) from None
        return cls((shape[0], shape[1], shape[2]), affine, codes, qform)


def write_maps(
    field: Field,
    columns: Sequence[int],
    folder: Path,
    *,
    table: pd.DataFrame | None = None,
    threshold: float | Sequence[float] | dict[int, float] | None = None,
    scans: Sequence[str] | str | None = None,
) -> list[Path]:
    """`maps/sub-<subject>/<scan>_desc-L4F123_map.nii.gz` with a JSON beside each, and `dataset_description.json`.

    Raises InputError for rows that are no scans, an unknown scan, and rows that do not know their native grid.
    """
    check_volumes(field.rows, "the format 'nifti'")
    rows, places = field.rows, items_by_scan(field.rows)
    chosen, why = choose_scans(rows, scans)
    for scan in chosen:
        check_tiles(rows, scan, places[scan])
    natives = {scan: Native.of(rows, int(places[scan][0])) for scan in chosen}
    subject = rows.items["subject" if "subject" in rows.items.columns else "sample"].astype(str).to_numpy()
    folders, stems = subject_folders(list(subject)), scan_stems(list(places))
    names, said = descriptions(field, columns), _said(field, columns, table, threshold)
    say(f"maps: {why}")
    folder = folder / "maps"
    written = [_describe(folder, why)]
    for scan in track(chosen, "writing maps", len(chosen)):
        items, native = places[scan], natives[scan]
        numbers = cell_numbers(rows, items, native.affine, native.shape)
        inside = numbers >= 0
        values = columns_of(field, items, columns)
        told: dict[str, Any] = {"Scan": scan, "Split": str(rows.items["split"].iloc[items[0]])}
        told["VoxelsCovered"] = round(float(inside.mean()), 6)
        for k, name in enumerate(names):
            of_cells = one_column(values, k)
            painted = np.full(native.shape, np.nan if field.kind == "label" else 0, np.float32)
            painted[inside] = of_cells[numbers[inside]]
            stem = folder / folders[subject[items[0]]] / f"{stems[scan]}_desc-{name}_map"
            image, beside = stem.with_name(f"{stem.name}.nii.gz"), stem.with_name(f"{stem.name}.json")
            with writing_file(beside) as partial:
                partial.write_text(json.dumps(said[k] | told, indent=1, default=str))
            with writing_file(image) as partial:
                write_nifti(partial, painted, native, f"bioterp {field.kind} {name}")
            written += [image, beside]
    return written


def choose_scans(rows: Rows, scans: Sequence[str] | str | None) -> tuple[list[str], str]:
    """The scans to write and a sentence that says which: None = up to 10 of the test split, 'all', or named ones."""
    split = rows.items["split"].astype(str).to_numpy()
    places = items_by_scan(rows)
    if isinstance(scans, str) and scans == "all" and "all" not in places:
        return list(places), f"all {len(places)} scans"
    if scans is not None:
        wanted = list(dict.fromkeys([scans] if isinstance(scans, str) else map(str, scans)))
        unknown = [scan for scan in wanted if scan not in places]
        if unknown:
            raise InputError(f"there is no scan {unknown[0]!r}; {nearest(unknown[0], places)}")
        if not wanted:
            raise InputError("no scan was given to export: the list is empty; leave scans out, or say scans='all'")
        return wanted, f"the {len(wanted)} scans asked for"
    test = [scan for scan, items in places.items() if split[items[0]] == "test"]
    of = "of the test split" if test else "(none is in the test split)"
    test = test or list(places)
    if len(test) <= MOST_SCANS:
        return test, f"the {len(test)} scans {of}"
    spread = np.rint(np.linspace(0, len(test) - 1, MOST_SCANS)).astype(int)
    return [
        test[at] for at in spread
    ], f"{MOST_SCANS} of the {len(test)} scans {of}, evenly spaced; scans='all' for all"


def descriptions(field: Field, columns: Sequence[int]) -> list[str]:
    """A BIDS label per column, all different: L4F123 for a code, otherwise the column's name."""
    layer = field.about.get("layer")
    at = f"L{label(str(layer))}" if isinstance(layer, str | int) and label(str(layer)) else ""
    if field.kind == "code":
        return [f"{at}F{column}" for column in columns]
    plain = [label(str(field.columns["name"].iloc[column])) for column in columns]
    once = {name for name in plain if name and [other.lower() for other in plain].count(name.lower()) == 1}
    return [
        f"{at}{name}" if name in once else f"{at}{name}C{column}" for name, column in zip(plain, columns, strict=True)
    ]


def _said(
    field: Field,
    columns: Sequence[int],
    table: pd.DataFrame | None,
    threshold: float | Sequence[float] | dict[int, float] | None,
) -> list[dict[str, Any]]:
    """What each feature's JSON says, whatever the scan."""
    best = best_rows(field, table).set_index("feature") if table is not None else None
    has = table is not None and "threshold" in table.columns
    cuts = cuts_of(field, columns, table if has else None, threshold)
    found = []
    for column, cut in zip(columns, cuts.tolist(), strict=True):
        line = best.loc[column] if best is not None and column in best.index else None
        known = threshold is not None or (has and line is not None)
        said: dict[str, Any] = {
            "Description": f"{field.kind} of column {column}, each voxel with the value of the cell its centre lies in",
            "Units": UNITS[field.kind],
            "Feature": column,
            "Name": str(field.columns["name"].iloc[column]),
            "Layer": field.about.get("layer"),
            "Dictionary": field.about.get("dictionary"),
            "Seed": field.about.get("seed"),
            "Term": None if line is None or pd.isna(line.get("term")) else str(line["term"]),
            "Threshold": cut if known else None,
        }
        found.append(said)
    return found


def write_nifti(path: Path, values: Array, native: Native, description: str) -> None:
    """A .nii.gz with the place, and where they can say it the sform and qform codes, of the native file.

    The same map always gives the same bytes.
    """
    try:
        import nibabel
    except ImportError:
        raise missing_package("nibabel", "imaging", "writing a NIfTI map") from None
    image = nibabel.Nifti1Image(values, native.affine)  # type: ignore[no-untyped-call]
    header: Any = image.header
    header.set_xyzt_units("mm")
    header["descrip"] = description.encode("ascii", "replace")[:79]
    sform, qform = native.codes
    # Files with neither code lie where the header's zooms put them; when that is elsewhere the sform has to speak.
    image.set_qform(native.affine if native.qform is None else native.qform, qform)  # type: ignore[no-untyped-call]
    image.set_sform(native.affine, sform)  # type: ignore[no-untyped-call]
    if not np.allclose(header.get_best_affine(), native.affine, rtol=1e-5, atol=1e-3):
        image.set_sform(native.affine, max(sform, qform, 1))  # type: ignore[no-untyped-call]
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as packed:
        image.to_stream(packed)


def _describe(folder: Path, why: str) -> Path:
    made = provenance()
    told = {
        "Name": "Feature maps written by bioterp",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "bioterp", "Version": made["versions"].get("bioterp", "unknown"), "Description": why}],
    }
    file = folder / "dataset_description.json"
    with writing_file(file) as beside:
        beside.write_text(json.dumps(told, indent=1))
    return file
