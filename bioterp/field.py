"""A value per cell per column: `Field`.

One class holds activations (dense), codes (sparse) and labels (intervals); one save, one split, one
alignment check. What differs is the container behind `read(lo, hi)`:

    Dense       memory-mapped (rows, c) numbers, widened to float32 when read
    Sparse      CSR codes: indptr, indices, data
    Intervals   labels as runs of rows with an instance number (values.py tells more)
    Parts       several of the above, one after the other: the shards of a folder
    Selection   ranges of rows of another container: a split
    Deferred    a container made when it is first read
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from bioterp import kept, store
from bioterp.arrays import Array, BFloat16
from bioterp.errors import AlignmentError, Damaged, InputError, StoreError, nearest
from bioterp.grid import Space
from bioterp.rows import Rows
from bioterp.values import Dense, Parts, Selection, Sparse, Values, of_arrays, to_arrays

KINDS = ("activation", "code", "label")
SHARD = "shard={:05d}"


class Field:
    """Values on rows.

    rows: what each row is; `values`: a container of shape (len(rows), c), or a numpy array or scipy CSR
    matrix, which is wrapped; columns: DataFrame with `name` and one line per column; kind: 'activation',
    'code' or 'label'; about: where it came from (model, layer, dictionary …), plain JSON.
    """

    def __init__(
        self,
        rows: Rows,
        values: Any,
        columns: pd.DataFrame | Sequence[str] | None = None,
        kind: str = "activation",
        about: dict[str, Any] | None = None,
        path: Path | None = None,
    ):
        self.rows = rows
        self.data: Values = wrap(values)
        if kind not in KINDS:
            raise InputError(f"a Field is one of {', '.join(KINDS)}; got kind {kind!r}")
        self.kind = kind
        if columns is None:
            columns = [str(i) for i in range(self.data.shape[1])]
        table = columns if isinstance(columns, pd.DataFrame) else pd.DataFrame({"name": list(columns)})
        self.columns = table.reset_index(drop=True)
        self.about = about or {}
        self.path = path
        if self.data.shape != (len(rows), len(self.columns)):
            wanted = (len(rows), len(self.columns))
            raise AlignmentError(f"a Field of {wanted[0]} rows and {wanted[1]} columns got values {self.data.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.data.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Field({self.kind}, {rows} rows × {columns} columns, rows {self.rows.id[:8]})"

    def read(self, lo: int = 0, hi: int | None = None) -> Any:
        """Rows lo:hi in memory: float32 array, scipy CSR matrix, or `Intervals`."""
        return self.data.read(lo, len(self) if hi is None else hi)

    def batches(self, size: int = 65_536) -> Iterator[tuple[int, int, Any]]:
        """(lo, hi, rows lo:hi) until the end."""
        for lo in range(0, len(self), size):
            hi = min(lo + size, len(self))
            yield lo, hi, self.read(lo, hi)

    @property
    def values(self) -> Any:
        """Everything in memory; prefer `batches` for what may be large."""
        return self.read()

    def column(self, name: str) -> int:
        """The position of a column by name."""
        found = np.flatnonzero((self.columns["name"] == name).to_numpy())
        if not len(found):
            raise InputError(f"there is no column {name!r}; {nearest(name, self.columns['name'])}")
        return int(found[0])

    def take(self, items: Array) -> Field:
        """The rows of the items at these positions, without copying values."""
        items = np.asarray(items, np.int64)
        ranges = np.stack([self.rows.offsets[items], self.rows.offsets[items + 1]], 1)
        return Field(self.rows.take(items), Selection(self.data, ranges), self.columns, self.kind, self.about)

    def split(self, name: str) -> Field:
        """The rows whose block fell into 'train', 'valid' or 'test'."""
        items = self.rows.items_in(name)
        if not len(items):
            raise InputError(f"no block fell into the split {name!r}: use smaller blocks or another seed")
        return self.take(items)

    def check_same_rows(self, other: Field) -> None:
        """Raise AlignmentError unless both describe the same rows."""
        if self.rows.id != other.rows.id:
            raise AlignmentError(
                f"these fields are not on the same rows: {len(self)} rows with id {self.rows.id[:8]} against "
                f"{len(other)} with id {other.rows.id[:8]}; label and encode from the same activations"
            )

    def save(self, path: str | Path) -> Field:
        """Write to a folder in one shard and give back the stored Field."""
        writer = FieldWriter(path, self.columns, self.kind, recipe=self.about, about=self.about)
        if not writer.done(0):
            writer.write(0, self.rows, self.data.read(0, len(self)))
        return writer.finish(1)

    @classmethod
    def open(cls, path: str | Path) -> Field:
        """Open a stored Field; values stay on disk."""
        path = Path(path)
        with store.damaged(path):
            stored = store.read(path)
            shards = [store.read(path / SHARD.format(i)) for i in range(stored.meta["shards"])]
            rows = Rows.concat([read_rows(shard) for shard in shards])
            if rows.id != stored.meta["rows"]:
                raise Damaged(path, "its shards are not the rows it was finished with")
            values = Parts([of_arrays(shard) for shard in shards])
            return cls(rows, values, stored.table("columns"), stored.meta["kind"], stored.meta["about"], path)


def wrap(values: Any) -> Values:
    """A container around a numpy array, a bfloat16 array or a scipy CSR matrix; a container is left as it is."""
    if hasattr(values, "read") and hasattr(values, "shape"):
        return cast(Values, values)
    if isinstance(values, BFloat16):
        return Dense(values)
    if hasattr(values, "indptr"):
        matrix = values.tocsr()
        return Sparse(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])
    array = np.asarray(values)
    if array.ndim != 2:
        raise InputError(f"the values of a Field are (rows, columns); got an array of shape {array.shape}")
    return Dense(array)


class FieldWriter:
    """Writes a Field shard by shard, each whole or not at all; the same call resumes.

    recipe: plain JSON that names everything the values depend on. A folder that holds shards of another
    recipe is refused, never overwritten. alone: False when other processes write other shards meanwhile.
    """

    def __init__(
        self,
        path: str | Path,
        columns: pd.DataFrame | Sequence[str],
        kind: str,
        recipe: dict[str, Any],
        about: dict[str, Any] | None = None,
        dtype: str = "float32",
        alone: bool = True,
    ):
        self.path = Path(path)
        self.columns = columns if isinstance(columns, pd.DataFrame) else pd.DataFrame({"name": list(columns)})
        self.kind, self.dtype = kind, dtype
        self.about = about or {}
        self.recipe = {**recipe, "kind": kind, "dtype": dtype, "columns": store.digest(self.columns.to_csv())}
        self._is_ours(self.path)
        self.alone = alone
        if alone:
            store.clear_partials(self.path)

    def done(self, shard: int) -> bool:
        """True when this shard is already stored, by this recipe, and whole."""
        return self._is_ours(self.path / SHARD.format(shard))

    def write(self, shard: int, rows: Rows, values: Any) -> None:
        """Store one shard: its rows, and (len(rows), c) values as float32 array, CSR matrix or Intervals."""
        if not self.alone:  # what a killed writer of this shard left; others are at work on theirs
            store.clear_partials(self.path, deep=False, of=SHARD.format(shard) + ".")
        arrays, tables, kind = to_arrays(wrap(values), self.dtype)
        row_arrays, row_meta = rows_to_arrays(rows)
        store.write(
            self.path / SHARD.format(shard),
            {**arrays, **row_arrays},
            {"items": rows.items, **tables},
            {"container": kind, "columns": len(self.columns), **row_meta, "recipe": self.recipe},
        )

    def finish(self, shards: int) -> Field:
        """Seal the folder: check that the cores tile, write the index, and open the Field."""
        index = self.path / ".index"
        if not (self.path / "meta.json").exists():
            found = [store.read(self.path / SHARD.format(i)) for i in range(shards)]
            rows = Rows.concat([read_rows(shard) for shard in found])
            rows.check_tiling()
            meta = {"kind": self.kind, "shards": shards, "rows": rows.id, "recipe": self.recipe, "about": self.about}
            store.write(index, tables={"columns": self.columns}, meta=meta)
            (index / "columns.parquet").replace(self.path / "columns.parquet")
            (index / "meta.json").replace(self.path / "meta.json")
        if index.is_dir():  # also what a kill after the last step above left
            index.rmdir()
        return Field.open(self.path)

    def _is_ours(self, folder: Path) -> bool:
        """Whether a stored folder is there and whole; StoreError when it was made by another recipe."""
        found = kept.opened(folder, store.read)
        theirs = self.recipe if found is None else found.meta.get("recipe", {})
        if store.digest(theirs) != store.digest(self.recipe):
            keys = sorted(k for k in {*theirs, *self.recipe} if theirs.get(k) != self.recipe.get(k))
            raise StoreError(
                f"{folder} holds a result made with other settings (they differ in {', '.join(keys)}); "
                "choose another output folder, or delete this one"
            )
        return found is not None


def rows_to_arrays(rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lattice columns of Rows for the store; the items travel as a table."""
    arrays = {
        "rows.space_code": rows.space_code,
        "rows.shapes": rows.shapes,
        "rows.affines": rows.affines,
        "rows.bounds": rows.bounds,
        "rows.bounds_offset": rows.bounds_offset,
    }
    return arrays, {"spaces": [vars(space) for space in rows.spaces]}


def read_rows(shard: store.Stored) -> Rows:
    """Rows from a stored shard."""
    names = ("space_code", "shapes", "affines", "bounds", "bounds_offset")
    spaces = [Space(**space) for space in shard.meta["spaces"]]
    return Rows(shard.table("items"), spaces, *(np.asarray(shard.array(f"rows.{name}")) for name in names))
