"""The baseline: Markov models of DNA, each order leaning on the one below.

    P_k(b | k bases) = (count(k bases, b) + strength * P_{k-1}(b | k-1 bases)) / (count(k bases) + strength)

With ``strength`` = the number of different bases seen in the context this is Witten-Bell. Four letters make
that nearly no smoothing at all, so the strength is instead chosen on held-out blocks, which can only help
the baseline.
"""

from __future__ import annotations

from collections.abc import Iterable

import corpus
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def words(bases: corpus.Bases, order: int) -> NDArray[np.int64]:
    """Number in base 4 of each (order + 1)-mer, oldest base first; -1 where it holds N. (bases - order,)"""
    count = len(bases) - order
    number = np.zeros(max(count, 0), dtype=np.int64)
    known = np.ones(max(count, 0), dtype=bool)
    for i in range(order + 1):
        letter = bases[i : i + count] if count > 0 else bases[:0]
        number = number * 4 + np.minimum(letter, 3)
        known &= letter < corpus.N
    return np.where(known, number, -1)


def count_words(stretches: Iterable[tuple[corpus.Bases, float]], order: int) -> NDArray[np.float32]:
    """Weighted counts of (order + 1)-mers on both strands: (4**order, 4)."""
    found: dict[float, list[NDArray[np.int64]]] = {}
    for bases, weight in stretches:
        for strand in (bases, corpus.reverse_complement(bases)):
            number = words(strand, order)
            found.setdefault(weight, []).append(number[number >= 0])
    total = np.zeros(4 ** (order + 1), dtype=np.float32)
    for weight, numbers in found.items():  # one sweep over the table per weight, not per stretch
        total += weight * np.bincount(np.concatenate(numbers), minlength=total.size).astype(np.float32)
    return total.reshape(-1, 4)


def interpolate(counts: NDArray[np.float32], strength: float) -> list[NDArray[np.float32]]:
    """Probabilities of every order up to that of ``counts``: item k is (4**k, 4), rows sum to one."""
    levels = [counts]
    while len(levels[0]) > 1:
        # Forgetting the oldest base sums over the slowest axis.
        levels.insert(0, levels[0].reshape(4, -1, 4).sum(axis=0))
    below = np.full((1, 4), 0.25, dtype=np.float32)
    tables: list[NDArray[np.float32]] = []
    for level in levels:
        below = (level + strength * below) / (level.sum(axis=1, keepdims=True) + strength)
        tables.append(below)
        below = np.tile(below, (4, 1))
    return tables


def bits(table: NDArray[np.float32], order: int, bases: corpus.Bases) -> Floats:
    """Bits of every base given the ``order`` before it: (bases,), NaN where the context is short or holds
    an N.
    """
    number = words(bases, order)
    out = np.full(len(bases), np.nan)
    known = number >= 0
    out[order:][known] = -np.log2(table.reshape(-1)[number[known]].astype(np.float64))
    return out


def strand_bits(table: NDArray[np.float32], order: int, bases: corpus.Bases, strand: str) -> Floats:
    """As ``bits``, with the bases read on ``strand``; the answer is in forward coordinates."""
    if strand == "+":
        return bits(table, order, bases)
    return bits(table, order, corpus.reverse_complement(bases))[::-1]
