"""A source, whatever it is, to a feature table; and regions and spans from one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bioterp.annotations import PLUGGED, Plugged
from bioterp.annotations import contigs as names
from bioterp.annotations.bed import read_bed
from bioterp.annotations.coding import by_parent
from bioterp.annotations.features import Features, choose, from_table, values_of
from bioterp.annotations.intervals import format_of, read_gff
from bioterp.errors import InputError, nearest

REGION = ["contig", "start", "end", "strand", "type", "id", "name"]


def plugged(source: Any) -> Plugged | None:
    """The plugged-in reader of a file, by the end of its name (.gz and .bgz aside)."""
    if not isinstance(source, str | Path):
        return None
    name = re.sub(r"\.b?gz$", "", Path(source).name.lower())
    return next((reader for ending, reader in PLUGGED.items() if name.endswith(ending)), None)


def code_of(source: Any) -> list[str]:
    """What labels hang on besides the file itself: the text of a plugged-in reader."""
    reader = plugged(source)
    return [] if reader is None else [reader.code]


def _read_plugged(reader: Plugged, path: Path) -> Features:
    if not path.is_file():
        raise InputError(f"there is no annotation file {path}")
    table = reader.read(path)
    if not isinstance(table, pd.DataFrame):
        raise InputError(
            f"the plug-in {reader.name} gave {type(table).__name__}; wanted a table with contig, start, end"
        )
    return from_table(table)


def signals(source: Any) -> dict[str, Path]:
    """{'.': file} for a bigWig, {'+': file, '-': file} for a pair of them, {} for any other source."""
    if isinstance(source, pd.DataFrame):
        return {}
    if isinstance(source, Mapping):
        if not source or not set(source) <= {"+", "-"}:
            raise InputError(f"a pair of bigWigs is {{'+': file, '-': file}}; got keys {list(source)}")
        paths = {str(strand): Path(file) for strand, file in source.items()}
        odd = [path for path in paths.values() if format_of(path) != "bigwig"]
        if odd:
            raise InputError(f"{odd[0]} is not a bigWig; only these come as one file per strand")
        return paths
    if plugged(source) is not None:
        return {}
    path = Path(source)
    return {".": path} if format_of(path) == "bigwig" else {}


def read(
    source: Any, *, keep: Collection[str] | None = None, name: str | None = None, by: str | None = None
) -> Features:
    """The features of a path or a table. keep: contigs whose records matter; by: see `label`."""
    reader = plugged(source)
    if isinstance(source, pd.DataFrame):
        features = from_table(source)
    elif reader is not None:
        features = _read_plugged(reader, Path(source))
    else:
        path = Path(source)
        kind = format_of(path)
        if kind == "gff":
            features = read_gff(path, keep)
        elif kind == "bed":
            features = read_bed(path, keep, name)
        elif kind == "vcf":
            from bioterp.annotations.variants import read_vcf

            features = read_vcf(path, keep, name)
        elif kind == "genbank":
            from bioterp.annotations.genbank import read_genbank

            features = read_genbank(path, keep)
        else:
            raise InputError(f"{path} holds numbers (bigWig), not features")
    return retyped(features, by) if by else features


def retyped(features: Features, key: str) -> Features:
    """Features whose type is their value of an attribute, once per value; those without it are dropped."""
    values = values_of(features.table, key)
    if not any(values):
        raise InputError(f"no record of {features.path} has the attribute {key!r} (by=)")
    parts = [[piece for value in found for piece in value.split("|") if piece not in ("", ".")] for found in values]
    table = features.table.assign(type=parts).explode("type").dropna(subset=["type"])
    return features.with_table(table.reset_index(drop=True))


def regions(within: Any, source: Any, contigs: Mapping[str, str] | None) -> pd.DataFrame:
    """The table of `within=`: contig, start, end, strand."""
    if isinstance(within, Mapping):
        return spans_of(source, contigs=contigs, **within)
    features = read(within)
    back = {str(theirs): str(ours) for ours, theirs in (contigs or {}).items()}
    return features.table[REGION].assign(contig=features.table["contig"].replace(back))


def spans_of(
    source: Any,
    *,
    having: str | None = "CDS",
    types: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    contigs: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """See `bioterp.annotations.spans`."""
    features = names.rename(read(source), contigs)
    table = choose(features.table, attributes, exclude)
    known = sorted(set(table["type"]))
    for wanted in [*(types or []), *([having] if having else [])]:
        if wanted not in known:
            raise InputError(
                f"{features.path} has no feature of type {wanted!r} (after filters); {nearest(wanted, known)}"
            )
    if having is None and types is None:
        raise InputError("spans needs a type: having='CDS' for transcripts with CDS, or types=['mRNA']")
    found = table if types is None else table[table["type"].isin(types)]
    if having is not None:
        children = by_parent(table, {having})
        parents = pd.MultiIndex.from_frame(children[["contig", "parent"]])
        mine = (found["id"] != "") & pd.MultiIndex.from_frame(found[["contig", "id"]]).isin(parents)
        found = found[mine] if types is not None or mine.any() else _hulls(table, children)
    if not len(found):
        raise InputError(f"{features.path} has no record of the types and filters given to spans")
    return found[REGION].reset_index(drop=True)


def _hulls(table: pd.DataFrame, children: pd.DataFrame) -> pd.DataFrame:
    """Extents of transcripts that have no record of their own (old GTF, GenBank): of all their pieces."""
    key = children["parent"].where(children["parent"] != "", children["id"])
    named = set(children["parent"]) - {""}
    pieces = by_parent(table, set(table["type"]))
    pieces = pieces[pieces["parent"].isin(named)]
    loose = children.assign(parent=key)[(children["parent"] == "").to_numpy()]
    every = pd.concat([pieces, loose], ignore_index=True)
    grouped = every.groupby(["contig", "parent", "strand"], as_index=False, sort=False)
    hulls = grouped.agg(start=("start", "min"), end=("end", "max"), name=("name", "first"))
    return hulls.assign(type="span", id=hulls["parent"])
