"""From a feature table and Rows to a label Field: strands, regions of knowledge, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations.features import Contig
from bioterp.annotations.lattice import Lattice
from bioterp.annotations.paint import Targets, merge, paint
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import Intervals

STRANDS = ("separate", "sense", "ignore")


def label_intervals(
    rows: Rows,
    table: pd.DataFrame,
    contigs: Mapping[str, Contig],
    absent: list[str],
    *,
    strand: str = "separate",
    within: pd.DataFrame | None = None,
    source: str = "",
    about: dict[str, Any] | None = None,
) -> Field:
    """Terms (contig, start, end, strand, term, name, frame, pick) on rows.

    absent: contigs on which every label is unknown; within: regions (contig, start, end, strand) outside
    of which it is too.
    """
    if strand not in STRANDS:
        raise InputError(f"strand is one of {', '.join(STRANDS)}; got {strand!r}")
    lattice = Lattice(rows)
    code = {space.name: i for i, space in enumerate(rows.spaces)}
    table = _clip_linear(table[table["contig"].isin(code)], contigs)
    categories = list(table["term"].cat.categories)
    both = bool(lattice.minus.any() and not lattice.minus.all())
    stranded = table.assign(has=table["strand"] != ".").groupby("term", observed=False)["has"].any()
    columns: list[tuple[str, str]] = []
    start_of: dict[str, int] = {}
    for term in categories:
        start_of[term] = len(columns)
        own = bool(stranded[term]) and strand != "ignore"
        columns.append((term, "sense" if own else "both"))
        if own and both and strand == "separate":
            columns.append((f"{term}@antisense", "antisense"))
    targets = _targets(table, code, start_of, dict(columns), lattice)
    circles = np.array(
        [(contigs[s.name].length or 0) if contigs[s.name].circular else 0 for s in rows.spaces], np.int64
    )
    known = known_rows(lattice, code, absent, within, circles)
    values = paint(lattice, targets, table, len(columns), circles, known)
    counts = values.instances["term"].value_counts().reindex(range(len(columns)), fill_value=0)
    frame = pd.DataFrame(columns, columns=["name", "strand"])
    frame["source"], frame["n_instances"] = source, counts.to_numpy(np.int64)
    return Field(rows, values, frame, "label", about or {})


def label_scans(
    rows: Rows, source: Any, *, density: bool, column: str, made_by: str, name: str | None, **options: Any
) -> Field:
    """Label volumes, or maps as numbers, on three-dimensional rows."""
    if density and options["threshold"] is None:
        from bioterp.annotations.densities import label_density

        return label_density(rows, source, column=column, name=name, made_by=made_by)
    from bioterp.annotations.masks import label_masks

    return label_masks(rows, source, column=column, name=name, made_by=made_by, **options)


def _clip_linear(table: pd.DataFrame, contigs: Mapping[str, Contig]) -> pd.DataFrame:
    """Derived windows cut at the ends of linear contigs."""
    line = {name: c.length for name, c in contigs.items() if not c.circular}
    top = table["contig"].map({n: np.inf if v is None else v for n, v in line.items()}).fillna(np.inf)
    floor = np.where(table["contig"].isin(line), 0, -(1 << 39))
    # end first: `top` is infinite where no length is known.
    end = np.where(np.isfinite(top), np.minimum(table["end"], top), table["end"]).astype(np.int64)
    start = np.maximum(table["start"].to_numpy(), floor)
    return table.assign(start=start, end=end)[end > start].reset_index(drop=True)


def _targets(
    table: pd.DataFrame, code: dict[str, int], start_of: dict[str, int], kinds: dict[str, str], lattice: Lattice
) -> Targets:
    """Every term's intervals, once per strand of rows they are painted on."""
    at = np.arange(len(table))
    contig = table["contig"].map(code).to_numpy(np.int64)
    column = table["term"].astype(str).map(start_of).to_numpy(np.int64)
    strand = table["strand"].to_numpy(str)
    free = (strand == ".") | (table["term"].astype(str).map(kinds) == "both").to_numpy()
    anti = (table["term"].astype(str) + "@antisense").isin(kinds).to_numpy()
    parts = []
    for minus in (0, 1):
        if not (lattice.minus == bool(minus)).any():
            continue
        sense = free | ((strand == "-") == bool(minus))
        for use, shift in ((np.flatnonzero(sense), 0), (np.flatnonzero(~sense & anti), 1)):
            parts.append((column[use] + shift, contig[use] * 2 + minus, at[use]))
    col, group, source = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (at[:0],) * 3
    order = np.lexsort((source, col))
    col, group, source = col[order], group[order], source[order]
    numbers = {name: table[name].to_numpy(np.int64)[source] for name in ("start", "end", "frame", "pick")}
    plus = (strand != "-")[source]
    return Targets(col, group, numbers["start"], numbers["end"], plus, numbers["frame"], numbers["pick"], source)


def known_rows(
    lattice: Lattice, code: dict[str, int], absent: list[str], within: pd.DataFrame | None, circles: Array
) -> Array | None:
    """(k, 2) runs of rows whose labels are known; None when all are."""
    rows = lattice.rows
    if within is None and not absent:
        return None
    gone = np.array([code[name] for name in absent], np.int64)
    if within is None:
        use = np.flatnonzero(~np.isin(rows.space_code, gone) & (lattice.cells > 0))
        start, stop = rows.offsets[:-1][use], rows.offsets[1:][use]
    else:
        regions = within[within["contig"].isin(code) & ~within["contig"].isin(absent)]
        if not len(regions):
            raise InputError("within= has no region on any contig of the rows that the annotation speaks of")
        contig = regions["contig"].map(code).to_numpy(np.int64)
        strand = regions["strand"].to_numpy(str) if "strand" in regions else np.full(len(regions), ".")
        low, high = regions["start"].to_numpy(np.int64), regions["end"].to_numpy(np.int64)
        groups, lows, highs = [], [], []
        for minus, other in ((0, "-"), (1, "+")):
            for turn in (-1, 0, 1):
                size = circles[contig]
                use = (strand != other) & ((size > 0) | (turn == 0))
                groups.append(contig[use] * 2 + minus)
                lows.append((low + turn * size)[use])
                highs.append((high + turn * size)[use])
        group, low, high = np.concatenate(groups), np.concatenate(lows), np.concatenate(highs)
        group, low, high = merge(group, low, high)  # touching regions must not leave a cell half in each
        hits = lattice.touch(group, low, high)
        yes = hits.cover >= 0.5
        first, last = hits.first + ~yes[:, 0], hits.last - ~yes[:, 1]
        keep = last > first
        start, stop = lattice.to_rows(hits.item[keep], first[keep], last[keep])
    _, start, stop = merge(np.zeros(len(start), np.int64), start, stop)
    return np.stack([start, stop], 1)


def join_fields(fields: Sequence[Field]) -> Field:
    """See `bioterp.annotations.join`."""
    if not fields:
        raise InputError("join needs at least one label Field")
    frames, seen = [], set[str]()
    for field in fields:
        if field.kind != "label":
            raise InputError(f"join takes label Fields; got one of kind {field.kind!r}")
        fields[0].check_same_rows(field)
        frame = field.columns.copy()
        prefix = [str(s).split("/")[-1].split(".")[0] for s in frame["source"]]
        frame["name"] = [f"{p}:{n}" if n in seen else n for p, n in zip(prefix, frame["name"], strict=True)]
        twice = [n for n in frame["name"] if n in seen]
        if twice:
            raise InputError(f"two sources both give the column {twice[0]!r}; pass name= to label to tell them apart")
        seen.update(frame["name"])
        frames.append(frame)
    columns = pd.concat(frames, ignore_index=True)
    if "made_by" in columns:
        columns["made_by"] = columns["made_by"].fillna("")
    about = {
        "source": ", ".join(str(f.about.get("source", "")) for f in fields),
        "warnings": [w for f in fields for w in f.about.get("warnings", [])],
    }
    parts = [field.values for field in fields]
    if all(isinstance(part, np.ndarray) for part in parts):
        return Field(fields[0].rows, np.concatenate(parts, 1), columns, "label", about)
    if not all(isinstance(part, Intervals) for part in parts):
        raise InputError("intervals and numbers (bigWig) cannot be columns of one Field; keep them apart")
    shift = np.cumsum([0, *(part.columns for part in parts)])
    tables = [
        p.instances.assign(term=p.instances["term"] + s) for p, s in zip(parts, shift, strict=False) if len(p.instances)
    ]
    term = np.concatenate([p.term + np.int32(s) for p, s in zip(parts, shift, strict=False)]).astype(np.int32)
    instance, start, stop = (np.concatenate([getattr(p, n) for p in parts]) for n in ("instance", "start", "stop"))
    table = pd.concat(tables, ignore_index=True) if tables else parts[0].instances
    # Already sorted: columns follow each other, and each part is.
    values = Intervals(term, instance, start, stop, len(fields[0].rows), len(columns), table)
    return Field(fields[0].rows, values, columns, "label", about)
