"""BED3 to BED12 to a feature table.

Specification: https://github.com/samtools/hts-specs/blob/master/BEDv1.pdf. 0-based half-open already.
A BED has no type column: records are of the type `name` (the file's stem by default), or of the type
before the bar where every name reads `type|id` (Ensembl's regulatory build). BED12 becomes a transcript,
its blocks exons, what of them is thick CDS (UCSC keeps the stop codon in it).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from bioterp.annotations.features import COLUMNS, Contig, Features, table_of
from bioterp.annotations.intervals import bad, check_range, record_guard, span
from bioterp.doors import text_lines as lines
from bioterp.errors import InputError, shown

EXTRA = 1_000  # columns taken apart; what follows is one
Record = tuple[str, int, int, str, str, str, str, str, int, int]  # contig … phase, line; COLUMNS without the rest


def read_bed(path: Path, keep: Collection[str] | None = None, type_: str | None = None) -> Features:
    """BED as a feature table; a BED declares no contig lengths. Extra columns beyond 12 are ignored."""
    found: list[Record] = []
    names: list[str] = []
    contigs: dict[str, Contig] = {}
    width, check = 0, record_guard(path)
    for number, line in lines(path):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        check(number, line, len(found))
        fields = line.split("\t", EXTRA) if "\t" in line else line.split(None, EXTRA)
        if len(fields) < 3:
            raise bad(path, number, f"{len(fields)} columns; BED has at least 3 (contig, start, end)")
        width = width or len(fields)
        if len(fields) != width:
            raise bad(path, number, f"{len(fields)} columns where the lines before have {width}")
        start, end = span(path, number, fields[1], fields[2], 0)
        strand = fields[5] if len(fields) > 5 else "."
        if strand not in ("+", "-", "."):
            raise bad(path, number, f"strand {shown(strand)}; wanted '+', '-' or '.'")
        contigs.setdefault(fields[0], Contig())
        if keep is not None and fields[0] not in keep:
            continue
        name = fields[3] if len(fields) > 3 else ""
        names.append(name)
        if len(fields) >= 12:
            found.extend(_blocks(path, number, fields, start, end, strand))
        else:
            found.append((fields[0], start, end, strand, "", name, "", name, -1, number))
    if not contigs:
        raise InputError(f"{path} holds no interval at all; is it the right file?")
    kind = type_ or path.name.split(".")[0]
    typed = width < 12 and bool(names) and all(n.count("|") == 1 and not n.startswith("|") for n in names)
    columns: dict[str, list[Any]] = {c: [] for c in COLUMNS if c not in ("part", "source", "attributes")}
    for record in found:
        for column, value in zip(columns.values(), record, strict=True):
            column.append(value)
    table = table_of(columns)
    if typed:
        table["type"] = table["name"].str.split("|").str[0]
        table["name"] = table["id"] = table["id"].str.split("|").str[-1]
    else:
        table["type"] = table["type"].where(table["type"] != "", kind)
    return Features(table, contigs, "bed", str(path))


def _blocks(path: Path, number: int, fields: list[str], start: int, end: int, strand: str) -> list[Record]:
    contig, name = fields[0], fields[3]
    try:
        thick = int(fields[6]), int(fields[7])
        sizes = [int(v) for v in fields[10].split(",") if v.strip()]
        begins = [int(v) for v in fields[11].split(",") if v.strip()]
        count = int(fields[9])
    except ValueError:
        raise bad(path, number, "thickStart, thickEnd, blockCount, blockSizes or blockStarts are not numbers") from None
    for value in (*thick, *sizes, *begins):
        check_range(path, number, abs(value), "thick or block coordinate")
    if min((*sizes, *begins), default=0) < 0:
        raise bad(path, number, "blockSizes and blockStarts cannot be negative")
    if not (len(sizes) == len(begins) == count) or (count and start + begins[-1] + sizes[-1] > end):
        raise bad(
            path,
            number,
            f"blockCount {count} does not fit {len(sizes)} sizes and {len(begins)} starts within the record",
        )
    # The line number tells transcripts of one name apart (the same name on several lines is legal).
    own = f"{name}#{number}"
    found: list[Record] = [(contig, start, end, strand, "transcript", own, "", name, -1, number)]
    for begin, size in zip(begins, sizes, strict=True):
        low, high = start + begin, start + begin + size
        found.append((contig, low, high, strand, "exon", "", own, name, -1, number))
        low, high = max(low, thick[0]), min(high, thick[1])
        if high > low:
            found.append((contig, low, high, strand, "CDS", "", own, name, -1, number))
    return found
