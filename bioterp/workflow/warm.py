"""Jobs on this machine without their start-up: one process loads what jobs load, and forks for each of them.

`serving` starts that process (bioterp/forking.py) beside Snakemake; a job (job.py) hands itself over to it. On a
cluster each job starts cold.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bioterp.processor import THREADS

AT = "BIOTERP_WARM"  # the socket, for Snakefile and jobs to know


@contextmanager
def serving(threads: int, modules: Sequence[str] = ()) -> Iterator[None]:
    """While this holds, jobs of `threads` threads each start warm; modules: to be loaded besides, where they are."""
    folder = Path(tempfile.mkdtemp(prefix="bioterp-"))  # nobody else may look into it
    before = os.environ.get(AT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(folder / "socket"))
        door.listen(64)  # jobs that come before all is loaded wait
        process = subprocess.Popen(
            [sys.executable, "-m", "bioterp.forking", str(door.fileno()), *modules],
            stdin=subprocess.PIPE,
            pass_fds=[door.fileno()],
            env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            start_new_session=True,
        )
    os.environ[AT] = str(folder / "socket")
    try:
        yield
    finally:
        os.environ.pop(AT) if before is None else os.environ.update({AT: before})
        assert process.stdin
        process.stdin.close()  # it ends, and every fork with it
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
