"""One thing that was looked at, in one line: how bad, where, what, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

PROBLEM, WARNING, OK = "problem", "warning", "ok"
_WHERE = re.compile(r"([a-z_]+(?:\.[\w-]+)*): (.+)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """level: 'problem' (the run would fail, or its results would be wrong), 'warning' or 'ok'.

    where: a key of the run file, or a part of the run. remedy: what to do; '' where nothing is to be done. data: the
    same in numbers, plain JSON, where there are any.
    """

    level: str
    where: str
    what: str
    remedy: str = ""
    data: dict[str, Any] | None = None

    @property
    def line(self) -> str:
        """All but the level, in one line."""
        told = f"{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")
        return " ".join(told.split())


def of_text(level: str, text: str, where: str) -> Finding:
    """A sentence made elsewhere ('what; what to do', maybe with its own 'key: ' in front) as a Finding."""
    own = _WHERE.fullmatch(text)
    if own is not None:
        where, text = own[1], own[2]
    what, _, remedy = text.partition("; ")
    return Finding(level, where, what, remedy)


def problem(error: object, where: str) -> Finding:
    """An error that the run would end with."""
    return of_text(PROBLEM, str(error), where)


def some(names: list[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
