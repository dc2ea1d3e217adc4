"""Runs along a genome for the benchmarks of evidence: independent of each other, stationary or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK, CONTIG, SHARE = 5_000, 250_000, 0.4


@dataclass(frozen=True)
class Kind:
    """Runs of a two-state process: mean length of a run and share of the cells covered; both strands or one."""

    run: float
    share: float
    stranded: bool = True


FEATURES = {"short runs": Kind(4, 0.004), "long runs": Kind(300, 0.1), "both strands": Kind(12, 0.02, False)}
TERMS = {
    "genes": Kind(900, 0.35),
    "exons": Kind(140, 0.03),
    "sites": Kind(70, 0.004),
    "repeats": Kind(300, 0.05, False),
}


def runs(rng: np.random.Generator, size: int, kind: Kind, intensity: np.ndarray | None = None) -> np.ndarray:
    """(2, size) bool. Lengths are geometric (codes) or gamma (annotation); intensity (size,) thins the starts."""
    lines = np.zeros((2, size), bool)
    for line in lines[: 1 + kind.stranded]:
        gap = kind.run * (1 - kind.share) / kind.share
        most = 1.0 if intensity is None else float(intensity.max())
        count = int(size / (kind.run + gap) * 1.5 * most) + 20
        length = np.maximum(1, rng.gamma(2.0, kind.run / 2.0, count)).astype(np.int64)
        between = np.maximum(1, rng.exponential(gap / most, count)).astype(np.int64)
        start = np.cumsum(between + length) - length - int(rng.integers(0, int(gap) + 1))
        keep = (start >= 0) & (start + length < size)
        if intensity is not None:
            keep[keep] &= rng.random(int(keep.sum())) < intensity[start[keep]] / most
        bend = np.zeros(size + 1, np.int32)
        np.add.at(bend, start[keep], 1)
        np.add.at(bend, (start + length)[keep], -1)
        line[:] = np.cumsum(bend, dtype=np.int32)[:size] > 0
    if not kind.stranded:
        lines[1] = lines[0]
    return lines


def isochores(rng: np.random.Generator, size: int, length: float = 25_000) -> np.ndarray:
    """(size,) intensity: stretches of gamma length on average `length`, each with its own level from 0.1 to 3."""
    found, at = np.empty(size), 0
    while at < size:
        stop = at + max(int(rng.gamma(2.0, length / 2.0)), 1)
        found[at:stop] = 10 ** rng.uniform(-1, 0.5)
        at = stop
    return found


def tandem(rng: np.random.Generator, size: int, length: int = 30_000) -> np.ndarray:
    """(size,) intensity: one stretch, as of rDNA repeats, with thirty times what there is elsewhere."""
    found = np.full(size, 0.1)
    start = int(rng.integers(0, size - length))
    found[start : start + length] = 3.0
    return found


def test_blocks(rng: np.random.Generator) -> np.ndarray:
    """Rows of the blocks of a contig that fall into test, in order."""
    every = CONTIG // BLOCK
    blocks = np.sort(rng.choice(every, round(every * SHARE), replace=False))
    return (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
