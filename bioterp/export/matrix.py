"""AnnData of blocks, regions, scans or cells × features, for scanpy and friends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.arrays import Array
from bioterp.doors import text_lines
from bioterp.errors import InputError
from bioterp.export import stems
from bioterp.export.tracks import dense
from bioterp.export.var import best_rows
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.store import provenance, writing_file
from bioterp.values import Intervals

BATCH = 32_768
OBSERVATIONS = ("blocks", "scans", "cells")
MOST_CELLS = 200_000  # more cells than this become observations only when asked for


@dataclass(frozen=True)
class Members:
    """Which cells of a batch belong to an observation, and how much of each: row (n,), weight (n,) bp."""

    observation: int
    row: Array
    weight: Array


def write_h5ad(
    field: Field,
    columns: Sequence[int],
    file: Path,
    *,
    table: pd.DataFrame | None = None,
    regions: str | Path | pd.DataFrame | None = None,
    observations: str | None = None,
) -> Path:
    """X = mean activation (cells weighed by bp or mm³); layers `max` and `fraction_active`; uns['bioterp'] says how."""
    import anndata

    kind = kind_of_observations(field.rows, observations, regions is not None)
    var = _var(field, columns, table)
    if kind == "cells":
        from bioterp.export.cells import of_cells

        data, told = of_cells(field, columns, var)
        return _write(field, data, told, kind, file)
    index: Any
    if regions is not None:
        index = obs = read_regions(regions)
    else:
        obs, index = groups(field.rows, "sample" if kind == "scans" else "block", kind.removesuffix("s"))
    mean, top, active = _summarise(field, columns, len(obs), index)
    data = anndata.AnnData(scipy.sparse.csr_matrix(mean), obs=obs, var=var)
    data.layers["max"] = scipy.sparse.csr_matrix(top)
    data.layers["fraction_active"] = scipy.sparse.csr_matrix(active)
    told = {
        "X": "mean activation of the cells of an observation, weighed by their size",
        "max": "largest activation of the observation's cells",
        "fraction_active": "share of the observation, by size, with activation above 0",
    }
    return _write(field, data, told, kind, file)


def _write(field: Field, data: Any, told: dict[str, str], kind: str, file: Path) -> Path:
    data.uns["bioterp"] = told | {
        "observations": kind,
        "rows": field.rows.id,
        "kind": field.kind,
        "about": json.dumps(field.about, default=str),
        "made_by": json.dumps(provenance()),
    }
    with writing_file(file) as beside:
        data.write_h5ad(beside)
    return file


def kind_of_observations(rows: Rows, asked: str | None, regions: bool) -> str:
    """'regions', 'blocks', 'scans' or 'cells': what was asked for, or what fits these rows."""
    if asked is not None and (asked not in OBSERVATIONS or regions):
        also = "; regions are observations already" if regions else ""
        raise InputError(f"the observations of an h5ad are {', '.join(OBSERVATIONS)}; got {asked!r}{also}")
    if regions or asked:
        return asked or "regions"
    if rows.ndim != 3:
        return "blocks"
    single = rows.items["sample"].nunique() == 1 and len(rows) <= MOST_CELLS
    return "cells" if single else "scans"


def groups(rows: Rows, key: str, name_of_key: str) -> tuple[pd.DataFrame, Array]:
    """obs, one line per value of a column in order of appearance, and (items,) the line of each item."""
    number, names = pd.factorize(rows.items[key].astype(str))
    items = rows.items.assign(n_cells=np.diff(rows.offsets))
    if rows.ndim == 1:
        start, end, _ = rows.extents()
        contig = np.array([space.name for space in rows.spaces], object)[rows.space_code]
        items = items.assign(contig=contig, start=start, end=end)
    grouped = items.groupby(number, sort=True)
    obs = pd.DataFrame({name_of_key: names})
    for name in items.columns:
        if name in ("item", key, name_of_key, "start", "end", "n_cells", "native"):
            continue
        if grouped[name].nunique(dropna=False).max() == 1:  # what it shares: split, sample, covariates
            obs[name] = grouped[name].first().to_numpy()
    if "contig" in obs.columns:
        obs["start"], obs["end"] = grouped["start"].min().to_numpy(), grouped["end"].max().to_numpy()
    obs["n_cells"] = grouped["n_cells"].sum().to_numpy()
    obs.index = pd.Index(names.astype(str))
    return _plain(obs), number


def read_regions(regions: str | Path | pd.DataFrame) -> pd.DataFrame:
    """contig, start, end[, name, score, strand] of a BED file or a DataFrame, one observation per line."""
    if isinstance(regions, pd.DataFrame):
        table = regions.rename(columns={"chrom": "contig"})
    else:
        table = _read_bed(Path(regions))
    missing = [name for name in ("contig", "start", "end") if name not in table.columns]
    if missing or not len(table):
        raise InputError("regions need contig, start and end in every line (tab-separated BED, 0-based, half-open)")
    try:
        table = table.astype({"start": np.int64, "end": np.int64, "contig": str}).reset_index(drop=True)
    except (ValueError, TypeError):
        raise InputError("the start and end of regions must be whole numbers") from None
    if (table["start"] >= table["end"]).any():
        line = table[table["start"] >= table["end"]].iloc[0]
        raise InputError(f"region {line['contig']}:{line['start']}-{line['end']} is empty; wanted start < end")
    place = table["contig"] + ":" + table["start"].astype(str) + "-" + table["end"].astype(str)
    name = table["name"].astype(str) if "name" in table.columns else place
    table.index = pd.Index(np.where(name.duplicated(keep=False), place + "." + table.index.astype(str), name))
    return _plain(table)


def _read_bed(path: Path) -> pd.DataFrame:
    lines = [line for _, line in text_lines(path) if line.strip()]
    told = [line.split("\t", 6) for line in lines if not line.startswith(("#", "track", "browser"))]
    width = min((len(fields) for fields in told), default=0)
    names = ["contig", "start", "end", "name", "score", "strand"][:width]
    return pd.DataFrame([fields[: len(names)] for fields in told], columns=names)


def _summarise(field: Field, columns: Sequence[int], n: int, index: Any) -> tuple[Array, Array, Array]:
    """Mean, max and active share, each (n, k) float32, in one pass; an observation without cells is 0."""
    total, active = np.zeros((n, len(columns))), np.zeros((n, len(columns)))
    top = np.full((n, len(columns)), -np.inf, np.float32)
    size = np.zeros((n, 1))
    for lo, hi, block in field.batches(BATCH):
        keep = _columns(block, columns)
        found = _of_regions(field.rows, lo, hi, index) if isinstance(index, pd.DataFrame) else None
        for members in found if found is not None else _of_blocks(field.rows, lo, hi, index):
            i, part = members.observation, keep[members.row]
            total[i] += members.weight @ part
            active[i] += members.weight @ (part > 0)
            largest = part.max(axis=0)
            top[i] = np.maximum(top[i], np.asarray(largest.todense() if hasattr(largest, "todense") else largest))
            size[i] += members.weight.sum()
    top[np.isneginf(top)] = 0
    size[size == 0] = 1
    return (total / size).astype(np.float32), top, (active / size).astype(np.float32)


def _columns(block: Any, columns: Sequence[int]) -> Any:
    """The chosen columns, CSR kept as CSR; an unknown label counts as 0."""
    if scipy.sparse.issparse(block):
        return block[:, list(columns)]
    return np.nan_to_num(dense(block, columns)) if isinstance(block, Intervals) else dense(block, columns)


def _of_blocks(rows: Rows, lo: int, hi: int, block_of_item: Array) -> Iterator[Members]:
    """The cells lo:hi by the block of their item."""
    first = int(np.searchsorted(rows.offsets, lo, side="right")) - 1
    last = int(np.searchsorted(rows.offsets, hi, side="left"))
    cut = np.clip(rows.offsets[first : last + 1], lo, hi) - lo
    item = np.repeat(np.arange(first, last), np.diff(cut))
    weight = _sizes(rows, lo, hi, item)
    block = block_of_item[item]
    order = np.argsort(block, kind="stable")
    edges = np.flatnonzero(np.diff(block[order])) + 1
    for row in np.split(order, edges):
        yield Members(int(block[row[0]]), row, weight[row])


def _sizes(rows: Rows, lo: int, hi: int, item: Array) -> Array:
    """(n,) how much each cell covers: bp in one dimension, the cell's volume in more, 1 without a lattice."""
    if rows.ndim == 1:
        _, start, end = rows.cells(lo, hi)
        return np.asarray(end - start, np.float64)
    return np.abs(np.linalg.det(rows.affines[item][:, :-1, :-1])) if rows.ndim else np.ones(hi - lo)


def _of_regions(rows: Rows, lo: int, hi: int, regions: pd.DataFrame) -> Iterator[Members]:
    """The cells lo:hi by the regions they overlap, weighed by the overlap; a region's strand restricts it."""
    if rows.ndim != 1:
        raise InputError(f"regions need rows along a sequence; these rows have {rows.ndim} axes")
    item, start, end = rows.cells(lo, hi)
    space = rows.space_code[item]
    minus = rows.affines[item, 0, 0] < 0
    stranded = regions["strand"].to_numpy() if "strand" in regions.columns else np.full(len(regions), ".")
    first, stop, contig = (regions[name].to_numpy() for name in ("start", "end", "contig"))
    for code in np.unique(space):
        here = np.flatnonzero(space == code)
        a, b = start[here], end[here]
        of = rows.spaces[code]
        if of.circular and of.length:
            turn = (a + b) // 2 // of.length * of.length
            a, b = a - turn, b - turn
        for i in np.flatnonzero((contig == of.name) & (first < b.max()) & (stop > a.min())):
            overlap = np.minimum(b, stop[i]) - np.maximum(a, first[i])
            right = np.ones(len(a), bool) if stranded[i] not in ("+", "-") else minus[here] == (stranded[i] == "-")
            hit = np.flatnonzero((overlap > 0) & right)
            if len(hit):
                yield Members(int(i), here[hit], overlap[hit].astype(np.float64))


def _var(field: Field, columns: Sequence[int], table: pd.DataFrame | None) -> pd.DataFrame:
    """One line per feature: its number, what the field's columns say, and what the table says of it."""
    var = field.columns.iloc[list(columns)].reset_index(drop=True)
    var["feature"] = np.asarray(columns, np.int32)
    if table is not None:
        best = best_rows(field, table)
        var = var.merge(best, on="feature", how="left", suffixes=("_column", ""))
    var.index = pd.Index(stems(field, columns))
    return _plain(var)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns HDF5 can hold: numbers, booleans and strings (what is missing becomes NaN or '')."""
    frame = frame.rename(columns={name: str(name).replace("/", "_") for name in frame.columns})
    for name in frame.columns:
        kind = frame[name].dtype
        if kind.kind == "O" or isinstance(kind, pd.StringDtype):
            frame[name] = frame[name].where(frame[name].notna(), "").astype(str).astype(object)
    return frame
