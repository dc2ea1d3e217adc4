"""Bits per base of E. coli by kind of region and by the strand that is read.

CDS and intergenic bases come from 50 kb blocks. tRNA and rRNA genes are too few in those: all of them are scored, in
stretches of their own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import pandas as pd
from baselines import HALO
from markov import Floats
from numpy.typing import NDArray
from scoring import LENGTH, Scorer, pooled

from bioterp.annotations import label, spans
from bioterp.grid import Grid, Space
from bioterp.rows import Rows

Mask = NDArray[np.bool_]

PSEUDO = {"pseudo": "true"}
"""Not counted as coding or as RNA; not intergenic either."""

CODING = {
    f"CDS {side}{place}": f"CDS{phase}{at}"
    for side, at in (("sense", ""), ("antisense", "@antisense"))
    for place, phase in (("", ""), *((f", codon position {i + 1}", f".phase{i}") for i in range(3)))
}
BETWEEN = {"intergenic": "intergenic"}
RNA = {
    f"{gene} {side}": f"{gene}{at}"
    for gene in ("tRNA", "rRNA")
    for side, at in (("sense", ""), ("antisense", "@antisense"))
}
"""Region as told: term of bioterp.label. Sense: the strand read is the gene's. Antisense: the other one, and the codon
position is that of the base paired with."""


@dataclass(frozen=True)
class Rivals:
    """Bits per base of the Markov models on the whole genome: {(contig, strand): (bases,)}, forward coordinates."""

    training: dict[tuple[str, str], Floats]
    other_half: dict[tuple[str, str], Floats]


def rna_loci(source: str, genome: dict[str, corpus.Bases], annotation: Path) -> list[corpus.Stretch]:
    """Stretches that hold every tRNA and rRNA gene with HALO bases on either side, and at least LENGTH bases each.
    Genes whose stretches would overlap share one.
    """
    genes = spans(annotation, having=None, types=["tRNA", "rRNA"], exclude=PSEUDO).sort_values(["contig", "start"])
    cuts: list[tuple[str, int, int]] = []
    for contig, start, end in genes[["contig", "start", "end"]].itertuples(index=False):
        short = max(LENGTH - (end - start) - 2 * HALO, 0)
        low = max(start - HALO - short // 2, 0)
        high = max(end + HALO + short - short // 2, low + LENGTH)
        if cuts and cuts[-1][0] == contig and low < cuts[-1][2]:
            low, high = cuts[-1][1], max(high, cuts.pop()[2])
        cuts.append((contig, low, high))
    return [corpus.Stretch(source, contig, low, genome[contig][low:high]) for contig, low, high in cuts]


def genes(source: str, genome: dict[str, corpus.Bases], annotation: Path) -> dict[str, list[corpus.Stretch]]:
    """The tRNA and the rRNA genes themselves, as stretches."""
    table = spans(annotation, having=None, types=["tRNA", "rRNA"], exclude=PSEUDO)
    places = table[["type", "contig", "start", "end"]].itertuples(index=False)
    found: dict[str, list[corpus.Stretch]] = {}
    for kind, contig, start, end in places:
        found.setdefault(kind, []).append(corpus.Stretch(source, contig, start, genome[contig][start:end]))
    return found


def masks(
    stretches: list[corpus.Stretch], genome: dict[str, corpus.Bases], annotation: Path, terms: dict[str, str]
) -> dict[tuple[int, str], dict[str, Mask]]:
    """Which bases are in each region, by stretch and strand read: {region: (bases,)}, forward coordinates."""
    reads = [(i, strand) for i in range(len(stretches)) for strand in "+-"]
    grids = []
    for i, strand in reads:
        low, high = stretches[i].start, stretches[i].start + len(stretches[i].bases)
        space = Space(stretches[i].contig, "bp", len(genome[stretches[i].contig]))
        grids.append(Grid.line(space, low, high, strand))
    items = pd.DataFrame({"item": [f"{i}{strand}" for i, strand in reads], "sample": "one", "split": "test"})
    rows = Rows.from_grids(items.assign(block=items["item"]), grids)
    wanted = sorted({term.removesuffix("@antisense") for term in terms.values()})
    truth = label(rows, annotation, terms=wanted, exclude=PSEUDO)
    whole = {name: truth.values.mask(truth.column(term))[0] for name, term in terms.items()}
    cuts = zip(reads, itertools.pairwise(rows.offsets), strict=True)
    return {
        (i, strand): {name: mask[low:high][:: 1 if strand == "+" else -1] for name, mask in whole.items()}
        for (i, strand), (low, high) in cuts
    }


def by_region(
    scorer: Scorer,
    stretches: list[corpus.Stretch],
    genome: dict[str, corpus.Bases],
    annotation: Path,
    rivals: Rivals,
    terms: dict[str, str],
) -> dict[str, Any]:
    """Bits per base of the model and its rivals in each region, both strands of every stretch read, on the same
    bases. Errors over stretches.
    """
    where = masks(stretches, genome, annotation, terms)
    totals = {name: np.zeros((len(stretches), 4)) for name in terms}
    for i, stretch in enumerate(stretches):
        here = slice(stretch.start, stretch.start + len(stretch.bases))
        for strand in "+-":
            at = (stretch.contig, strand)
            bits = np.stack([scorer.bits(stretch, strand), rivals.training[at][here], rivals.other_half[at][here]])
            scored = np.isfinite(bits).all(axis=0)
            for name, mask in where[i, strand].items():
                mine = bits[:, mask & scored]
                totals[name][i] += [*mine.sum(axis=1), mine.shape[1]]
    return {name: row(total) for name, total in totals.items()}


def row(total: Floats) -> dict[str, Any]:
    """One region from (stretches, 4): bits of the model, of the training genomes' Markov model, of the other half's,
    and bases.
    """
    model, training, half, bases = total.T
    return {
        "stretches": int(np.sum(bases > 0)),
        "bases_read": int(bases.sum()),
        "model": pooled(model, bases),
        "markov_best_in_hindsight": pooled(training, bases),
        "order_6_of_the_other_half": pooled(half, bases),
        "model_minus_markov_best_in_hindsight": pooled(model - training, bases),
        "model_minus_order_6_of_the_other_half": pooled(model - half, bases),
    }
