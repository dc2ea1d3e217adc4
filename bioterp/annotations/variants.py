"""VCF and BCF records to a feature table: where variants are, and their INFO for filters.

Specification: https://samtools.github.io/hts-specs/VCFv4.3.pdf. A record covers its REF bases; an
insertion its anchor base; a symbolic allele runs to INFO END. Unstranded. Text is read as it comes,
without an index; BCF needs pysam. Genotypes are not looked at (the haplotype adapter does that).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from bioterp.annotations.features import Contig, Features, table_of
from bioterp.annotations.intervals import bad, check_range, is_whole, record_guard
from bioterp.doors import text_lines as lines
from bioterp.errors import InputError, missing_package, one_line, shown
from bioterp.genotypes import BROKEN, quiet

_CONTIG = re.compile(r"##contig=<.*?ID=([^,>]+)")
_LENGTH = re.compile(r"[,<]length=(\d+)")
_END = re.compile(r"(?:^|;)END=(\d+)")
BASES = "ACGT"
MOST_WRONG = 0.2  # the share of REF alleles past which a VCF is taken to be of another assembly


def read_vcf(path: Path, keep: Collection[str] | None = None, type_: str | None = None) -> Features:
    """Records as features of type `type_` ('variant'), with `class` (SNV, MNV, insertion, deletion, complex,
    symbolic) as a column filters can use; `attributes` is INFO, and `FILTER` and `QUAL` are columns."""
    contigs: dict[str, Contig] = {}
    columns: dict[str, list[Any]] = {
        name: [] for name in ("contig", "start", "end", "name", "line", "attributes", "class", "FILTER", "QUAL", "REF")
    }
    header, found, check = False, 0, record_guard(path)
    for number, line in _text(path):
        if line.startswith("#"):
            if line.startswith("##contig"):
                named, length = _CONTIG.match(line), _LENGTH.search(line)
                if named:
                    contigs[named[1]] = Contig(
                        check_range(path, number, int(length[1][:4000]), "length") if length else None
                    )
            header |= line.startswith("#CHROM")
            continue
        if not line.strip():
            continue
        if not header:
            raise bad(path, number, "a record before the line '#CHROM'; is it a VCF?")
        fields = line.split("\t", 8)
        if len(fields) < 8:
            raise bad(path, number, f"{len(fields)} columns; VCF has at least 8, separated by tabs")
        contig, at, name, ref, alt, quality, passed, info = fields[:8]
        found += 1
        if not is_whole(at) or len(at) > 4000:
            raise bad(path, number, f"POS {at[:40]!r} is not a whole number")
        check_range(path, number, int(at), "POS")
        if not ref.strip():
            raise bad(path, number, f"REF {shown(ref)} is empty; VCF has the reference bases there")
        contigs.setdefault(contig, Contig())
        if keep is not None and contig not in keep:
            continue
        check(number, info, len(columns["line"]))
        if int(at) == 0:
            continue  # a telomere by the specification: before the first base
        start, end = int(at) - 1, int(at) - 1 + len(ref)
        kind = classify(ref, alt.split(","))
        until = _END.search(info) if kind == "symbolic" else None
        if until:
            end = check_range(path, number, int(until[1][:4000]), "END")
            if end <= start:
                raise bad(path, number, f"END={end} lies before POS {one_line(at, 40)}")
        values = (contig, start, end, name if name != "." else f"{contig}:{at}:{ref}:{alt}", number,
                  "" if info == "." else info, kind, passed, quality, ref)  # fmt: skip
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not header:
        raise InputError(f"{path} has no '#CHROM' line; is it a VCF?")
    if not found:
        raise InputError(f"{path} holds no record (only a header); is it the right file?")
    table = table_of(columns).assign(type=type_ or "variant")
    return Features(table, contigs, "vcf", str(path))


def check_reference(features: Features, sequence: Mapping[str, str]) -> list[str]:
    """Warnings where the REF of SNVs is not the base of the sequence; InputError above MOST_WRONG of them."""
    table = features.table[features.table["class"] == "SNV"]
    wrong = seen = 0
    example = ""
    for contig, at, ref in zip(table["contig"], table["start"], table["REF"], strict=True):
        base = sequence.get(contig, "")[at : at + 1].upper().replace("U", "T")
        ref = ref.upper()
        if base not in BASES or ref not in BASES or not base:
            continue  # masked, or off the sequence: nothing to compare
        seen += 1
        if base != ref:
            wrong += 1
            example = example or f"{contig}:{at + 1} has {base}, not {ref}"
    if not wrong:
        return []
    said = f"{wrong} of {seen} REF alleles differ from the sequence ({example}): another assembly?"
    if wrong > MOST_WRONG * seen:
        raise InputError(f"{features.path}: {said}")
    return [said]


def classify(ref: str, alts: list[str]) -> str:
    """SNV, MNV, insertion, deletion, complex (alleles of several kinds) or symbolic."""
    kinds = set()
    for alt in alts:
        if alt.startswith("<") or "[" in alt or "]" in alt:
            kinds.add("symbolic")
        elif alt in (".", "*"):
            continue
        elif len(alt) == len(ref):
            kinds.add("SNV" if len(ref) == 1 else "MNV")
        elif len(alt) > len(ref):
            kinds.add("insertion")
        else:
            kinds.add("deletion")
    return kinds.pop() if len(kinds) == 1 else "complex" if kinds else "SNV" if len(ref) == 1 else "complex"


def _text(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        magic = file.read(18)
    if path.suffix.lower() != ".bcf" and magic[:3] != b"BCF":
        yield from lines(path, "CALLS")
        return
    try:
        import pysam
    except ImportError:
        raise missing_package("pysam", "dna", "reading BCF") from None
    try:
        with quiet(pysam), pysam.VariantFile(str(path)) as file:
            number = 0
            for number, text in enumerate(str(file.header).splitlines(), 1):
                yield number, text
            for record in file:
                number += 1
                yield number, str(record).rstrip("\n")
    except BROKEN as error:
        raise InputError(f"{path} cannot be read as BCF: {one_line(error)}") from None
