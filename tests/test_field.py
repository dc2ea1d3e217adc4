"""Values on rows: any selection equals numpy's, and what is stored comes back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from bioterp.arrays import BFloat16
from bioterp.errors import AlignmentError, InputError, StoreError
from bioterp.field import Field, FieldWriter
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import Dense, Intervals, Parts, Selection

LENGTHS = (11, 1, 8, 5, 13)
N, COLUMNS = sum(LENGTHS), 3
SPLITS = ("train", "test", "train", "valid", "test")


def make_rows():
    space, at, grids = Space("c", "bp", 90), 0, []
    for k, n in enumerate(LENGTHS):
        grids.append(Grid.line(space, at, at + n, "+-"[k % 2]))
        at += n
    items = pd.DataFrame({"item": list("abcde"), "sample": "s", "block": list("vwxyz"), "split": SPLITS})
    return Rows.from_grids(items, grids)


def dense():
    return np.random.default_rng(3).normal(size=(N, COLUMNS)).astype(np.float32)


def sparse():
    return scipy.sparse.random(N, COLUMNS, 0.3, "csr", np.float32, random_state=4)


def labels():
    """Overlapping instances, an unknown stretch over a positive one, and a term without runs."""
    table = pd.DataFrame({"term": [0, 0, 2], "instance": [1, 2, 1], "name": list("pqr")})
    return Intervals.of([0, 0, 2, 0, 0], [1, 2, 1, -1, 1], [2, 4, 20, 5, 30], [6, 9, 21, 12, 33], N, COLUMNS, table)


def naive_mask(runs, term):
    """Cell by cell: positive when any instance covers it; else unknown when an unknown run does."""
    positive = np.zeros(runs.rows, bool)
    known = np.ones(runs.rows, bool)
    for t, instance, start, stop in zip(runs.term, runs.instance, runs.start, runs.stop, strict=True):
        for row in range(start, stop):
            if t == term and instance == -1:
                known[row] = False
            elif t == term:
                positive[row] = True
    return positive, known | positive


def as_array(block):
    if isinstance(block, Intervals):
        return np.stack([np.where(naive_mask(block, t)[1], naive_mask(block, t)[0], np.nan) for t in range(COLUMNS)], 1)
    return block.toarray() if scipy.sparse.issparse(block) else block


KINDS = {"dense": dense, "sparse": sparse, "labels": labels}
ranges = st.tuples(st.integers(0, N), st.integers(0, N)).map(sorted)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(picks=st.lists(ranges, min_size=1, max_size=6), part=ranges)
def test_any_selection_of_any_container(kind, picks, part):
    values = Field(make_rows(), KINDS[kind](), kind="label").data
    whole = as_array(values.read(0, N))
    chosen = np.concatenate([whole[lo:hi] for lo, hi in picks])
    picked = Selection(values, np.array(picks))
    lo, hi = (min(edge, len(chosen)) for edge in part)
    assert picked.shape == chosen.shape
    np.testing.assert_array_equal(as_array(picked.read(lo, hi)), chosen[lo:hi])
    cut = part[0]
    joined = Parts([Selection(values, np.array([[0, cut]])), Selection(values, np.array([[cut, N]]))])
    np.testing.assert_array_equal(as_array(joined.read(lo, hi)), whole[lo:hi])


@pytest.mark.parametrize("kind", KINDS)
def test_take_and_split_follow_the_items(kind):
    field = Field(make_rows(), KINDS[kind](), kind="label")
    whole, edges = as_array(field.values), np.cumsum([0, *LENGTHS])
    pieces = [whole[edges[i] : edges[i + 1]] for i in (3, 0, 3)]
    np.testing.assert_array_equal(as_array(field.take([3, 0, 3]).values), np.concatenate(pieces))
    test = field.split("test")
    np.testing.assert_array_equal(as_array(test.values), np.concatenate([whole[11:12], whole[25:38]]))
    assert test.rows.items["item"].tolist() == ["b", "e"]
    batches = [(lo, hi, as_array(block)) for lo, hi, block in field.batches(7)]
    assert [b[:2] for b in batches] == [(lo, min(lo + 7, N)) for lo in range(0, N, 7)]
    np.testing.assert_array_equal(np.concatenate([b[2] for b in batches]), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_and_opened(kind, tmp_path):
    field = Field(make_rows(), KINDS[kind](), ["x", "y", "z"], "label", {"layer": 4})
    field.save(tmp_path / "f")
    again = Field.open(tmp_path / "f")
    np.testing.assert_array_equal(as_array(again.values), as_array(field.values))
    assert again.rows.id == field.rows.id and again.about == {"layer": 4} and again.column("y") == 1
    if kind == "labels":
        pd.testing.assert_frame_equal(again.values.instances, labels().instances)
    field.save(tmp_path / "f")  # the same again is no error


def test_masks_of_labels():
    runs = labels()
    for term in range(COLUMNS):
        for got, wanted in zip(runs.mask(term), naive_mask(runs, term), strict=True):
            np.testing.assert_array_equal(got, wanted)
    positive, known = runs.mask(0)
    assert positive[5] and known[5], "a positive cell is known even under an unknown run"
    assert not known[9:12].any() and known[12:].all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_storage_types_keep_what_they_can(dtype, tmp_path):
    values = BFloat16.of(dense()).float32() if dtype == "bfloat16" else dense().astype(dtype).astype(np.float32)
    writer = FieldWriter(tmp_path / dtype, list("abc"), "activation", {}, dtype=dtype)
    writer.write(0, make_rows(), values)
    np.testing.assert_array_equal(writer.finish(1).values, values)


def test_resume_writes_only_what_is_missing_and_refuses_another_recipe(tmp_path):
    rows, values = make_rows(), dense()
    first = FieldWriter(tmp_path / "f", list("abc"), "activation", {"k": 1})
    first.write(1, rows.take([2, 3, 4]), values[12:])
    before = (tmp_path / "f" / "shard=00001" / "meta.json").stat().st_mtime_ns
    with pytest.raises(StoreError):
        Field.open(tmp_path / "f")
    second = FieldWriter(tmp_path / "f", list("abc"), "activation", {"k": 1})
    assert not second.done(0) and second.done(1)
    second.write(0, rows.take([0, 1]), values[:12])
    np.testing.assert_array_equal(second.finish(2).values, values)
    assert (tmp_path / "f" / "shard=00001" / "meta.json").stat().st_mtime_ns == before
    assert Field.open(tmp_path / "f").rows.id == rows.id
    with pytest.raises(StoreError, match="differ in k"):
        FieldWriter(tmp_path / "f", list("abc"), "activation", {"k": 2})
    (tmp_path / "f" / "meta.json").unlink()
    with pytest.raises(StoreError, match="differ in k"):
        FieldWriter(tmp_path / "f", list("abc"), "activation", {"k": 2}).done(0)
    with pytest.raises(StoreError, match="dtype"):
        FieldWriter(tmp_path / "f", list("abc"), "activation", {"k": 1}, dtype="float16").done(0)


def test_shards_of_other_rows_are_noticed(tmp_path):
    Field(make_rows(), dense()).save(tmp_path / "a")
    Field(make_rows().take([1, 0, 2, 3, 4]), dense()).save(tmp_path / "b")
    (tmp_path / "a" / "shard=00000").rename(tmp_path / "old")
    (tmp_path / "b" / "shard=00000").rename(tmp_path / "a" / "shard=00000")
    with pytest.raises(StoreError, match="not the rows"):
        Field.open(tmp_path / "a")


def test_what_does_not_fit_is_said():
    rows = make_rows()
    with pytest.raises(AlignmentError, match="got values"):
        Field(rows, dense()[1:])
    with pytest.raises(AlignmentError, match="got values"):
        Field(rows, dense(), ["one"])
    with pytest.raises(InputError, match="got kind 'thing'"):
        Field(rows, dense(), kind="thing")
    with pytest.raises(InputError, match="an array of shape"):
        Field(rows, np.zeros(N))
    with pytest.raises(InputError, match="did you mean 'gene'"):
        Field(rows, dense(), ["gene", "x", "y"]).column("gen")
    with pytest.raises(AlignmentError, match="not on the same rows"):
        Field(rows, dense()).check_same_rows(Field(rows.take([1, 0, 2, 3, 4]), dense()))
    only = rows.take([0, 2])
    with pytest.raises(InputError, match="no block fell into the split 'test'"):
        Field(only, dense()[:19]).split("test")


def test_a_container_of_ones_own_is_read_as_it_is():
    class Lazy:
        shape = (N, 2)

        def read(self, lo, hi):
            return np.arange(2 * lo, 2 * hi, dtype=np.float32).reshape(-1, 2)

    field = Field(make_rows(), Lazy())
    np.testing.assert_array_equal(field.take([1, 2]).values, np.arange(22, 40).reshape(-1, 2))
    assert isinstance(Field(make_rows(), Dense(dense())).data, Dense)
