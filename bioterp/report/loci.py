"""Values of features at places of a sequence: windows, means around instances, and a locus worth showing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import UNKNOWN, Intervals


class Reader:
    """Reads features of codes by coordinates, base by base."""

    def __init__(self, codes: Field):
        self.codes = codes
        self.rows = codes.rows
        self._start, self._end, self._step = codes.rows.extents()
        sample = codes.rows.items["sample"].astype(str).to_numpy()
        # Pictures show one sample: where several cover a base, the first.
        self._mine = sample == sample[0] if len(sample) else np.zeros(0, bool)
        self._space = np.array([space.name for space in codes.rows.spaces], object)[codes.rows.space_code]
        self._length = {space.name: space.length for space in codes.rows.spaces if space.circular}

    def read(self, contig: str, strand: str, start: int, end: int, columns: Sequence[int]) -> Array:
        """(end − start, k) float32, one line per base in rising coordinates; NaN where there is no row."""
        points = np.arange(start, end) + 0.5
        found = np.full((len(points), len(columns)), np.nan, np.float32)
        sign = -1 if strand == "-" else 1
        mine = self._mine & (self._space == contig) & (self._step == sign)
        near = np.zeros(len(mine), bool)
        turns = (-1, 0, 1) if self._length.get(contig) else (0,)
        for turn in turns:
            shift = turn * (self._length.get(contig) or 0)
            near |= (self._start < end + shift) & (self._end > start + shift)
        for item in np.flatnonzero(mine & near).tolist():
            cell = self.rows.grid(item).locate(points)
            inside = cell >= 0
            if inside.any():
                lo, hi = int(cell[inside].min()), int(cell[inside].max()) + 1
                first = int(self.rows.offsets[item])
                block = self.codes.read(first + lo, first + hi)[:, list(columns)]
                dense = block.toarray() if hasattr(block, "toarray") else block
                found[inside] = dense[cell[inside] - lo]
        return found


def instances(truth: Field) -> pd.DataFrame:
    """One line per instance and strand of rows: term, contig, start, end, strand (of its rows), sense, split.

    `sense` is the instance's own strand where labels tell it (it differs from `strand` for antisense
    terms), else the strand of its rows.
    """
    labels = truth.read()
    if not isinstance(labels, Intervals) or truth.rows.ndim != 1:
        return pd.DataFrame(columns=["term", "contig", "start", "end", "strand", "sense", "split"])
    keep = labels.instance != UNKNOWN
    item, start, end = run_places(truth.rows, labels.start[keep], labels.stop[keep])
    found = pd.DataFrame({"number": labels.term[keep], "instance": labels.instance[keep], "start": start, "end": end})
    found["contig"] = np.array([space.name for space in truth.rows.spaces], object)[truth.rows.space_code[item]]
    found["strand"] = np.where(truth.rows.affines[item, 0, 0] < 0, "-", "+")
    found["split"] = truth.rows.items["split"].to_numpy()[item]
    told: dict[str, Any] = {"start": ("start", "min"), "end": ("end", "max"), "split": ("split", "first")}
    found = found.groupby(["number", "instance", "contig", "strand"], as_index=False, observed=True).agg(**told)
    table = labels.instances
    if len(table):
        known = table[["term", "instance", "start", "end", "strand"]].drop_duplicates(["term", "instance"])
        known = known.rename(columns={"term": "number", "start": "_start", "end": "_end", "strand": "sense"})
        found = found.merge(known, on=["number", "instance"], how="left")
        for name in ("start", "end"):
            found[name] = found[f"_{name}"].astype(float).fillna(found[name]).astype(np.int64)
        found["sense"] = found["sense"].where(found["sense"].isin(["+", "-"]), found["strand"])
    else:
        found["sense"] = found["strand"]
    found["term"] = truth.columns["name"].to_numpy()[found["number"]]
    return found[["term", "contig", "start", "end", "strand", "sense", "split"]]


def run_places(rows: Rows, start: Array, stop: Array) -> tuple[Array, Array, Array]:
    """Item, lowest and highest coordinate of runs of rows (each inside one item)."""
    item = np.searchsorted(rows.offsets, start, side="right") - 1
    first, last = start - rows.offsets[item], stop - 1 - rows.offsets[item]
    irregular = np.diff(rows.bounds_offset)[item] > 0
    step, at = rows.affines[item, 0, 0], rows.affines[item, 0, 1]
    edges = np.stack([step * first, step * (last + 1)], 1) + at[:, None]
    low, high = edges.min(1), edges.max(1)
    if irregular.any():
        base = rows.bounds_offset[item[irregular]]
        ends = np.stack([rows.bounds[base + first[irregular]], rows.bounds[base + last[irregular]]])
        low[irregular], high[irregular] = ends[..., 0].min(0), ends[..., 1].max(0)
    return item, np.rint(low).astype(np.int64), np.rint(high).astype(np.int64)


def profiles(
    reader: Reader, places: pd.DataFrame, columns: Sequence[int], reach: int = 100, most: int = 200, seed: int = 0
) -> tuple[Array, Array, int]:
    """Mean of features around the start and the end of instances, read in the instance's own direction.

    places: lines of `instances`, of one term; of more than `most`, as many are drawn at random. Returns two
    (2·reach, k) arrays (the edge between positions reach − 1 and reach) and the number of instances used.
    """
    if len(places) > most:
        places = places.sample(most, random_state=seed)
    total = np.zeros((2, 2 * reach, len(columns)))
    count = np.zeros((2, 2 * reach, 1))
    inner = np.arange(2 * reach) - reach  # ≥ 0: inside at the start
    for place in places.itertuples(index=False):
        edges = (place.start, place.end) if place.sense == "+" else (place.end, place.start)
        for side, edge in enumerate(edges):
            window = reader.read(place.contig, place.strand, edge - reach, edge + reach, columns)
            window = window if place.sense == "+" else window[::-1]
            beyond = (inner if side == 0 else -1 - inner) >= place.end - place.start
            known = ~(np.isnan(window).any(1) | beyond)[:, None]
            total[side] += np.where(known, window, 0)
            count[side] += known
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean[0], mean[1], len(places)


def prefer_test(places: pd.DataFrame) -> pd.DataFrame:
    """The instances in test blocks, or all of them where test has none."""
    test = places[places["split"] == "test"]
    return test if len(test) else places


def choose_locus(
    reader: Reader, places: pd.DataFrame, best: pd.DataFrame, width: int = 4000, tries: int = 40, seed: int = 0
) -> tuple[str, int, int] | None:
    """A window around an instance its best feature recalls, with as many terms near as can be found.

    best: one line per term with `feature` and `threshold`, best first.
    """
    ranked = []
    everything = places[["term", "contig", "start", "end"]]
    for rank, line in enumerate(best.head(12).itertuples(index=False)):
        mine = prefer_test(places[places["term"] == line.term])
        for place in mine.sample(min(len(mine), tries), random_state=seed).itertuples(index=False):
            lo, hi = _around(place.start, place.end, width)
            near = everything[(everything["contig"] == place.contig) & (everything["end"] > lo)]
            terms = near.loc[near["start"] < hi, "term"].nunique()
            ranked.append((-terms, rank, place, line))
    ranked.sort(key=lambda entry: entry[:2])
    for _, _, place, line in ranked[:tries]:
        values = reader.read(place.contig, place.strand, place.start, place.end, [int(line.feature)])
        if (np.nan_to_num(values) > np.nan_to_num(getattr(line, "threshold", 0.0))).any():
            return place.contig, *_around(place.start, place.end, width)
    return None


def _around(start: int, end: int, width: int) -> tuple[int, int]:
    span = max(width, min(3 * (end - start), 4 * width))
    lo = max((start + end - span) // 2, 0)
    return lo, lo + span
