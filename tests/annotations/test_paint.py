"""The painting kernel against a loop over every cell and every instance."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from bioterp.annotations.features import Contig
from bioterp.annotations.labelling import label_intervals
from bioterp.errors import InputError
from bioterp.grid import Grid, Space
from bioterp.rows import Rows

LENGTH = 307


def table_of(features: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(features, columns=["contig", "start", "end", "strand", "term", "frame", "pick"])
    return table.assign(name="x", term=pd.Categorical(table["term"]))


def random_features(rng: np.random.Generator, contigs: list[str], n: int, reach: int) -> list[tuple]:
    found = []
    for _ in range(n):
        start = int(rng.integers(0, LENGTH - 1))
        size = int(rng.choice([1, 2, 3, 5, 11, 40]))
        end = min(start + size, reach)
        found.append((str(rng.choice(contigs)), start, end, str(rng.choice(["+", "-"])), "a", -1, -1))
    return found


def random_rows(rng: np.random.Generator, kind: str, circular: bool = False) -> Rows:
    """Items of several samples, contigs and strands, of single bases, wide cells, or cells with gaps and insertions."""
    items, grids = [], []
    for code, contig in enumerate(["one", "two"]):
        space = Space(contig, "bp", LENGTH, circular)
        for strand in "+-":
            edges = [0, *sorted(rng.choice(np.arange(20, 280), 4, replace=False).tolist()), LENGTH + 17 * circular]
            for i, (low, high) in enumerate(pairwise(edges)):
                if circular and i == 0:
                    low += 17  # the last item holds the first bases, past the contig's length
                split = str(rng.choice(["train", "valid", "test"]))
                items.append((f"{contig}{strand}{i}", "s", f"b{code}{i}", split))
                if kind == "base":
                    grids.append(Grid.line(space, low, high, strand))
                elif kind == "wide":
                    n = (high - low) // 7
                    step = [[7, low], [0, 1]] if strand == "+" else [[-7, low + 7 * n], [0, 1]]
                    grids.append(Grid(space, (n,), step))
                else:
                    cuts = np.sort(rng.choice(np.arange(low, high), min(12, high - low), replace=True))
                    bounds = np.stack([cuts[:-1], cuts[1:]], 1)
                    keep = rng.random(len(bounds)) < 0.8
                    bounds = bounds[keep] if keep.any() else bounds[:1]
                    bounds = bounds[::-1] if strand == "-" else bounds
                    grids.append(Grid(space, (len(bounds),), bounds=bounds, step=-1 if strand == "-" else 1))
    return Rows.from_grids(pd.DataFrame(items, columns=["item", "sample", "block", "split"]), grids)


def naive(rows: Rows, features: list[tuple], sense: bool, circular: bool) -> tuple[np.ndarray, np.ndarray]:
    """(positive, known) by one look at each cell of each instance."""
    item, low, high = rows.cells()
    grids = list(rows.grids())
    positive, unknown = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    turns = (-1, 0, 1) if circular else (0,)
    for contig, start, end, strand, *_ in features:
        middle = (start + end - 1) // 2 % LENGTH if circular else (start + end - 1) // 2
        for own in "+-":
            if (own == strand) != sense:
                continue
            mine = [i for i, g in enumerate(grids) if g.space.name == contig and g.strand == own and g.size]
            away = []
            for i in mine:
                a, b = int(grids[i].bounds.min()), int(grids[i].bounds.max())
                away.append(min(max(a - p, p - b + 1, 0) for p in [middle + t * LENGTH for t in turns]))
            home = rows.items["split"].iloc[mine[int(np.argmin(away))]]
            for r in np.flatnonzero(np.isin(item, mine)):
                for turn in turns:
                    s, e, a, b = start + turn * LENGTH, end + turn * LENGTH, int(low[r]), int(high[r])
                    held = len(set(range(s, e)) & set(range(a, b)))
                    touched = held > 0 or (a == b and s < a < e)
                    if not touched:
                        continue
                    full = a == b or held >= (b - a) / 2
                    small = (e - s) <= (b - a) / 2 and held >= (e - s) / 2
                    if rows.items["split"].iloc[item[r]] == home and (full or small):
                        positive[r] = True
                    else:
                        unknown[r] = True
    return positive, positive | ~unknown


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("kind", ["base", "wide", "irregular"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_cell_agrees_with_a_loop(kind: str, circular: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, kind, circular)
    features = random_features(rng, ["one", "two"], 23, LENGTH + 30 if circular else LENGTH)
    contigs = {name: Contig(LENGTH, circular) for name in ("one", "two")}
    field = label_intervals(rows, table_of(features), contigs, [])
    assert field.columns["name"].tolist() == ["a", "a@antisense"]
    for column, sense in (("a", True), ("a@antisense", False)):
        positive, known = field.values.mask(field.column(column))
        expected = naive(rows, features, sense, circular)
        np.testing.assert_array_equal(positive, expected[0])
        np.testing.assert_array_equal(known, expected[1])


@pytest.mark.parametrize("kind", ["base", "irregular", "wide"])
def test_within_hides_everything_else(kind: str, rng: np.random.Generator) -> None:
    rows = random_rows(rng, kind)
    features = random_features(rng, ["one", "two"], 29, LENGTH)
    contigs = {name: Contig(LENGTH) for name in ("one", "two")}
    within = pd.DataFrame({"contig": ["one", "one", "two"], "start": [30, 150, 60], "end": [90, 210, 299],
                           "strand": ["+", ".", "-"]})  # fmt: skip
    free = label_intervals(rows, table_of(features), contigs, [])
    held = label_intervals(rows, table_of(features), contigs, [], within=within)
    item, low, high = rows.cells()
    inside = np.zeros(len(rows), bool)
    for contig, start, end, strand in within.itertuples(index=False):
        for i, grid in enumerate(rows.grids()):
            if grid.space.name == contig and strand in (".", grid.strand):
                cover = np.minimum(high, end) - np.maximum(low, start)
                whole = (high > low) & (cover >= (high - low) / 2) & (cover > 0)
                inside |= (item == i) & (whole | ((high == low) & (low > start) & (low < end)))
    for column in range(2):
        positive, known = held.values.mask(column)
        before = free.values.mask(column)
        np.testing.assert_array_equal(known, before[1] & inside)
        np.testing.assert_array_equal(positive, before[0] & inside)


def test_codon_positions_on_every_lattice(rng: np.random.Generator) -> None:
    """Single bases follow the frame; a wide cell has the position of its first base in CDS direction."""
    space = Space("c", "bp", 120)
    features = [("c", 10, 70, "+", f"p{i}", 1, i) for i in range(3)]
    features += [("c", 40, 101, "-", f"p{i}", 2, i) for i in range(3)]
    for size in (1, 2, 3, 4):
        for strand in "+-":
            n = 120 // size
            affine = [[size, 0], [0, 1]] if strand == "+" else [[-size, n * size], [0, 1]]
            both = [Grid(space, (n,), affine), Grid.line(space, 0, 120, "-" if strand == "+" else "+")]
            items = pd.DataFrame({"item": ["a", "b"], "sample": "s", "block": "x", "split": "train"})
            rows = Rows.from_grids(items, both)
            field = label_intervals(rows, table_of(features), {"c": Contig(120)}, [])
            start, end, frame = (10, 70, 1) if strand == "+" else (40, 101, 2)
            for row, (low, high) in enumerate(both[0].bounds):
                cover = max(0, min(high, end) - max(low, start)) / size
                first = low - start if strand == "+" else end - high
                for i in range(3):
                    positive, known = field.values.mask(field.column(f"p{i}"))
                    assert positive[row] == (cover >= 0.5 and (first + frame) % 3 == i)
                    assert known[row] == (cover == 0 or cover >= 0.5)


def test_a_splice_site_exists_on_a_six_mer_lattice() -> None:
    space = Space("c", "bp", 60)
    items = pd.DataFrame({"item": ["a"], "sample": "s", "block": "x", "split": "train"})
    rows = Rows.from_grids(items, [Grid(space, (10,), [[6, 0], [0, 1]])])
    field = label_intervals(rows, table_of([("c", 23, 24, "+", "donor", -1, -1)]), {"c": Contig(60)}, [])
    positive, known = field.values.mask(0)
    assert np.flatnonzero(positive).tolist() == [3]
    assert known.all()


def test_instances_are_numbered_by_coordinate_and_named() -> None:
    rows = Rows.from_grids(
        pd.DataFrame({"item": ["a", "b"], "sample": "s", "block": ["x", "y"], "split": "train"}),
        [Grid.line(Space("c", "bp", 90), 0, 45), Grid.line(Space("c", "bp", 90), 45, 90)],
    )
    features = [("c", 40, 60, "+", "t", -1, -1), ("c", 5, 9, "+", "t", -1, -1), ("c", 7, 20, "-", "t", -1, -1)]
    field = label_intervals(rows, table_of(features), {"c": Contig(90)}, [])
    told = field.values.instances
    assert told[["instance", "start", "end", "strand", "block"]].to_numpy().tolist() == [
        [1, 5, 9, "+", "x"],
        [2, 40, 60, "+", "y"],
    ]  # the one on '-' has no row, and so no number
    runs = field.values.runs(0)
    assert list(zip(runs.instance.tolist(), runs.start.tolist(), runs.stop.tolist(), strict=True)) == [
        (1, 5, 9), (2, 40, 45), (2, 45, 60),
    ]  # fmt: skip
    assert field.columns["n_instances"].tolist() == [2]


def test_strand_modes() -> None:
    space = Space("c", "bp", 30)
    items = pd.DataFrame({"item": ["a", "b"], "sample": "s", "block": "x", "split": "train"})
    rows = Rows.from_grids(items, [Grid.line(space, 0, 30), Grid.line(space, 0, 30, "-")])
    features = [("c", 3, 7, "-", "t", -1, -1), ("c", 11, 13, ".", "u", -1, -1)]
    names = {}
    for strand in ("separate", "sense", "ignore"):
        field = label_intervals(rows, table_of(features), {"c": Contig(30)}, [], strand=strand)
        names[strand] = {
            n: np.flatnonzero(field.values.mask(i)[0]).tolist() for i, n in enumerate(field.columns["name"])
        }
    plus, minus = [3, 4, 5, 6], [30 + 23, 30 + 24, 30 + 25, 30 + 26]
    both = [11, 12, 47, 48]
    assert names["separate"] == {"t": minus, "t@antisense": plus, "u": both}
    assert names["sense"] == {"t": minus, "u": both}
    assert names["ignore"] == {"t": plus + minus, "u": both}
    with pytest.raises(InputError, match="strand is one of separate, sense, ignore"):
        label_intervals(rows, table_of(features), {"c": Contig(30)}, [], strand="plus")


def test_rows_of_more_axes_are_refused() -> None:
    items = pd.DataFrame({"item": ["a"], "sample": "s", "block": "x", "split": "train"})
    rows = Rows.from_grids(items, [Grid(Space("scan", "mm"), (2, 3, 4), np.eye(4))])
    with pytest.raises(InputError, match="3 axes"):
        label_intervals(rows, table_of([("c", 1, 2, "+", "t", -1, -1)]), {}, [])
