"""Tables of results: checked by the declared columns, written, read.

Every table begins with what was tested (`dictionary`, `seed`, `representation`), then its key. Columns are
float64, int32, bool or string; NaN (in a string column: None) is null. A table on disk says its name and
`schema_version`: in Parquet's key-value metadata, or in a JSON file beside a plain TSV.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioterp.declared import DETECTION as DETECTION
from bioterp.declared import FEATURE as FEATURE
from bioterp.declared import HEADLINE as HEADLINE
from bioterp.declared import LAYER as LAYER
from bioterp.declared import NOTE as NOTE
from bioterp.declared import SUBJECT as SUBJECT
from bioterp.declared import TABLES as TABLES
from bioterp.declared import TERM as TERM
from bioterp.declared import Column as Column
from bioterp.doors import parquet_of
from bioterp.errors import InputError, StoreError, nearest
from bioterp.store import digest, writing_file

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = "1"
NO_FEATURE = -1
PLUGGED: dict[str, tuple[Column, ...]] = {}  # tables of plugged-in analyses, by `bioterp.plugins`
_NUMPY = {"float64": "float64", "int32": "int32", "bool": "bool", "string": "object"}


def columns(name: str) -> tuple[Column, ...]:
    """The declared columns of a table, in order."""
    if name in PLUGGED:
        return PLUGGED[name]
    if name not in TABLES:
        raise InputError(f"there is no table {name!r}; {nearest(name, TABLES)}")
    return TABLES[name]


def code() -> list[str]:
    """What a stored table hangs on besides its data: its version and the declared columns, which grow."""
    told = {name: [(column.name, column.dtype) for column in made] for name, made in TABLES.items()}
    return [SCHEMA_VERSION, digest(told)]


def subject(about: dict[str, Any]) -> dict[str, Any]:
    """The leading columns of a table from the `about` of the field that was tested."""
    seed = about.get("seed")
    return {
        "dictionary": _text(about.get("dictionary")),
        "seed": int(seed) if isinstance(seed, int) else -1,
        "representation": _text(about.get("representation")),
        "layer": _text(about.get("layer")),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("name")
    return "" if value is None else str(value)


def conform(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the declared columns in order and cast; `attrs` are kept.

    Columns beyond the declared ones follow in the order they came. Raises InputError when a column is
    missing, or holds what its declared type cannot.
    """
    declared = columns(name)
    missing = [c.name for c in declared if c.name not in frame.columns]
    if missing:
        raise InputError(f"a table {name!r} needs the columns {', '.join(missing)}; got {', '.join(frame.columns)}")
    extra = [c for c in frame.columns if c not in {d.name for d in declared}]
    result = frame[[c.name for c in declared] + extra].reset_index(drop=True)
    for column in declared:
        result[column.name] = _cast(name, column, result[column.name])
    result.attrs = {**frame.attrs, "table": name, "schema_version": SCHEMA_VERSION}
    return result


def _cast(table: str, column: Column, values: Any) -> Any:
    wanted = _NUMPY[column.dtype]
    if column.dtype == "string":
        values = values.astype(object)
        return values.where(values.notna(), None)
    try:
        cast = values.astype(wanted)
    except (ValueError, TypeError) as error:
        message = f"column {column.name!r} of the table {table!r} must be {column.dtype}: {error}"
        raise InputError(message) from None
    if column.dtype == "int32" and (cast != values).any():
        raise InputError(f"column {column.name!r} of the table {table!r} holds a number that is no 32-bit integer")
    return cast


def write(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a conformed table to `.parquet` or `.tsv` (with `<path>.json` beside it), whole or not at all."""
    path = Path(path)
    name = frame.attrs.get("table")
    if name is None:
        raise InputError("this frame does not say which table it is; pass it through tables.conform first")
    meta = {
        "table": name,
        "schema_version": SCHEMA_VERSION,
        "attrs": {k: v for k, v in frame.attrs.items() if k not in ("table", "schema_version")},
        "columns": [asdict(c) for c in columns(name)],
    }
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        bare = frame.copy()
        bare.attrs = {}
        table = pa.Table.from_pandas(bare, schema=_arrow_schema(name, bare), preserve_index=False)
        said = {**(table.schema.metadata or {}), b"bioterp": json.dumps(meta).encode()}
        said[b"schema_version"] = SCHEMA_VERSION.encode()
        with writing_file(path) as beside:
            pq.write_table(table.replace_schema_metadata(said), beside)  # type: ignore[no-untyped-call]
    elif path.suffix == ".tsv":
        with writing_file(path.with_name(path.name + ".json")) as beside:
            beside.write_text(json.dumps(meta, indent=1))
        with writing_file(path) as beside:
            frame.to_csv(beside, sep="\t", index=False, na_rep="NaN")
    else:
        raise InputError(f"tables are written as .parquet or .tsv; got {path.name!r}")
    return path


def _arrow_schema(name: str, frame: pd.DataFrame) -> Any:
    """Declared types also for columns that are empty or all null, where guessing would say otherwise."""
    import pyarrow as pa

    guessed = pa.Schema.from_pandas(frame, preserve_index=False)
    types = {"float64": pa.float64(), "int32": pa.int32(), "bool": pa.bool_(), "string": pa.string()}
    for column in columns(name):
        at = guessed.get_field_index(column.name)
        guessed = guessed.set(at, pa.field(column.name, types[column.dtype]))
    return guessed


def read(path: str | Path) -> pd.DataFrame:
    """A table written by `write`, with its types and `attrs`."""
    import pandas as pd

    path = Path(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        said = json.loads((pq.read_schema(path).metadata or {}).get(b"bioterp", b"{}"))  # type: ignore[no-untyped-call]
        frame = parquet_of(path)
    elif path.suffix == ".tsv":
        beside = path.with_name(path.name + ".json")
        said = json.loads(beside.read_text()) if beside.exists() else {}
        strings = {c["name"]: str for c in said.get("columns", []) if c["dtype"] == "string"}
        frame = pd.read_csv(
            path, sep="\t", dtype=strings, keep_default_na=False, na_values=["NaN"], float_precision="round_trip"
        )
    else:
        raise InputError(f"tables are read from .parquet or .tsv; got {path.name!r}")
    if "table" not in said:
        raise StoreError(f"{path} does not say which table it is; it was not written by bioterp.tables")
    if said["schema_version"] != SCHEMA_VERSION:
        raise StoreError(f"{path} has schema_version {said['schema_version']}; this bioterp reads {SCHEMA_VERSION}")
    frame.attrs = said["attrs"]
    return conform(said["table"], frame)
