"""Reading the training genomes, and cutting them into training and held-out stretches.

A genome is a dict of contig name to a ``uint8`` array of base codes (A=0 C=1 G=2 T=3, anything else N=4),
0-based. Blocks are 50 kb segments of a contig. The hash of a block's name says which are held out, so that
the split needs no file, does not depend on the order of reading, and is the same on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bases = NDArray[np.uint8]

BLOCK = 50_000
"""Bases per block."""

N = 4
"""The code of an unknown base: it may be read, it is never asked for."""

_CODE = np.full(256, N, dtype=np.uint8)
for _i, _letter in enumerate("ACGT"):
    _CODE[ord(_letter)] = _CODE[ord(_letter.lower())] = _i

_COMPLEMENT = np.array([3, 2, 1, 0, 4, 5, 6, 7], dtype=np.uint8)


@dataclass(frozen=True)
class Source:
    """One line of the data list: a file, what it must hash to, and its share of the training windows."""

    name: str
    path: str
    sha256: str
    weight: float


@dataclass(frozen=True)
class Stretch:
    """A maximal run of blocks on the same side of the split, as a view of its contig (bases,)."""

    source: str
    contig: str
    start: int
    bases: Bases


def read_sources(data_list: Path) -> list[Source]:
    """The data list, in file order."""
    rows = json.loads(data_list.read_text())["sources"]
    return [Source(row["name"], row["path"], row["sha256"], row["weight"]) for row in rows]


def reverse_complement(bases: Bases) -> Bases:
    """The other strand, read in its own direction; the last axis is position."""
    return _COMPLEMENT[bases[..., ::-1]]


def read_genome(path: Path, sha256: str | None = None) -> dict[str, Bases]:
    """Contigs of a gzipped FASTA or GenBank file. With ``sha256``, refuses a file that is not the listed
    one.
    """
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"{path.name} hashes to {found}; the data list wants {sha256}. Fetch the listed version.")
    text = gzip.decompress(packed).decode("ascii", errors="replace")
    contigs = _fasta(text) if text.startswith(">") else _genbank(text)
    return {
        name: _CODE[np.frombuffer(letters.encode("ascii", "replace"), np.uint8)] for name, letters in contigs.items()
    }


def _fasta(text: str) -> dict[str, str]:
    contigs: dict[str, str] = {}
    for record in text.split(">")[1:]:
        header, _, body = record.partition("\n")
        contigs[header.split()[0]] = "".join(body.split())
    return contigs


def _genbank(text: str) -> dict[str, str]:
    contigs: dict[str, str] = {}
    for record in text.split("\n//"):
        head, mark, body = record.partition("\nORIGIN")
        if not mark:
            continue
        name = head[head.index("LOCUS") :].split()[1]
        # Each sequence line is a position followed by groups of ten letters; only the letters are wanted.
        contigs[name] = "".join(letter for letter in body if letter.isalpha())
    return contigs


def held_out_blocks(source: str, genome: dict[str, Bases], share: float, seed: int) -> set[tuple[str, int]]:
    """(contig, block) pairs kept for validation: the blocks of the source that come first in the order of
    their hash.

    Taken within each source, so that every genome is represented; a source under ten blocks gives none up.
    """
    blocks = [(contig, i) for contig, bases in genome.items() for i in range(-(-len(bases) // BLOCK))]
    if len(blocks) < 10:
        return set()

    def order(block: tuple[str, int]) -> bytes:
        return hashlib.blake2b(f"{seed}:{source}:{block[0]}:{block[1]}".encode(), digest_size=8).digest()

    return set(sorted(blocks, key=order)[: math.ceil(share * len(blocks))])


def split(source: str, genome: dict[str, Bases], share: float, seed: int) -> tuple[list[Stretch], list[Stretch]]:
    """(training stretches, held-out blocks). Held-out stretches are cut at every block: they are the unit
    of error.
    """
    held_out = held_out_blocks(source, genome, share, seed)
    train: list[Stretch] = []
    held: list[Stretch] = []
    for contig, bases in genome.items():
        run_start = 0
        for block, start in enumerate(range(0, len(bases), BLOCK)):
            if (contig, block) in held_out:
                held.append(Stretch(source, contig, start, bases[start : start + BLOCK]))
                if start > run_start:
                    train.append(Stretch(source, contig, run_start, bases[run_start:start]))
                run_start = start + BLOCK
        if run_start < len(bases):
            train.append(Stretch(source, contig, run_start, bases[run_start:]))
    return train, held


class Sampler:
    """Draws training windows: a source by weight, a place uniformly within it, a strand by a coin.

    The draw of a step depends on (seed, step) only, so a resumed run sees what an unbroken one would have
    seen.
    """

    def __init__(self, stretches: dict[str, list[Stretch]], weights: dict[str, float], seed: int) -> None:
        self._stretches = stretches
        self._names = list(stretches)
        share = np.array([weights[name] for name in self._names], dtype=np.float64)
        self._share = share / share.sum()
        self._seed = seed

    def batch(self, step: int, windows: int, length: int) -> Bases:
        """``windows`` x ``length`` base codes, each row from one stretch."""
        rng = np.random.default_rng((self._seed, step))
        rows = [self._window(self._names[i], length, rng) for i in rng.choice(len(self._names), windows, p=self._share)]
        return np.stack(rows)

    def _window(self, name: str, length: int, rng: np.random.Generator) -> Bases:
        fits = [stretch.bases for stretch in self._stretches[name] if len(stretch.bases) >= length]
        places = np.array([len(bases) - length + 1 for bases in fits], dtype=np.int64)
        at = int(rng.integers(places.sum()))
        i = int(np.searchsorted(np.cumsum(places), at, side="right"))
        start = at - int(places[:i].sum())
        window = fits[i][start : start + length]
        return reverse_complement(window) if rng.random() < 0.5 else window
