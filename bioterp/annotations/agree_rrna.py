"""rRNA genes and operons of two annotations, compared by overlap."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bioterp.annotations.features import Features

KINDS = ("16S rRNA", "23S rRNA", "5S rRNA")
# What annotations call them: size, subunit, or the genes rrs, rrl, rrf; else the length in bp of bacterial ones.
WORDS = (r"(?<!\d)16S|SSU|\brrs[A-Z]?\b", r"(?<!\d)23S|LSU|\brrl[A-Z]?\b", r"(?<![\d.])5S|\brrf[A-Z]?\b")
LENGTHS = ((1_200, 2_000), (2_400, 3_600), (80, 200))
APART = 1_500  # bp between 16S and 23S past which they are unlinked: Brewer et al. 2020, doi 10.1038/s41396-019-0552-3


@dataclass(frozen=True)
class Gene:
    """An rRNA gene: 0-based half-open, bp; kind: one of KINDS, or '' where neither words nor length tell."""

    contig: str
    strand: str
    start: int
    end: int
    kind: str


def compare_rrna(called: Features, reference: Features) -> list[tuple[str, str, str, int, int, int]]:
    """(type, match, 'all', n_reference, n_called, n_shared) of each kind and of operons; [] without any rRNA."""
    ours, theirs = genes_of(called), genes_of(reference)
    if not ours and not theirs:
        return []
    lines, found = [], set[Gene]()
    for kind in KINDS:
        mine, told = [g for g in ours if g.kind == kind], [g for g in theirs if g.kind == kind]
        hit = matched(mine, told)
        found |= hit
        lines.append((kind, "overlap", "all", len(told), len(mine), len(hit)))
    whole = [operon for operon in operons(theirs) if found.issuperset(operon)]
    lines.append(("rRNA operon", "every gene", "all", len(operons(theirs)), len(operons(ours)), len(whole)))
    return lines


def genes_of(features: Features) -> list[Gene]:
    """Records of the type rRNA, each place once, by contig, strand and start."""
    table = features.table[features.table["type"] == "rRNA"]
    lines = table[["contig", "strand", "start", "end", "name", "attributes"]].itertuples(index=False, name=None)
    genes = {Gene(c, d, int(s), int(e), _kind(f"{name} {text}", int(e) - int(s))) for c, d, s, e, name, text in lines}
    return sorted(genes, key=lambda gene: (gene.contig, gene.strand, gene.start, gene.end, gene.kind))


def matched(called: list[Gene], reference: list[Gene]) -> set[Gene]:
    """The reference's genes that a call of their own overlaps by at least half of the longer of the two."""
    free, hit = list(called), set()
    for gene in reference:
        for call in free:
            common = min(gene.end, call.end) - max(gene.start, call.start)
            longer = max(gene.end - gene.start, call.end - call.start)
            if (gene.contig, gene.strand) == (call.contig, call.strand) and 2 * common >= longer:
                hit.add(gene)
                free.remove(call)
                break
    return hit


def operons(genes: list[Gene]) -> list[list[Gene]]:
    """Runs 16S, 23S, 5S … in transcription direction, at most APART bp from gene to gene, with 16S and 23S."""
    ways: dict[tuple[str, str], list[Gene]] = {}
    for gene in genes:
        ways.setdefault((gene.contig, gene.strand), []).append(gene)
    runs: list[list[Gene]] = []
    for (_, strand), line in ways.items():
        order = sorted(line, key=lambda gene: -gene.end if strand == "-" else gene.start)
        for i, gene in enumerate(order):
            near = i > 0 and max(gene.start - order[i - 1].end, order[i - 1].start - gene.end) <= APART
            if near and gene.kind != KINDS[0]:
                runs[-1].append(gene)
            else:
                runs.append([gene])
    return [run for run in runs if {KINDS[0], KINDS[1]} <= {gene.kind for gene in run}]


def _kind(text: str, length: int) -> str:
    for kind, word in zip(KINDS, WORDS, strict=True):
        if re.search(word, text):
            return kind
    for kind, (low, high) in zip(KINDS, LENGTHS, strict=True):
        if low <= length <= high:
            return kind
    return ""
