"""Genes of a bare sequence: CDS by pyrodigal, rRNA by pybarrnap.

Both are GPL-3.0, the optional extra `demo`, imported inside these functions only and never vendored.
Prodigal: Hyatt et al. 2010, doi 10.1186/1471-2105-11-119; pyrodigal: Larralde 2022, doi 10.21105/joss.04296.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from bioterp.annotations.codes import read_sequence
from bioterp.annotations.features import table_of
from bioterp.errors import InputError, missing_package

SINGLE = 20_000  # bp of sequence Prodigal needs to train on; shorter input is called with its ready models
CODES = (4, 11)
KEPT = ("contig", "start", "end", "strand", "type", "id", "name", "phase", "source", "attributes")


def call_genes(path: str | Path, table: int | None = None, rrna: bool = True) -> pd.DataFrame:
    """CDS (both strands) and rRNA of a FASTA file, as a feature table `label` takes.

    table: genetic code, 11 (bacteria, archaea; the default) or 4 (Mycoplasma, Spiroplasma). Sequences of
    20 kb and more in all train one model; less is called with Prodigal's ready models.
    CDS cut by a contig's end are marked `start_range`, `end_range`, so that no codon is derived there.
    """
    if table is not None and table not in CODES:
        raise InputError(f"genes can be called with the genetic codes 4 and 11; got table={table}")
    sequence = read_sequence(path)
    found = _coding(sequence, table)
    if rrna:
        found.extend(_ribosomal(sequence))
    frame = table_of({name: [line[name] for line in found] for name in KEPT})
    frame.attrs["contigs"] = {name: len(bases) for name, bases in sequence.items()}
    frame.attrs["called"] = True
    return frame


def _coding(sequence: dict[str, str], table: int | None) -> list[dict[str, Any]]:
    try:
        import pyrodigal
    except ImportError:
        raise missing_package("pyrodigal", "demo", "calling genes") from None
    long = sum(len(bases) for bases in sequence.values()) >= SINGLE
    bins = pyrodigal.METAGENOMIC_BINS
    if table is not None:
        bins = pyrodigal.MetagenomicBins([b for b in bins if b.training_info.translation_table == table])
    finder: Any = pyrodigal.GeneFinder() if long else pyrodigal.GeneFinder(meta=True, metagenomic_bins=bins)
    if long:
        with warnings.catch_warnings():  # it prefers 100 kb, and Prodigal itself takes 20; the docstring says so
            warnings.simplefilter("ignore", UserWarning)
            finder.train(*(bases for bases in sequence.values() if bases), translation_table=table or 11)
    found = []
    for contig, bases in sequence.items():
        if not bases:
            continue
        for number, gene in enumerate(finder.find_genes(bases), 1):
            low, high = "start_range=.%2C1;" * gene.partial_begin, "end_range=1%2C.;" * gene.partial_end
            start, end = gene.begin - 1, gene.end
            plus = gene.strand > 0
            # A CDS cut at its 5' end begins wherever the contig does: Prodigal keeps it in frame.
            name = f"{contig}_{number}"
            found.append({
                "contig": contig, "start": start, "end": end, "strand": "+" if plus else "-", "type": "CDS", "id": name,
                "name": name, "phase": 0, "source": "pyrodigal",
                "attributes": f"{low}{high}transl_table={gene.translation_table};rbs_motif={gene.rbs_motif or 'None'}",
            })  # fmt: skip
    return found


def _ribosomal(sequence: dict[str, str]) -> list[dict[str, Any]]:
    try:
        from Bio.Seq import Seq
        from Bio.SeqRecord import SeqRecord
        from pybarrnap import Barrnap
    except ImportError:
        raise missing_package("pybarrnap", "demo", "finding rRNA") from None
    # Records and not the path: pybarrnap knows neither bgzip nor line ends of other systems.
    records = [SeqRecord(Seq(bases), id=name, name=name, description="") for name, bases in sequence.items() if bases]
    result = Barrnap(records, kingdom="bac", quiet=True).run()
    found = []
    for line in result.get_gff_text().splitlines():
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        name = dict(p.split("=", 1) for p in fields[8].split(";") if "=" in p).get("Name", "rRNA")
        found.append({
            "contig": fields[0], "start": int(fields[3]) - 1, "end": int(fields[4]), "strand": fields[6],
            "type": "rRNA", "id": f"{fields[0]}_{name}_{fields[3]}", "name": name, "phase": -1, "source": "pybarrnap",
            "attributes": fields[8],
        })  # fmt: skip
    return found
