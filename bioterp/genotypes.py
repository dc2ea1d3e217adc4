"""VCF and BCF files as genotypes: records with the calls of every person, in file order.

Specification: https://samtools.github.io/hts-specs/VCFv4.3.pdf. Text is read as it comes, or through its tabix index
where only some regions are wanted; BCF, and indexed reading, need pysam. A genotype string is taken apart once per
file and not once per person: a record is (people,) numbers of genotypes, and what those mean is a short list.
"""

from __future__ import annotations

import gzip
import operator
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bioterp import limits
from bioterp.arrays import Array
from bioterp.doors import raw_lines
from bioterp.errors import InputError, masked, missing_package, one_line, shown

MISSING = -1
FIXED = 9  # columns before the people: CHROM … FORMAT
_CONTIG = re.compile(r"##contig=<.*?ID=([^,>]+)")
_LENGTH = re.compile(r"[,<]length=(\d+)")
MOST_ALLELES = 64  # of one person; what follows them makes a genotype that is none
MOST_GENOTYPES = 1 << 16  # different ways to be called in one file; of two alleles each there are hundreds
LONGEST = 1 << 38  # bp; a position past this is a mistake
# What a file that is cut or damaged makes of itself, in text and in htslib's reader of BCF.
BROKEN = (
    EOFError, OSError, zlib.error, ValueError, IndexError, KeyError, TypeError, OverflowError, NotImplementedError,
    RuntimeError, MemoryError, AssertionError,
)  # fmt: skip
Spans = Mapping[str, Sequence[tuple[int, int]]]  # contig → sorted disjoint half-open spans


@dataclass(frozen=True)
class Genotype:
    """One way to be called: allele numbers (0 = REF, −1 = missing), and whether their order is known."""

    alleles: tuple[int, ...]
    phased: bool

    @property
    def mixed(self) -> bool:
        """Whether it holds two different alleles."""
        return len(set(self.alleles)) > 1


@dataclass(frozen=True)
class Record:
    """One line: 0-based start; alleles as written; `calls` (people,) numbers into `genotypes`."""

    contig: str
    start: int
    ref: str
    alts: tuple[str, ...]
    calls: Array
    genotypes: Sequence[Genotype]

    @property
    def end(self) -> int:
        return self.start + len(self.ref)


class VCF:
    """Whose genotypes a file holds, and its records.

    samples: in file order. contigs: {name: length or None} of the header. said: the header's lines about the
    reference. Raises InputError for what is no VCF, has no people, or names one twice.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"there is no VCF file {self.path}")
        with open(self.path, "rb") as handle:
            head = handle.read(3)
        try:
            with gzip.open(self.path) if head[:2] == b"\x1f\x8b" else open(self.path, "rb") as opened:
                self._binary = opened.read(3) == b"BCF"
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{self.path} is a damaged gzip file ({one_line(error)}); fetch it again") from None
        self.contigs: dict[str, int | None] = {}
        self.said: list[str] = []
        names = self._header()
        if len(names) <= FIXED:
            raise InputError(f"{self.path} holds no people (no column after FORMAT); wanted genotypes")
        self.samples = tuple(names[FIXED:])
        twice = limits.twice(self.samples)
        if twice is not None:  # the column and the form of the name: a person's id does not go into messages
            raise InputError(
                f"{self.path} has one person twice (column {FIXED + 1 + self.samples.index(twice)}, a name such as "
                f"{masked(twice)}); every column needs its own name"
            )

    def records(self, keep: Sequence[int] | None = None, spans: Spans | None = None) -> Iterator[Record]:
        """Records in file order, of the people at the positions `keep` (default all), touching `spans` (default all).

        InputError, with the line's place, for a line that is cut, has no GT, or an allele that is not among its ALT.
        """
        wanted = list(range(len(self.samples))) if keep is None else list(keep)
        pick = _picker(wanted, len(self.samples))
        codes = _Codes()
        for line in self._lines(spans):
            fields = line.rstrip("\r\n").split("\t", FIXED + len(self.samples))
            if len(fields) != FIXED + len(self.samples):
                many = line.count("\t") + 1
                raise self._bad(fields, f"{many} columns where the header has {FIXED + len(self.samples)}")
            contig, at, _, ref, alt = fields[:5]
            if not (at.isascii() and at.isdecimal()) or len(at) > 12 or int(at) > LONGEST:
                raise self._bad(fields, f"POS {shown(at)} is not a whole number, or longer than any contig")
            if int(at) == 0:
                continue  # a telomere by the specification: before the first base
            form = fields[8]
            if form.partition(":")[0] != "GT":
                raise self._bad(fields, f"FORMAT {shown(form)} does not begin with GT; genotypes are needed")
            cells = pick(fields)
            if form != "GT":
                cells = [cell.partition(":")[0] for cell in cells]
            try:
                calls = np.fromiter(map(codes.__getitem__, cells), np.int32, len(wanted))
            except ValueError as error:
                raise self._bad(fields, one_line(error)) from None
            alts = () if alt == "." else tuple(alt.split(","))
            highest = max((codes.highest[i] for i in np.unique(calls)), default=0)
            if highest > len(alts):
                raise self._bad(fields, f"a genotype names allele {highest} of {len(alts)}")
            yield Record(contig, int(at) - 1, ref, alts, calls, codes.genotypes)

    def _lines(self, spans: Spans | None) -> Iterator[str]:
        """Data lines, each once; of a file without an index all are looked at."""
        try:
            if spans is not None and self._indexed():
                yield from self._fetched(spans)
                return
            for line in self._text():
                if line.startswith("#") or not line.strip():
                    continue
                if spans is None or _touches(line, spans):
                    yield line
        except InputError:
            raise
        except BROKEN as error:
            raise InputError(f"{self.path} is damaged ({one_line(error)}); fetch it again") from None

    def _text(self) -> Iterator[str]:
        if not self._binary:
            for raw in raw_lines(self.path, "CALLS"):
                yield raw.decode("utf-8")
            return
        pysam = self._pysam()
        with quiet(pysam), pysam.VariantFile(str(self.path)) as file:
            yield from str(file.header).splitlines()
            for record in file:
                yield str(record)

    def _indexed(self) -> bool:
        found = [self.path.with_name(self.path.name + ending).is_file() for ending in (".tbi", ".csi")]
        if not any(found):
            return False
        try:
            import pysam  # noqa: F401
        except ImportError:
            return False  # slower, and the same
        return True

    def _fetched(self, spans: Spans) -> Iterator[str]:
        pysam = self._pysam()
        opened = pysam.VariantFile if self._binary else pysam.TabixFile
        with quiet(pysam), opened(str(self.path)) as file:
            known = set(file.header.contigs) if self._binary else set(file.contigs)
            for contig, ranges in spans.items():
                before = -1
                for lo, hi in ranges if contig in known else ():
                    for found in file.fetch(contig, lo, hi):
                        line = str(found)
                        if int(line.split("\t", 2)[1]) - 1 >= before:  # else the span before gave it
                            yield line
                    before = hi

    def _header(self) -> list[str]:
        try:
            for line in self._text():
                if line.startswith("##contig"):
                    named, length = _CONTIG.match(line), _LENGTH.search(line)
                    if named:
                        self.contigs[named[1]] = int(length[1][:15]) if length else None
                elif line.startswith(("##reference", "##assembly")):
                    self.said.append(line.strip()[2:])
                elif line.startswith("#CHROM"):
                    many = line.count("\t") + 1
                    limits.check("PEOPLE", many, f"{self.path} has {many:,} columns")
                    return line.rstrip("\r\n").split("\t")
                elif not line.startswith("#") and line.strip():
                    break
        except InputError:
            raise
        except BROKEN as error:
            raise InputError(f"{self.path} cannot be read as VCF or BCF ({one_line(error)})") from None
        raise InputError(f"{self.path} has no '#CHROM' line before its records; is it a VCF?")

    def _pysam(self) -> Any:
        try:
            import pysam
        except ImportError:
            raise missing_package("pysam", "dna", "reading BCF") from None
        return pysam

    def _bad(self, fields: Sequence[str], what: str) -> InputError:
        return InputError(f"{self.path}, record at {one_line(':'.join(fields[:2]), 60)}: {what}")


@contextmanager
def quiet(pysam: Any) -> Iterator[None]:
    """htslib says nothing on the screen meanwhile: its warnings name samples."""
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


class _Codes(dict[str, int]):
    """Genotype strings numbered as they are met."""

    def __init__(self) -> None:
        super().__init__()
        self.genotypes: list[Genotype] = []
        self.highest: list[int] = []

    def __missing__(self, text: str) -> int:
        words = re.split(r"[/|]", text.lstrip("/|"), maxsplit=MOST_ALLELES)
        if not all(word == "." or (word.isascii() and word.isdecimal() and len(word) < 10) for word in words):
            raise ValueError(f"the genotype {shown(text)} is none (wanted such as 0|1, 0/1, 1 or .)")
        if len(self.genotypes) >= MOST_GENOTYPES:
            raise ValueError(f"more than {MOST_GENOTYPES:,} different genotypes; is it damaged?")
        alleles = tuple(MISSING if word == "." else int(word) for word in words)
        self.genotypes.append(Genotype(alleles, "/" not in text.lstrip("/|")))
        self.highest.append(max(alleles))
        self[text] = len(self.genotypes) - 1
        return self[text]


def _picker(wanted: list[int], people: int) -> Callable[[list[str]], Sequence[str]]:
    """The cells of the people wanted, of a line that was split."""
    if wanted == list(range(people)):
        return operator.itemgetter(slice(FIXED, FIXED + people))
    if len(wanted) == 1:
        return operator.itemgetter(slice(FIXED + wanted[0], FIXED + wanted[0] + 1))
    return operator.itemgetter(*[FIXED + one for one in wanted])


def _touches(line: str, spans: Spans) -> bool:
    """Whether the REF of a line overlaps a span of its contig."""
    words = line.split("\t", 4)
    if len(words) < 5 or not words[1].isdigit():
        return True  # the reader says what is wrong with it
    start = int(words[1]) - 1
    end = start + max(len(words[3]), 1)
    return any(start < hi and end > lo for lo, hi in spans.get(words[0], ()))
