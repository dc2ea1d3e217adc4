"""A feature table to terms: what becomes a column of a label Field, and where it lies.

Every feature type present is a term. Derived beside them:

    CDS.phase0, 1, 2           codon position of each coding base
    start_codon, stop_codon    3 bp, in pieces where an intron splits them
    five_prime_UTR, three_…    exon minus CDS
    intron                     gap of at least MIN_INTRON bp between exons of a transcript
    donor, acceptor            last exonic base before an intron, first after it, in transcript direction
    exon_start, exon_end       first and last base of each exon, in transcript direction
    upstream                   n bp 5' of each gene (of each CDS where no gene is given)
    intergenic                 outside every gene, on both strands
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations import codes, coding, exons
from bioterp.annotations.contigs import few
from bioterp.annotations.features import Contig, Features, choose
from bioterp.annotations.intervals import WHOLE
from bioterp.errors import InputError, nearest

PHASES = ("CDS.phase0", "CDS.phase1", "CDS.phase2")
# Derived terms and the raw types they are made of: `types=['CDS']` asks for what follows from CDS alone.
NEEDS = {
    **dict.fromkeys([*PHASES, "start_codon", "stop_codon"], ("CDS",)),
    **dict.fromkeys(["intron", "donor", "acceptor", "exon_start", "exon_end"], ("exon",)),
    **dict.fromkeys(["five_prime_UTR", "three_prime_UTR"], ("exon", "CDS")),
    **dict.fromkeys(["intergenic", "upstream"], ("gene",)),
}
KEEP = ["contig", "start", "end", "strand", "term", "name", "frame", "pick"]


def terms_of(
    features: Features,
    contigs: Mapping[str, Contig],
    *,
    terms: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    having: str | None = None,
    upstream: int = 50,
    sequence: Mapping[str, str] | None = None,
    code: int | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Intervals of terms: contig, start, end (0-based half-open), strand, term, name, frame, pick.

    frame (codon position of the interval's first base in transcription direction) and pick (the codon
    position wanted) are −1 except for CDS.phase0/1/2. contigs: lengths and circles of what the rows are
    on, for `intergenic`; sequence, code: to check codons with (codes.py). Also returns warnings. Raises
    InputError when a type or a term is not there, with the nearest.
    """
    if not len(features.table):
        if features.kind == "called":
            raise InputError(f"no gene was called on {few(list(contigs))}; is the sequence long enough to hold one?")
        raise InputError(f"{features.path} has no feature on the contigs of the rows ({few(list(contigs))})")
    everything = features
    features = features.with_table(choose(features.table, attributes, exclude, having))
    table = features.table
    here = set(table["type"])
    if types is not None:
        gone = [t for t in types if t not in here]
        if gone:
            raise InputError(f"{features.path} has no feature of type {gone[0]!r}; {nearest(gone[0], sorted(here))}")
    cds, said = coding.segments(features), list[str]()
    if sequence is not None:
        circles = {name for name, contig in contigs.items() if contig.circular}
        cds, said = codes.check(cds, features, sequence, code, circles)
    made = raw_terms(features, contigs, cds)
    made.update(_derived(features, cds))
    if "gene" in here or coding.is_gene(table["type"]).any() or len(cds):
        made["upstream"] = _upstream(features, cds, upstream)
        # Genes a filter drops are still genes: what they cover is not between genes.
        made["intergenic"] = _intergenic(everything, contigs)
    if types is not None:
        asked = set(types)
        made = {t: m for t, m in made.items() if t in asked or (t in NEEDS and asked.issuperset(NEEDS[t]))}
    made = {t: m for t, m in made.items() if len(m)}
    if terms is not None:
        gone = [t for t in terms if t not in made]
        if gone:
            raise InputError(f"{features.path} gives no term {gone[0]!r}; {nearest(gone[0], sorted(made))}")
        made = {t: made[t] for t in terms}
    if not made:
        raise InputError(
            f"{features.path} gives no term at all: the filters leave nothing of {len(everything.table)} records"
        )
    parts = [m.assign(term=t).reindex(columns=KEEP) for t, m in made.items()]
    found = pd.concat(parts, ignore_index=True)
    found[["frame", "pick"]] = found[["frame", "pick"]].fillna(-1).astype(np.int64)
    found["term"] = pd.Categorical(found["term"], categories=list(made))
    # The same interval from several transcripts is one instance.
    once = ["term", "contig", "start", "end", "strand", "frame"]
    return found.drop_duplicates(once, ignore_index=True), said


def raw_terms(features: Features, contigs: Mapping[str, Contig], cds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each feature type present, without records that stand for a whole contig; CDS with its stop codon."""
    table = features.table
    length = table["contig"].map({name: c.length or -1 for name, c in contigs.items()}).fillna(-1)
    whole = table["type"].isin(WHOLE) & (table["start"] == 0) & (table["end"] == length)
    table = table[~whole].drop(columns=["frame"], errors="ignore")
    made = {str(t): m for t, m in table.groupby("type", sort=True)}
    if "CDS" in made:
        made["CDS"] = cds.drop(columns="frame")
    return made


def _derived(features: Features, cds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    here = set(features.table["type"])
    made: dict[str, pd.DataFrame] = {}
    if len(cds):
        made.update({name: cds.assign(pick=i) for i, name in enumerate(PHASES)})
        for which in ("start", "stop"):
            name = f"{which}_codon"
            if name not in here and not (features.kind == "gtf" and which == "stop"):
                made[name] = coding.codon(cds, which).drop(columns="frame")
    blocks = exons.blocks(features, cds)
    gaps = exons.introns(blocks)
    made["donor"], made["acceptor"] = exons.splice_sites(gaps)
    made["exon_start"], made["exon_end"] = exons.edges(blocks)
    made.update(exons.untranslated(features, cds))
    made.update(_introns(features, gaps))
    return {name: m.drop(columns="frame", errors="ignore") if name not in PHASES else m for name, m in made.items()}


def _introns(features: Features, gaps: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Introns of transcripts; records without a transcript (RNA-seq evidence) get a term of their own."""
    written = features.table[features.table["type"] == "intron"]
    if not len(gaps) or not len(written):
        return {"intron": gaps} if len(gaps) else {}
    loose = written["parent"] == ""
    made = {"intron": pd.concat([gaps, written[~loose]], ignore_index=True)}
    for source, records in written[loose].groupby("source"):
        made[f"intron.{source or 'loose'}"] = records
    return made


def _genes(features: Features) -> pd.DataFrame:
    table = features.table
    genes = table[coding.is_gene(table["type"])]
    if len(genes):
        return genes
    return table[table["type"].str.fullmatch(r"CDS|exon|transcript|.*RNA")]


def _upstream(features: Features, cds: pd.DataFrame, size: int) -> pd.DataFrame:
    genes = features.table[coding.is_gene(features.table["type"])]
    if not len(genes):
        genes = cds[(cds["offset"] == 0) & ~cds["no_start"]]
    genes = genes[genes["strand"].isin(["+", "-"])]
    plus = genes["strand"] == "+"
    start = np.where(plus, genes["start"] - size, genes["end"])
    return genes.assign(start=start, end=start + size)[lambda t: t["end"] > t["start"]].drop(
        columns="frame", errors="ignore"
    )


def _intergenic(features: Features, contigs: Mapping[str, Contig]) -> pd.DataFrame:
    genes = _genes(features)
    found: list[tuple[str, int, int]] = []
    for contig, about in contigs.items():
        if about.length is None:
            continue
        mine = genes[genes["contig"] == contig]
        if contig not in features.contigs or (not len(mine) and not len(genes)):
            continue
        gaps = gaps_between(mine["start"].to_numpy(), mine["end"].to_numpy(), about.length, about.circular)
        found.extend((contig, a, b) for a, b in gaps)
    table = pd.DataFrame(found, columns=["contig", "start", "end"])
    return table.assign(strand=".", name="intergenic")


def gaps_between(start: Any, end: Any, length: int, circular: bool) -> list[tuple[int, int]]:
    """What of [0, length) no interval covers; on a circle the gap over the origin is one, past the end."""
    if circular:  # a feature over the origin covers both ends
        start, end = np.concatenate([start, start - length]), np.concatenate([end, end - length])
    order = np.argsort(start, kind="stable")
    start, end = np.clip(start[order], 0, length), np.clip(end[order], 0, length)
    reach = np.maximum.accumulate(np.r_[0, end])
    low, high = reach, np.r_[start, length]
    gaps = [(int(a), int(b)) for a, b in zip(low, high, strict=True) if b > a]
    if circular and len(gaps) > 1 and gaps[0][0] == 0 and gaps[-1][1] == length:
        gaps[-1] = (gaps[-1][0], length + gaps[0][1])
        gaps = gaps[1:]
    return gaps
