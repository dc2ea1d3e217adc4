"""A table of coordinates as Rows: which bases each row of someone else's activations stands for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.doors import open_text, parquet_of
from bioterp.errors import AlignmentError, InputError, nearest, one_line
from bioterp.grid import Grid, Space
from bioterp.rows import SPLITS, Rows, split_of

ALIASES = {"#contig": "contig", "chrom": "contig", "#chrom": "contig", "chr": "contig", "chromosome": "contig",
           "seqname": "contig", "seqid": "contig"}  # fmt: skip
TEXT = ("contig", "strand", "item", "sample", "block", "split")


def read_coordinates(coordinates: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The table with contig, start, end (int64), strand ('+' where not told) and whether it was told, checked."""
    if isinstance(coordinates, pd.DataFrame):
        table, name = coordinates.reset_index(drop=True), "the coordinate table"
    else:
        table, name = _read(Path(coordinates)), str(coordinates)
    table = table.rename(columns={column: ALIASES.get(str(column).lower(), column) for column in table.columns})
    for wanted in ("contig", "start", "end"):
        if wanted not in table.columns:
            raise InputError(f"{name} has no column {wanted!r}; {nearest(wanted, map(str, table.columns))}")
    if not len(table):
        raise InputError(f"{name} has no lines")
    for column in ("start", "end", "step"):
        if column in table.columns:
            table[column] = _whole(table[column], name)
    for column in TEXT:
        if column in table.columns:
            if table[column].isna().any():
                raise InputError(f"{name}, line {int(table[column].isna().argmax()) + 1}: {column} is missing")
            table[column] = table[column].astype(str)
    table["stranded"] = "strand" in table.columns and bool((table["strand"] != ".").any())
    if "strand" not in table.columns:
        table["strand"] = "+"
    table["strand"] = table["strand"].replace({".": "+", "1": "+", "-1": "-"})
    bad = ~table["strand"].isin(["+", "-"]) | (table["start"] > table["end"])
    if "step" in table.columns:
        bad |= table["step"] < 1
    if bad.any():
        line = table[bad].iloc[0]
        raise InputError(
            f"{name}, line {int(bad.argmax()) + 1}: {line['contig']}:{line['start']}-{line['end']} "
            f"({line['strand']}) cannot be used; wanted start ≤ end, strand + or -, step ≥ 1"
        )
    return table


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    ends = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
    try:
        if ".parquet" in ends:
            return parquet_of(path)
        return pd.read_csv(path, sep="," if ".csv" in ends else "\t", dtype=dict.fromkeys(TEXT, str))
    except InputError:
        raise
    except (
        pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError, EOFError, zlib.error, OverflowError,
    ) as error:  # fmt: skip
        raise InputError(f"{path} cannot be read as a table of coordinates: {one_line(error)}") from None


def _whole(values: pd.Series, name: str) -> Array:
    numbers = pd.to_numeric(values, errors="coerce")
    bad = ~(numbers.abs() < 2**53) | (numbers % 1 != 0)
    if bad.any():
        at = int(bad.argmax())
        what = "is missing" if values.isna().iloc[at] else f"is {str(values.iloc[at])[:40]!r}"
        raise InputError(f"{name}, line {at + 1}: {values.name} {what}; wanted a whole number")
    return np.asarray(numbers, np.int64)


def read_lengths(lengths: str | Path | Mapping[str, int] | None) -> dict[str, int]:
    """contig → bp from a mapping or from a file whose first two columns say so (.fai, chrom.sizes)."""
    if lengths is None or isinstance(lengths, Mapping):
        return {str(name): int(length) for name, length in (lengths or {}).items()}
    try:
        with open_text(Path(lengths)) as handle:
            table = pd.read_csv(handle, sep="\t", header=None, usecols=[0, 1], dtype={0: str, 1: np.int64})
    except (ValueError, OSError, OverflowError, EOFError, zlib.error) as error:
        raise InputError(f"{lengths} is not a file of contig names and lengths: {one_line(error)}") from None
    return dict(zip(table[0], table[1].astype(int), strict=True))


def rows_of(
    table: pd.DataFrame,
    n: int,
    block: int,
    seed: int,
    sample: str,
    lengths: Mapping[str, int],
    circular: frozenset[str],
) -> Rows:
    """Rows for n rows of activations; see `import_activations` for what the table may say.

    An item is cut where its block, split, sample, contig or strand changes, so that no item is divided
    between splits.
    """
    line, start, end = _cells(table, n)
    for name in circular - set(table["contig"]):
        raise InputError(f"the circular contig {name!r} has no rows; {nearest(name, table['contig'].unique())}")
    spaces = {name: Space(name, "bp", lengths.get(name), name in circular) for name in table["contig"].unique()}
    _check_ends(table, spaces)
    frame = pd.DataFrame({name: table[name].to_numpy()[line] for name in TEXT if name in table.columns})
    if "sample" not in frame.columns:
        frame["sample"] = sample
    if "block" not in frame.columns:
        frame["block"] = frame["contig"] + ":" + pd.Series((start + end) // 2 // block).astype(str)
    if "split" not in frame.columns:
        frame["split"] = frame["block"].map({name: split_of(name, seed) for name in frame["block"].unique()})
    _check_splits(frame)
    return _items(frame, start, end, spaces, bool(table["stranded"].all()))


def _cells(table: pd.DataFrame, n: int) -> tuple[Array, Array, Array]:
    """(n,) line, start and end of each row."""
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    if "step" not in table.columns:
        if len(table) != n:
            raise InputError(
                f"the activations have {n} rows and the coordinate table has {len(table)} lines; give one line per "
                "row, or one line per item with a column 'step' (bases from one row to the next)"
            )
        return np.arange(n), start, end
    step = table["step"].to_numpy()
    counts = -(-(end - start) // step)
    if counts.sum() != n:
        raise InputError(
            f"the activations have {n} rows and the coordinate table's items make {counts.sum()}; check step, special "
            "tokens and padding"
        )
    line = np.repeat(np.arange(len(table)), counts)
    within = (np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)) * step[line]
    minus = (table["strand"] == "-").to_numpy()[line]
    lo = np.where(minus, np.maximum(end[line] - within - step[line], start[line]), start[line] + within)
    hi = np.where(minus, end[line] - within, np.minimum(start[line] + within + step[line], end[line]))
    return line, lo, hi


def _check_ends(table: pd.DataFrame, spaces: Mapping[str, Space]) -> None:
    length = table["contig"].map({name: np.inf if s.length is None else s.length for name, s in spaces.items()})
    around = table["contig"].isin([name for name, space in spaces.items() if space.circular])
    bad = (table["start"] < 0) | (~around & (table["end"] > length))
    if bad.any():
        line = table[bad].iloc[0]
        size = length[bad].iloc[0]
        where = f"outside the contig (0 to {size:.0f})" if np.isfinite(size) else "before the contig's first base"
        raise InputError(
            f"the coordinate table has {line['contig']}:{line['start']}-{line['end']}, {where}; "
            "another assembly, 1-based coordinates, or a circular contig?"
        )


def _check_splits(frame: pd.DataFrame) -> None:
    unknown = set(frame["split"].unique()) - set(SPLITS)
    if unknown:
        raise InputError(f"split {sorted(unknown)[0]!r} in the coordinate table; wanted one of {', '.join(SPLITS)}")
    pairs = frame[["block", "split"]].drop_duplicates()
    twice = pairs["block"].duplicated()
    if twice.any():
        name = pairs.loc[twice, "block"].iloc[0]
        both = " and ".join(pairs.loc[pairs["block"] == name, "split"])
        raise InputError(f"block {name!r} has rows in {both}; a block is never divided: give columns block and split")


def _items(frame: pd.DataFrame, start: Array, end: Array, spaces: Mapping[str, Space], stranded: bool) -> Rows:
    minus = (frame["strand"] == "-").to_numpy()
    changed = np.ones(len(frame), bool)
    keys = frame.apply(lambda column: pd.factorize(column)[0]).to_numpy()
    changed[1:] = (keys[1:] != keys[:-1]).any(1)
    # Minus rows may be listed downwards, as the strand is read, or upwards.
    down = minus & (np.diff(start, prepend=start[:1])[minus & ~changed].sum() < 0)
    back = np.zeros(len(frame), bool)
    back[1:] = np.where(down[1:], end[1:] > start[:-1], start[1:] < end[:-1]) & ~changed[1:]
    if "item" not in frame.columns:
        changed |= back  # another window begins
    elif back.any():
        at = int(back.argmax())
        raise AlignmentError(
            f"item {frame['item'].iloc[at]!r}: row {at} ({start[at]}-{end[at]}) lies behind or over the row before it; "
            "the rows of an item must follow each other"
        )
    first = np.flatnonzero(changed)
    last = np.append(first[1:], len(frame))
    grids = [
        _grid(spaces[frame["contig"].iloc[lo]], start[lo:hi], end[lo:hi], bool(minus[lo]))
        for lo, hi in zip(first, last, strict=True)
    ]
    items = frame.iloc[first].reset_index(drop=True)
    if "item" not in items.columns:
        place = zip(grids, items["strand"], strict=True)
        items["item"] = [f"{g.space.name}:{g.bounds.min()}-{g.bounds.max()}:{strand}" for g, strand in place]
    again = items.groupby("item").cumcount()
    items["item"] = items["item"].where(again == 0, items["item"] + "/" + again.astype(str))
    items["strand"] = [grid.strand for grid in grids]
    told = ["item", "sample", "block", "split", *(["strand"] if stranded else [])]
    return Rows.from_grids(items[told], grids)


def _grid(space: Space, start: Array, end: Array, minus: bool) -> Grid:
    """Regular where every cell has the same width and touches the next, else by bounds."""
    width = end - start
    step = -int(width[0]) if minus else int(width[0])
    if width[0] > 0 and (width == width[0]).all() and (np.diff(start) == step).all():
        at = int(end[0]) if minus else int(start[0])
        return Grid(space, (len(start),), [[step, at], [0, 1]])
    return Grid(space, (len(start),), bounds=np.stack([start, end], 1), step=-1 if minus else 1)
