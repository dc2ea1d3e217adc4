"""Every error bioterp raises on purpose.

    BioterpError
    ├── InputError       what the user gave cannot be used: a file, a name, an option, a value
    ├── AlignmentError   two things that must describe the same rows or coordinates do not
    └── StoreError       a result folder is damaged (Damaged), unfinished, or holds something else

A message says what came, what was wanted and what to do, in one sentence; the command line prints it
and exits with status 2. Anything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LONGEST = 1_500  # characters of a sentence on the screen


class BioterpError(Exception):
    """The root of the tree: catch this to catch everything bioterp raises on purpose.

    What a file says may be in a message: it is one line that a terminal can show, whoever prints it.
    """

    def __init__(self, *words: object):
        super().__init__(*(plain(one) if isinstance(one, str) else one for one in words))


class InputError(BioterpError, ValueError):
    """The user's file, name, option or value cannot be used."""


class AlignmentError(BioterpError, ValueError):
    """Two fields, or a field and an annotation, do not describe the same rows or coordinates."""


class StoreError(BioterpError, OSError):
    """A stored folder is damaged, unfinished, or was made by another recipe."""


class Damaged(StoreError):
    """What was stored in a folder is no longer what was written there."""

    def __init__(self, folder: Path, what: str):
        super().__init__(f"{folder} is damaged: {what}; delete that folder and run the same command again")
        self.folder, self.what = folder, what


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


def one_line(error: object, most: int = 200) -> str:
    """What an error, or a file, says as a clause: one line of at most `most` characters, without its full stop."""
    return plain(" ".join(str(error)[: 20 * most].split()), most).rstrip(".") or type(error).__name__


def plain(text: object, most: int = LONGEST) -> str:
    """A sentence as it can be shown: one line of at most `most` characters that no terminal acts upon."""
    said = str(text)[: 2 * most].replace("\n", " ")
    said = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in said)
    return said if len(said) <= most else said[: most - 1] + "…"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple, self.maxset = 3, 4, 6, 6, 6
        self.maxstring = self.maxother = self.maxlong = 60


def shown(value: Any, most: int = 60) -> str:
    """A value as Python writes it, at most so many characters; what is nested or long is cut, not written out."""
    return one_line(_Short().repr(value), most)


def masked(name: object, most: int = 24) -> str:
    """The form of an identifier, which names nobody: letters as 'a' or 'A', digits as '9' ('HG00096' → 'AA99999')."""
    form = "".join(
        "9" if c.isdigit() else ("A" if c.isupper() else "a") if c.isalpha() else c for c in str(name)[: most + 1]
    )
    return shown(form if len(form) <= most else form[:most] + "…", most + 4)
