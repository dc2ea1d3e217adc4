"""Every error bioterp raises on purpose.

    BioterpError
    ├── InputError       what the user gave cannot be used: a file, a name, an option, a value
    ├── AlignmentError   two things that must describe the same rows or coordinates do not
    └── StoreError       a result folder is damaged, unfinished, or holds something else

A message says what came, what was wanted and what to do, in one sentence; the command line prints it
and exits with status 2. Anything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BioterpError(Exception):
    """The root of the tree: catch this to catch everything bioterp raises on purpose."""


class InputError(BioterpError, ValueError):
    """The user's file, name, option or value cannot be used."""


class AlignmentError(BioterpError, ValueError):
    """Two fields, or a field and an annotation, do not describe the same rows or coordinates."""


class StoreError(BioterpError, OSError):
    """A stored folder is damaged, unfinished, or was made by another recipe."""


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """A clause that offers the names most like `word`, or the first few there are."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=most, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    if not names:
        return "there is none to choose from"
    shown = ", ".join(repr(name) for name in names[:12])
    return f"known: {shown}" + (", …" if len(names) > 12 else "")


def missing_package(package: str, extra: str, purpose: str) -> InputError:
    """The error for an optional dependency that is not installed."""
    return InputError(f"{purpose} needs the package '{package}': pip install 'bioterp[{extra}]'")
