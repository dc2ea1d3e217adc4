"""What a feature must beat, in the same form and on the same rows.

neurons             every channel in both directions, about its mean
pca                 every principal direction, both ways
random-directions   as many random unit directions as the dictionary has features, as sparse as it
composition         what stands in the sequence itself: k-mers (k = 1 to 4) at the cell and GC content around it

The same model with random weights is the fifth; it is run like any model (`load_model(…, weights="random")`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.arrays import Array
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.sequence import MASKED, Sequences, reverse_complement

NAMES = ("neurons", "pca", "random-directions", "random-weights", "composition")
KMERS = (1, 2, 3, 4)
GC_WINDOWS = (33, 129, 513)
SAMPLE = 131_072


def neurons(acts: Field) -> Dictionary:
    """[I; −I] about the mean of the training rows: feature j and j + d are the two ways of channel j."""
    mean = _sample(acts).mean(0)
    return _linear(np.eye(acts.shape[1], dtype=np.float32), mean, acts, "neurons")


def pca(acts: Field) -> Dictionary:
    """Principal directions of the training rows, both ways, strongest first."""
    x = _sample(acts)
    mean = x.mean(0)
    centred = (x - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return _linear(np.ascontiguousarray(vectors[:, ::-1].T, dtype=np.float32), mean, acts, "pca")


def random_directions(acts: Field, width: int, k: int, seed: int = 0) -> Dictionary:
    """`width` random unit directions, the k largest kept per row."""
    d = acts.shape[1]
    rows = np.random.default_rng(seed).standard_normal((width, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mean = _sample(acts).mean(0)
    about = {**acts.about, "representation": "random-directions", "dictionary": "random-directions", "seed": seed}
    return Dictionary(
        rows, rows, np.zeros(width, np.float32), np.zeros(d, np.float32), mean, 1.0, "topk", k, None, about
    )


def _linear(directions: Array, mean: Array, acts: Field, name: str) -> Dictionary:
    both = np.concatenate([directions, -directions])
    zeros = np.zeros(len(both), np.float32), np.zeros(both.shape[1], np.float32)
    about = {**acts.about, "representation": name, "dictionary": name, "seed": 0}
    return Dictionary(both, both, *zeros, mean.astype(np.float32), 1.0, "relu", None, None, about)


def _sample(acts: Field) -> Array:
    """Up to SAMPLE rows of the training split, in evenly spread runs."""
    train = acts.split("train")
    runs = max(1, SAMPLE // 1024)
    at = np.unique(np.linspace(0, max(0, len(train) - 1024), runs).astype(int))
    return np.concatenate([train.read(int(lo), min(int(lo) + 1024, len(train))) for lo in at])


def composition(sequences: Sequences, rows: Rows) -> Field:
    """Field(code) of k-mers and GC content on DNA rows, computed when read.

    A k-mer's code is the share of a cell's bases it is centred on, read in the row's own direction; GC is the
    content of a window around the cell. Raises InputError when the rows are not on these sequences.
    """
    unknown = [space.name for space in rows.spaces if space.name not in sequences.contigs]
    if unknown:
        raise InputError(f"the rows lie on {unknown[0]!r}, which {sequences.path} does not have")
    names = ["".join(letters) for k in KMERS for letters in itertools.product("ACGT", repeat=k)]
    names += [f"GC{window}" for window in GC_WINDOWS]
    about = {"representation": "composition", "dictionary": "composition", "seed": 0}
    return Field(rows, Composition(sequences, rows), pd.DataFrame({"name": names}), "code", about)


@dataclass(frozen=True)
class Composition:
    """The container behind `composition`."""

    sequences: Sequences
    rows: Rows

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), sum(4**k for k in KMERS) + len(GC_WINDOWS)

    def read(self, lo: int, hi: int) -> scipy.sparse.csr_matrix:
        offsets = self.rows.offsets
        first = int(np.searchsorted(offsets, lo, side="right")) - 1
        pieces = []
        for i in range(first, len(self.rows.items)):
            if offsets[i] >= hi:
                break
            if offsets[i] == offsets[i + 1]:  # a window in which every token covers an N
                continue
            cut = slice(max(lo - int(offsets[i]), 0), min(hi, int(offsets[i + 1])) - int(offsets[i]))
            pieces.append(self._item(i)[cut])
        if not pieces:
            return scipy.sparse.csr_matrix((0, self.shape[1]), dtype=np.float32)
        return scipy.sparse.vstack(pieces, format="csr")

    def _item(self, i: int) -> scipy.sparse.csr_matrix:
        grid = self.rows.grid(i)
        bounds = grid.bounds
        pad = max(GC_WINDOWS) // 2 + max(KMERS)
        low, high = int(bounds.min()) - pad, int(bounds.max()) + pad
        codes = self.sequences.read(grid.space.name, low, high)
        start, end = bounds[:, 0] - low, bounds[:, 1] - low
        if grid.strand == "-":
            codes = reverse_complement(codes)
            start, end = len(codes) - end, len(codes) - start
        width = end - start
        single = bool((width == 1).all())
        blocks = []
        for k in KMERS:
            at, ok = _kmers(codes, k)
            if single:  # one k-mer per cell
                found = ok[start]
                shape = (len(start), 4**k)
                ones = np.ones(int(found.sum()), np.float32)
                blocks.append(scipy.sparse.csr_matrix((ones, (np.flatnonzero(found), at[start][found])), shape))
            else:
                cell = np.repeat(np.arange(len(start)), width)
                base = np.arange(len(cell)) - np.repeat(np.cumsum(width) - width, width) + np.repeat(start, width)
                found = ok[base]
                share = (1 / np.maximum(width, 1))[cell[found]].astype(np.float32)
                blocks.append(scipy.sparse.csr_matrix((share, (cell[found], at[base][found])), (len(start), 4**k)))
        blocks.append(scipy.sparse.csr_matrix(_gc(codes, (start + end) // 2)))
        return scipy.sparse.hstack(blocks, format="csr").astype(np.float32)


def _kmers(codes: Array, k: int) -> tuple[Array, Array]:
    """Per base: the number of the k-mer centred on it, and whether it is whole and unmasked."""
    n = len(codes)
    number, ok = np.zeros(n, np.int64), np.ones(n, bool)
    left = (k - 1) // 2
    for j in range(k):
        shifted = np.full(n, MASKED, np.int64)
        offset = j - left
        source = slice(max(offset, 0), n + min(offset, 0))
        shifted[max(-offset, 0) : n - max(offset, 0)] = codes[source]
        ok &= shifted < MASKED
        number = number * 4 + np.minimum(shifted, 3)
    return number, ok


def _gc(codes: Array, middle: Array) -> Any:
    """(cells, windows) GC share of the known bases around each cell's middle."""
    gc = np.concatenate([[0], np.cumsum((codes == 1) | (codes == 2))])
    known = np.concatenate([[0], np.cumsum(codes < MASKED)])
    columns = []
    for window in GC_WINDOWS:
        lo = np.clip(middle - window // 2, 0, len(codes))
        hi = np.clip(middle + window // 2 + 1, 0, len(codes))
        columns.append((gc[hi] - gc[lo]) / np.maximum(known[hi] - known[lo], 1))
    return np.stack(columns, 1).astype(np.float32)
