"""GC content and k-mers of the bases around a cell, read in the row's own direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.background import Covariate
from bioterp.errors import InputError
from bioterp.rows import Rows
from bioterp.scan_baselines.reading import touched
from bioterp.sequence import MASKED, Sequences, reverse_complement

GC_BINS = 20


def gc(rows: Rows, source: Any, window: int) -> Covariate:
    """Share of G and C among the known bases of a window around the cell's middle; NaN where none is known."""

    def of(codes: Array, middle: Array) -> Array:
        strong, known = ((np.cumsum(np.append(0, one))) for one in ((codes == 1) | (codes == 2), codes < MASKED))
        lo, hi = np.maximum(middle - window // 2, 0), np.minimum(middle + window // 2 + 1, len(codes))
        bases = known[hi] - known[lo]
        return np.where(bases > 0, (strong[hi] - strong[lo]) / np.maximum(bases, 1), np.nan)

    held = Around(_sequences(rows, source, "gc"), rows, window // 2 + 1, of)
    return Covariate([(f"gc:{window}", "number", GC_BINS)], held)


def kmer(rows: Rows, source: Any, k: int) -> Covariate:
    """Number of the k-mer centred on the cell's middle base, 0 … 4^k − 1 (A0 C1 G2 T3); NaN where a base is masked."""
    before = (k - 1) // 2

    def of(codes: Array, middle: Array) -> Array:
        bases = np.stack([codes[middle - before + j] for j in range(k)]).astype(np.int64)
        number = (bases * 4 ** np.arange(k - 1, -1, -1)[:, None]).sum(0)
        return np.where((bases < MASKED).all(0), number, np.nan)

    held = Around(_sequences(rows, source, "kmer"), rows, k + 1, of)
    return Covariate([(f"kmer:{k}", "class", 0)], held)


@dataclass(frozen=True)
class Around:
    """Container of one number per cell, of(codes, middle) of the bases up to `reach` around its middle base."""

    sequences: Sequences
    rows: Rows
    reach: int
    of: Callable[[Array, Array], Array]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), 1

    def read(self, lo: int, hi: int) -> Array:
        found = [np.zeros(0), *(self._item(i)[cut] for i, cut in touched(self.rows, lo, hi))]
        return np.concatenate(found).astype(np.float32)[:, None]

    def _item(self, i: int) -> Array:
        grid = self.rows.grid(i)
        low = int(grid.bounds.min()) - self.reach
        codes = self.sequences.read(grid.space.name, low, int(grid.bounds.max()) + self.reach + 1)
        middle = (grid.bounds[:, 0] + grid.bounds[:, 1]) // 2 - low
        if grid.strand == "-":
            codes, middle = reverse_complement(codes), len(codes) - 1 - middle
        return self.of(codes, middle)


def _sequences(rows: Rows, source: Any, name: str) -> Sequences:
    sequences = getattr(source, "sequences", source)
    if not isinstance(sequences, Sequences):
        raise InputError(f"covariate {name!r} is read from a sequence; the source of these rows is none")
    unknown = [space.name for space in rows.spaces if space.name not in sequences.contigs]
    if unknown:
        raise InputError(f"the rows lie on {unknown[0]!r}, which {sequences.path.name} does not have")
    return sequences
