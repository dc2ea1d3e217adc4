"""The process that jobs on this machine fork from: what they all load is loaded once.

    python -m bioterp.forking DOOR [MODULE ...]          # DOOR: a listening socket's number

bioterp/workflow/warm.py starts it. A connection stands for a job (bioterp/workflow/job.py): when it is closed, the job
was killed, and its fork goes too. When standard input ends, whoever began all this has gone, and everything goes.
"""

from __future__ import annotations

import array
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from bioterp import cli

LARGEST = 1 << 22  # bytes of words, folder and environment


class Server:
    """Accepts jobs, forks for each, and says how it ended."""

    def __init__(self, door: int):
        self.heard = selectors.DefaultSelector()
        self.door = socket.socket(fileno=door)
        self.heard.register(self.door, selectors.EVENT_READ)
        self.heard.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self.ended, wake = os.pipe()  # a byte for each signal that a fork has ended
        os.set_blocking(self.ended, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.heard.register(self.ended, selectors.EVENT_READ)
        self.jobs: dict[int, socket.socket] = {}

    def serve(self) -> None:
        """Until standard input ends."""
        while True:
            for key, _ in self.heard.select():
                if key.fileobj == sys.stdin.fileno():
                    for pid in self.jobs:
                        kill(pid)
                    return
                if key.fileobj is self.door:
                    self.begin(self.door.accept()[0])
                elif key.fileobj == self.ended:
                    with suppress(BlockingIOError):
                        os.read(self.ended, 4096)
                    self.reap()
                elif key.data in self.jobs:  # it has gone, and nobody waits for its fork any more
                    kill(key.data)
                    self.heard.unregister(key.fileobj)

    def begin(self, line: socket.socket) -> None:
        """Fork for a job."""
        request = asked_for(line)
        if request is None:
            line.close()
            return
        (words, folder, environment), files = request
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self.heard.close()
            for connection in (self.door, line, *self.jobs.values()):
                connection.close()
            work(words, folder, environment, files)
        with suppress(OSError):
            os.setpgid(pid, pid)  # the fork does so too: whoever comes first
        for one in files:
            os.close(one)
        self.jobs[pid] = line
        self.heard.register(line, selectors.EVENT_READ, pid)

    def reap(self) -> None:
        """Tell the jobs whose forks have ended."""
        while self.jobs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code, line = os.waitstatus_to_exitcode(status), self.jobs.pop(pid)
            with suppress(OSError):
                line.sendall((code if code >= 0 else 128 - code).to_bytes(4, "big"))
            with suppress(KeyError):
                self.heard.unregister(line)
            line.close()


def asked_for(line: socket.socket) -> tuple[list[Any], list[int]] | None:
    """([words, folder, environment], three open files) of a job; None when it went before it had said so."""
    head, told, _, _ = line.recvmsg(4, socket.CMSG_SPACE(12))
    files = array.array("i")
    for level, kind, data in told:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    size = int.from_bytes(head, "big")
    text = b""
    while len(text) < size <= LARGEST:
        more = line.recv(size - len(text))
        if not more:
            break
        text += more
    if len(head) == 4 and len(text) == size and len(files) == 3:
        return json.loads(text), list(files)
    for one in files:
        os.close(one)
    return None


def kill(pid: int) -> None:
    """A fork and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def work(words: list[str], folder: str, environment: dict[str, str], files: list[int]) -> NoReturn:
    """The fork of a job: run its verb and leave."""
    status = 70
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for at, one in enumerate(files):
            os.dup2(one, at)
            os.close(one)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        status = cli.main(words)
    except BaseException:  # noqa: BLE001  a fork must not go on as the process it came from
        traceback.print_exc()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(words: list[str]) -> None:
    """Load what jobs load, and serve them; those that come meanwhile wait."""
    for name in ("bioterp.jobs", *words[1:]):
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            importlib.import_module(name)
    Server(int(words[0])).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
