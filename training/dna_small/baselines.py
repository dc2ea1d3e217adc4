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


def best(offered: list[Baseline], blocks: list[corpus.Stretch]) -> Baseline:
    """The Markov model with the fewest bits on these blocks."""
    return min(offered, key=lambda b: float(np.nanmean(np.concatenate([b.bits(s.bases) for s in blocks]))))


def common_words(blocks: list[corpus.Stretch], training: list[corpus.Stretch], length: int = 31) -> float:
    """Share of the bases of ``blocks`` lying in a word of 31 bases that training holds too, on either strand.

    This is what "held out" does not exclude: ribosomal RNA, and what phage lambda left in E. coli.
    """
    mine = [markov.words(s.bases, length - 1) for s in blocks]
    wanted = np.unique(np.concatenate(mine))
    met = np.zeros(len(wanted), dtype=bool)
    for stretch in training:
        for strand in (stretch.bases, corpus.reverse_complement(stretch.bases)):
            number = markov.words(strand, length - 1)
            at = np.minimum(np.searchsorted(wanted, number), len(wanted) - 1)
            met[at[(wanted[at] == number) & (number >= 0)]] = True
    covered = bases = 0
    for number, stretch in zip(mine, blocks, strict=True):
        here = met[np.searchsorted(wanted, number)] & (number >= 0)
        # A word at i covers i to i + length - 1: count how many words are open at each base.
        change = np.zeros(len(stretch.bases) + 1, dtype=np.int64)
        change[: len(here)] += here
        change[length : length + len(here)] -= here
        covered += int(np.sum(np.cumsum(change[:-1]) > 0))
        bases += len(stretch.bases)
    return round(covered / bases, 5)
