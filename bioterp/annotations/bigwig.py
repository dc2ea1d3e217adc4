"""A bigWig as contigs and values, read by pyBigWig (https://doi.org/10.1093/bioinformatics/btq351) in a process of its
own: the library under it is not made for files of strangers, and one that breaks it must not break more.

That costs a fifth of a second per file, and 8 bytes per base through a pipe.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package, one_line

ROOM = 1 << 30  # bytes its process may take
PATIENCE = 120.0  # seconds for one answer; of a megabase it takes hundredths
LONGEST = 64 << 20  # bytes of the list of contigs


class BigWig:
    """An open bigWig: `contigs` {name: length}; `values(contig, start, end)` per base, NaN where there is none.

    A context manager. Raises InputError for a file that is none, or that its reader does not survive.
    """

    def __init__(self, path: Path):
        if importlib.util.find_spec("pyBigWig") is None:
            raise missing_package("pyBigWig", "dna", "reading bigWig")
        self.path = path
        program = str(Path(__file__).with_name("bigwig_child.py"))
        self._child = subprocess.Popen(
            [sys.executable, "-P", program, str(path.absolute()), str(ROOM)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            told = json.loads(self._answered(lambda out: out.readline(LONGEST)))
            self.contigs = {str(name): int(length) for name, length in told.items()}
        except (ValueError, AttributeError, TypeError):
            self.close()
            raise self._refusal() from None

    def __enter__(self) -> BigWig:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def values(self, contig: str, start: int, end: int) -> Array:
        """(end − start,) float64."""
        if end <= start:
            return np.zeros(0)
        asked, size = f"{contig}\t{start}\t{end}\n".encode(), 8 * (end - start)
        try:
            self._pipe(self._child.stdin).write(asked)
            self._pipe(self._child.stdin).flush()
        except OSError:
            raise self._refusal() from None
        found = self._answered(lambda out: out.read(size))
        if len(found) != size:
            raise self._refusal()
        return np.frombuffer(found, "<f8")

    def close(self) -> None:
        """End the process; nothing of it is left."""
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            try:
                self._pipe(pipe).close()
            except OSError:  # what was still to be sent to a process that is gone
                continue
        self._child.wait()

    def _answered(self, read: Any) -> bytes:
        """What the process says, which is ended where it takes too long."""
        timer = threading.Timer(PATIENCE, self._child.kill)
        timer.start()
        try:
            said: bytes = read(self._child.stdout)
        finally:
            timer.cancel()
        return said

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None  # both were asked for
        return pipe

    def _refusal(self) -> InputError:
        return InputError(f"{one_line(self.path)} cannot be read as bigWig; is it damaged, or cut off? fetch it again")
