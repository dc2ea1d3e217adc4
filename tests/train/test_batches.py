"""Batches: every row once an epoch, any step at once, little in memory, and no thread left behind."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections import Counter

import numpy as np
import pytest

from bioterp.errors import InputError
from bioterp.train.batches import Batches, FieldChunks, sample
from bioterp.train.world import World
from tests.test_dictionary import people


class Counted:
    """Chunks of uneven sizes whose rows say their own number; tells what was read, and how much of it still lives."""

    def __init__(self, sizes: list[int], width: int = 3):
        self.sizes, self.width = np.array(sizes, np.int64), width
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.asked: list[int] = []
        self.gate: threading.Event | None = None  # closed: reading waits, once `open_for` rows were given
        self.open_for = 0

    def read(self, chunks: np.ndarray) -> np.ndarray:
        if self.gate is not None and self.sizes[self.asked].sum() >= self.open_for:
            self.gate.wait(20)
        self.asked += [int(c) for c in chunks]
        found = [np.arange(self.starts[c], self.starts[c] + self.sizes[c], dtype=np.float32) for c in chunks]
        return np.repeat(np.concatenate(found)[:, None], self.width, 1)


SIZES = [11, 0, 7, 23, 1, 0, 13, 17, 29, 5, 19, 2]  # 127 rows


def numbers(batches: Batches, many: int) -> np.ndarray:
    """(many, rows of a batch) row numbers of the next batches."""
    found = np.stack([next(batches) for _ in range(many)])
    assert found.dtype == np.float32 and (found == found[..., :1]).all()
    return found[..., 0].astype(int)


@pytest.mark.parametrize("buffer", [1, 24, 60, 1_000])
def test_each_row_once_an_epoch_but_for_those_that_fill_no_batch(buffer: int) -> None:
    with Batches(Counted(SIZES), 6, seed=4, buffer=buffer) as batches:
        epochs = [numbers(batches, 127 // 6).ravel() for _ in range(40)]
    for seen in epochs:
        assert len(np.unique(seen)) == len(seen) == 126
    left_out = [set(range(127)) - set(seen) for seen in epochs]
    assert all(len(rows) == 1 for rows in left_out) and len(set.union(*left_out)) > 10  # others in other epochs
    assert len({tuple(seen) for seen in epochs}) == 40


def test_rows_are_mixed_over_the_whole_epoch_when_the_buffer_holds_it() -> None:
    # Where a row comes within an epoch is uniform: the mean place of each over 300 epochs is 62.5 ± 36.4 / √300.
    with Batches(Counted(SIZES), 9, seed=0, buffer=127) as batches:
        places = np.zeros(127)
        seen = np.zeros(127)
        for _ in range(300):
            order = numbers(batches, 14).ravel()
            places[order] += np.arange(126)
            seen[order] += 1
    z = (places / seen - 62.5) / (36.4 / np.sqrt(300))
    assert np.abs(z).max() < 4.5 and 0.7 < z.std() < 1.3


def test_the_same_seed_gives_the_same_batches_and_another_gives_others() -> None:
    a, b, c = (Batches(Counted(SIZES), 8, seed=s, buffer=40) for s in (5, 5, 6))
    first, again, other = (numbers(batches, 33) for batches in (a, b, c))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_seek_gives_what_reading_on_gives_and_reads_only_its_own_group() -> None:
    with Batches(Counted(SIZES), 5, seed=2, buffer=31) as batches:
        through = numbers(batches, 70)
    for step in (0, 1, 5, 6, 24, 25, 49, 62):
        chunks = Counted(SIZES)
        with Batches(chunks, 5, seed=2, buffer=31, steps=step + 1) as batches:
            batches.seek(step)
            assert np.array_equal(numbers(batches, 1)[0], through[step])
        assert chunks.sizes[chunks.asked].sum() < 31 + 2 * 29  # a group and the ends of the chunks at its borders
    with Batches(Counted(SIZES), 5, seed=2, buffer=31) as batches:
        for step in (41, 3, 4, 66, 20):  # back and forth in one
            batches.seek(step)
            assert np.array_equal(numbers(batches, 1)[0], through[step])


def test_read_through_every_chunk_is_read_once_an_epoch() -> None:
    chunks = Counted(SIZES)
    with Batches(chunks, 5, seed=2, buffer=10, steps=3 * 25) as batches:  # chunks are larger than groups
        numbers(batches, 3 * 25)
    assert Counter(chunks.asked) == {c: 3 for c, size in enumerate(SIZES) if size}


def test_the_first_batch_waits_for_one_group_only() -> None:
    chunks = Counted([10] * 40)
    chunks.gate, chunks.open_for = threading.Event(), 50  # what comes after five chunks does not arrive
    with Batches(chunks, 10, seed=1, buffer=50) as batches:
        assert len(numbers(batches, 5)) == 5
        assert len(chunks.asked) == 5
        chunks.gate.set()
        numbers(batches, 20)


def test_at_most_two_groups_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    living: list[int] = []  # rows of the arrays that were made for groups and are still there
    most: list[int] = []

    module = sys.modules[Batches.__module__]

    class Tracked(module._Group):
        def __init__(self, *given):
            super().__init__(*given)
            living.append(len(self.rows))
            weakref.finalize(self.rows, living.remove, len(self.rows))
            most.append(sum(living))

    monkeypatch.setattr(module, "_Group", Tracked)
    with Batches(Counted([10] * 64), 8, seed=1, buffer=80) as batches:
        kept = [next(batches) for _ in range(200)]  # the batches themselves may stay
    assert len(kept) == 200 and max(most) == 160


@pytest.mark.parametrize("buffer", [26, 1_000])
def test_the_shares_of_two_processes_are_the_batch_of_one(buffer: int) -> None:
    whole = numbers(Batches(Counted(SIZES), 6, seed=3, buffer=buffer), 50)
    shares = [numbers(Batches(Counted(SIZES), 6, seed=3, world=World(r, 3), buffer=buffer), 50) for r in range(3)]
    assert np.array_equal(np.concatenate(shares, 1), whole)
    with pytest.raises(InputError, match="multiple of the 4 processes"):
        Batches(Counted(SIZES), 6, seed=3, world=World(0, 4))


def test_a_field_is_read_in_runs_and_comes_back_row_for_row() -> None:
    values = np.random.default_rng(0).standard_normal((97, 4)).astype(np.float32)
    chunks = FieldChunks(people(values), rows=10)
    assert chunks.sizes.tolist() == [10] * 9 + [7] and chunks.width == 4
    wanted = np.concatenate([values[90:97], values[30:40]])
    np.testing.assert_array_equal(chunks.read(np.array([9, 3])), wanted)
    seen = np.concatenate([next(b) for b in [Batches(chunks, 97, seed=0)]])
    np.testing.assert_array_equal(seen[np.argsort(seen[:, 0])], values[np.argsort(values[:, 0])])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_reaches_the_consumer_and_leaves_no_thread(value: float) -> None:
    values = np.zeros((60, 4), np.float32)
    values[33, 2] = value
    chunks = FieldChunks(people(values), rows=10)
    with pytest.raises(InputError, match="NaN or infinite"):
        sample(chunks, 60, seed=0)
    batches = Batches(chunks, 10, seed=0, buffer=10)
    with pytest.raises(InputError, match="NaN or infinite"):
        for _ in range(6):
            next(batches)
    batches.close()
    assert running() == 0


def running() -> int:
    return sum(thread.name.startswith("bioterp-batches") for thread in threading.enumerate())


@pytest.mark.parametrize("how", ["close", "forget", "raise"])
def test_a_consumer_that_stops_leaves_no_thread(how: str) -> None:
    chunks = Counted([10] * 400)
    chunks.gate, chunks.open_for = threading.Event(), 170  # it is reading ahead when the consumer stops

    def consume() -> None:
        with Batches(chunks, 10, seed=1, buffer=100) as batches:
            next(batches)
            while len(chunks.asked) < 17:
                time.sleep(0.01)
            assert running() == 1
            threading.Timer(0.1, chunks.gate.set).start()
            if how == "raise":
                raise KeyError

    if how == "forget":
        batches = Batches(chunks, 10, seed=1, buffer=100)
        next(batches)
        threading.Timer(0.1, chunks.gate.set).start()
        del batches
        gc.collect()
    elif how == "raise":
        with pytest.raises(KeyError):
            consume()
    else:
        consume()
    assert running() == 0 and len(chunks.asked) < 20  # it did not finish its group


def test_a_chunk_that_is_not_what_it_was_said_to_be_is_refused() -> None:
    chunks = Counted([5, 6])
    chunks.starts = np.array([0, 5])
    batches = Batches(chunks, 4, seed=0)
    chunks.sizes = np.array([6, 7])
    chunks.read = lambda _: np.zeros((5, 3), np.float32)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="was said to hold"):
        next(batches)


@pytest.mark.parametrize("size", [0, 128])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(InputError, match="all 127 rows"):
        Batches(Counted(SIZES), size, seed=0)


def test_a_sample_is_spread_and_no_larger_than_asked() -> None:
    chunks = Counted([1_000] * 30)
    got = sample(chunks, 400, seed=3)[:, 0]
    assert len(np.unique(got)) == len(got) == 400
    assert len(chunks.asked) == 8 == len(np.unique(got // 1_000))  # eight chunks at least, and none in vain
    assert np.array_equal(got, sample(chunks, 400, seed=3)[:, 0])
    assert len(sample(Counted(SIZES), 100_000, seed=0)) == 127
    uniform = np.concatenate([sample(chunks, 400, seed)[:, 0] % 1_000 for seed in range(20)])
    assert abs(uniform.mean() - 499.5) < 4.5 * 289 / np.sqrt(len(uniform))
