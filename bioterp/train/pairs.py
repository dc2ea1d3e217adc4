"""Two Fields of the same rows, side by side: what a transcoder reads and what it is to predict."""

from __future__ import annotations

import numpy as np

from bioterp.arrays import Array
from bioterp.train.batches import FieldChunks


class PairChunks:
    """Chunks whose columns are those of one Field and then those of the other."""

    def __init__(self, left: FieldChunks, right: FieldChunks):
        self.left, self.right = left, right
        self.sizes, self.width = left.sizes, left.width + right.width

    def read(self, chunks: Array) -> Array:
        return np.concatenate([self.left.read(chunks), self.right.read(chunks)], axis=1)
