"""Label volumes on any lattice and in any orientation onto three-dimensional rows.

The cover of a term is the share of a cell's volume in the mask's voxels of that term (`mask_cover.py`): half or more is
positive, nothing negative, in between unknown. A cell that reaches outside the mask's array is unknown to every term it
is not positive for: what was not looked at is not background. Scans without a label are unknown throughout.

Instances are the connected components of a term in the mask itself, so they go on across the tiles of a block. A cell
belongs to the component most of it lies in. Components that are nowhere half of a cell have no positive cell and are
counted in the warnings, not among the instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations import mask_parts
from bioterp.annotations.label_tables import read_names
from bioterp.annotations.mask_cover import HIDDEN, cover
from bioterp.annotations.mask_place import edges_of, extent, meet, moved
from bioterp.annotations.scan_sources import Labels, read_labels, resolve, told
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import NO_INSTANCES, UNKNOWN, Intervals

MOST = 20  # warnings of one kind that are written out
MADE_BY = ("person", "model")


@dataclass
class Found:
    """What the scans gave so far: terms as they come, runs and instances by term number."""

    terms: dict[str, int] = field(default_factory=dict)
    value: dict[str, int] = field(default_factory=dict)
    runs: list[tuple[Array, Array, Array, Array]] = field(default_factory=list)  # term, instance, start, stop
    blank: list[Array] = field(default_factory=list)  # (k, 2) runs of rows unknown to every term
    instances: list[pd.DataFrame] = field(default_factory=list)
    count: dict[int, int] = field(default_factory=dict)
    small: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    unnamed: set[int] = field(default_factory=set)

    def number(self, name: str, value: int) -> int:
        self.value[name] = min(value, self.value.get(name, value))
        return self.terms.setdefault(name, len(self.terms))


@dataclass(frozen=True)
class Options:
    names: Mapping[int, str]
    terms: Sequence[str] | None
    unknown: Sequence[int]
    outside: str
    min_voxels: int
    connectivity: int


def label_masks(
    rows: Rows,
    source: Any,
    *,
    column: str = "label",
    names: str | Path | Mapping[Any, str] | None = None,
    terms: Sequence[str] | None = None,
    threshold: float | None = None,
    unknown: Sequence[int] = (),
    outside: str = "unknown",
    min_voxels: int = 1,
    connectivity: int = 26,
    made_by: str = "person",
    name: str | None = None,
) -> Field:
    """See `bioterp.annotations.label`."""
    if outside not in ("unknown", "negative"):
        raise InputError(f"outside is 'unknown' or 'negative'; got {outside!r}")
    if connectivity not in mask_parts.NEIGHBOURS:
        raise InputError(f"connectivity is 6, 18 or 26 (voxels by face, edge or corner); got {connectivity!r}")
    if made_by not in MADE_BY:
        raise InputError(f"made_by is one of {', '.join(MADE_BY)}; got {made_by!r}")
    options = Options(read_names(names), terms, unknown, outside, min_voxels, connectivity)
    entries, title = resolve(rows, source, column)
    found = Found()
    scan_of = rows.items["sample"].astype(str).to_numpy()
    for scan in dict.fromkeys(scan_of.tolist()):
        items = np.flatnonzero(scan_of == scan)
        why = None
        if scan in entries:
            try:
                labels = read_labels(entries[scan], threshold=threshold, name=name)
            except FileNotFoundError as error:
                why = told(error, entries[scan])
            else:
                why = _scan(found, rows, scan, items, labels, options)
        if scan not in entries or why is not None:
            found.away.append(f"scan {scan!r} is unknown to every term: {why or 'it has no label'}")
            found.blank.append(np.stack([rows.offsets[items], rows.offsets[items + 1]], 1))
    if len(found.away) == len(set(scan_of)):
        raise InputError(f"no scan of the rows could be labelled from {title}; the first: {found.away[0]}")
    return _field(rows, found, options, {"source": Path(title).name, "format": "masks", "made_by": made_by})


def _scan(found: Found, rows: Rows, scan: str, items: Array, labels: Labels, options: Options) -> str | None:
    """One scan's labels onto its items; gives the reason when they cannot be."""
    space = Space(scan, "mm")
    grid = Grid.from_centers(space, labels.layers[0].shape, labels.affine)
    boxes = [rows.grid(int(i)) for i in items]
    if not any(meet(grid, box) for box in boxes):
        return (
            f"its label volume ({'×'.join(map(str, grid.shape))} voxels) lies beside it: it reaches over "
            f"{extent([grid])} mm, and the scan over {extent(boxes)} mm"
        )
    found.said += [f"scan {scan!r}: {line}" for line in [*labels.said, *moved(rows, items, labels)]]
    lookup = {**labels.names, **options.names}
    parts, tables, base = [], [], 0
    for layer in labels.layers:
        codes = _codes(found, layer, lookup, options)
        part, table = mask_parts.components(codes, options.connectivity, base)
        base += len(table)
        parts.append(part)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    voxel = abs(float(np.linalg.det(labels.affine[:3, :3])))
    centre = table[["i", "j", "k"]].to_numpy() @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    table = table.assign(mm3=table["voxels"] * voxel, x=centre[:, 0], y=centre[:, 1], z=centre[:, 2])
    lines: list[tuple[Array, Array, Array]] = []  # component, first and last row of runs of positive cells
    touched = np.zeros(len(table) + 1, bool)
    hidden = 0
    term, keep = table["term"].to_numpy(np.int64), (table["voxels"] >= options.min_voxels).to_numpy()
    for i, box in zip(items, boxes, strict=True):
        offset = int(rows.offsets[i])
        gone = beyond = np.zeros(0, np.int64)
        for layer in parts:
            held = cover(layer, edges_of(grid), edges_of(box), box.shape)
            touched[held.part] = True
            yes, part, no, unsure = mask_parts.decide(held.cell, held.part, held.share, term, keep)
            lines.append(mask_parts.runs(part, yes + offset))
            order = np.lexsort((no, unsure))
            key, start, stop = mask_parts.runs(unsure[order], no[order] + offset)
            found.runs.append((key, np.full(len(key), UNKNOWN), start, stop))
            beyond = np.union1d(beyond, np.flatnonzero(held.outside > 0))
            blind = layer == HIDDEN
            if options.outside == "negative" and blind.any():  # background is beside the array, not in such voxels
                gone = np.union1d(gone, cover(blind.astype(np.int32), edges_of(grid), edges_of(box), box.shape).cell)
        hidden += len(beyond)
        gone = beyond if options.outside == "unknown" else gone
        _, start, stop = mask_parts.runs(np.zeros(len(gone), np.int64), gone + offset)
        found.blank.append(np.stack([start, stop], 1))
    cells = sum(box.size for box in boxes)
    if len(table) and not touched[1:].any():
        found.said.append(
            f"scan {scan!r}: none of the {len(table)} structures of its label volume lies in it; is it this scan's?"
        )
    if hidden * 2 > cells:
        found.said.append(f"scan {scan!r}: {hidden / cells:.0%} of its cells reach outside its label volume")
    _instances(found, rows, scan, lines, table, touched, options.min_voxels)
    return None


def _codes(found: Found, layer: Array, lookup: Mapping[int, str], options: Options) -> Array:
    """Values as term number + 1, 0 for background and terms not wanted, −1 for unknown voxels."""
    values = mask_parts.distinct(layer)
    told = np.zeros(len(values), np.int32)
    for at, value in enumerate(values.tolist()):
        if value < 0 or value in options.unknown:
            told[at] = -1
        elif value:
            name = lookup.get(value, f"label_{value}")
            if options.names and value not in lookup:
                found.unnamed.add(value)
            number = found.number(name, value)
            told[at] = number + 1 if options.terms is None or name in options.terms else 0
    return mask_parts.recode(layer, values, told)


def _instances(
    found: Found,
    rows: Rows,
    scan: str,
    lines: list[tuple[Array, Array, Array]],
    table: pd.DataFrame,
    touched: Array,
    least: int,
) -> None:
    """Number the components of a scan that have a positive cell, after those of the scans before it.

    Where a scan is in several blocks, what a component has in each is an instance: the grey matter of one brain is a
    single component, and would belong to one block and be unknown in all others.
    """
    part, start, stop = (np.concatenate(piece) for piece in zip(*lines, strict=True))
    code, blocks = pd.factorize(rows.items["block"])
    block = code[np.searchsorted(rows.offsets, start, side="right") - 1]
    pair, which = np.unique(part.astype(np.int64) * len(blocks) + block, return_inverse=True)
    told = pd.DataFrame({"at": which, "start": start, "end": stop}).groupby("at").agg({"start": "min", "end": "max"})
    own = pair // len(blocks)
    line = table.iloc[own - 1].reset_index(drop=True)
    number = np.zeros(len(pair), np.int64)
    for term, group in line.groupby("term"):
        number[group.index] = found.count.get(term, 0) + 1 + np.arange(len(group))
        found.count[term] = found.count.get(term, 0) + len(group)
    found.runs.append((table["term"].to_numpy(np.int64)[part - 1], number[which], start, stop))
    names = list(found.terms)
    first, last = told["start"].to_numpy(np.int64), told["end"].to_numpy(np.int64)
    found.instances.append(
        line.assign(
            instance=number,
            name=[f"{scan} {names[t]} {n}" for t, n in zip(line["term"], line["within"], strict=True)],
            contig=scan, start=first, end=last, strand=".",
            block=np.asarray(blocks)[pair % len(blocks)],
        )
    )  # fmt: skip
    touched[own] = False  # what is left was met by these rows and is nowhere half of a cell
    lost = table[touched[1:]]
    for term, n in lost[lost["voxels"] >= least]["term"].value_counts().items():
        found.small[names[term]] = found.small.get(names[term], 0) + int(n)


def _field(rows: Rows, found: Found, options: Options, about: dict[str, Any]) -> Field:
    """The Field of all scans: columns by the values of the terms."""
    known = sorted(found.terms, key=lambda name: (found.value[name], name))
    for name in options.terms or ():
        if name not in found.terms:
            raise InputError(f"no label volume has a voxel of the term {name!r}; {nearest(name, known)}")
    columns = known if options.terms is None else [name for name in known if name in options.terms]
    place = np.full(len(found.terms), -1, np.int64)
    for at, name in enumerate(columns):
        place[found.terms[name]] = at
    runs = [np.concatenate(part) for part in zip(*found.runs, strict=True)]
    blank = np.concatenate([np.zeros((0, 2), np.int64), *found.blank])
    every = np.repeat(np.arange(len(columns)), len(blank))
    tables = [t for t in found.instances if len(t)]
    table = pd.concat(tables, ignore_index=True) if tables else None
    if table is not None:
        table["term"] = place[table["term"].to_numpy(np.int64)].astype(np.int32)
        table["instance"] = table["instance"].astype(np.int32)
        table = table.sort_values(["term", "instance"], ignore_index=True)
        table = table[[*NO_INSTANCES, "voxels", "mm3", "x", "y", "z"]]
    values = Intervals.of(
        np.r_[every, place[runs[0]]],
        np.r_[np.full(len(every), UNKNOWN), runs[1]],
        np.r_[np.tile(blank[:, 0], len(columns)), runs[2]],
        np.r_[np.tile(blank[:, 1], len(columns)), runs[3]],
        len(rows), len(columns), table,
    )  # fmt: skip
    counts = [found.count.get(found.terms[name], 0) for name in columns]
    frame = pd.DataFrame({"name": columns, "strand": "both", "source": about["source"], "n_instances": counts})
    frame["made_by"] = about["made_by"]
    little = [
        f"{found.small[name]} of {found.small[name] + count} components of {name!r} are nowhere half of a cell: they "
        "have no positive cell and are no instances; what they touch is unknown"
        for name, count in zip(columns, counts, strict=True)
        if name in found.small
    ]
    if found.unnamed:
        shown = ", ".join(map(str, sorted(found.unnamed)[:8])) + (", …" if len(found.unnamed) > 8 else "")
        found.said.insert(
            0, f"{len(found.unnamed)} values have no name in the label table and are called label_…: {shown}"
        )
    about |= {"connectivity": options.connectivity, "min_voxels": options.min_voxels, "outside": options.outside}
    about["warnings"] = [*capped(found.away), *capped(found.said), *capped(little)]
    return Field(rows, values, frame, "label", about)


def capped(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], f"and {more} more like this"]
