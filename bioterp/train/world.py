"""The processes of one training: data-parallel, behind four functions.

`torchrun --nproc-per-node 4 …` starts the same program several times and tells each its number in the environment.
Every process steps the same dictionary on its share of each batch, and sums what the others found. Arrays on the CPU
travel by gloo; tensors on CUDA by NCCL, which was written to torch's documentation and has not been run: no machine
with two GPUs was at hand.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import BioterpError, InputError

TIMEOUT = 600.0  # seconds a process waits for another: longer than the slowest checkpoint takes to write
A = TypeVar("A")  # a numpy array, or a torch tensor


class World:
    """Who takes part: `rank` of `size`. A World of one needs no torch and changes nothing.

    Every process must make the same calls in the same order. A process that ends or hangs is a BioterpError in the
    others, after at most the timeout.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    def __repr__(self) -> str:
        return f"World({self.rank} of {self.size})"

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def sum(self, array: A) -> A:
        """The sum over processes, in place, the same bits in each. array: numpy or tensor; float32, float64, int64."""
        if self.size > 1:
            tensor = _tensor(array).contiguous()
            with self._together():
                _distributed().all_reduce(tensor)
            if tensor.data_ptr() != _tensor(array).data_ptr():  # it was not contiguous
                _tensor(array).copy_(tensor)
        return array

    def gather(self, array: Array) -> list[Array]:
        """The arrays of all processes in their order; lengths (of the first axis) may differ, the rest may not."""
        if self.size == 1:
            return [array]
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = len(array)
        lengths = self.sum(lengths)
        padded = np.zeros((int(lengths.max()), *array.shape[1:]), array.dtype)
        padded[: len(array)] = array
        if not padded.size:
            return [padded.copy() for _ in lengths]
        found = [np.empty_like(padded) for _ in lengths]
        with self._together():
            _distributed().all_gather([_tensor(one) for one in found], _tensor(padded))
        return [one[:length] for one, length in zip(found, lengths, strict=True)]

    def barrier(self) -> None:
        """Wait until all are here."""
        self.sum(np.zeros(1, np.int64))

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BioterpError(
                f"process {self.rank} of {self.size} waited in vain for the others ({said[:160]}); see what ended or "
                "held up the first of them, and run the same command again: training goes on from its last checkpoint"
            ) from error


def world(timeout: float = TIMEOUT) -> World:
    """The World of this process, from the environment torchrun sets; a World of one where it does not.

    RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are read, and LOCAL_RANK where there are GPUs. timeout: seconds to
    wait for another process. Asking again gives the same World.
    """
    told = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    if told["WORLD_SIZE"] is None:
        return World()
    try:
        rank, size = int(told["RANK"] or ""), int(told["WORLD_SIZE"])
    except ValueError:
        rank, size = -1, 0
    if not 0 <= rank < size:
        raise InputError(
            f"RANK and WORLD_SIZE must say which of how many processes this is; got {told['RANK']!r} of "
            f"{told['WORLD_SIZE']!r}: start with torchrun, or without these variables"
        )
    if size == 1:
        return World()
    if not (told["MASTER_ADDR"] and told["MASTER_PORT"]):
        raise InputError("MASTER_ADDR and MASTER_PORT must say where the processes meet: start with torchrun")
    made = World(rank, size)
    if not _distributed().is_initialized():
        with made._together():
            _distributed().init_process_group(
                _backend(), rank=rank, world_size=size, timeout=timedelta(seconds=timeout)
            )
        atexit.register(_leave)
    return made


def _backend() -> str:
    """gloo for what lies on the CPU, and NCCL beside it for what lies on a GPU, one GPU per process."""
    import torch

    if not (torch.cuda.is_available() and _distributed().is_nccl_available()):
        return "gloo"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return "cpu:gloo,cuda:nccl"


def _leave() -> None:
    if _distributed().is_initialized():
        _distributed().destroy_process_group()


def _distributed() -> Any:
    """torch.distributed, or InputError where torch was built without it."""
    import torch.distributed

    if not torch.distributed.is_available():
        raise InputError("this torch was built without torch.distributed; train in one process, or install another")
    return torch.distributed


def _tensor(array: Any) -> Any:
    """A tensor on the memory of a numpy array; a tensor is left as it is."""
    import torch

    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array
