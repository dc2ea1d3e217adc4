"""Protein-coding genes by pyrodigal, and which genetic code they are read in.

Prodigal runs with its own defaults (no CDS under 90 bp, overlaps up to 60 bp). Tried on E. coli, B. subtilis, S. aureus
and M. genitalium: of what a minimum of 60 bp adds, about a third at best is in the annotation; of what votes of the
ready models add between the genes, about half at best; a floor on the score trades sensitivity for precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from bioterp.annotations.call_rbs import REACH, locate
from bioterp.annotations.codes import bases_of
from bioterp.errors import missing_package

SINGLE = 20_000  # bp of sequence Prodigal needs to train on; shorter input is called with its ready models
CODES = (4, 11)
# Code 4 where it opens at least this much more of the sequence, and this much in all: as in CheckM and GTDB-Tk
# (Parks et al. 2015, doi 10.1101/gr.186072.114). Read in code 11, a genome of code 4 breaks at each UGA (Trp).
GAIN, DENSE = 0.05, 0.70


def coding(sequence: Mapping[str, str], table: int | None) -> list[dict[str, Any]]:
    """A line per CDS, followed by a line for its ribosome binding site where that has one place."""
    try:
        import pyrodigal
    except ImportError:
        raise missing_package("pyrodigal", "call", "calling genes") from None
    sequence = {contig: bases for contig, bases in sequence.items() if bases}
    if sum(map(len, sequence.values())) < SINGLE:
        ready = pyrodigal.METAGENOMIC_BINS
        if table is not None:
            ready = pyrodigal.MetagenomicBins([b for b in ready if b.training_info.translation_table == table])
        finder: Any = pyrodigal.GeneFinder(meta=True, metagenomic_bins=ready)
        genes = {contig: finder.find_genes(bases) for contig, bases in sequence.items()}
    else:
        called = {code: _trained(sequence, code) for code in ([11, 4] if table is None else [table])}
        genes = called[choose_code({code: density(sequence, found) for code, found in called.items()})]
    return [line for contig, found in genes.items() for line in _lines(contig, sequence[contig], found)]


def choose_code(densities: Mapping[int, float]) -> int:
    """The genetic code of a sequence from its coding density (0 to 1) in each: 11 unless 4 is clearly denser."""
    if len(densities) == 1:
        return next(iter(densities))
    return 4 if densities[4] - densities[11] > GAIN and densities[4] > DENSE else 11


def density(sequence: Mapping[str, str], genes: Mapping[str, Any]) -> float:
    """The part of the bases that some CDS covers, on either strand."""
    covered = 0
    for found in genes.values():
        ends = np.array(sorted((gene.begin - 1, gene.end) for gene in found), np.int64).reshape(-1, 2)
        reach = np.maximum.accumulate(np.r_[0, ends[:, 1]])
        covered += int(np.maximum(ends[:, 1] - np.maximum(ends[:, 0], reach[:-1]), 0).sum())
    return covered / sum(map(len, sequence.values()))


def _trained(sequence: Mapping[str, str], code: int) -> dict[str, Any]:
    import pyrodigal

    finder: Any = pyrodigal.GeneFinder()
    with warnings.catch_warnings():  # it prefers 100 kb, and Prodigal itself takes 20; `call_genes` says so
        warnings.simplefilter("ignore", UserWarning)
        finder.train(*sequence.values(), translation_table=code)
    return {contig: finder.find_genes(bases) for contig, bases in sequence.items()}


def _lines(contig: str, bases: str, genes: Any) -> list[dict[str, Any]]:
    lines = []
    for number, gene in enumerate(genes, 1):
        start, end, name = gene.begin - 1, gene.end, f"{contig}_{number}"
        plus = gene.strand > 0
        strand = "+" if plus else "-"
        whole = bases_of(bases, start, end, strand, False)
        no_start, no_stop = (gene.partial_begin, gene.partial_end) if plus else (gene.partial_end, gene.partial_begin)
        low, high = "start_range=.%2C1;" * gene.partial_begin, "end_range=1%2C.;" * gene.partial_end
        common = {"contig": contig, "strand": strand, "source": "pyrodigal"}
        # A CDS cut at its 5' end begins wherever the contig does: Prodigal keeps it in frame.
        lines.append({
            **common, "start": start, "end": end, "type": "CDS", "id": name, "name": name, "phase": 0,
            "attributes": f"{low}{high}transl_table={gene.translation_table}",
            "start_codon": "" if no_start else whole[:3], "stop_codon": "" if no_stop else whole[-3:],
            "rbs_motif": gene.rbs_motif or "", "rbs_spacer": gene.rbs_spacer or "",
            "score": gene.score, "confidence": gene.confidence(),
        })  # fmt: skip
        before = (start - REACH, start) if plus else (end, end + REACH)
        site = None if no_start else locate(bases_of(bases, *before, strand, False), gene.rbs_motif, gene.rbs_spacer)
        if site is not None:
            gap, motif = site
            first = start - gap - len(motif) if plus else end + gap
            lines.append({
                **common, "start": first, "end": first + len(motif), "type": "RBS", "id": f"{name}_RBS", "name": name,
                "attributes": "", "rbs_motif": motif, "rbs_spacer": f"{gap}bp", "score": gene.rscore,
            })  # fmt: skip
    return lines
