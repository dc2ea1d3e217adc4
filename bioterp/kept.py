"""What an earlier run left, when it is whole: what is damaged is said to be so, taken away and made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bioterp import store
from bioterp.errors import Damaged
from bioterp.progress import say

T = TypeVar("T")


def opened(folder: Path, open_: Callable[[Path], T]) -> T | None:
    """What `open_` makes of a finished folder; None where there is none, or none that is whole.

    Of a folder of shards only the damaged one goes, and the index that says that all are there.
    """
    if not (folder / "meta.json").exists():
        return None
    try:
        return open_(folder)
    except Damaged as error:
        say(f"{error.folder.name} is damaged ({error.what}); it is made again")
        if any(folder.glob("shard=*")):
            (folder / "meta.json").unlink()
        if error.folder != folder or not any(folder.glob("shard=*")):
            store.discard(error.folder)
        return None
