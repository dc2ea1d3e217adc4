"""The containers a Field keeps its values in. All answer `shape` and `read(lo, hi)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp import store
from bioterp.arrays import Array, BFloat16, give_back, narrow, taken
from bioterp.errors import StoreError

UNKNOWN = -1


class Values(Protocol):
    """What a Field needs of its container."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read(self, lo: int, hi: int) -> Any: ...


@dataclass(frozen=True)
class Dense:
    """(rows, c) numbers in any stored type, perhaps memory-mapped."""

    array: Array | BFloat16

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.array.shape
        return int(rows), int(columns)

    def read(self, lo: int, hi: int) -> Array:
        return taken(self.array[lo:hi])


@dataclass(frozen=True)
class Sparse:
    """CSR: row r holds columns indices[indptr[r]:indptr[r+1]]; data may be any stored type."""

    indptr: Array
    indices: Array
    data: Array | BFloat16
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.columns

    def read(self, lo: int, hi: int) -> scipy.sparse.csr_matrix:
        indptr = np.asarray(self.indptr[lo : hi + 1])
        cut = slice(int(indptr[0]), int(indptr[-1]))
        parts = taken(self.data[cut]), np.array(self.indices[cut]), indptr - indptr[0]
        give_back(self.indices)
        matrix = scipy.sparse.csr_matrix((hi - lo, self.columns), dtype=np.float32)
        # Set directly: the constructor would check, and copy, what we wrote ourselves.
        matrix.data, matrix.indices, matrix.indptr = parts
        return matrix


NO_INSTANCES = ("term", "instance", "name", "contig", "start", "end", "strand", "block")


@dataclass(frozen=True)
class Intervals:
    """Labels as runs of rows.

    Run j says: rows start[j]:stop[j] belong to instance[j] (≥ 1, numbered within the term) of the term
    (column) term[j]; instance −1 marks rows whose label is unknown, which is not a negative. Runs are
    sorted by (term, instance, start). Instances of a term may overlap; a row is positive when any does.
    `instances` tells who they are: term (column number), instance, name, contig, start, end, strand, block.
    """

    term: Array
    instance: Array
    start: Array
    stop: Array
    rows: int
    columns: int
    instances: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(NO_INSTANCES)))

    @classmethod
    def of(
        cls,
        term: Any,
        instance: Any,
        start: Any,
        stop: Any,
        rows: int,
        columns: int,
        instances: pd.DataFrame | None = None,
    ) -> Intervals:
        """Sorted, with empty runs dropped."""
        term, instance = np.asarray(term, np.int32), np.asarray(instance, np.int32)
        start, stop = np.asarray(start, np.int64), np.asarray(stop, np.int64)
        keep = np.flatnonzero(stop > start)
        keep = keep[np.lexsort((start[keep], instance[keep], term[keep]))]
        table = pd.DataFrame(columns=list(NO_INSTANCES)) if instances is None else instances
        return cls(term[keep], instance[keep], start[keep], stop[keep], rows, columns, table)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    def read(self, lo: int, hi: int) -> Intervals:
        if lo == 0 and hi == self.rows:
            return self  # a genome has millions of runs: not copied for nothing
        start, stop = np.clip(self.start, lo, hi) - lo, np.clip(self.stop, lo, hi) - lo
        return Intervals.of(self.term, self.instance, start, stop, hi - lo, self.columns, self.instances)

    def runs(self, term: int) -> Intervals:
        """The runs of one term."""
        lo, hi = np.searchsorted(self.term, [term, term + 1])
        cut = slice(int(lo), int(hi))
        parts = self.term[cut], self.instance[cut], self.start[cut], self.stop[cut]
        return Intervals(*parts, self.rows, self.columns, self.instances)

    def mask(self, term: int) -> tuple[Array, Array]:
        """(positive, known) of one term, both (rows,) bool. Positive rows are known."""
        runs = self.runs(term)
        known = runs.instance != UNKNOWN
        positive = _paint(runs.start[known], runs.stop[known], self.rows)
        unknown = _paint(runs.start[~known], runs.stop[~known], self.rows)
        return positive, positive | ~unknown


def _paint(start: Array, stop: Array, rows: int) -> Array:
    """(rows,) bool, true inside any of the runs."""
    depth = np.zeros(rows + 1, np.int32)
    np.add.at(depth, start, 1)
    np.add.at(depth, stop, -1)
    return np.cumsum(depth[:-1]) > 0


@dataclass(frozen=True)
class Parts:
    """Containers one after the other."""

    parts: Sequence[Values]

    @property
    def offsets(self) -> Array:
        return np.concatenate([[0], np.cumsum([part.shape[0] for part in self.parts])])

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.offsets[-1]), self.parts[0].shape[1]

    def read(self, lo: int, hi: int) -> Any:
        offsets = self.offsets
        pieces = []
        for part, at, end in zip(self.parts, offsets[:-1], offsets[1:], strict=True):
            if at < hi and end > lo:
                pieces.append(part.read(max(lo - at, 0), min(hi, end) - at))
        return join(pieces) if pieces else self.parts[0].read(0, 0)


@dataclass
class Deferred:
    """A container that is made when it is first read: what is only asked for its shape costs nothing."""

    shape: tuple[int, int]
    make: Callable[[], Values]

    def read(self, lo: int, hi: int) -> Any:
        return self.make().read(lo, hi)


@dataclass(frozen=True)
class Selection:
    """Rows of another container: ranges (k, 2) half-open, in the order wanted."""

    base: Values
    ranges: Array

    @property
    def offsets(self) -> Array:
        return np.concatenate([[0], np.cumsum(self.ranges[:, 1] - self.ranges[:, 0])])

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.offsets[-1]), self.base.shape[1]

    def read(self, lo: int, hi: int) -> Any:
        offsets = self.offsets
        first = int(np.searchsorted(offsets, lo, side="right")) - 1
        pieces: list[Any] = []
        pending: list[int] | None = None
        i = first
        while i < len(self.ranges) and offsets[i] < hi:
            start = int(self.ranges[i, 0] + max(lo - offsets[i], 0))
            stop = int(self.ranges[i, 1] - max(offsets[i + 1] - hi, 0))
            if pending and pending[1] == start:  # neighbours on disk are read in one go
                pending[1] = stop
            else:
                if pending:
                    pieces.append(self.base.read(*pending))
                pending = [start, stop]
            i += 1
        if pending:
            pieces.append(self.base.read(*pending))
        return join(pieces) if pieces else self.base.read(0, 0)


def join(pieces: list[Any]) -> Any:
    """Blocks of rows one after the other: arrays, CSR matrices or Intervals."""
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], Intervals):
        at = np.concatenate([[0], np.cumsum([piece.rows for piece in pieces])])
        start = np.concatenate([piece.start + a for piece, a in zip(pieces, at, strict=False)])
        stop = np.concatenate([piece.stop + a for piece, a in zip(pieces, at, strict=False)])
        term = np.concatenate([piece.term for piece in pieces])
        instance = np.concatenate([piece.instance for piece in pieces])
        table = pd.concat([piece.instances for piece in pieces if len(piece.instances)] or [pieces[0].instances])
        table = table.drop_duplicates(["term", "instance"], ignore_index=True)
        return Intervals.of(term, instance, start, stop, int(at[-1]), pieces[0].columns, table)
    if scipy.sparse.issparse(pieces[0]):
        return scipy.sparse.vstack(pieces, format="csr")
    return np.concatenate(pieces)


def to_arrays(values: Any, dtype: str) -> tuple[dict[str, Any], dict[str, pd.DataFrame], str]:
    """A container as named arrays and tables for the store, and the container's name."""
    if isinstance(values, Dense):
        array = values.array
        kept = array if isinstance(array, BFloat16) else narrow(np.asarray(array), dtype)
        return {"values": kept}, {}, "dense"
    if isinstance(values, Sparse):
        small = np.asarray(values.indices, np.int32)
        data = values.data if isinstance(values.data, BFloat16) else narrow(np.asarray(values.data), dtype)
        return {"indptr": np.asarray(values.indptr, np.int64), "indices": small, "data": data}, {}, "csr"
    if isinstance(values, Intervals):
        names = ("term", "instance", "start", "stop")
        return {name: getattr(values, name) for name in names}, {"instances": values.instances}, "intervals"
    return to_arrays(_solid(values), dtype)


def _solid(values: Values) -> Values:
    read = values.read(0, values.shape[0])
    if isinstance(read, Intervals):
        return read
    if scipy.sparse.issparse(read):
        return Sparse(read.indptr, read.indices, read.data, read.shape[1])
    return Dense(read)


def of_arrays(shard: store.Stored) -> Values:
    """The container a shard was stored from."""
    kind = shard.meta["container"]
    if kind == "dense":
        return Dense(shard.arrays["values"])
    if kind == "csr":
        return Sparse(shard.array("indptr"), shard.array("indices"), shard.arrays["data"], shard.meta["columns"])
    if kind == "intervals":
        rows = int(np.prod(shard.array("rows.shapes"), axis=1, dtype=np.int64).sum())
        term, instance, start, stop = (np.asarray(shard.array(name)) for name in ("term", "instance", "start", "stop"))
        return Intervals(term, instance, start, stop, rows, shard.meta["columns"], shard.table("instances"))
    raise StoreError(f"{shard.path} holds a container {kind!r} this bioterp does not know")
