"""Haplotypes that are the same in a window, told apart once: what must be run, and who carries it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bioterp.adapters.alleles import Edit, spell, trim
from bioterp.adapters.calls import Changes
from bioterp.arrays import Array

TURNS = (-1, 0, 1)
PAST = (1 << 29) - 1  # the last position a tabix index knows
Chosen = tuple[tuple[int, int], ...]  # edits by number and turn of the circle


@dataclass(frozen=True)
class Variety:
    """One sequence of a window: `edits`, as (number, turn of the circle), `haplotypes` that have it, length, hash.

    cells: bases whose middle is in the core.
    """

    edits: Chosen
    haplotypes: Array
    length: int
    cells: int
    key: str


def spans_of(arrays: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """What arrays reach of a contig, brought into [0, length) on a circle; sorted and disjoint."""
    moved = [(max(lo + turn, 0), min(hi + turn, length)) for lo, hi in arrays for turn in (-length, 0, length)]
    merged: list[tuple[int, int]] = []
    for lo, hi in sorted({piece for piece in moved if piece[1] > piece[0]}):
        if merged and lo <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(hi, merged[-1][1])
        else:
            merged.append((lo, hi))
    # Records past the end are of another assembly: they are to be met, and refused.
    return [(lo, PAST if hi == length else hi) for lo, hi in merged]


class Reach:
    """The edits of a contig, asked by window. turn: length of a circular contig, else 0."""

    def __init__(self, changes: Changes, turn: int = 0):
        self.changes, self.turn = changes, turn
        self.start = np.array([one.start for one in changes.edits], np.int64)
        self.end = np.array([one.end for one in changes.edits], np.int64)
        self.longest = int((self.end - self.start).max()) if len(self.start) else 0
        self.first = np.searchsorted(changes.edit, np.arange(len(changes.edits) + 1))

    def touching(self, first: int, last: int) -> list[tuple[int, int]]:
        """(edit, turn) of edits that change or insert something in [first, last), in order of place."""
        found = []
        for turn in TURNS if self.turn else (0,):
            lo, hi = first - turn * self.turn, last - turn * self.turn
            at = np.arange(*np.searchsorted(self.start, [lo - self.longest, hi]))
            start, end = self.start[at], self.end[at]
            use = (start < hi) & ((end > lo) | ((start == end) & (start >= lo)))
            found += [(int(i), turn) for i in at[use]]
        return found

    def edits(self, chosen: Chosen) -> list[Edit]:
        return [self.changes.edits[i].moved(turn * self.turn) for i, turn in chosen]

    def read(
        self, first: int, last: int, core: tuple[int, int], chosen: Chosen, bases: Callable[[int, int], Array]
    ) -> tuple[Array, Array]:
        """Codes and bounds of a window with these edits, never longer than the reference's unless its core is."""
        codes, bounds = spell(bases, first, last, self.edits(chosen))
        keep = trim(bounds, core, last - first)
        return codes[keep], bounds[keep]

    def varieties(
        self, first: int, last: int, core: tuple[int, int], ploidy: Array, bases: Callable[[int, int], Array]
    ) -> list[Variety]:
        """The distinct sequences of [first, last), shortest first, the most carried first among equals.

        ploidy: (people,) in this window. Two haplotypes are one when their bases and the places of these are the same.
        """
        touching = self.touching(first, last)
        found: dict[str, tuple[Chosen, list[Array], int, int]] = {}
        for chosen, haplotypes in self._signatures(touching, ploidy):
            codes, bounds = self.read(first, last, core, chosen, bases)
            digest = hashlib.blake2b(codes.tobytes(), digest_size=8)
            digest.update(bounds.tobytes())
            cells = int(((bounds.sum(1) >= 2 * core[0]) & (bounds.sum(1) < 2 * core[1])).sum())
            found.setdefault(digest.hexdigest(), (chosen, [], len(codes), cells))[1].append(haplotypes)
        made = [Variety(e, np.sort(np.concatenate(h)), n, c, key) for key, (e, h, n, c) in found.items()]
        return sorted(made, key=lambda one: (one.length, -len(one.haplotypes), one.key))

    def _signatures(self, touching: list[tuple[int, int]], ploidy: Array) -> Iterator[tuple[Chosen, Array]]:
        """Haplotypes by which of these edits they have; those without any come first."""
        counted = np.repeat(ploidy == 2, 2)
        counted[::2] = True  # everybody has a first haplotype
        pieces = [self.changes.haplotype[self.first[i] : self.first[i + 1]] for i, _ in touching]
        which = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        who = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
        use = counted[who]
        which, who = which[use], who[use]
        plain = counted.copy()
        plain[who] = False
        if plain.any():
            yield (), np.flatnonzero(plain)
        order = np.lexsort((which, who))
        which, who = which[order], who[order]
        edges = np.r_[0, np.flatnonzero(np.diff(who)) + 1, len(who)] if len(who) else np.zeros(1, np.int64)
        groups: dict[bytes, list[int]] = {}
        for lo, hi in itertools.pairwise(edges):
            groups.setdefault(which[lo:hi].tobytes(), []).append(int(who[lo]))
        for signature, members in groups.items():
            yield tuple(touching[k] for k in np.frombuffer(signature, which.dtype)), np.array(members)
