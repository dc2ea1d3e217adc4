"""Progress bars for long work. Silent in Python unless asked; the command line switches them on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from bioterp.errors import plain

T = TypeVar("T")
_on = False


def show(on: bool = True) -> None:
    """Show progress on standard error from now on."""
    global _on
    _on = on


def say(line: str) -> None:
    """One line of what is being done, where progress is shown."""
    if _on:
        print(plain(line), file=sys.stderr, flush=True)


def track(work: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar. On something that is no terminal only the label is printed, once."""
    if not _on:
        yield from work
    elif not sys.stderr.isatty():
        say(what)
        yield from work
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import track as bar

        yield from bar(work, description=escape(plain(what)), total=total, console=Console(stderr=True), transient=True)
