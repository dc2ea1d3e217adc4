"""A genome whose isochores, genes and sites are planted, as FASTA and GFF3, for the benchmarks of evidence."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import processes

import bioterp as bt
from bioterp.rows import Rows

LENGTH = 48_000
FOLLOWED = tuple(f"site{i}" for i in range(6))
GHOSTS = ("ghost0", "ghost1", "ghost2")  # followed by nothing
SITE, COUNT = 36, 120


@dataclass
class Genome:
    """masks: (2, LENGTH) bool per term; starts: (instances, 2) strand and first base of the sites of a term."""

    fasta: Path
    gff: Path
    gc_high: np.ndarray
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    starts: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def make(cls, rng: np.random.Generator, folder: Path) -> Genome:
        """Letters with isochores of 3 kb on average; genes on both strands; sites of several kinds, placed apart."""
        level = processes.isochores(rng, LENGTH, 3_000)
        rich = level > np.median(level)
        gc = np.where(rich, 0.6, 0.38)
        letters = np.where(rng.random(LENGTH) < gc, rng.integers(1, 3, LENGTH), 3 * rng.integers(0, 2, LENGTH))
        here = cls(folder / "genome.fa", folder / "genes.gff", np.stack([rich, rich]))
        lines = ["##gff-version 3", f"##sequence-region one 1 {LENGTH}"]
        here._genes(rng, lines)
        names = [*FOLLOWED, *GHOSTS, "gc_sites", "stranded"]
        for name in names:
            strand, start = rng.integers(0, 2, COUNT), rng.integers(0, LENGTH - SITE, COUNT)
            if name == "gc_sites":
                start = rng.choice(np.flatnonzero(rich[: LENGTH - SITE]), COUNT)
            mask = np.zeros((2, LENGTH), bool)
            for i in range(COUNT):
                mask[strand[i], start[i] : start[i] + SITE] = True
                lines.append(_line(name, start[i], start[i] + SITE, strand[i], f"{name}.{i}"))
            here.masks[name], here.starts[name] = mask, np.stack([strand, start], 1)
        here._in_codons(rng, lines)
        here.fasta.write_text(">one\n" + "".join("ACGT"[i] for i in letters) + "\n")
        here.gff.write_text("\n".join(lines) + "\n")
        return here

    def _genes(self, rng: np.random.Generator, lines: list[str]) -> None:
        phases = np.zeros((3, 2, LENGTH), bool)
        at, number = int(rng.integers(50, 500)), 0
        while True:
            end = at + 3 * int(rng.integers(60, 400))
            if end > LENGTH:
                break
            strand = int(rng.integers(0, 2))
            lines.append(_line("gene", at, end, strand, f"g{number}"))
            lines.append(_line("CDS", at, end, strand, f"c{number};Parent=g{number}", "0"))
            for phase in range(3):
                cells = np.arange(at + phase, end, 3) if strand == 0 else np.arange(end - 1 - phase, at - 1, -3)
                phases[phase, strand, cells] = True
            at, number = end + int(rng.exponential(80)) + 10, number + 1
        self.masks["CDS"] = phases.any(0)
        for phase in range(3):
            self.masks[f"CDS.phase{phase}"] = phases[phase]

    def _in_codons(self, rng: np.random.Generator, lines: list[str]) -> None:
        """Single bases at first codon positions, as variants that change a protein are."""
        mask = np.zeros((2, LENGTH), bool)
        strand, cell = np.nonzero(self.masks["CDS.phase0"])
        drawn = rng.choice(len(cell), 800, replace=False)
        mask[strand[drawn], cell[drawn]] = True
        for i in drawn:
            lines.append(_line("phase_sites", cell[i], cell[i] + 1, strand[i], f"v{i}"))
        self.masks["phase_sites"] = mask

    def runs(self, rng: np.random.Generator, run: float, share: float) -> np.ndarray:
        """Independent runs on both strands."""
        return processes.runs(rng, LENGTH, processes.Kind(run, share))

    def by_instance(self, rng: np.random.Generator, term: str, share: float) -> np.ndarray:
        """(2, LENGTH) bool: the cells of a drawn share of a term's instances."""
        mask = np.zeros((2, LENGTH), bool)
        for strand, start in self.starts[term][rng.random(COUNT) < share]:
            mask[strand, start : start + SITE] = True
        return mask

    @functools.cached_property
    def cells(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per term of sites an index (instances, SITE) into a mask: strand and base."""
        along = np.arange(SITE)
        return {t: (s[:, [0]] + 0 * along, s[:, [1]] + along) for t, s in self.starts.items()}

    def order(self, rows: object) -> np.ndarray:
        """(rows,) where each row lies in a flattened (2, LENGTH)."""
        item, start, _ = rows.cells()
        return (rows.affines[item, 0, 0] < 0) * LENGTH + start


def rows_of(source: bt.DNA) -> Rows:
    """The rows of a source without halo, one per base, without a model."""
    read = list(source)
    return Rows.from_grids(pd.DataFrame([item.record for item, _, _ in read]), [grid for _, _, grid in read])


def _line(kind: str, start: int, end: int, strand: int, name: str, phase: str = ".") -> str:
    return f"one\tplanted\t{kind}\t{start + 1}\t{end}\t.\t{'+-'[strand]}\t{phase}\tID={name}"
