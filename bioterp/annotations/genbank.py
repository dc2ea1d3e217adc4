"""GenBank flat files to a feature table, through Biopython.

Feature table definition: https://www.insdc.org/submitting-standards/feature-table/. A location of several
parts keeps its biological order in `part`; parts that meet at the origin of a circular record become one
interval past the end. mRNA and other transcripts lend their parts as exons, and a CDS has the mRNA of its
gene as parent where there is just one.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bioterp.annotations.features import COLUMNS, Contig, Features, table_of
from bioterp.annotations.intervals import ALIASES
from bioterp.errors import InputError
from bioterp.sequence import genbank_records

STRANDS = {1: "+", -1: "-"}
Part = tuple[int, int, str]


def read_genbank(path: Path, keep: Collection[str] | None = None) -> Features:
    """Every record's features; contigs are named by VERSION (accession.version), as FASTA from NCBI is."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    contigs: dict[str, Contig] = {}
    try:
        for record, said in genbank_records(path):
            circular = record.annotations.get("topology") == "circular"
            contigs[record.id] = Contig(len(record), circular, (record.name,))
            if keep is None or record.id in keep:
                _refuse_lost(path, record, said)
                _record(path, record, circular, columns)
    except OSError as error:
        raise InputError(f"{path} cannot be read as GenBank: {error}") from None
    if not contigs:
        raise InputError(f"{path} holds no GenBank record; is it the right file?")
    return Features(table_of(columns), contigs, "genbank", str(path))


def _refuse_lost(path: Path, record: Any, said: list[str]) -> None:
    """Raise InputError for the first feature whose location Biopython could not make sense of."""
    reasons = [text.partition("; setting feature location")[0] for text in said if "location to None" in text]
    lost = [feature for feature in record.features if feature.location is None]
    if lost:
        name = _gene(lost[0]) or _first(lost[0], "product")
        what = f"{lost[0].type} {name!r}" if name else str(lost[0].type)
        reason = reasons[0] if reasons else "it has none"
        raise InputError(
            f"{path}: the location of {what} in record {record.id!r} cannot be used ({reason}); correct it"
        )


def _record(path: Path, record: Any, circular: bool, columns: dict[str, list[Any]]) -> None:
    length = len(record)
    transcripts: dict[str, list[str]] = {}
    for number, feature in enumerate(record.features):
        if feature.type == "mRNA":
            transcripts.setdefault(_gene(feature), []).append(f"mRNA.{number}")
    for number, feature in enumerate(record.features):
        if feature.type == "source":
            continue
        type_ = ALIASES.get(feature.type, feature.type)
        parts = _parts(path, feature, circular, length)
        gene, own = _gene(feature), f"{type_}.{number}"
        name = gene or _first(feature, "product") or _first(feature, "note")[:40] or own
        text = _attributes(feature)
        above = ""
        if type_ == "CDS":
            mrna = transcripts.get(gene, [])
            above = mrna[0] if len(mrna) == 1 and gene else ""
        phase = -1
        if type_ == "CDS":
            begin = _first(feature, "codon_start") or "1"
            if begin not in ("1", "2", "3"):
                raise InputError(f"{path}: CDS {name!r} has codon_start={begin!r}; wanted 1, 2 or 3")
            phase = int(begin) - 1
        transcript = type_.endswith("RNA") and len({p[2] for p in parts}) == 1
        rows: list[tuple[Part, str, str, str, int, int]] = []
        if transcript:
            hull = min(p[0] for p in parts), max(p[1] for p in parts), parts[0][2]
            rows.append((hull, type_, own, "", -1, -1))
            rows.extend((p, "exon", "", own, -1, i) for i, p in enumerate(parts))
        else:
            rows.extend((p, type_, own, above, phase if i == 0 else -1, i) for i, p in enumerate(parts))
        for (start, end, strand), kind, id_, parent, frame, part in rows:
            values = (record.id, start, end, strand, kind, id_, parent, name, frame, part, "GenBank", 0, text)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)


def _parts(path: Path, feature: Any, circular: bool, length: int) -> list[Part]:
    """(start, end, strand) in biological order; neighbours that meet at a circle's origin are joined."""
    parts: list[Part] = []
    for piece in feature.location.parts:
        start, end, strand = int(piece.start), int(piece.end), STRANDS.get(piece.strand, ".")
        if getattr(piece, "ref", None):
            continue  # lies on another record
        if end < start:
            raise InputError(f"{path}: {feature.type} at {piece} has start > end")
        if circular and parts and strand == parts[-1][2]:
            before = parts[-1]
            if strand != "-" and before[1] == length and start == 0:
                parts[-1] = (before[0], length + end, strand)
                continue
            if strand == "-" and before[0] == 0 and end == length:
                parts[-1] = (start, length + before[1], strand)
                continue
        parts.append((start, end, strand))
    return parts


def _gene(feature: Any) -> str:
    return _first(feature, "gene") or _first(feature, "locus_tag")


def _first(feature: Any, key: str) -> str:
    values = feature.qualifiers.get(key) or [""]
    return str(values[0])


def _attributes(feature: Any) -> str:
    """Qualifiers as GFF3 attributes; fuzzy ends as NCBI writes them there (start_range, end_range)."""
    text = [
        f"{key}=" + ",".join(quote(str(v), safe=" ./:()") or "true" for v in values)
        for key, values in feature.qualifiers.items()
        if key != "translation"
    ]
    low, high = feature.location.start, feature.location.end
    if type(low).__name__ == "BeforePosition":
        text.append(f"partial=true;start_range=.%2C{int(low) + 1}")
    if type(high).__name__ == "AfterPosition":
        text.append(f"partial=true;end_range={int(high)}%2C.")
    return ";".join(text)
