"""GFF3 and GTF to a feature table, and the choice of reader by content.

GFF3: https://github.com/The-Sequence-Ontology/Specifications (version 1.26). GTF 2.2:
https://mblab.wustl.edu/GTF22.html. Both are 1-based closed; the table is 0-based half-open. Readers
stream, need no index and write nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bioterp import limits
from bioterp.annotations.features import COLUMNS, LONGEST, Contig, Features, table_of
from bioterp.doors import text_lines as lines
from bioterp.errors import InputError, nearest, one_line, shown

# Records that stand for a whole sequence and not for something on it.
WHOLE = {"region", "chromosome", "sequence", "contig", "scaffold", "supercontig", "plasmid", "source", "assembly",
         "databank_entry", "biological_region", "replicon"}  # fmt: skip
ALIASES = {
    "five_prime_utr": "five_prime_UTR", "5UTR": "five_prime_UTR", "5'UTR": "five_prime_UTR",
    "three_prime_utr": "three_prime_UTR", "3UTR": "three_prime_UTR", "3'UTR": "three_prime_UTR",
}  # fmt: skip
ENDINGS = {
    "gff": "gff", "gff3": "gff", "gtf": "gff", "gff2": "gff",
    "bed": "bed", "bed3": "bed", "bed6": "bed", "bed12": "bed",
    "gb": "genbank", "gbk": "genbank", "gbff": "genbank", "genbank": "genbank", "vcf": "vcf", "bcf": "vcf",
    "bw": "bigwig", "bigwig": "bigwig",
}  # fmt: skip
PACKED = {"gz", "bgz"}
_GTF = re.compile(r'^\s*[\w.]+\s+"')
_GTF_PAIR = re.compile(r'(?<![\w.])([\w.]+)\s+"([^"]*)"')  # looked behind: else a long word costs its length squared
LONG = 1 << 16  # characters: the text of a record for a whole sequence is shorter


def format_of(path: Path) -> str:
    """'gff', 'bed', 'genbank', 'vcf' or 'bigwig', by the ending and, where that says nothing, by content.

    Raises InputError for a file that is absent, a folder, empty, or of no known format.
    """
    if not path.exists():
        near = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else "no such folder"
        raise InputError(f"there is no annotation file {path}; {near}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; wanted an annotation file (GFF3, GTF, BED, GenBank, VCF, bigWig)")
    if not path.is_file():
        raise InputError(f"{path} is no plain file (a pipe or device); wanted an annotation file")
    if path.stat().st_size == 0:
        raise InputError(f"the annotation file {path} is empty")
    suffixes = [s[1:].lower() for s in path.suffixes if s[1:].lower() not in PACKED]
    if suffixes and suffixes[-1] in ENDINGS:
        return ENDINGS[suffixes[-1]]
    if _head(path) in (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26"):
        return "bigwig"
    for _, line in lines(path):
        if line.startswith("##fileformat=VCF"):
            return "vcf"
        if line.startswith("LOCUS"):
            return "genbank"
        if line.startswith(("#", "track", "browser")) or not line.strip():
            if line.startswith("##gff-version"):
                return "gff"
            continue
        fields = line.split("\t", 9)
        if len(fields) in (8, 9) and is_whole(fields[3]) and is_whole(fields[4]):
            return "gff"
        if len(fields) >= 3 and is_whole(fields[1]) and is_whole(fields[2].strip()):
            return "bed"
        break
    raise InputError(f"{path} is in no format this knows; wanted {', '.join(sorted(set(ENDINGS)))} (plain or .gz)")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def bad(path: Path, number: int, what: str) -> InputError:
    """The error for one line of a file."""
    return InputError(f"{path}, line {number}: {what}")


def is_whole(text: str) -> bool:
    """Nothing but the digits 0 to 9 (`isdigit` alone also takes superscripts, which int() refuses)."""
    return text.isascii() and text.isdecimal()


def check_range(path: Path, number: int, value: int, what: str) -> int:
    """The value, or InputError where no contig can be that long."""
    if value > LONGEST:
        shown = str(value) if value < 10**30 else "a number of more than 30 digits"
        raise bad(path, number, f"{what} {shown} is longer than any contig (at most {LONGEST} bp)")
    return value


def record_guard(path: Path) -> Callable[[int, str, int], None]:
    """What a reader asks before it takes a record apart: (line number, its text, records so far) → InputError or not.

    A record of more attributes and values than any has, or one record too many, is refused.
    """
    values, records = limits.most("ATTRIBUTES"), limits.most("RECORDS")

    def check(number: int, text: str, before: int) -> None:
        if len(text) > values and (many := text.count(";") + text.count(",")) > values:
            raise limits.more("ATTRIBUTES", f"{path}, line {number} has {many:,} attributes and values")
        if before >= records:
            raise limits.more("RECORDS", f"{path} has more than {records:,} records")

    return check


def span(path: Path, number: int, start: str, end: str, first: int) -> tuple[int, int]:
    """0-based half-open from a line's two numbers, counted from `first` (1: closed, 0: half-open)."""
    try:
        low, high = int(start) - first, int(end)
    except ValueError:
        raise bad(path, number, f"start {shown(start)} and end {shown(end)} are not whole numbers") from None
    if low < 0:
        raise bad(path, number, f"start {one_line(start, 40)} lies before the first base ({first})")
    if high < low or (first == 1 and high == low):
        raise bad(
            path,
            number,
            f"start {one_line(start, 40)} > end {one_line(end, 40)}; if the columns are swapped, swap them back",
        )
    check_range(path, number, high, "end")
    return low, high


def read_gff(path: Path, keep: Collection[str] | None = None) -> Features:
    """GFF3 or GTF (told apart by their attributes) as a feature table.

    keep: contigs whose records are wanted; others are only noted as mentioned (a human annotation of
    which one chromosome is labelled stays small).
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    contigs: dict[str, Contig] = {}
    kind, check = "", record_guard(path)
    for number, line in lines(path):
        if line.startswith("#"):
            if line.startswith("##sequence-region"):
                _declare(path, number, line, contigs)
            elif line.startswith("##FASTA"):
                break
            continue
        if line.startswith(">"):
            break  # sequence without the directive: GFF3 allows it
        if not line.strip():
            continue
        fields = line.split("\t", 9)
        if len(fields) not in (8, 9):
            many = line.count("\t") + 1
            hint = "; columns are separated by tabs, not blanks" if len(line[:4000].split(None, 8)) >= 8 else ""
            raise bad(path, number, f"{many} columns; GFF3 and GTF have 9{hint}")
        text = fields[8] if len(fields) == 9 else ""
        if not kind and text:
            kind = "gtf" if _GTF.match(text) else "gff3"
        contig = unquote(fields[0]) if "%" in fields[0] else fields[0]
        start, end = span(path, number, fields[3], fields[4], 1)
        if fields[6] not in ("+", "-", ".", "?"):
            raise bad(path, number, f"strand {shown(fields[6])}; wanted '+', '-' or '.'")
        if fields[7] not in (".", "0", "1", "2"):
            raise bad(path, number, f"phase {shown(fields[7])}; wanted 0, 1, 2 or '.'")
        type_ = fields[2]
        if start == 0 and type_ in WHOLE and len(text) < LONG and type_ != "biological_region":
            _whole(contigs, contig, end, text)
        contigs.setdefault(contig, Contig())
        if keep is not None and contig not in keep:
            continue
        check(number, text, len(columns["line"]))
        own, parent, name = _gtf_names(type_, text) if kind == "gtf" else _gff_names(text)
        values = (contig, start, end, fields[6].replace("?", "."), ALIASES.get(type_, type_), own, parent, name,
                  -1 if fields[7] == "." else int(fields[7]), -1, fields[1], number, text)  # fmt: skip
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not contigs:
        raise InputError(f"{path} holds no feature at all; is it the right file?")
    return Features(table_of(columns), contigs, kind or "gff3", str(path))


def _declare(path: Path, number: int, line: str, contigs: dict[str, Contig]) -> None:
    words = line.split()
    if len(words) != 4 or not is_whole(words[3]) or len(words[3]) > 4000:
        raise bad(path, number, f"{shown(line)}; wanted '##sequence-region name start end'")
    before = contigs.get(words[1], Contig())
    contigs[words[1]] = Contig(check_range(path, number, int(words[3]), "length"), before.circular, before.aliases)


def _whole(contigs: dict[str, Contig], contig: str, end: int, text: str) -> None:
    before = contigs.get(contig, Contig())
    if before.length not in (None, end):
        return  # a region that only happens to begin at the first base
    found = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    circular = before.circular or found.get("Is_circular", "").lower() == "true"
    aliases = tuple(a for a in (found.get("Alias", "") + "," + found.get("Name", "")).split(",") if a)
    length = before.length if before.length or not (circular or "ID" in found) else end
    contigs[contig] = Contig(length, circular, before.aliases or aliases)


def _gff_names(text: str) -> tuple[str, str, str]:
    found = dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part)
    own, parent = found.get("ID", "").strip(), found.get("Parent", "").strip()
    name = found.get("Name") or found.get("gene") or found.get("locus_tag") or own or parent
    return unquote(own), ",".join(unquote(p) for p in parent.split(",") if p), unquote(name.strip())


def _gtf_names(type_: str, text: str) -> tuple[str, str, str]:
    found = dict(_GTF_PAIR.findall(text))
    gene, transcript = found.get("gene_id", ""), found.get("transcript_id", "")
    name = found.get("gene_name") or gene or transcript
    # A gene and its transcript may bear the same id (StringTie, UCSC): the prefixes keep them apart.
    above, below = f"gene:{gene}" if gene else "", f"transcript:{transcript}" if transcript else ""
    if type_ == "gene":
        return above, "", name
    if type_ == "transcript":
        return below, above, transcript or name
    return "", below or above, name
