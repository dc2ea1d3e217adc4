"""People beside their sheet: who is in both, columns as numbers, folds by block (kernel of the cohort's audits)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bioterp.annotations.records import kind_of, plain_text
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field


@dataclass(frozen=True)
class Column:
    """One column of a sheet as numbers.

    kind 'binary' (values (n, 1) of 0 and 1), 'classes' (one indicator per level) or 'numbers' (n, 1); levels name
    the columns; known (n,) bool is False where the sheet says nothing.
    """

    name: str
    kind: str
    values: Array
    levels: tuple[str, ...]
    known: Array


def column(sheet: pd.DataFrame, name: str) -> Column:
    """A column by name; of two categories (or 0/1) the second in order is 1."""
    if name not in sheet.columns:
        raise InputError(f"the sheet has no column {name!r}; {nearest(name, [str(c) for c in sheet.columns])}")
    raw = sheet[name]
    text = plain_text(raw)
    known = text.notna().to_numpy()
    if kind_of(raw) == "numbers":
        values = np.full(len(text), np.nan)
        values[known] = pd.to_numeric(text[known]).to_numpy(float)
        return Column(name, "numbers", values[:, None], (name,), known & np.isfinite(values))
    levels, code = np.unique(text[known].to_numpy(str), return_inverse=True)
    if len(levels) < 2:
        raise InputError(f"the column {name!r} has one value, {', '.join(levels) or 'none at all'}: it tells nothing")
    table = np.zeros((len(text), len(levels)))
    table[np.flatnonzero(known), code] = 1
    names = tuple(str(level) for level in levels)
    if len(levels) == 2:
        return Column(name, "binary", table[:, 1:], names[1:], known)
    return Column(name, "classes", table, names, known)


def beside(people: Field, sheet: pd.DataFrame) -> pd.DataFrame:
    """The lines of the sheet (indexed by sample) in the order of a lattice-free Field's people.

    Raises InputError for rows on a lattice, a sample that is named twice, and people the sheet lacks.
    """
    if people.rows.ndim != 0:
        raise InputError("people are lattice-free rows, one per person; pool the codes first")
    items = people.rows.items["item"].astype(str)
    for what, names in (("the sheet", pd.Index(sheet.index.astype(str))), ("the people", pd.Index(items))):
        if names.has_duplicates:
            raise InputError(f"{what} name {names[names.duplicated()][0]!r} twice; give every person one line")
    at = pd.Index(sheet.index.astype(str)).get_indexer(items)
    if (at < 0).any():
        gone = items[at < 0]
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        raise InputError(
            f"{len(gone)} of {len(items)} people are not in the sheet: {', '.join(gone[:3])}{more}; add them, or "
            "leave them out of the people"
        )
    return sheet.iloc[at].reset_index(drop=True)


def dealt(block: Sequence[str], folds: int) -> Array:
    """(n,) fold of each person: blocks are dealt out in the order of the blake2 hash of their names."""
    names = sorted({str(b) for b in block}, key=lambda b: hashlib.blake2b(f"fold:{b}".encode(), digest_size=8).digest())
    if len(names) < folds:
        raise InputError(f"{folds} folds need as many blocks of people; got {len(names)}")
    number = {name: i % folds for i, name in enumerate(names)}
    return np.array([number[str(b)] for b in block], np.int64)
