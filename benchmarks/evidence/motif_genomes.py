"""A genome with motifs planted on both strands, and decoys that lie where composition or codons already tell.

Isochores and codon positions have letters of their own composition. Six families of motifs and as many terms that
follow nothing are placed without regard to either; `gc_sites` lie in GC-rich stretches, `phase_sites` at first codon
positions, and neither has letters of its own. `without` is the same genome with every motif written over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import processes
from reading import turned

LENGTH, BLOCK = 60_000, 1_000
COUNT, DENSE = 130, 300  # instances of a term; of a motif where it is asked what a feature reads
FREE = 2  # letters of a motif that may be anything
RIGHT = 0.93  # chance of each other letter of an instance to be that of the motif
FAMILIES = tuple(f"motif{i}" for i in range(6))
GHOSTS = ("ghost0", "ghost1", "ghost2", "clustered0", "clustered1", "long", *(f"mirror{i}" for i in range(2)))
DECOYS = ("gc_sites", "phase_sites")
CODON_GC = (0.05, -0.12, 0.22)  # added to the isochore's at each codon position


@dataclass
class MotifGenome:
    """fasta, without: paths; gff: the annotation; motifs: consensus of each family; spans: (n, 3) strand, from, to."""

    fasta: Path
    without: Path
    gff: Path
    motifs: list[str]
    spans: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def make(cls, rng: np.random.Generator, folder: Path, motifs: list[str] | None = None) -> MotifGenome:
        """Write everything into a folder. Given motifs are planted densely, all on the forward strand."""
        folder.mkdir(exist_ok=True)
        rich = processes.isochores(rng, LENGTH, 4_000)
        rich = rich > np.median(rich)
        gc, genes, phase = np.where(rich, 0.56, 0.40), [], np.full((2, LENGTH), -1)
        at = int(rng.integers(50, 500))
        while (end := at + 3 * int(rng.integers(60, 400))) <= LENGTH:
            strand = int(rng.integers(0, 2))
            own = np.arange(at, end) if strand == 0 else np.arange(end - 1, at - 1, -1)
            phase[strand, own] = np.arange(len(own)) % 3
            gc[own] += np.array(CODON_GC)[np.arange(len(own)) % 3]
            genes.append((strand, at, end))
            at = end + int(rng.exponential(250)) + 10
        count, strands, apart = (DENSE, 1, 4) if motifs else (COUNT, 2, 15)
        motifs = motifs or [_word(rng, size) for size in (8, 9, 10, 11, 12, 12)]
        here = cls(folder / "genome.fa", folder / "without.fa", folder / "genes.gff", motifs)
        before = _letters(rng, gc)
        letters = before.copy()
        taken = np.zeros(LENGTH, bool)
        for name, motif in zip(FAMILIES, motifs, strict=True):
            drawn = rng.integers(0, strands, count)
            here.spans[name] = np.array([_plant(rng, letters, taken, motif, strand, apart) for strand in drawn])
        here._ghosts(rng)
        here.spans["gc_sites"] = _sites(rng, rng.choice(np.flatnonzero(rich[: LENGTH - 12]), COUNT), 10)
        strand, cell = np.nonzero(phase == 0)
        drawn = rng.choice(len(cell), 600, replace=False)
        here.spans["phase_sites"] = np.stack([strand[drawn], cell[drawn], cell[drawn] + 1], 1)
        here._write(genes, letters, before)
        return here

    def _ghosts(self, rng: np.random.Generator) -> None:
        """Terms whose places know nothing of the letters: strewn, in clusters, long, or mirror images of motifs'."""
        for name in GHOSTS:
            if name.startswith("ghost"):
                self.spans[name] = _sites(rng, rng.integers(0, LENGTH - 12, COUNT), 10)
            elif name.startswith("clustered"):
                middle = rng.integers(0, LENGTH, 12)
                near = rng.choice(middle, COUNT) + rng.normal(0, 400, COUNT).astype(int)
                self.spans[name] = _sites(rng, np.clip(near, 0, LENGTH - 12), 10)
            elif name == "long":
                self.spans[name] = _sites(rng, rng.integers(0, LENGTH - 700, 60), 600)
            else:
                strand, start, end = self.spans[f"motif{name[-1]}"].T
                self.spans[name] = np.stack([1 - strand, LENGTH - end, LENGTH - start], 1)

    def _write(self, genes: list[tuple[int, int, int]], letters: np.ndarray, before: np.ndarray) -> None:
        lines = ["##gff-version 3", f"##sequence-region one 1 {LENGTH}"]
        for i, (strand, start, end) in enumerate(genes):
            lines.append(_line("gene", start, end, strand, f"g{i}"))
            lines.append(_line("CDS", start, end, strand, f"c{i};Parent=g{i}", "0"))
        for name, spans in self.spans.items():
            lines += [_line(name, a, b, strand, f"{name}.{i}") for i, (strand, a, b) in enumerate(spans.tolist())]
        self.gff.write_text("\n".join(lines) + "\n")
        for path, one in ((self.fasta, letters), (self.without, before)):
            path.write_text(">one\n" + "".join("ACGT"[i] for i in one) + "\n")


def _letters(rng: np.random.Generator, gc: np.ndarray) -> np.ndarray:
    strong = rng.random(LENGTH) < np.clip(gc, 0.05, 0.95)
    return np.where(strong, rng.integers(1, 3, LENGTH), 3 * rng.integers(0, 2, LENGTH))


def _word(rng: np.random.Generator, size: int) -> str:
    word = "".join("ACGT"[i] for i in rng.integers(0, 4, size))
    return word[:4] + "N" * FREE + word[4 + FREE :] if size > 9 else word


def _plant(
    rng: np.random.Generator, letters: np.ndarray, taken: np.ndarray, motif: str, strand: int, apart: int
) -> tuple[int, int, int]:
    """Write an instance where nothing is `apart` bases around; N keeps what stands there."""
    size = len(motif)
    while True:
        at = int(rng.integers(20, LENGTH - size - 20))
        if not taken[at - apart : at + size + apart].any():
            break
    taken[at : at + size] = True
    for i, base in enumerate(motif if strand == 0 else turned(motif)):
        if base != "N":
            letters[at + i] = "ACGT".index(base) if rng.random() < RIGHT else rng.integers(0, 4)
    return strand, at, at + size


def _sites(rng: np.random.Generator, start: np.ndarray, size: int) -> np.ndarray:
    return np.stack([rng.integers(0, 2, len(start)), start, start + size], 1)


def _line(kind: str, start: int, end: int, strand: int, name: str, phase: str = ".") -> str:
    return f"one\tplanted\t{kind}\t{start + 1}\t{end}\t.\t{'+-'[strand]}\t{phase}\tID={name}"
