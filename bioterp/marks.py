"""The marks of jobs that are done: files named by a hash of what the job was asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bioterp import store
from bioterp.errors import InputError

FOLDER = "jobs"  # below `out`: marks, and what jobs tell each other
NAME = re.compile(r"[0-9a-f]{12}")


def begin(path: Path) -> None:
    """A job is about to begin: what its other marks say ceases to be so, and they go."""
    if not NAME.fullmatch(path.name) or FOLDER not in path.parts:
        raise InputError(
            f"--mark is for workflows, and names a file such as out/{FOLDER}/rows/0123456789ab; got {path}"
        )
    for other in path.parent.glob("*") if path.parent.is_dir() else ():
        if NAME.fullmatch(other.name):
            other.unlink(missing_ok=True)


def end(path: Path) -> None:
    """The job is done."""
    with store.writing_file(path) as beside:
        beside.write_text(json.dumps(store.provenance(), indent=1))
