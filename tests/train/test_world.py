"""Processes that train together: two real ones, over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from bioterp.errors import InputError
from bioterp.train.world import World, world

TOGETHER = """
    import os, sys, time
    import numpy as np, torch
    from bioterp.errors import BioterpError
    from bioterp.train.world import world

    us = world(timeout=3)
    assert (us.rank, us.size, us.is_first) == (int(os.environ["RANK"]), 2, os.environ["RANK"] == "0")
    mine = lambda dtype: (np.arange(12).reshape(3, 4) * (1 + 9 * us.rank)).astype(dtype)
    for dtype in ("float32", "float64", "int64"):
        array = mine(dtype)
        assert us.sum(array) is array and array.dtype == dtype
        assert np.array_equal(array, np.arange(12).reshape(3, 4) * 11), array
    strided = mine("float32")
    us.sum(strided[:, ::2])  # in place also where it is not contiguous
    assert np.array_equal(strided[:, ::2], np.arange(12).reshape(3, 4)[:, ::2] * 11)
    assert np.array_equal(strided[:, 1::2], mine("float32")[:, 1::2])
    assert us.sum(np.array(2.5))[()] == 5.0
    tensor = torch.full((5,), 2.0 + us.rank)
    assert us.sum(tensor) is tensor and tensor.tolist() == [5.0] * 5
    rows = np.full((3 + 4 * us.rank, 2), us.rank, np.float32)
    first, second = us.gather(rows)
    assert first.shape == (3, 2) and second.shape == (7, 2) and (first == 0).all() and (second == 1).all()
    few = us.gather(np.arange(5 * us.rank))
    assert [one.tolist() for one in few] == [[], [0, 1, 2, 3, 4]]
    assert [one.tolist() for one in us.gather(np.zeros(0, np.int64))] == [[], []]
    began = time.monotonic()
    time.sleep(0.4 * us.rank)
    us.barrier()
    assert time.monotonic() - began >= 0.39
    assert world().size == 2  # again, and no second meeting
    print("agreed", flush=True)
    if us.rank == 1:
        if sys.argv[1] == "dies":
            os._exit(9)
        time.sleep(60)
    began = time.monotonic()
    try:
        us.sum(np.zeros(3, np.float32))
    except BioterpError as error:
        print("SENTENCE", round(time.monotonic() - began), str(error).count("\\n"), error, flush=True)
"""


def start(rank: int, port: int, how: str) -> subprocess.Popen[str]:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TOGETHER), how],
        env={**os.environ, **place, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", ["dies", pytest.param("hangs", marks=pytest.mark.slow)])
def test_two_processes_sum_and_gather_and_one_that_is_lost_does_not_hold_up_the_other(how: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [start(rank, port, how) for rank in range(2)]
    try:
        out, err = both[0].communicate(timeout=60)
    finally:
        both[1].kill()
        other, theirs = both[1].communicate()
        both[0].kill()
    assert both[0].returncode == 0 and out.startswith("agreed") and other.startswith("agreed"), err + theirs
    _, seconds, lines, sentence = out.splitlines()[1].split(" ", 3)
    assert int(seconds) <= 6 and lines == "0"
    assert "process 0 of 2 waited in vain" in sentence and "run the same command again" in sentence


def test_alone_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = world()
    assert (alone.rank, alone.size, alone.is_first) == (0, 1, True)
    array = np.arange(5.0)
    assert alone.sum(array) is array and array.tolist() == [0, 1, 2, 3, 4]
    assert [one.tolist() for one in alone.gather(array)] == [[0, 1, 2, 3, 4]]
    began = time.monotonic()
    alone.barrier()
    assert time.monotonic() - began < 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert world().size == 1 and not World(1, 2).is_first


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"WORLD_SIZE": "2"}, "which of how many"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "which of how many"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "which of how many"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR"),
    ],
)
def test_an_environment_that_says_half(monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=expected):
        world()
