"""Codons read from the sequence: does a CDS begin with a start codon, end with a stop, and stay open?

Only used when `label` is given the sequence. The genetic code of a CDS is its `transl_table`, else the
one the caller names (NCBI numbers; 4 for Mycoplasma, whose TGA is tryptophan).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations.features import Features, first_of
from bioterp.errors import InputError, missing_package, nearest
from bioterp.sequence import Sequences, to_text

COMPLEMENT = str.maketrans("ACGTUNacgtun", "TGCAANTGCAAN")


def read_sequence(source: str | Path | Mapping[str, str]) -> dict[str, str]:
    """{contig: bases, masked ones as N} from a FASTA or GenBank file (plain or gzipped) or a mapping."""
    if isinstance(source, Mapping):
        return {str(name): str(bases) for name, bases in source.items()}
    found = Sequences(source)
    return {name: to_text(found.read(name, 0, contig.length)) for name, contig in found.contigs.items()}


def code_table(number: int) -> tuple[frozenset[str], frozenset[str]]:
    """(start codons, stop codons) of an NCBI genetic code."""
    try:
        from Bio.Data import CodonTable
    except ImportError:
        raise missing_package("biopython", "dna", "reading codons") from None
    tables = CodonTable.unambiguous_dna_by_id
    if number not in tables:
        raise InputError(f"there is no genetic code {number}; {nearest(str(number), [str(t) for t in tables])}")
    return frozenset(tables[number].start_codons), frozenset(tables[number].stop_codons)


def check(
    cds: pd.DataFrame, features: Features, sequence: Mapping[str, str], code: int | None, circular: set[str]
) -> tuple[pd.DataFrame, list[str]]:
    """CDS segments whose `no_start` and `no_stop` are what the bases say, and warnings.

    A GTF without stop_codon records is completed: where the CDS is followed by a stop codon and does not
    end with one, its last segment grows by 3 bp.
    """
    if not len(cds):
        return cds, []
    cds = cds.copy()
    extend = features.kind == "gtf" and not (features.table["type"] == "stop_codon").any()
    tables = [int(t) if t.isascii() and t.isdecimal() else (code or 1) for t in first_of(cds, "transl_table")]
    start, end = cds["start"].to_numpy().copy(), cds["end"].to_numpy().copy()
    no_start, no_stop = cds["no_start"].to_numpy().copy(), cds["no_stop"].to_numpy().copy()
    group = cds["group"].to_numpy()
    heads = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    broken = 0
    for a, b in zip(heads, np.r_[heads[1:], len(cds)], strict=True):
        contig, bases = cds["contig"].iloc[a], sequence.get(cds["contig"].iloc[a])
        if bases is None:
            continue
        starts, stops = code_table(tables[a])
        strands = cds["strand"].to_numpy()[a:b]
        whole = "".join(
            bases_of(bases, s, e, d, contig in circular) for s, e, d in zip(start[a:b], end[a:b], strands, strict=True)
        )
        shift = int(-cds["frame"].iloc[a] % 3)
        if extend and not no_stop[a] and whole[-3:] not in stops:
            tail = (end[b - 1], end[b - 1] + 3) if strands[-1] != "-" else (start[b - 1] - 3, start[b - 1])
            if bases_of(bases, *tail, strands[-1], contig in circular) in stops:
                start[b - 1], end[b - 1] = min(start[b - 1], tail[0]), max(end[b - 1], tail[1])
                whole += "TAA" if "TAA" in stops else next(iter(stops))
        if whole[shift : shift + 3] not in starts:
            no_start[a:b] = True
        if whole[-3:] not in stops:
            no_stop[a:b] = True
        if b - a == 1 and not no_stop[a]:
            inner = (
                np.frombuffer(whole[shift : len(whole) - 3].encode(), "S3")
                if (len(whole) - shift) % 3 == 0
                else np.empty(0)
            )
            broken += bool(np.isin(inner, [s.encode() for s in stops]).sum() > 1)
    cds = cds.assign(start=start, end=end, no_start=no_start, no_stop=no_stop)
    grown: Any = (cds["end"] - cds["start"]).groupby(cds["group"]).transform("sum")
    cds["total"] = grown
    said = []
    if broken:
        said.append(f"{broken} of {len(heads)} CDS have two or more stop codons inside: is the genetic code right? "
                    "(code=4 for Mycoplasma, 2 for vertebrate mitochondria)")  # fmt: skip
    return cds, said


def bases_of(bases: str, start: int, end: int, strand: str, circular: bool) -> str:
    """Bases of [start, end) 5'→3' on the strand, upper case, around the origin of a circle."""
    if circular and (end > len(bases) or start < 0):
        text = "".join(bases[i % len(bases)] for i in range(start, end))
    else:
        text = bases[max(start, 0) : end]
    return (text.translate(COMPLEMENT)[::-1] if strand == "-" else text).upper()
