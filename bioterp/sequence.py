"""FASTA and GenBank files as memory-mapped base codes.

The file is read once, front to back, and its bases are spilled as one byte each (A=0 C=1 G=2 T=3, 4 = masked:
N, any IUPAC ambiguity code, or a gap) to an unnamed temporary file that is memory-mapped. So memory does not grow
with the genome, plain, gzipped and bgzipped files work alike, and nothing is ever written beside the input.
Lower case (soft-masking) is ignored and U is T.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from bioterp import limits
from bioterp.arrays import Array
from bioterp.doors import open_text
from bioterp.errors import InputError, missing_package, one_line, shown

MASKED = 4
# What Biopython's parser fails with on a GenBank file that is cut or damaged.
BROKEN = (ValueError, LookupError, AssertionError, TypeError, AttributeError, OverflowError)
_BAD, _SKIP = 255, 254
_CODE = np.full(256, _BAD, np.uint8)
for _letters, _code in (("Aa", 0), ("Cc", 1), ("Gg", 2), ("TtUu", 3), ("NnRrYySsWwKkMmBbDdHhVv-.", MASKED)):
    for _letter in _letters:
        _CODE[ord(_letter)] = _code
_TABLE = _CODE.tobytes()
_SPACE = b" \t\r\n\v\f"
_PROTEIN = set("EFILPQZJXO*")
PIECE = 1 << 20  # a line may be a whole chromosome: it is taken in pieces of this many bytes


@dataclass(frozen=True)
class Contig:
    """One sequence: its name, length in bp, where its bases start in the spill, and its topology."""

    name: str
    length: int
    offset: int
    circular: bool = False


class Sequences:
    """The contigs of one file.

    `contigs`: name → Contig, in file order. `read(contig, start, end)` gives uint8 codes; on circular contigs
    coordinates below 0 and past the end wrap. Raises InputError for files that are empty, hold protein, or
    name a contig twice.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"there is no sequence file {self.path}")
        # Unnamed: it vanishes with the process, however that ends. Held open for as long as the map lives.
        self._spill: IO[bytes] = tempfile.TemporaryFile(prefix="bioterp-bases-")  # noqa: SIM115
        self.contigs: dict[str, Contig] = {}
        try:
            with open_text(self.path) as handle:
                head = handle.peek(64)[:64] if hasattr(handle, "peek") else b""
                if head.lstrip().startswith(b"LOCUS"):
                    self._genbank()
                else:
                    self._fasta(handle)
        except InputError:
            self._spill.close()
            raise
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.path} is a damaged gzip file ({error}); fetch it again") from None
        total = sum(contig.length for contig in self.contigs.values())
        if total == 0:
            raise InputError(f"{self.path} holds no sequence; wanted FASTA or GenBank records with bases")
        self._spill.flush()
        self._bases: Array = np.memmap(self._spill, np.uint8, "r", shape=(total,))

    def read(self, contig: str, start: int, end: int) -> Array:
        """(end − start,) uint8 codes of a contig; positions outside a linear contig are masked."""
        at = self.contigs[contig]
        bases = self._bases[at.offset : at.offset + at.length]
        if start >= 0 and end <= at.length:
            return np.asarray(bases[start:end])
        positions = np.arange(start, end)
        if at.circular:
            return np.asarray(bases[positions % at.length])
        inside = (positions >= 0) & (positions < at.length)
        return np.where(inside, bases[np.clip(positions, 0, at.length - 1)], np.uint8(MASKED))

    def with_circular(self, names: Any) -> None:
        """Mark contigs as circular: True (all) or a list of names."""
        wanted = list(self.contigs) if names is True else list(names)
        for name in wanted:
            contig = self.contigs.get(name)
            if contig is None:
                raise InputError(f"{self.path} has no contig {name!r} to make circular; it has {_some(self.contigs)}")
            self.contigs[name] = Contig(contig.name, contig.length, contig.offset, True)

    def _add(self, name: str, length: int, offset: int, circular: bool = False) -> None:
        if name in self.contigs:
            raise InputError(f"{self.path} names the contig {shown(name)} twice; contig names must differ")
        if length == 0:
            raise InputError(f"{self.path}: the contig {shown(name)} has no bases; remove the empty record")
        limits.check("CONTIGS", len(self.contigs) + 1, f"{self.path} holds too many sequences")
        self.contigs[name] = Contig(name, length, offset, circular)

    def _fasta(self, handle: Any) -> None:
        name: str | None = None
        offset = begun = 0
        at_start = True
        for piece in iter(lambda: handle.readline(PIECE), b""):
            whole = piece.endswith(b"\n")
            if at_start and piece.startswith(b">"):
                if name is not None:
                    self._add(name, offset - begun, begun)
                words = piece[1:].split()
                if not words:
                    raise InputError(f"{self.path} has a record without a name (a line with only '>')")
                name, begun = words[0].decode("utf-8", "replace"), offset
                while not whole:  # an endless header: only its first word counts
                    piece = handle.readline(PIECE)
                    whole = piece.endswith(b"\n") or not piece
            elif piece.strip():
                if name is None:
                    raise InputError(f"{self.path} is neither FASTA (a line starting with '>') nor GenBank (LOCUS)")
                offset += self._put(piece.translate(None, _SPACE), name, offset - begun)
            at_start = whole
        if name is not None:
            self._add(name, offset - begun, begun)

    def _put(self, letters: bytes, name: str, position: int) -> int:
        codes = letters.translate(_TABLE)
        bad = codes.find(_BAD.to_bytes(1, "little"))
        if bad >= 0:
            letter = chr(letters[bad])
            what = "looks like protein" if letter.upper() in _PROTEIN else "is not DNA"
            raise InputError(
                f"{self.path}: contig {shown(name)} {what} (letter {letter!r} at position {position + bad}); "
                "wanted A C G T U, N or IUPAC codes"
            )
        self._spill.write(codes)
        return len(codes)

    def _genbank(self) -> None:
        offset = 0
        for record, _ in genbank_records(self.path):
            if not record.seq.defined:
                raise InputError(
                    f"{self.path}: record {shown(record.id)} has no sequence (ORIGIN); fetch the full record"
                )
            length = self._put(bytes(record.seq), record.id, 0)
            self._add(record.id, length, offset, record.annotations.get("topology") == "circular")
            offset += length


def genbank_records(path: Path) -> Iterator[tuple[Any, list[str]]]:
    """Each record of a GenBank file with what Biopython warned of in it.

    Raises InputError for a file that is damaged or ends before its closing //, and for a record that holds
    another number of bases than its LOCUS line says.
    """
    try:
        from Bio import SeqIO
    except ImportError:
        raise missing_package("biopython", "dna", "reading GenBank files") from None
    with open_text(path, text=True) as handle:
        records: Any = SeqIO.parse(handle, "genbank")  # type: ignore[no-untyped-call]
        while True:
            try:
                # Around each record, so that the caller's own warnings are left alone.
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    record = next(records, None)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from None
            except InputError:
                raise
            except BROKEN as error:
                raise InputError(f"{path} is damaged or cut off: {one_line(error)}; fetch it again") from None
            if record is None:
                return
            said = [" ".join(str(warning.message).split()) for warning in caught]
            for text in said:
                size = re.search(r"Expected sequence length (\d+), found (\d+)", text)
                if size:
                    why = "it is cut off" if int(size[2]) < int(size[1]) else "it is damaged"
                    raise InputError(
                        f"{path}: record {record.id!r} says {size[1]} bp and holds {size[2]}: {why}; fetch it again"
                    )
            for text in said:
                if text.startswith("Premature end of file"):
                    raise InputError(
                        f"{path} is damaged or cut off: record {record.id!r} has no closing //; fetch it again"
                    )
                if text.startswith("line too short to contain a feature"):
                    raise InputError(f"{path} is damaged or cut off: record {record.id!r}, {text}; fetch it again")
            yield record, said


def reverse_complement(codes: Array) -> Array:
    """Codes of the other strand, read in its own direction; masked stays masked."""
    flipped = codes[::-1]
    return np.where(flipped < MASKED, 3 - flipped, flipped).astype(np.uint8)


LETTERS = np.frombuffer(b"ACGTN", np.uint8)
MITO = {"m", "mt", "mito", "mitochondrion", "nc_012920", "chrm"}


def plain_name(name: str) -> str:
    """A contig's name without the prefixes and suffixes sources differ by: chr1 and 1, chrM, MT and NC_012920.1."""
    core = re.sub(r"^(chromosome|chr)[_ ]?(?=.)", "", name.lower())
    core = re.sub(r"\.\d+$", "", core.split("|")[-1] or core)
    return "mt" if core in MITO else core


def to_codes(letters: str) -> Array:
    """Letters as codes; whatever is no base is masked."""
    codes = np.frombuffer(letters.encode("latin-1", "replace").translate(_TABLE), np.uint8)
    return np.where(codes > MASKED, np.uint8(MASKED), codes)


def to_text(codes: Array) -> str:
    """Codes as letters; masked is N."""
    return LETTERS[codes].tobytes().decode()


def _some(names: dict[str, Contig]) -> str:
    listed = list(names)
    return ", ".join(shown(name) for name in listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
