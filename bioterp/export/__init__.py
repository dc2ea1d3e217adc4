"""Results in the formats other tools open: `export`.

A track format (bigWig, bedGraph, BED) gives one file per feature, and per strand where the format has no
strand of its own; `nifti` gives one map per feature and scan; `h5ad` gives one AnnData of blocks, regions, scans
or cells × features; `tsv` and `parquet` write tables. Rows are streamed in batches, so memory does not grow with
the genome. Every file is written beside its name and moved, and no name leaves the folder asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.tables import NO_FEATURE

FORMATS = {
    "bigwig": "signal per feature and strand (.plus.bw, .minus.bw): a value per base, gaps where there is no row",
    "bedgraph": "the same as text (.plus.bedgraph, .minus.bedgraph)",
    "bed": "BED9 per feature: stretches above the threshold, score 0-1000, strand, colour",
    "nifti": "map per feature and scan on the scan's own grid (maps/sub-…/…_desc-L4F123_map.nii.gz), each with a JSON",
    "h5ad": "AnnData: people, blocks, BED regions or scans × features, mean activation; layers max and fraction_active",
    "phenotypes": "people's features as phenotypes, their sheet as covariates, for PLINK 2 and REGENIE",
    "bids": "people's features as a BIDS phenotype table (phenotype/bioterp.tsv and .json)",
    "tsv": "a table as tab-separated text",
    "parquet": "a table as Parquet",
}
# Every column of a dictionary as a track is thousands of files: more than this must be asked for by name.
MOST_TRACKS = 256


def export(
    field: Field | pd.DataFrame,
    features: Iterable[Any] | None = None,
    out: str | Path | None = None,
    format: str = "bigwig",
    *,
    table: pd.DataFrame | None = None,
    threshold: float | Sequence[float] | dict[int, float] | None = None,
    regions: str | Path | pd.DataFrame | None = None,
    scans: Sequence[str] | str | None = None,
    observations: str | None = None,
    sheet: pd.DataFrame | None = None,
) -> list[Path]:
    """Write a field, or a table, in one of `FORMATS` and return the files written.

    Parameters
    ----------
    field: codes, activations or labels; a DataFrame for 'tsv' and 'parquet'.
    features: feature ids (0-based columns) or column names; repeats are dropped, and so is a
        table's -1, "no feature is meant". None = all.
    out: the folder to write into (a file name ending in the format's suffix for h5ad and tables).
    table: for 'bed' and 'nifti', where thresholds per feature come from (`detection`: that of the feature's best
        term; a map is not cut at it, its JSON tells it); for 'h5ad', annotations of the features: one line per
        feature, or a detection table, of which each feature's best term is kept.
    threshold: for 'bed' and 'nifti', in raw code units: one number, one per feature, or {feature: number}; beats
        `table`. A cell counts when its value is greater (as in detection); default 0.
    regions: for 'h5ad', a BED (file or contig/start/end DataFrame) whose lines become observations.
    scans: for 'nifti', scan ids, or 'all'; None = up to 10 of the test split, evenly spaced.
    observations: for 'h5ad', 'blocks', 'scans' or 'cells'; None = blocks of a sequence, scans of volumes, and the
        cells (with their place in mm) of a single scan. Of people (lattice-free rows) always the people.
    sheet: for people, their sample sheet, indexed by sample; 'phenotypes' writes it as covariates, 'h5ad' as obs.

    Raises
    ------
    InputError: unknown format or feature, no feature, too many tracks, a contig of unknown length.
    """
    if format not in FORMATS:
        raise InputError(f"there is no export format {format!r}; {nearest(format, FORMATS)}")
    if out is None:
        raise InputError("export needs a folder to write into: export(codes, features, 'run/top')")
    target = Path(out)
    if format in ("tsv", "parquet"):
        return [_write_table(field, target, format)]
    if not isinstance(field, Field):
        raise InputError(f"the format {format!r} takes a Field; a table can be written as tsv or parquet")
    columns = resolve(field, features)
    if field.rows.ndim == 0 or format in ("phenotypes", "bids"):
        from bioterp.export.people import write_people

        return write_people(field, columns, target, format, sheet, table)
    if format == "h5ad":
        from bioterp.export.matrix import write_h5ad

        file = target if target.suffix == ".h5ad" else target / f"{field.kind}s.h5ad"
        return [write_h5ad(field, columns, file, table=table, regions=regions, observations=observations)]
    if len(columns) > MOST_TRACKS and features is None:
        raise InputError(f"{len(columns)} tracks would be written; say which features, e.g. the best of detection")
    if format == "nifti":
        from bioterp.export.maps import write_maps

        return write_maps(field, columns, target, table=table, threshold=threshold, scans=scans)
    if format == "bed":
        from bioterp.export.bed import cuts_of, write_bed

        return write_bed(field, columns, target, cuts_of(field, columns, table, threshold))
    from bioterp.export.signal import write_signal

    return write_signal(field, columns, target, format)


def resolve(field: Field, features: Iterable[Any] | None) -> list[int]:
    """Column positions of features given as ids or names, in the order given, each once."""
    if features is None:
        wanted: list[Any] = list(range(field.shape[1]))
    elif isinstance(features, str | int | np.integer):
        wanted = [features]
    else:
        wanted = [one for one in features if isinstance(one, str) or one != NO_FEATURE]
    found = []
    for feature in wanted:
        if isinstance(feature, str):
            found.append(field.column(feature))
            continue
        if int(feature) != feature or not 0 <= feature < field.shape[1]:
            raise InputError(f"there is no feature {feature}; this field has features 0 to {field.shape[1] - 1}")
        found.append(int(feature))
    if not found:
        raise InputError("no feature was given to export: the list is empty")
    return list(dict.fromkeys(found))


def stems(field: Field, columns: Sequence[int]) -> list[str]:
    """A file stem per column: `feature_12` for codes, otherwise the column's name made safe; all different."""
    if field.kind == "code":
        return [f"feature_{column}" for column in columns]
    names = [safe(str(field.columns["name"].iloc[column])) for column in columns]
    return [name if names.count(name) == 1 else f"{name}_{column}" for name, column in zip(names, columns, strict=True)]


def safe(name: str) -> str:
    """A name that is one plain path component: no separators, no leading dot, of bounded length."""
    return re.sub(r"[^A-Za-z0-9._+@-]+", "_", name).lstrip(".")[:100] or "unnamed"


def _write_table(frame: Any, target: Path, format: str) -> Path:
    if not isinstance(frame, pd.DataFrame):
        raise InputError(
            f"the format {format!r} takes a table; a Field can be written as bigwig, bedgraph, bed, nifti or h5ad"
        )
    from bioterp import tables

    suffix = f".{format}"
    file = target if target.suffix == suffix else target / f"{safe(str(frame.attrs.get('table', 'table')))}{suffix}"
    tables.write(frame, file)
    return file
