"""The Markov models the network has to beat, and how much of a test genome training has already seen."""

from __future__ import annotations

from dataclasses import dataclass

import corpus
import markov
import numpy as np
from numpy.typing import NDArray

HALO = 256
"""Bases of context a scored base must have."""

TOP_ORDER = 11
STRENGTHS = (4.0, 16.0, 64.0, 256.0, 1024.0)

HALF_ORDER, HALF_STRENGTH = 6, 16.0
"""The Markov model of half a genome: fixed, chosen on nothing."""


@dataclass(frozen=True)
class Baseline:
    """One Markov model: how its counts were weighted, its order and strength, and its probabilities
    (4**order, 4).
    """

    weighting: str
    order: int
    strength: float
    table: NDArray[np.float32]

    def bits(self, bases: corpus.Bases) -> markov.Floats:
        """Bits per base, on the rows that every order can score and that have the halo."""
        out = markov.bits(self.table, self.order, bases)
        out[:HALO] = np.nan
        return out


def fitted(sources: list[corpus.Source], train: list[list[corpus.Stretch]]) -> list[Baseline]:
    """Every Markov model on offer, fitted on the training stretches.

    Two ways to weigh the genomes: every base once, and as the model saw them (the mixture, scaled to the same
    total).
    """
    sizes = np.array([sum(len(s.bases) for s in stretches) for stretches in train], dtype=np.float64)
    share = np.array([source.weight for source in sources])
    mixture = share / share.sum() * sizes.sum() / sizes
    offered: list[Baseline] = []
    for weighting, weights in (("every base once", np.ones(len(sizes))), ("the training mixture", mixture)):
        rows = ((s.bases, float(w)) for stretches, w in zip(train, weights, strict=True) for s in stretches)
        offered += every_order(weighting, markov.count_words(rows, TOP_ORDER))
    return offered


def every_order(weighting: str, counts: NDArray[np.float32]) -> list[Baseline]:
    """Baselines of order 2 and up, at every strength, from the counts of the top order."""
    return [
        Baseline(weighting, order, strength, table)
        for strength in STRENGTHS
        for order, table in enumerate(markov.interpolate(counts, strength))
        if order >= 2
    ]


def in_species(genome: dict[str, corpus.Bases], blocks: list[corpus.Stretch], name: str) -> list[Baseline]:
    """Markov models fitted on the held-out genome itself, its scored blocks left out: not a rival but a
    landmark.
    """
    scored = {(s.contig, s.start) for s in blocks}
    rest = (
        (bases[start : start + corpus.BLOCK], 1.0)
        for contig, bases in genome.items()
        for start in range(0, len(bases), corpus.BLOCK)
        if (contig, start) not in scored
    )
    return every_order(f"fitted on the rest of {name}", markov.count_words(rest, TOP_ORDER))


def other_half(genome: dict[str, corpus.Bases], strand: str = "+") -> dict[str, markov.Floats]:
    """Bits of every base, read on ``strand``, under the order-6 model of the half of its genome that it is not in.

    The halves are the even and the odd 50 kb blocks of each contig. A model is fitted on both strands of its half.
    In forward coordinates, (bases,) per contig.
    """
    halves = [
        (bases[start : start + corpus.BLOCK], (start // corpus.BLOCK) % 2)
        for bases in genome.values()
        for start in range(0, len(bases), corpus.BLOCK)
    ]
    tables = []
    for fitted_on in (1, 0):  # the even half is scored by the model of the odd one
        counts = markov.count_words(((b, 1.0) for b, half in halves if half == fitted_on), HALF_ORDER)
        tables.append(markov.interpolate(counts, HALF_STRENGTH)[HALF_ORDER])
    out = {}
    for contig, bases in genome.items():
        even, odd = (markov.strand_bits(table, HALF_ORDER, bases, strand) for table in tables)
        out[contig] = np.where(np.arange(len(bases)) // corpus.BLOCK % 2 == 0, even, odd)
    return out


def best(offered: list[Baseline], blocks: list[corpus.Stretch]) -> Baseline:
    """The Markov model with the fewest bits on these blocks."""
    return min(offered, key=lambda b: float(np.nanmean(np.concatenate([b.bits(s.bases) for s in blocks]))))


def common_words(
    sets: dict[str, list[corpus.Stretch]], training: list[corpus.Stretch], length: int = 31
) -> dict[str, float]:
    """Share of the bases of each set lying in a word of 31 bases that training holds too, on either strand.

    This is what "held out" does not exclude: ribosomal RNA, and what phage lambda left in E. coli.
    """
    mine = {name: [markov.words(s.bases, length - 1) for s in stretches] for name, stretches in sets.items()}
    wanted = np.unique(np.concatenate([number for numbers in mine.values() for number in numbers]))
    met = np.zeros(len(wanted), dtype=bool)
    for stretch in training:
        for strand in (stretch.bases, corpus.reverse_complement(stretch.bases)):
            number = markov.words(strand, length - 1)
            at = np.minimum(np.searchsorted(wanted, number), len(wanted) - 1)
            met[at[(wanted[at] == number) & (number >= 0)]] = True
    known = {name: [met[np.searchsorted(wanted, n)] & (n >= 0) for n in numbers] for name, numbers in mine.items()}
    return {name: _covered(known[name], stretches, length) for name, stretches in sets.items()}


def _covered(known: list[NDArray[np.bool_]], stretches: list[corpus.Stretch], length: int) -> float:
    """Share of bases in a known word; ``known`` says it of the word that begins at each base."""
    covered = bases = 0
    for here, stretch in zip(known, stretches, strict=True):
        # A word at i covers i to i + length - 1: count how many words are open at each base.
        change = np.zeros(len(stretch.bases) + 1, dtype=np.int64)
        change[: len(here)] += here
        change[length : length + len(here)] -= here
        covered += int(np.sum(np.cumsum(change[:-1]) > 0))
        bases += len(stretch.bases)
    return round(covered / bases, 5)
