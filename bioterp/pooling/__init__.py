"""From cells to people: `pool`.

A cell's code becomes a number per item and region, and that a number per person, by who carries the item. Codes are
read once, a few items at a time, so memory is people × columns and does not grow with cells.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.adapters.carriers import Carriers
from bioterp.arrays import Array
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.pooling.regions import Regions, regions_of
from bioterp.pooling.summaries import Groups, fraction, largest, mean, top_mean
from bioterp.progress import track
from bioterp.rows import KEYS, Rows, split_of

HOW = ("mean", "max", "top", "fraction")
CELLS = 32_768  # read at a time, in whole items
MOST_BYTES = 16 << 30


def pool(
    codes: Field,
    source: Any = None,
    how: str | Sequence[str] = "mean",
    regions: str | Path | pd.DataFrame | Field | None = None,
    *,
    haplotypes: str = "mean",
    top: float = 0.01,
    people: pd.DataFrame | None = None,
) -> Field:
    """One row per person: a lattice-free Field with a column per way, region and feature.

    codes: on cells (activations work alike). source: a `bioterp.Haplotypes`, or its carriers (the object, or a table
    with sample, haplotype, item, weight); None for scans: a row per subject. how: one or several of

        mean      of the cells, each weighed by its size (bp, an inserted base counting one; mm³)
        fraction  of the cells, so weighed, with a code above 0
        max       over all cells of both haplotypes
        top       mean of the largest `top` (1 %) of an item's cells in the region, at least one; then averaged like the
        mean

    regions: BED lines (in reference coordinates), or a label Field on the same rows (a region per term); None:
    everywhere. A cell belongs to a BED line as far as it overlaps. haplotypes: 'mean' of a person's two, or their 'sum'
    (a dose; not for max). people: item, sample, block, split of those to give rows to (default: the source's, else one
    block per person).

    Scans: cells are pooled within a scan, then scans of a subject averaged (max: the largest). A person without a cell
    in a region is NaN there. Raises AlignmentError where the carriers speak of none of the items.
    """
    ways = [how] if isinstance(how, str) else list(how)
    for way in ways:
        if way not in HOW:
            raise InputError(f"how is one or several of {', '.join(HOW)}; got {way!r}")
    if haplotypes not in ("mean", "sum") or (haplotypes == "sum" and "max" in ways):
        raise InputError(f"haplotypes is 'mean', or 'sum' where how is not max; got {haplotypes!r} with how {ways}")
    if not 0 < top <= 1:
        raise InputError(f"top is a share of the cells in (0, 1]; got {top}")
    carriers = _carriers(source)
    if carriers is None:
        return _subjects(codes, ways, regions_of(codes, regions), top, people)
    known = people if people is not None else getattr(source, "people", None)
    items = _people(carriers.samples, known)
    weight, dose = _weights(codes.rows, carriers, items["item"], haplotypes)
    values = _pooled(codes, weight, dose, ways, regions_of(codes, regions), top)
    return _field(codes, items, values, ways, regions_of(codes, regions), {"haplotypes": haplotypes})


def _carriers(source: Any) -> Carriers | None:
    if source is None or isinstance(source, Carriers):
        return source
    if isinstance(source, pd.DataFrame):
        return Carriers.from_table(source)
    found = getattr(source, "carriers", None)
    if found is not None and not isinstance(found, Carriers):
        raise InputError(f"source is a bioterp.Haplotypes, or its carriers; got {type(source).__name__}")
    return found


def _people(samples: Sequence[str], known: pd.DataFrame | None) -> pd.DataFrame:
    """item, sample, block, split of everybody who gets a row."""
    if known is None:
        names = pd.Series(list(samples), dtype=object)
        return pd.DataFrame({"item": names, "sample": names, "block": names, "split": names.map(split_of)})
    missing = [key for key in KEYS if key not in known.columns]
    if missing:
        raise InputError(f"people lacks the columns {missing}; wanted {', '.join(KEYS)}")
    return known.reset_index(drop=True)


def _weights(rows: Rows, carriers: Carriers, people: pd.Series, haplotypes: str) -> tuple[Any, Any]:
    """(people, items of the codes) CSC twice: what an item weighs, and what it is multiplied by in a sum."""
    place = pd.Index(rows.items["item"].astype(str)).get_indexer(pd.Index(carriers.items))
    person = pd.Index(people.astype(str)).get_indexer(pd.Index(carriers.samples))
    if not (place >= 0).any():
        raise AlignmentError(
            f"the carriers speak of none of the {len(rows.items)} items of the codes (such as "
            f"{rows.items['item'].iloc[0]!r}); pool codes with the source they were made from"
        )
    item, who = place[carriers.item], person[carriers.sample]
    use = (item >= 0) & (who >= 0)
    shape = len(people), len(rows.items)
    at = who[use], item[use]
    weight = scipy.sparse.csc_matrix((carriers.weight[use].astype(np.float64), at), shape)
    if haplotypes == "mean":
        return weight, weight
    return weight, scipy.sparse.csc_matrix((np.ones(int(use.sum())), at), shape)


def _pooled(codes: Field, weight: Any, dose: Any, ways: list[str], regions: Regions, top: float) -> Array:
    """(rows of weight, ways · regions · features) float32."""
    n, m, r = weight.shape[0], codes.shape[1], len(regions.names)
    if n * m * r * len(ways) * 8 > MOST_BYTES:
        raise InputError(
            f"{n:,} people × {m * r * len(ways):,} columns ({m:,} features, {r} regions, {len(ways)} ways) do not "
            f"fit in {MOST_BYTES >> 30} GB; pool fewer regions at a time"
        )
    total = {way: np.full((r, n, m), -np.inf) if way == "max" else np.zeros((r, n, m)) for way in ways}
    size = np.zeros((r, n))
    for first, last in track(_stretches(codes.rows), "pooling"):
        lo, hi = int(codes.rows.offsets[first]), int(codes.rows.offsets[last])
        block = codes.read(lo, hi)
        groups = regions.groups(first, last, lo, hi)
        if not len(groups):
            continue
        sums: dict[str, Callable[[Any, Groups], Any]] = {
            "mean": mean,
            "fraction": fraction,
            "top": functools.partial(top_mean, share=top),
        }
        found = {way: sums[way](block, groups) for way in ways if way != "max"}
        peaks = largest(block, groups) if "max" in ways else None
        for region in np.unique(groups.region):
            at = np.flatnonzero(groups.region == region)
            members = groups.item[at]
            size[region] += weight[:, members] @ groups.size[at]
            for way, value in found.items():
                part = dose[:, members] @ value[at]
                total[way][region] += part.toarray() if scipy.sparse.issparse(part) else part
            if peaks is not None:
                _raise(total["max"][region], weight, members, peaks[at])
    with np.errstate(invalid="ignore", divide="ignore"):
        done = [
            np.where(np.isneginf(total[way]), np.nan, total[way]) if way == "max" else total[way] / size[:, :, None]
            for way in ways
        ]
    return np.concatenate([part.transpose(1, 0, 2).reshape(n, r * m) for part in done], 1).astype(np.float32)


def _raise(best: Array, weight: Any, members: Array, peaks: Any) -> None:
    """best (people, features) brought to the peaks of the items people carry."""
    for at, item in enumerate(members):
        who = weight.indices[weight.indptr[item] : weight.indptr[item + 1]]
        if len(who):
            peak = peaks[at].toarray().ravel() if scipy.sparse.issparse(peaks) else peaks[at]
            best[who] = np.maximum(best[who], peak)


def _stretches(rows: Rows) -> list[tuple[int, int]]:
    """Runs of whole items of about CELLS cells: (first, last) half-open."""
    made, first, n = [], 0, len(rows.items)
    while first < n:
        last = int(np.searchsorted(rows.offsets, rows.offsets[first] + CELLS, side="right")) - 1
        last = min(max(last, first + 1), n)
        made.append((first, last))
        first = last
    return made


def _subjects(codes: Field, ways: list[str], regions: Regions, top: float, people: pd.DataFrame | None) -> Field:
    """Scans: cells to scans, scans to subjects."""
    items = codes.rows.items
    scan, scans = pd.factorize(items["sample"].astype(str))
    who = items["subject" if "subject" in items.columns else "sample"].astype(str)
    weight = scipy.sparse.csc_matrix((np.ones(len(scan)), (scan, np.arange(len(scan)))), (len(scans), len(items)))
    of_scan = who.groupby(scan).first()
    person, names = pd.factorize(of_scan)
    values = _pooled(codes, weight, weight, ways, regions, top)
    width = values.shape[1] // len(ways)
    made = np.full((len(names), values.shape[1]), np.nan, np.float32)
    for i in range(len(names)):
        own = values[person == i]
        for k, way in enumerate(ways):
            part = own[:, k * width : (k + 1) * width]
            told = np.isfinite(part)
            filled = np.where(told, part, -np.inf if way == "max" else 0)
            some = told.any(0)
            value = filled.max(0) if way == "max" else filled.sum(0) / np.maximum(told.sum(0), 1)
            made[i, k * width : (k + 1) * width] = np.where(some, value, np.nan)
    if people is None:
        table = items.assign(item=who, sample=who)
        same = table.groupby(who, sort=False).nunique(dropna=False).max() == 1
        people = table.drop_duplicates("item")[[c for c in table.columns if c in KEYS or same[c]]]
        people = people.set_index("item").loc[list(names)].reset_index()
    else:
        at = pd.Index(names).get_indexer(people["item"].astype(str))
        made = np.where((at >= 0)[:, None], made[at], np.float32(np.nan))
    return _field(codes, people, made, ways, regions, {})


def _field(
    codes: Field, people: pd.DataFrame, values: Array, ways: list[str], regions: Regions, said: dict[str, Any]
) -> Field:
    m = codes.shape[1]
    table = pd.DataFrame(
        {
            "feature": np.tile(np.arange(m, dtype=np.int32), len(ways) * len(regions.names)),
            "region": np.tile(np.repeat(np.array(regions.names, object), m), len(ways)),
            "pool": np.repeat(np.array(ways, object), m * len(regions.names)),
        }
    )
    own = np.tile(codes.columns["name"].astype(str).to_numpy(object), len(ways) * len(regions.names))
    plain = len(ways) == 1 and not regions.named
    names = own if plain else [
        f"{name}.{way}" + (f"@{region}" if regions.named else "")
        for name, way, region in zip(own, table["pool"], table["region"], strict=True)
    ]  # fmt: skip
    table.insert(0, "name", names)
    about = {**codes.about, "pooled": ways, "regions": list(regions.names) if regions.named else None, **said}
    return Field(Rows.free(people), values, table, codes.kind, about)
