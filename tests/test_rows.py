"""What rows are: identity, taking, joining, coordinates, tiling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioterp.errors import AlignmentError, InputError
from bioterp.grid import Grid, Space
from bioterp.rows import Rows, split_of

A, B = Space("a", "bp", 211), Space("b", "bp", 97, True)


def items(n, **more):
    return pd.DataFrame(
        {
            "item": [f"i{k}" for k in range(n)],
            "sample": "s",
            "block": [f"b{k // 2}" for k in range(n)],
            "split": "train",
        }
        | more
    )


def some():
    """Regular, minus, irregular with an insertion and a gap, empty, and k-mer items on two contigs."""
    grids = [
        Grid.line(A, 0, 13),
        Grid.line(A, 13, 24, "-"),
        Grid(A, (4,), bounds=[[30, 31], [31, 31], [35, 37], [37, 40]]),
        Grid(B, (0,), bounds=np.zeros((0, 2))),
        Grid(B, (5,), [[6, 2], [0, 1]]),
    ]
    return Rows.from_grids(items(5), grids), grids


def test_lengths_offsets_and_grids_come_back():
    rows, grids = some()
    assert len(rows) == 13 + 11 + 4 + 0 + 5
    assert rows.offsets.tolist() == [0, 13, 24, 28, 28, 33]
    assert all(rows.grid(i) == grid for i, grid in enumerate(grids))
    assert rows.item_of_rows().tolist() == [0] * 13 + [1] * 11 + [2] * 4 + [4] * 5


def naive_cells(grids):
    return [(i, *map(int, bound)) for i, grid in enumerate(grids) for bound in grid.bounds]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 33), st.integers(0, 33))
def test_cells_of_any_range(lo, hi):
    rows, grids = some()
    lo, hi = sorted((lo, hi))
    item, start, end = rows.cells(lo, hi)
    assert list(zip(item.tolist(), start.tolist(), end.tolist(), strict=True)) == naive_cells(grids)[lo:hi]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=9))
def test_take_is_taking_the_grids(order):
    rows, grids = some()
    taken = rows.take(np.array(order, np.int64))
    _, start, end = taken.cells()
    wanted = [tuple(map(int, bound)) for i in order for bound in grids[i].bounds]
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == wanted
    assert taken.items["item"].tolist() == [f"i{i}" for i in order]


def test_concat_of_shards_is_the_whole():
    rows, _ = some()
    parts = [rows.take(np.array(some)) for some in ([0, 1], [2], [3, 4])]
    joined = Rows.concat(parts)
    assert joined.id == rows.id
    assert [part.tolist() for part in joined.cells()] == [part.tolist() for part in rows.cells()]
    # Space tables that differ between shards are renumbered.
    swapped = Rows.concat([rows.take(np.array([4])), Rows.from_grids(items(1), [Grid.line(A, 90, 95)])])
    assert [swapped.grid(i).space.name for i in range(2)] == ["b", "a"]


def test_id_changes_with_anything_that_matters_and_nothing_else():
    rows, grids = some()
    assert some()[0].id == rows.id
    assert Rows.from_grids(items(5, age=list(range(5))), grids).id == rows.id  # covariates are not identity
    changed = [
        Rows.from_grids(items(5, item=list("vwxyz")), grids),
        Rows.from_grids(items(5, sample=["s", "s", "s", "s", "t"]), grids),
        Rows.from_grids(items(5, block="b"), grids),
        Rows.from_grids(items(5, split=["train"] * 4 + ["test"]), grids),
        Rows.from_grids(items(5), [Grid.line(A, 0, 14), *grids[1:]]),
        Rows.from_grids(items(5), [Grid.line(A, 1, 14), *grids[1:]]),
        Rows.from_grids(items(5), [Grid.line(A, 0, 13, "-"), *grids[1:]]),
        Rows.from_grids(
            items(5), [*grids[:2], Grid(A, (4,), bounds=[[30, 31], [31, 32], [35, 37], [37, 40]]), *grids[3:]]
        ),
        Rows.from_grids(items(5), [Grid.line(Space("a", "bp", 212), 0, 13), *grids[1:]]),
        rows.take(np.array([1, 0, 2, 3, 4])),
    ]
    assert len({rows.id, *(other.id for other in changed)}) == 11


def test_extents():
    rows, _ = some()
    start, end, step = rows.extents()
    assert start.tolist()[:3] + end.tolist()[:3] == [0, 13, 30, 13, 24, 40]
    assert (start[4], end[4], step.tolist()) == (2, 32, [1, -1, 1, 1, 1])


def test_a_locus_of_a_sample_is_a_row_once():
    some()[0].check_tiling()
    twice = [Grid.line(A, 0, 13), Grid.line(A, 12, 20)]
    with pytest.raises(AlignmentError, match="i1"):
        Rows.from_grids(items(2), twice).check_tiling()
    inside = [Grid.line(A, 0, 50), Grid.line(A, 10, 20), Grid.line(A, 50, 60)]
    with pytest.raises(AlignmentError):
        Rows.from_grids(items(3), inside).check_tiling()
    Rows.from_grids(items(2, sample=["s", "t"]), twice).check_tiling()
    Rows.from_grids(items(2), [Grid.line(A, 0, 13), Grid.line(A, 0, 13, "-")]).check_tiling()


def test_three_dimensions_and_none():
    scan = Space("scan", "mm")
    rows = Rows.from_grids(
        items(2), [Grid.from_centers(scan, (2, 3, 5), np.eye(4)), Grid.from_centers(scan, (3, 1, 7), np.eye(4))]
    )
    assert (len(rows), rows.ndim, rows.grid(1).shape) == (51, 3, (3, 1, 7))
    people = Rows.free(items(7))
    assert (len(people), people.ndim) == (7, 0)
    with pytest.raises(InputError, match="same number of axes"):
        Rows.from_grids(items(2), [Grid.line(A, 0, 3), Grid.from_centers(scan, (2, 3, 5), np.eye(4))])
    with pytest.raises(InputError, match="lack the columns"):
        Rows.free(pd.DataFrame({"item": ["x"]}))
    with pytest.raises(InputError, match="no split 'tset'"):
        people.items_in("tset")


def test_split_shares_and_independence_of_other_blocks():
    splits = [split_of(f"chr{k}", 5) for k in range(4000)]
    shares = [splits.count(name) / 4000 for name in ("train", "valid", "test")]
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.03)
    assert splits[17] == split_of("chr17", 5)
    assert splits != [split_of(f"chr{k}", 6) for k in range(4000)]


def test_a_shard_without_items_has_no_axes_to_disagree_about() -> None:
    """Tiles of nothing but air give a shard of no rows; it stands among shards of three-dimensional ones."""
    space = Space("s1", "mm")
    grids = [Grid(space, (2, 3, 4), np.diag([2.0, 2, 2, 1])), Grid(space, (5, 1, 2), np.eye(4))]
    items = pd.DataFrame({"item": ["a", "b"], "sample": "s1", "block": "s1", "split": "test"})
    full, none = Rows.from_grids(items, grids), Rows.from_grids(items.iloc[:0], [])
    for parts in ([none, full], [full, none], [none, full, none]):
        assert Rows.concat(parts).id == full.id and Rows.concat(parts).ndim == 3
    assert len(Rows.concat([none, none])) == 0
