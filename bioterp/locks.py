"""One run at a time in a folder, or the jobs of one: locks that name their owner and cannot outlive it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bioterp.errors import StoreError
from bioterp.progress import say

NAME = ".lock"
TURNS = ".turns"  # the folder of the locks that are waited for


@contextmanager
def held(folder: str | Path, shared: bool = False, name: str = NAME) -> Iterator[None]:
    """Hold the lock of a folder; raises StoreError, naming the owner, while another process holds it.

    shared: one of several jobs, which hold it together; whoever wants it alone is refused meanwhile. name: its file.
    The lock is the kernel's (flock), so that of a killed process is gone with it and needs no clearing away. Where the
    file system has no locks this is said, and nothing is held.
    """
    path = Path(folder) / name
    new = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreError(
                    f"{folder} is in use by {owner(handle)}; wait for it, or give this run another folder"
                ) from None
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            say(f"{Path(folder).name}: this file system has no locks; see that no other run writes there")
        mine = {"pid": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(mine).encode(), 0)
        yield
    finally:
        # Else the file stays: removing it would let a third process lock another of the same name.
        if new and [one.name for one in path.parent.iterdir()] == [name]:
            path.unlink()  # a mistake was found before anything was made
            path.parent.rmdir()
        os.close(handle)


@contextmanager
def turn(folder: str | Path, name: str) -> Iterator[None]:
    """Wait for one's turn at something in a folder that several jobs may want at once; the later ones find it made.

    name: what is made; any text, of which a file name is made.
    """
    place = Path(folder) / TURNS
    place.mkdir(parents=True, exist_ok=True)
    plain = "".join(letter if letter.isalnum() or letter in "-=." else "_" for letter in name)
    handle = os.open(place / plain, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        yield
    finally:
        os.close(handle)


def owner(handle: int) -> str:
    """Who wrote the lock file that is open as `handle`."""
    try:
        told = json.loads(os.pread(handle, 4096, 0))
        return f"process {int(told['pid'])} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
