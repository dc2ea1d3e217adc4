"""Declared columns of every result.

Every table begins with what was tested (`dictionary`, `seed`, `representation`), then its key. Columns are
float64, int32, bool or string; NaN (in a string column: None) is null. A table on disk says its name and
`schema_version`: in Parquet's key-value metadata, or in a JSON file beside a plain TSV.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioterp.errors import InputError, StoreError, nearest
from bioterp.store import writing_file

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = "1"
NO_FEATURE = -1


@dataclass(frozen=True)
class Column:
    """One column: dtype is float64, int32, bool or string."""

    name: str
    dtype: str
    unit: str
    meaning: str


def _columns(*lines: tuple[str, str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*line) for line in lines)


SUBJECT = _columns(
    ("dictionary", "string", "", "name of the dictionary whose features these are"),
    ("seed", "int32", "", "seed the dictionary was fitted with; -1 where there is none"),
    (
        "representation",
        "string",
        "",
        "what a feature is: dictionary, neurons, pca, random-directions, random-weights, composition, model",
    ),
)
LAYER = _columns(("layer", "string", "", "layer of the model the activations were read from"))
FEATURE = _columns(("feature", "int32", "", "0-based column of the codes; -1 where no feature is meant"))
TERM = _columns(("term", "string", "", "column of the labels"))
NOTE = _columns(("note", "string", "", "why numbers of this row are null or to be read with care"))

DETECTION = _columns(
    (
        "threshold",
        "float64",
        "raw code units",
        "a cell is active when its code is greater than this; cross-fitted: the median over the folds that chose it",
    ),
    ("n_cells", "int32", "cells", "positive cells of the term in the scored part"),
    ("n_instances", "int32", "instances", "instances of the term in the scored part"),
    ("prevalence", "float64", "fraction", "positive share of the known cells of the scored part"),
    ("precision", "float64", "fraction", "positive share of the active known cells of the scored part"),
    ("recall", "float64", "fraction", "active share of the positive cells of the scored part"),
    ("f1", "float64", "fraction", "harmonic mean of precision and recall"),
    ("f1_null", "float64", "fraction", "mean F1 over all circular shifts (cross-fitted: of each fold within itself)"),
    ("f1_lo", "float64", "fraction", "lower end of the 95 % delete-one-block jackknife interval"),
    ("f1_hi", "float64", "fraction", "upper end of that interval"),
    (
        "f1_select",
        "float64",
        "fraction",
        "F1 on train and valid, where the pair and threshold were chosen (cross-fitted: mean over folds)",
    ),
    ("f1_select_null", "float64", "fraction", "chance level of f1_select; pairs are ranked by f1_select above it"),
    ("instance_recall", "float64", "fraction", "instances with at least one active cell"),
    ("instance_recall_null", "float64", "fraction", "mean instance recall over evenly spaced circular shifts"),
    ("instance_f1", "float64", "fraction", "harmonic mean of precision and instance recall (InterPLM's domain F1)"),
    ("auroc", "float64", "fraction", "area under the ROC curve over the code's bins, ties counted half"),
    ("ap", "float64", "fraction", "average precision over the code's bins; its chance level is prevalence"),
    ("z", "float64", "sd", "(F1 − its shift mean) / its shift standard deviation; null when cross-fitted"),
    (
        "p",
        "float64",
        "",
        "share of all circular shifts, identity included, with F1 at least as large (cross-fitted: of folds, combined)",
    ),
    ("q", "float64", "", "Benjamini–Hochberg over the selected pairs"),
    ("q_by", "float64", "", "Benjamini–Yekutieli over the selected pairs"),
    ("n_tests", "int32", "pairs", "selected pairs that q and q_by correct for"),
    ("n_shifts", "int32", "shifts", "circular shifts of the null; p cannot be below 1 / n_shifts"),
    ("n_blocks", "int32", "blocks", "blocks of the scored part behind the interval"),
    (
        "split",
        "string",
        "",
        "the part the numbers come from: test, or cross-fitted (all blocks, each scored by a choice made without it)",
    ),
)
ENRICHMENT = _columns(
    ("log2_odds", "float64", "log2", "log2 odds ratio of active and positive, each count + 0.5"),
    ("se", "float64", "log2", "its delete-one-block jackknife standard error"),
    ("lo", "float64", "log2", "lower end of the 95 % interval"),
    ("hi", "float64", "log2", "upper end of the 95 % interval"),
)
FEATURES = _columns(
    ("density", "float64", "fraction", "share of the cells with a non-zero code"),
    ("mean_active", "float64", "raw code units", "mean of the non-zero codes"),
    ("max", "float64", "raw code units", "largest code"),
    ("p999", "float64", "raw code units", "99.9th percentile of the non-zero codes (of a hashed sample if many)"),
    ("dead", "bool", "", "never active on these rows"),
    ("best_term", "string", "", "term detection found for it, by F1 above its null"),
    ("best_f1", "float64", "fraction", "F1 with that term on test, or cross-fitted"),
    ("best_q", "float64", "", "q of that pair"),
)
READOUT = _columns(
    ("output", "string", "", "named output column of the model"),
    *[(c.name, c.dtype, c.unit, c.meaning) for c in TERM],
    ("n", "int32", "cells", "cells whose label is known"),
    ("n_cells", "int32", "cells", "positive cells"),
    ("prevalence", "float64", "fraction", "positive share of the known cells"),
    ("ap", "float64", "fraction", "average precision of the raw values; its chance level is prevalence"),
    ("ap_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("ap_hi", "float64", "fraction", "upper end of that interval"),
    ("auroc", "float64", "fraction", "area under the ROC curve of the raw values, ties counted half"),
    ("auroc_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("auroc_hi", "float64", "fraction", "upper end of that interval"),
    ("n_blocks", "int32", "blocks", "blocks behind the intervals"),
    ("split", "string", "", "the part the numbers come from"),
)
BLOCKS = _columns(
    ("block", "string", "", "block of the test rows (of all rows where the pair was cross-fitted)"),
    ("tp", "int32", "cells", "active positive cells"),
    ("fp", "int32", "cells", "active negative cells"),
    ("positives", "int32", "cells", "positive cells"),
    ("known", "int32", "cells", "cells whose label is known"),
    ("split", "string", "", "the part the counts come from: test, or cross-fitted"),
)
LAYERS = _columns(
    ("n_seeds", "int32", "seeds", "dictionaries behind the means; 1 for a baseline"),
    ("n_instances", "int32", "instances", "instances of the term in the part that was scored"),
    ("f1", "float64", "fraction", "mean over seeds of the F1 of the layer's best feature, chosen on train and valid"),
    ("f1_null", "float64", "fraction", "mean over seeds of its chance level"),
    ("above", "float64", "fraction", "mean over seeds of F1 above chance"),
    ("above_min", "float64", "fraction", "smallest over seeds"),
    ("above_max", "float64", "fraction", "largest over seeds"),
    ("select", "float64", "fraction", "mean over seeds of F1 above chance where the feature was chosen"),
    ("best", "bool", "", "the layer with the largest `select` of this representation and term: chosen without test"),
    ("split", "string", "", "the part f1 and above come from: test, or cross-fitted"),
)
COMPARISON = _columns(
    (
        "above",
        "float64",
        "fraction",
        "F1 above chance, on the scored part, of the best feature for the term (chosen on train and valid)",
    ),
    ("baseline", "string", "", "representation it is compared with"),
    ("baseline_layer", "string", "", "layer of the baseline's best feature, chosen in the same way"),
    ("baseline_feature", "int32", "", "that feature"),
    ("baseline_above", "float64", "fraction", "its F1 above chance on the same rows"),
    ("difference", "float64", "fraction", "above − baseline_above"),
    ("lo", "float64", "fraction", "lower end of the 95 % paired delete-one-block jackknife interval of the difference"),
    ("hi", "float64", "fraction", "upper end of that interval"),
    ("n_blocks", "int32", "blocks", "blocks behind the interval"),
    ("n_instances", "int32", "instances", "instances of the term in the scored part"),
    ("result", "string", "", "win (lo > 0), loss (hi < 0), open (the interval holds 0), none (no interval)"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted"),
)

# Tables of DESIGN §6 that later analyses fill (probing, association, confounding) are declared with them.
TABLES: dict[str, tuple[Column, ...]] = {
    "detection": (*SUBJECT, *LAYER, *FEATURE, *TERM, *DETECTION, *NOTE),
    "enrichment": (*SUBJECT, *LAYER, *FEATURE, *TERM, *ENRICHMENT, *NOTE),
    "features": (*SUBJECT, *LAYER, *FEATURE, *FEATURES),
    "readout": (*SUBJECT, *LAYER, *READOUT, *NOTE),
    "blocks": (*SUBJECT, *LAYER, *FEATURE, *TERM, *BLOCKS),
    "layers": (*SUBJECT, *LAYER, *TERM, *LAYERS, *NOTE),
    "comparison": (*SUBJECT, *LAYER, *FEATURE, *TERM, *COMPARISON, *NOTE),
}
_NUMPY = {"float64": "float64", "int32": "int32", "bool": "bool", "string": "object"}


def columns(name: str) -> tuple[Column, ...]:
    """The declared columns of a table, in order."""
    if name not in TABLES:
        raise InputError(f"there is no table {name!r}; {nearest(name, TABLES)}")
    return TABLES[name]


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

        table = pq.read_table(path)  # type: ignore[no-untyped-call]
        said = json.loads((table.schema.metadata or {}).get(b"bioterp", b"{}"))
        frame = table.to_pandas()
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
