"""Where rows come from, in pieces: 2,048 neighbours of a Field, or some forward passes of a model (streaming.py)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field

CHUNK = 2_048  # consecutive rows of a Field read at once
SPREAD = 8  # a sample takes at most this part (1/8) of its rows from one chunk
_SAMPLE = 3  # the random stream of a sample; batches.py has others
NOT_FINITE = "the activations hold NaN or infinite values; find them with bioterp.activations or import again"


class Chunks(Protocol):
    """Where rows come from, in pieces.

    sizes: (n,) int64 rows of each chunk, known beforehand; 0 is allowed. width: columns.
    """

    sizes: Array
    width: int

    def read(self, chunks: Array) -> Array:
        """(rows of these chunks in this order, width) float32."""


class FieldChunks:
    """A Field of numbers in runs of consecutive rows; only those asked for are read from its files."""

    def __init__(self, acts: Field, rows: int | None = None):
        self.acts, self.rows = acts, rows or CHUNK
        n, self.width = acts.shape
        starts = np.arange(0, n, self.rows, dtype=np.int64)
        self.sizes: Array = np.minimum(starts + self.rows, n) - starts

    def read(self, chunks: Array) -> Array:
        pieces = [self.acts.read(int(c) * self.rows, int(c) * self.rows + int(self.sizes[c])) for c in chunks]
        if any(not isinstance(piece, np.ndarray) for piece in pieces):
            raise InputError(f"batches are made of dense rows, and got a sparse Field of kind {self.acts.kind!r}")
        if len(pieces) == 1:
            return np.asarray(pieces[0], np.float32)
        return np.concatenate([np.zeros((0, self.width), np.float32), *pieces])


def sample(chunks: Chunks, rows: int, seed: int) -> Array:
    """About `rows` rows (fewer when there are fewer) of chunks spread at random, read one at a time.

    A chunk that is larger than an eighth of them gives a random part of itself: no one scan is the sample.
    """
    rng = np.random.default_rng([_SAMPLE, seed])
    most, have = max(1, rows // SPREAD), 0
    found: list[Array] = [np.zeros((0, chunks.width), np.float32)]
    for chunk in rng.permutation(np.flatnonzero(chunks.sizes)):
        if have >= rows:
            break
        got, room = rows_of(chunks, int(chunk)), min(most, rows - have)
        found.append(got if len(got) <= room else got[np.sort(rng.choice(len(got), room, replace=False))])
        have += len(found[-1])
    return np.concatenate(found)


def rows_of(chunks: Chunks, chunk: int) -> Array:
    """The rows of one chunk, checked."""
    rows = chunks.read(np.array([chunk]))
    if rows.shape != (int(chunks.sizes[chunk]), chunks.width):
        wanted = f"{int(chunks.sizes[chunk])} rows of {chunks.width}"
        raise InputError(f"chunk {chunk} was said to hold {wanted} and gave {rows.shape}; was its source changed?")
    # Lowest and highest tell of NaN and infinities without an array of answers.
    if rows.size and not (np.isfinite(rows.min()) and np.isfinite(rows.max())):
        raise InputError(NOT_FINITE)
    return rows
