"""Codes read batch by batch and checked, as they come: rows of CSR, or dense (kernel; sees arrays only).

Sparse codes are worked on by their active cells; codes of which many are active (neurons, principal directions)
stay dense, for a list of their active cells would be larger than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import scipy.sparse

from bioterp.arrays import Array

BATCH = 8_192  # 17 MB of 512 dense features: larger blocks than 32 MB are given fresh, cold pages every time
LARGEST = 131_072  # rows of sparse codes that are counted together …
CELLS = 1 << 23  # … as long as about this many cells of them are active: 64 MB
SPARSE = 1 / 16  # a dense block with fewer active cells than this is worked on by them
Read = Callable[[int, int], Any]
Csr = tuple[Array, Array, Array]
Block = Csr | Array


class BadCode(ValueError):
    """A code that is NaN, infinite or negative; `row` and `column` say where."""

    def __init__(self, row: int, column: int, value: float):
        super().__init__(f"code {value} in row {row}, column {column}")
        self.row, self.column, self.value = row, column, value


def as_csr(block: Any, first: int = 0) -> Csr:
    """indptr int64, indices int32, data float32 of codes, all > 0; raises BadCode for NaN, inf and negatives."""
    matrix = block if scipy.sparse.issparse(block) else scipy.sparse.csr_matrix(np.asarray(block, np.float32))
    matrix = matrix.tocsr()
    data = np.asarray(matrix.data, np.float32)
    fine, active = _inspect(data)
    if not fine:
        bad = _first_bad(data)
        row = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
        raise BadCode(first + row, int(matrix.indices[bad]), float(data[bad]))
    if active < len(data):
        matrix = matrix.copy()
        matrix.eliminate_zeros()
        data = np.asarray(matrix.data, np.float32)
    return np.asarray(matrix.indptr, np.int64), np.asarray(matrix.indices, np.int32), data


def as_block(values: Any, first: int = 0) -> Block:
    """Codes in the form they are best counted in; raises BadCode."""
    if scipy.sparse.issparse(values):
        return as_csr(values, first)
    dense = np.ascontiguousarray(values, np.float32)
    fine, active = _inspect(dense.reshape(-1))
    if not fine:
        bad = _first_bad(dense.reshape(-1))
        row, column = divmod(bad, dense.shape[1])
        raise BadCode(first + row, column, float(dense[row, column]))
    return as_csr(dense, first) if active < SPARSE * dense.size else dense


def stream(read: Read, batches: Array) -> Iterator[tuple[int, int, Block]]:
    """(lo, hi, block) batch by batch, the next being read while one is worked on."""
    spans = list(zip(batches[:-1].tolist(), batches[1:].tolist(), strict=True))
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_load, read, *span) for span in spans[:1]]
        for i, (lo, hi) in enumerate(spans):
            block = ahead.pop().result()
            ahead += [pool.submit(_load, read, *span) for span in spans[i + 1 : i + 2]]
            yield lo, hi, block


def batch_rows(active: int, rows: int, m: int) -> int:
    """How many rows are best counted together, told from the active cells of a sample of `rows` rows.

    A histogram of a term is larger than a cache. Sparse codes leave few counts in each between two batches, so the
    larger the batch the more of them find their line still there. A batch is a multiple of BATCH rows, which is what
    is read at a time.
    """
    if not rows or active >= SPARSE * rows * m:
        return BATCH
    most = min(CELLS * rows // max(active, 1), LARGEST)
    return max(most // BATCH, 1) * BATCH


def _load(read: Read, lo: int, hi: int) -> Block:
    """Rows lo:hi as one block. More than BATCH of them are read piece by piece, and are sparse."""
    if hi - lo <= BATCH:
        return as_block(read(lo, hi), lo)
    spans = [(at, min(at + BATCH, hi)) for at in range(lo, hi, BATCH)]
    pieces = [as_csr(read(*span), span[0]) for span in spans]
    ends = np.cumsum([0] + [len(data) for _, _, data in pieces])
    indptr = [at[1:] + end for (at, _, _), end in zip(pieces, ends[:-1], strict=True)]
    indices, data = (np.concatenate([piece[k] for piece in pieces]) for k in (1, 2))
    return np.concatenate([[0], *indptr]), indices, data


def tiles(columns: int, most: int) -> list[tuple[int, int]]:
    """Ranges of columns, as even as can be: what dense blocks are shared out to threads by."""
    count = max(1, -(-columns // most))
    ends = [columns * i // count for i in range(count + 1)]
    return list(pairwise(ends))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _inspect(data: Array) -> tuple[bool, int]:
    """Whether all codes are finite and not negative, and how many are active. Without a way out: it runs faster."""
    fine, active = True, 0
    for j in range(data.size):
        fine &= (data[j] >= 0) & (data[j] < np.inf)
        active += data[j] > 0
    return fine, active


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _first_bad(data: Array) -> int:
    for j in range(data.size):
        if not (data[j] >= 0 and data[j] < np.inf):
            return j
    return -1
