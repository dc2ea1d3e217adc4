"""Shuffled batches of rows that are never in memory all at once.

An epoch lays the chunks (chunks.py) in a random order one after the other and cuts that line into groups of whole
batches, as even as they can be; the rows of a group are shuffled. A group is read by one background thread while the
last one is used, so that two are in memory at most. Fewer rows than one batch are left out of an epoch, others in each.

What batch `step` holds is a function of (sizes of the chunks, batch size, seed, buffer, step) alone: not of how it was
reached, nor of the number of processes, which take contiguous shares of its rows.
"""

from __future__ import annotations

import threading
import weakref

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.train.chunks import Chunks, FieldChunks, rows_of, sample
from bioterp.train.world import World

__all__ = ["BUFFER", "BUFFER_BYTES", "Batches", "Chunks", "FieldChunks", "sample"]

BUFFER = 1 << 18  # rows of a group, unless they are wide:
BUFFER_BYTES = 1 << 28  # then fewer
_CHUNKS, _ROWS = 1, 2  # what a random stream is for; in front, for numpy takes [s, e] and [s, e, 0] for one


class Batches:
    """Endless shuffled batches, (size / world.size, width) float32 each, that can be entered at any step.

    buffer: rows of a group, `BUFFER` or what fits `BUFFER_BYTES` by default. steps: how many batches will be wanted, if
    that is known: nothing is read ahead for later ones. Raises InputError for sizes that cannot be, and when a chunk
    holds NaN or infinite values. `close()`, or letting go of it, ends its thread.
    """

    def __init__(
        self,
        chunks: Chunks,
        size: int,
        seed: int,
        world: World | None = None,
        buffer: int | None = None,
        steps: int | None = None,
    ):
        rank, processes = (world.rank, world.size) if world else (0, 1)
        n = int(chunks.sizes.sum())
        if not 0 < size <= n:
            raise InputError(f"a batch takes between 1 and all {n} rows; got a batch size of {size}")
        if size % processes:
            raise InputError(f"the batch size must be a multiple of the {processes} processes; got {size}")
        self.chunks, self.size, self.seed, self.until = chunks, size, seed, steps
        self.share, self.rank = size // processes, rank
        self.per_epoch = n // size
        whole = max(1, (buffer or min(BUFFER, BUFFER_BYTES // (4 * max(1, chunks.width)))) // size)
        groups = -(-self.per_epoch // whole)
        self.edges: Array = np.arange(groups + 1) * self.per_epoch // groups  # first batch of each group, and the end
        self.step = 0  # the next batch
        self._key, self._rows = (-1, -1), np.zeros((0, 0), np.float32)
        self._held: dict[int, Array] = {}  # the chunk a group ended in, for the next
        self._ahead: list[_Group] = []  # at most one
        self._end = weakref.finalize(self, _stop, self._ahead)

    def __iter__(self) -> Batches:
        return self

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> Array:
        """The rows of this process; the memory is the caller's own."""
        epoch, within = divmod(self.step, self.per_epoch)
        group = int(np.searchsorted(self.edges, within, side="right")) - 1
        if self._key != (epoch, group):
            self._load(epoch, group)
        lo = (within - int(self.edges[group])) * self.share
        self.step += 1
        return self._rows[lo : lo + self.share].copy()

    def seek(self, step: int) -> None:
        """Let the next batch be that of `step` (from 0); of what lies before nothing is read."""
        if step < 0:
            raise InputError(f"a step is 0 or more; got {step}")
        self.step = step

    def close(self) -> None:
        """End the thread that reads ahead, and let go of the memory; it can be read on, from the same step."""
        _stop(self._ahead)
        self._key, self._rows = (-1, -1), np.zeros((0, 0), np.float32)
        self._held.clear()

    def _load(self, epoch: int, group: int) -> None:
        """Take the group that was read ahead, or read it now, and begin to read the one after it."""
        self._key, self._rows = (-1, -1), np.zeros((0, 0), np.float32)  # the old one goes before another comes
        if not self._ahead or self._ahead[0].key != (epoch, group):
            _stop(self._ahead)
            self._ahead.append(self._read(epoch, group))
        self._rows = self._ahead[0].wait()  # interrupted, or with an error, it stays there to be stopped
        self._ahead.pop()
        self._key = epoch, group
        epoch, group = (epoch, group + 1) if group + 2 < len(self.edges) else (epoch + 1, 0)
        if self.until is None or epoch * self.per_epoch + self.edges[group] < self.until:
            self._ahead.append(self._read(epoch, group))

    def _read(self, epoch: int, group: int) -> _Group:
        """Begin to read a group: which rows of which chunks it holds, and where each goes."""
        order = np.random.default_rng([_CHUNKS, self.seed, epoch]).permutation(np.flatnonzero(self.chunks.sizes))
        ends = np.cumsum(self.chunks.sizes[order])
        first, last = (int(edge) * self.size for edge in self.edges[group : group + 2])
        batches = (last - first) // self.size
        if group + 2 == len(self.edges):
            last = int(ends[-1])  # with what fills no batch: any row of the group may be left out
        pieces = []
        for i in range(int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(ends, last)) + 1):
            start = int(ends[i] - self.chunks.sizes[order[i]])
            pieces.append((int(order[i]), max(first, start) - start, min(last, int(ends[i])) - start))
        place = np.random.default_rng([_ROWS, self.seed, epoch, group]).permutation(last - first)
        batch, within = np.divmod(place, self.size)
        within -= self.rank * self.share
        mine = (batch < batches) & (within >= 0) & (within < self.share)
        place = np.where(mine, batch * self.share + within, -1)
        return _Group((epoch, group), self.chunks, pieces, place, batches * self.share, self._held)


class _Group:
    """Rows of some chunks on their way into memory, in batch order, by a thread of their own.

    pieces: (chunk, lo, hi) of its rows. place: where each of these rows goes, −1 for nowhere. held: the chunk that was
    read last, when it was not used up.
    """

    def __init__(
        self,
        key: tuple[int, int],
        chunks: Chunks,
        pieces: list[tuple[int, int, int]],
        place: Array,
        rows: int,
        held: dict[int, Array],
    ):
        self.key = key
        self.error: BaseException | None = None
        self.rows = np.empty((rows, chunks.width), np.float32)
        self.stopped = threading.Event()
        # Not a method of Batches: a thread that held it would keep it from being let go of.
        self.thread = threading.Thread(
            target=self._read, args=(chunks, pieces, place, held), name="bioterp-batches", daemon=True
        )
        self.thread.start()

    def _read(self, chunks: Chunks, pieces: list[tuple[int, int, int]], place: Array, held: dict[int, Array]) -> None:
        at = 0
        try:
            for chunk, lo, hi in pieces:
                if self.stopped.is_set():
                    return
                if chunk not in held:
                    held.clear()
                    held[chunk] = rows_of(chunks, chunk)
                to = place[at : at + hi - lo]
                mine = to >= 0
                self.rows[to[mine]] = held[chunk][lo:hi][mine]
                at += hi - lo
                if hi == len(held[chunk]):
                    held.clear()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the rows raises it
            self.error = error

    def wait(self) -> Array:
        """The rows, when they are there; raises what went wrong in the thread."""
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.rows


def _stop(groups: list[_Group]) -> None:
    """End the threads after the chunk they are at; also called when the program ends."""
    for group in groups:
        group.stopped.set()
        if group.thread is not threading.current_thread():  # the collector may run in any
            group.thread.join()
    groups.clear()
