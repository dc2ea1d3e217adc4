"""Where features fire most: their strongest places, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import checked_labels, guarded
from bioterp.analyses.blocks import BATCH, as_csr, stream
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import UNKNOWN, Intervals

ABOUT = Analysis(
    name="loci",
    question="Where does a feature fire most?",
    needs=("codes", "the features to look at"),
    limits=(
        "The strongest places are not the typical ones. Along a sequence active cells with at most 10 silent ones "
        "between them are one place, cut where windows end; of two that lie within 20 bp the stronger is kept. Of a "
        "scan only its strongest cell is told."
    ),
    reference="Maximum activating examples, as in Bricken et al. 2023",
)
GAP = 10  # silent cells within a place
APART = 20  # bp between the strongest cells of two places
RUN = ["feature", "item", "first", "last", "peak", "activation"]


def loci(codes: Field, features: Sequence[int], most: int = 100, truth: Field | None = None) -> pd.DataFrame:
    """The table of loci: per feature its `most` strongest places, strongest first, in one pass over all rows.

    codes: Field (rows, m) ≥ 0 along sequences or in scans; features: numbers of columns; truth: interval labels on the
    same rows, whose terms at the strongest cell are then named. Raises InputError for a number that is no column, rows
    that lie nowhere (people, genes), and codes that are NaN, infinite or negative; AlignmentError when rows differ.
    """
    labels = None if truth is None else checked_labels(codes, truth)
    wanted = np.unique(np.asarray(list(features), np.int64))
    if len(wanted) and not (wanted[0] >= 0 and wanted[-1] < codes.shape[1]):
        raise InputError(f"features are 0 to {codes.shape[1] - 1}; got {wanted[0]} to {wanted[-1]}")
    rows = codes.rows
    if rows.ndim not in (1, 3):
        raise InputError("these rows lie nowhere, along no sequence and in no scan, so there are no places to name")
    found = _runs(codes, wanted, 2 * most)
    made = _along(rows, found, most) if rows.ndim == 1 else _in_scans(rows, found, most)
    made["rank"] = made.groupby("feature").cumcount() + 1
    names = [] if truth is None else truth.columns["name"].astype(str).tolist()
    made["terms"] = None if labels is None else terms_at(labels, names, made["row"].to_numpy(np.int64))
    declared = [column.name for column in tables.columns("loci")]
    made = made.assign(**tables.subject(codes.about)).reindex(columns=declared)
    return tables.conform("loci", made)


def _runs(codes: Field, wanted: Array, most: int) -> pd.DataFrame:
    """The strongest runs of active cells of each feature: item, first and last row, row and code of the strongest."""
    held = pd.DataFrame({name: np.zeros(0, np.float32 if name == "activation" else np.int64) for name in RUN})
    batches = _items_whole(codes.rows)
    gap = GAP if codes.rows.ndim == 1 else len(codes.rows)  # of a scan's item one cell is told
    with guarded(codes):
        for lo, _, block in stream(codes.read, batches):
            indptr, indices, data = block if isinstance(block, tuple) else as_csr(block, lo)
            at = np.searchsorted(wanted, indices)
            hit = np.flatnonzero(wanted[np.minimum(at, len(wanted) - 1)] == indices) if len(wanted) else at[:0]
            if not len(hit):
                continue
            row = np.searchsorted(indptr, hit, side="right") - 1 + lo
            new = _joined(codes.rows, indices[hit].astype(np.int64), row, data[hit], gap)
            held = pd.concat([held, new], ignore_index=True)
            if len(held) > 4 * most * len(wanted):
                held = _strongest(held, most)
    return _strongest(held, most)


def _joined(rows: Rows, feature: Array, row: Array, value: Array, gap: int) -> pd.DataFrame:
    """Active cells (n,) as runs."""
    order = np.lexsort((row, feature))
    feature, row, value = feature[order], row[order], value[order]
    item = np.searchsorted(rows.offsets, row, side="right") - 1
    new = (np.diff(feature) != 0) | (np.diff(item) != 0) | (np.diff(row) > gap + 1)
    begin = np.flatnonzero(np.append(True, new))
    end = np.append(begin[1:], len(row))
    run = np.repeat(np.arange(len(begin)), end - begin)
    top = np.lexsort((row, -value, run))[begin]  # the first of each run, strongest cells first
    parts: list[Any] = [feature[begin], item[begin], row[begin], row[end - 1], row[top], value[top]]
    return pd.DataFrame(dict(zip(RUN, parts, strict=True)))


def _strongest(held: pd.DataFrame, most: int) -> pd.DataFrame:
    held = held.sort_values(["feature", "activation", "peak"], ascending=[True, False, True], kind="stable")
    return held.groupby("feature", sort=False).head(most).reset_index(drop=True)


def _items_whole(rows: Rows, size: int = BATCH) -> Array:
    chosen = [0]
    for end in rows.offsets.tolist():
        if end - chosen[-1] >= size or (end == len(rows) and end > chosen[-1]):
            chosen.append(end)
    return np.array(chosen, np.int64)


def _along(rows: Rows, found: pd.DataFrame, most: int) -> pd.DataFrame:
    """Runs in coordinates; the weaker of two near ones is left out."""
    lines = []
    for run in found.itertuples(index=False):
        base = int(rows.offsets[run.item])
        edges = rows.grid(run.item).bounds[np.array([run.first, run.peak, run.last]) - base]
        minus = rows.affines[run.item, 0, 0] < 0
        place = rows.spaces[rows.space_code[run.item]].name, int(edges[:, 0].min()), int(edges[:, 1].max())
        # The strongest cell is told by its first base in reading direction.
        peak = int(edges[1, 1]) - 1 if minus else int(edges[1, 0])
        lines.append((run.feature, *place, "-" if minus else "+", peak, run.activation, run.item, run.peak))
    names = ["feature", "contig", "start", "stop", "strand", "peak", "activation", "item", "row"]
    made = pd.DataFrame(lines, columns=names)
    kept = np.ones(len(made), bool)
    for _, group in made.groupby(["feature", "contig", "strand"], sort=False):
        taken: list[int] = []
        for at, peak in zip(group.index.to_numpy(), group["peak"].tolist(), strict=True):
            kept[at] = all(abs(peak - other) >= APART for other in taken)
            taken += [peak] * bool(kept[at])
    made = made[kept].groupby("feature", sort=False).head(most).reset_index(drop=True)
    return _with_items(rows, made)


def _in_scans(rows: Rows, found: pd.DataFrame, most: int) -> pd.DataFrame:
    """The strongest cell of each scan, in mm of the world."""
    lines = []
    for run in found.itertuples(index=False):
        index = np.unravel_index(run.peak - int(rows.offsets[run.item]), rows.shapes[run.item])
        x, y, z = (rows.affines[run.item] @ [*(np.array(index) + 0.5), 1])[:3]
        scan = str(rows.items["sample"].iloc[run.item])
        lines.append((run.feature, scan, -1, -1, "", -1, run.activation, run.item, run.peak, x, y, z))
    names = ["feature", "contig", "start", "stop", "strand", "peak", "activation", "item", "row", "x", "y", "z"]
    made = pd.DataFrame(lines, columns=names).drop_duplicates(["feature", "contig"])  # tiles of one scan
    return _with_items(rows, made.groupby("feature", sort=False).head(most).reset_index(drop=True))


def _with_items(rows: Rows, made: pd.DataFrame) -> pd.DataFrame:
    item = made.pop("item").to_numpy(np.int64)
    for name in ("block", "split"):
        made[name] = rows.items[name].astype(str).to_numpy()[item]
    return made


def terms_at(labels: Intervals, names: Sequence[str], rows: Array) -> list[str]:
    """The terms that are positive in each of these rows (n,), in the order of the labels, joined by commas."""
    order = np.argsort(rows, kind="stable")
    known = labels.instance != UNKNOWN
    first, last = (np.searchsorted(rows[order], edge[known]) for edge in (labels.start, labels.stop))
    hit = np.flatnonzero(last > first)
    found: list[dict[int, None]] = [{} for _ in rows]
    for a, b, term in zip(first[hit].tolist(), last[hit].tolist(), labels.term[known][hit].tolist(), strict=True):
        for at in order[a:b].tolist():
            found[at][term] = None
    return [", ".join(names[term] for term in terms) for terms in found]
