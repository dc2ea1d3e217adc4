"""What the pictures of a scan study are made of: the strongest cells of the best features, cut out of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import BioterpError
from bioterp.export.lattice import check_tiles, columns_of, items_by_scan, one_column
from bioterp.field import Field
from bioterp.report import Images
from bioterp.report.view import Cut, View
from bioterp.values import Intervals

MOST_FEATURES = 6
MOST_SCANS = 3
MOST_PATCHES = 12
_NEAR = 400  # cells of a scan among which further peaks are looked for


@dataclass(frozen=True)
class Peak:
    """A cell where a feature is strong: its middle in mm RAS+, and the code there."""

    scan: str
    value: float
    point: Array
    cell: int  # its number among the cells of the scan


@dataclass(frozen=True)
class Shown:
    """Cuts through a peak, with what lies on them: heat (code per pixel, NaN in no cell), label (1, 0, −1 unknown)."""

    peak: Peak
    cuts: tuple[Cut, ...]
    heat: tuple[Array, ...]
    label: tuple[Array, ...]
    window: tuple[float, float]

    @property
    def cell(self) -> int:
        return self.peak.cell


@dataclass
class Pictured:
    """One feature and the term it is best for."""

    feature: int
    term: str
    line: pd.Series
    threshold: float
    slices: list[Shown] = field(default_factory=list)
    patches: list[Shown] = field(default_factory=list)
    order: dict[tuple[str, int], int] = field(default_factory=dict)  # of the patches, by scan and cell


@dataclass
class Gathered:
    """All that is drawn, and what a reader must know of it."""

    features: list[Pictured]
    split: str
    side: float
    tilt: float = 0.0
    channels: int = 1
    unread: list[str] = field(default_factory=list)


def gather(codes: Field, truth: Field | None, best: pd.DataFrame, images: Images) -> Gathered:
    """Cut out what is to be shown, one image in memory at a time.

    best: a line per term with `feature`, best first. Of scans that took part in no choice (test, or all where there are
    none), the strongest are taken.
    """
    rows = codes.rows
    places = items_by_scan(rows)
    split = rows.items["split"].astype(str).to_numpy()
    test = {scan: items for scan, items in places.items() if split[items[0]] == "test"}
    pictured = [
        Pictured(int(line["feature"]), str(line["term"]), line, _threshold(line))
        for _, line in best.drop_duplicates("feature").head(MOST_FEATURES).iterrows()
    ]
    side = patch_side(codes)
    gathered = Gathered(pictured, "test" if test else "all", side)
    peaks = _peaks(codes, [one.feature for one in pictured], test or places, side / 2)
    wanted: dict[str, list[tuple[Pictured, Peak, bool]]] = {}
    for one, found in zip(pictured, peaks, strict=True):
        # What shows more than once is cut once more: a plane of a scan costs nothing, reading it does.
        for peak in firsts(found)[:MOST_SCANS]:
            wanted.setdefault(peak.scan, []).append((one, peak, True))
        for at, peak in enumerate(spread(found, MOST_PATCHES)):
            one.order[peak.scan, peak.cell] = at
            wanted.setdefault(peak.scan, []).append((one, peak, False))
    for scan, asked in wanted.items():
        try:
            array, grid = images(scan)
        except (BioterpError, OSError):
            gathered.unread.append(scan)
            continue
        check_tiles(rows, scan, places[scan])
        view = View(array, grid, rows, places[scan])
        gathered.tilt, gathered.channels = max(gathered.tilt, view.tilt), max(gathered.channels, len(array))
        _cut(gathered, view, asked, codes, truth)
    for one in pictured:
        one.slices.sort(key=lambda shown: -shown.peak.value)
        one.patches.sort(key=lambda shown: one.order[shown.peak.scan, shown.peak.cell])
    return gathered


def _cut(
    gathered: Gathered, view: View, asked: Sequence[tuple[Pictured, Peak, bool]], codes: Field, truth: Field | None
) -> None:
    features = list(dict.fromkeys(one.feature for one, _, _ in asked))
    values = columns_of(codes, view.items, features)
    labels: dict[str, Array] = {}
    for one, peak, whole in asked:
        if one.term not in labels:
            labels[one.term] = label_cells(truth, one.term, view.items, values.shape[0])
        code = one_column(values, features.index(one.feature))
        planes = ("sagittal", "coronal", "axial") if whole else ("axial",)
        cuts = tuple(view.cut(plane, peak.point, None if whole else gathered.side) for plane in planes)
        shown = Shown(
            peak,
            cuts,
            tuple(np.where(cut.cells >= 0, code[cut.cells], np.nan) for cut in cuts),
            tuple(np.where(cut.cells >= 0, labels[one.term][cut.cells], -1) for cut in cuts),
            view.window if whole else view.window_at(peak.point, gathered.side / 2),
        )
        (one.slices if whole else one.patches).append(shown)


def label_cells(truth: Field | None, term: str, items: Array, cells: int) -> Array:
    """(cells,) 1, 0, or −1 where the label is unknown, of a term on the cells of these items."""
    if truth is None or term not in set(truth.columns["name"]):
        return np.full(cells, -1, np.int8)
    column, found = truth.column(term), []
    for item in items.tolist():
        block = truth.read(int(truth.rows.offsets[item]), int(truth.rows.offsets[item + 1]))
        if not isinstance(block, Intervals):
            return np.full(cells, -1, np.int8)
        positive, known = block.mask(column)
        found.append(np.where(positive, 1, np.where(known, 0, -1)).astype(np.int8))
    return np.concatenate(found)


def _peaks(codes: Field, features: Sequence[int], places: Mapping[str, Array], apart: float) -> list[list[Peak]]:
    """Per feature its strong cells over the scans, strongest first; those of a scan `apart` mm apart or more."""
    found: list[list[Peak]] = [[] for _ in features]
    for scan, items in places.items():
        values = columns_of(codes, items, features)
        for k, mine in enumerate(found):
            column = np.nan_to_num(one_column(values, k))
            near = np.argsort(-column, kind="stable")[:_NEAR]
            mine += _of_scan(codes, scan, items, near[column[near] > 0], column, apart)
    return [sorted(mine, key=lambda peak: (-peak.value, peak.scan)) for mine in found]


def _of_scan(codes: Field, scan: str, items: Array, near: Array, column: Array, apart: float) -> list[Peak]:
    if not len(near):
        return []
    rows = codes.rows
    sizes = rows.shapes[items].prod(1)
    ends = np.cumsum(sizes)
    tile = np.searchsorted(ends, near, side="right")
    inner = near - (ends - sizes)[tile]
    index = np.stack([np.unravel_index(i, rows.shapes[items[t]]) for i, t in zip(inner, tile, strict=True)]) + 0.5
    affine = rows.affines[items[tile]]
    points = np.einsum("kij,kj->ki", affine[:, :3, :3], index) + affine[:, :3, 3]
    chosen: list[int] = []
    for at in range(len(near)):
        if all(np.linalg.norm(points[at] - points[other]) >= apart for other in chosen):
            chosen.append(at)
        if len(chosen) == MOST_PATCHES:
            break
    return [Peak(scan, float(column[near[at]]), points[at], int(near[at])) for at in chosen]


def firsts(peaks: Sequence[Peak]) -> list[Peak]:
    """The strongest of every scan."""
    seen: dict[str, Peak] = {}
    for peak in peaks:
        seen.setdefault(peak.scan, peak)
    return list(seen.values())


def spread(peaks: Sequence[Peak], most: int) -> list[Peak]:
    """Distinct scans first, by strength; only where they do not fill the picture, a scan's second peak, and so on."""
    turn: dict[str, int] = {}
    ranked = []
    for at, peak in enumerate(peaks):
        ranked.append((turn.get(peak.scan, 0), at))
        turn[peak.scan] = turn.get(peak.scan, 0) + 1
    return [peaks[at] for _, at in sorted(ranked)[:most]]


def patch_side(codes: Field) -> float:
    """mm: wide enough for some anatomy around a cell."""
    if not len(codes.rows.items):
        return 60.0
    cell = float(np.linalg.norm(codes.rows.affines[0][:3, :3], axis=0).max())
    return float(np.clip(12 * cell, 64, 144))


def _threshold(line: pd.Series) -> float:
    value = line.get("threshold", 0.0)
    return float(value) if pd.notna(value) else 0.0
