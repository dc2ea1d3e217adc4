"""Sample sheets: outcomes and covariates of people or scans as labels of rows.

A column of categories gives one term per category (`site=Guys`; of 0/1, yes/no and true/false columns one term, called
as the column), a column of numbers gives numbers. Every row of an item has its item's label; what the sheet does not
tell is unknown. Terms and numbers do not go into one Field.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations.masks import capped
from bioterp.arrays import Array
from bioterp.errors import InputError, masked, nearest, shown
from bioterp.field import Field
from bioterp.imaging.sheet import read_table
from bioterp.rows import Rows
from bioterp.values import UNKNOWN, Intervals

MISSING = ("", "na", "n/a", "nan", "null", "none", ".")
YES = ("1", "1.0", "yes", "true")
NO = ("0", "0.0", "no", "false")
KEYS = ("sample", "scan", "item", "subject", "id")
MANY = 50


def label_records(
    rows: Rows,
    source: str | Path | pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    key: str | None = None,
    name: str | None = None,
) -> Field:
    """Columns of a sheet on rows.

    source: a TSV, CSV or DataFrame with a line per sample; columns: those wanted, all terms or all numbers (default:
    all columns of categories); categorical: columns of numbers that are codes and no measures (scanner 1, 2, 3);
    key: the sheet's column that names what the rows' items call the same (default: the first of sample, scan, item,
    subject, id that both have, `scan` and `id` being the items' sample).
    """
    table: pd.DataFrame = source if isinstance(source, pd.DataFrame) else read_table(_there(Path(source)))
    title = name or ("table" if isinstance(source, pd.DataFrame) else str(source))
    line, warnings, theirs = _lines(rows, table, key, title)
    for column in [*(columns or ()), *categorical]:
        if column not in table.columns:
            raise InputError(f"{title} has no column {column!r}; {nearest(column, table.columns)}")
    kinds = {str(c): "terms" if c in categorical else kind_of(table[c]) for c in table.columns if c != theirs}
    chosen = [c for c, kind in kinds.items() if kind == "terms"] if columns is None else [str(c) for c in columns]
    numbers = [c for c in chosen if kinds.get(c) == "numbers"]
    if not chosen:
        raise InputError(f"{title} has no column of categories; name columns of numbers with columns=")
    if numbers and len(numbers) < len(chosen):
        other = next(c for c in chosen if c not in numbers)
        raise InputError(
            f"{numbers[0]!r} holds numbers and {other!r} categories; label them apart, or name {numbers[0]!r} in "
            "categorical="
        )
    about = {"source": Path(title).name, "format": "records", "warnings": warnings}
    if numbers:
        return _numbers(rows, table, numbers, line, about)
    return _terms(rows, table, chosen, line, about, columns is None)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"there is no sheet {path}")
    return path


def plain_text(values: pd.Series) -> pd.Series:
    """Text without blanks, missing as None."""
    text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    return text.where(~text.str.lower().isin(MISSING), None)


def kind_of(values: pd.Series) -> str:
    """'numbers' where every value is one and not all are 0 or 1; else 'terms'."""
    text = plain_text(values).dropna()
    if not len(text):
        return "terms"
    numbers = pd.to_numeric(text, errors="coerce")
    return "terms" if numbers.isna().any() or set(numbers) <= {0.0, 1.0} else "numbers"


def _lines(rows: Rows, table: pd.DataFrame, key: str | None, title: str) -> tuple[Array, list[str], str]:
    """(items,) the sheet's line of each item, −1 where it has none; what to say; the sheet's key column."""
    if key is not None and key not in table.columns:
        raise InputError(f"{title} has no column {key!r} (key=); {nearest(key, table.columns)}")
    theirs = key or next((name for name in KEYS if name in table.columns), None)
    if theirs is None:
        raise InputError(f"{title} has no column {', '.join(KEYS[:-1])} or {KEYS[-1]} of sample names; pass key=")
    told = shown if rows.ndim == 3 else masked  # ids of people do not go into messages, those of scans may
    ours = theirs if theirs in rows.items.columns else "sample"
    names = table[theirs].astype(str).str.strip()
    twice = names.duplicated()
    if twice.any():
        raise InputError(
            f"{title} has two lines for {told(names[twice].iloc[0])} (line {int(twice.argmax()) + 2}) in the column "
            f"{theirs!r}"
        )
    items = rows.items[ours].astype(str)
    line = pd.Index(names).get_indexer(items)
    if len(items) and (line < 0).all():
        raise InputError(
            f"{title} knows none of the {items.nunique()} {ours}s of the rows: it has names such as "
            f"{', '.join(map(told, names[:3]))}, the rows {', '.join(map(told, items[:3]))}"
        )
    gone = list(dict.fromkeys(items[line < 0]))
    if told is masked:
        return line, [f"{len(gone)} of the rows' {ours}s are not in {title}: unknown"] if gone else [], theirs
    return line, capped([f"{ours} {name!r} is not in {title}: unknown" for name in gone]), theirs


def _numbers(rows: Rows, table: pd.DataFrame, columns: list[str], line: Array, about: dict[str, Any]) -> Field:
    values = np.full((len(rows.items), len(columns)), np.nan, np.float32)
    for at, column in enumerate(columns):
        told = pd.to_numeric(plain_text(table[column]), errors="coerce").to_numpy(np.float64)
        values[:, at] = np.where(line >= 0, told[line], np.nan)
    frame = pd.DataFrame({"name": columns, "strand": "both", "source": about["source"], "n_instances": 0})
    return Field(rows, np.repeat(values, np.diff(rows.offsets), axis=0), frame, "label", about)


def _terms(
    rows: Rows, table: pd.DataFrame, columns: list[str], line: Array, about: dict[str, Any], lenient: bool
) -> Field:
    """One term per category; an item that has it is an instance."""
    names: list[str] = []
    parts: list[tuple[int, Array, Array]] = []  # term, items that have it, items of which it is unknown
    for column in columns:
        text = plain_text(table[column])
        told = np.where(line >= 0, text.to_numpy(object)[line], None)
        levels = sorted({str(v) for v in told if v is not None})
        if not levels:
            about["warnings"].append(f"the column {column!r} tells nothing about these rows and is left out")
            continue
        binary = all(level.lower() in (*YES, *NO) for level in levels)
        if not binary and len(levels) > MANY and lenient:
            about["warnings"].append(f"the column {column!r} has {len(levels)} different values and is left out")
            continue
        unknown = np.flatnonzero([v is None for v in told])
        for level in [None] if binary else levels:
            have = [v is not None and (str(v).lower() in YES if level is None else str(v) == level) for v in told]
            parts.append((len(names), np.flatnonzero(have), unknown))
            names.append(column if level is None else f"{column}={level}")
    if not names:
        raise InputError(f"no column of {about['source']} tells anything about these rows")
    start, stop = rows.offsets[:-1], rows.offsets[1:]
    term = np.concatenate([np.full(len(a) + len(b), t) for t, a, b in parts])
    item = np.concatenate([np.r_[b, a] for _, a, b in parts]).astype(np.int64)
    number = np.concatenate([np.r_[np.full(len(b), UNKNOWN), np.arange(1, len(a) + 1)] for _, a, b in parts])
    yes = number > 0
    tables = pd.DataFrame(
        {
            "term": term[yes].astype(np.int32),
            "instance": number[yes].astype(np.int32),
            "name": rows.items["item"].astype(str).to_numpy()[item[yes]],
            "contig": rows.items["sample"].astype(str).to_numpy()[item[yes]],
            "start": start[item[yes]],
            "end": stop[item[yes]],
            "strand": ".",
            "block": rows.items["block"].to_numpy()[item[yes]],
        }
    )
    values = Intervals.of(term, number, start[item], stop[item], len(rows), len(names), tables)
    counts = [len(a) for _, a, _ in parts]
    frame = pd.DataFrame({"name": names, "strand": "both", "source": about["source"], "n_instances": counts})
    return Field(rows, values, frame, "label", about)
