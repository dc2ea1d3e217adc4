"""Checkpoints of a training run: after a kill at any moment the same call goes on, to the same bits.

A checkpoint is a stored folder (`store.py`: written beside, hashed, fsynced, moved) named by its step. The last one is
removed only when the next is in place, so one is always whole and there are never more than two. Everything that
matters is in the hashed arrays; nothing is believed that the hash does not cover.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from bioterp import store
from bioterp.arrays import Array
from bioterp.errors import InputError, StoreError
from bioterp.progress import say
from bioterp.train.world import World

EVERY = 60.0  # seconds between checkpoints,
SHARE = 20  # or so many times as long as the last took to write: at most a twentieth of the time goes there
ARRAYS = "arrays.safetensors"
State = dict[str, Array]


class Engine(Protocol):
    """What is kept: something whose whole changing state is named arrays."""

    def state(self) -> Mapping[str, Array]: ...


class Keeper:
    """Keeps the state of a training in a folder.

    folder: None keeps nothing. digest: `store.digest` of all that the training depends on (sizes, recipe, seed,
    `about`, rows). world: only the first process writes; all must see the folder. every: seconds; 0: after every
    step.
    """

    def __init__(self, folder: str | Path | None, digest: str, world: World, every: float | None = None):
        self.folder = None if folder is None else Path(folder)
        self.digest, self.world = digest, world
        self.every = EVERY if every is None else every
        self.next = time.monotonic() + self.every

    def load(self) -> tuple[int, list[State]] | None:
        """(steps done, a state for each engine) of the last whole checkpoint, in memory of its own; None without one.

        A damaged checkpoint is said to be so and passed over. StoreError for a folder that holds another training,
        InputError when the processes do not find the same.
        """
        if self.folder is None:
            return None
        found, damaged = None, False
        for path in self._kept():
            found = _read(path)
            if found is not None:
                break
            damaged = True
        steps = [int(one[0]) for one in self.world.gather(np.array([-1 if found is None else found[1]], np.int64))]
        if len(set(steps)) > 1:
            raise InputError(f"the processes find different checkpoints in {self.folder}; keep in a folder all share")
        if found is not None and found[0] != self.digest:
            raise StoreError(
                f"{self.folder} keeps a training of other activations or settings, stopped at step {found[1]}; "
                "choose another folder, or delete it"
            )
        if self.world.is_first and damaged:
            then = "training begins anew" if found is None else f"training goes on from step {found[1]}"
            say(f"the last checkpoint in {self.folder} is damaged (its hash changed); {then}")
        self.world.barrier()  # all have read
        if self.world.is_first:
            self._clear(but=None if found is None else found[1])
        self.next = time.monotonic() + self.every
        return None if found is None else found[1:]

    def tick(self, step: int, engines: Sequence[Engine]) -> bool:
        """Write a checkpoint after `step` steps, when it is time; whether it was written."""
        began = time.monotonic()
        if self.folder is None or not self.world.is_first or began < self.next:
            return False
        kept = self._kept()
        self._clear(but=_step(kept[0]) if kept else None)  # room for one more
        arrays: State = {"digest": np.frombuffer(self.digest.encode(), np.uint8), "step": np.array([step], np.int64)}
        for i, engine in enumerate(engines):
            arrays.update({f"engine.{i}.{name}": np.asarray(value) for name, value in engine.state().items()})
        store.write(self.folder / f"step={step}", arrays, meta={"kind": "training", "step": step})
        self._clear(but=step)
        now = time.monotonic()
        self.next = now + (max(self.every, SHARE * (now - began)) if self.every else 0)
        return True

    def done(self) -> None:
        """Remove the checkpoints, and the folder when nothing else is in it: what was trained is at hand."""
        self.world.barrier()
        if self.folder is None or not self.world.is_first:
            return
        self._clear(but=None)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _kept(self) -> list[Path]:
        """Folders of checkpoints, the newest first."""
        assert self.folder is not None
        found = [path for path in self.folder.glob("step=*") if re.fullmatch(r"step=\d+", path.name) and path.is_dir()]
        return sorted(found, key=_step, reverse=True)

    def _clear(self, but: int | None) -> None:
        """Remove every checkpoint but that of one step, and what killed writers left."""
        assert self.folder is not None
        for path in self._kept():
            if _step(path) != but:
                store.discard(path)
        store.clear_partials(self.folder, deep=False)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step="))


def _read(path: Path) -> tuple[str, int, list[State]] | None:
    """(digest, step, states) of a checkpoint, or None for one that is not whole."""
    try:
        stored = store.read(path, check=True)
        if ARRAYS not in stored.meta["sha256"]:
            return None
        arrays = {name: np.array(stored.array(name)) for name in stored.arrays}
        digest, step = arrays.pop("digest").tobytes().decode(), int(arrays.pop("step")[0])
    except (OSError, KeyError, TypeError, ValueError, AttributeError):  # StoreError is an OSError
        return None  # a flipped bit can make anything of a header
    states: dict[int, State] = {}
    for name, array in arrays.items():
        _, number, rest = name.split(".", 2)
        states.setdefault(int(number), {})[rest] = array
    return digest, step, [states[i] for i in sorted(states)]
