"""A few threads that share the pieces of a step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import threadpoolctl
import torch

T = TypeVar("T")


class Crew:
    """`threads` threads, each of which makes its matrix products alone; results come in the order of the pieces.

    Products on few rows scale better side by side than split inside, and what a piece gives does not depend on who
    does it: the weights are the same for any number of threads. Close it, or use it in `with`.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self._own = threading.local()
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)  # the setting is a thread's own for some products, the process' for others
        self._numpy = threadpoolctl.threadpool_limits(1, user_api="blas")
        self._pool = (
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) if threads > 1 else None
        )

    def map(self, work: Callable[[Any], T], pieces: Iterable[Any]) -> list[T]:
        """[work(piece), …]."""
        if self._pool is None:
            return [work(piece) for piece in pieces]
        return list(self._pool.map(work, pieces))

    def buffer(self, rows: int, columns: int) -> torch.Tensor:
        """Room of the calling thread's own, kept from call to call."""
        held = getattr(self._own, "room", None)
        if held is None or held.shape[1] != columns or len(held) < rows:
            held = self._own.room = torch.empty(rows, columns)
        room: torch.Tensor = held[:rows]
        return room

    def close(self) -> None:
        """End the threads; give torch and numpy their number of them back."""
        if self._pool is not None:
            self._pool.shutdown()
        self._numpy.restore_original_limits()
        torch.set_num_threads(self._before)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
