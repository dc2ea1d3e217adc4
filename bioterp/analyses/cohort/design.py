"""A sample sheet on people: outcomes, covariates and confounders as numbers, groups, who is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bioterp.annotations.records import plain_text
from bioterp.arrays import Array
from bioterp.errors import AlignmentError, InputError, nearest
from bioterp.field import Field

FEW = 6  # different numbers that are levels rather than a scale
BINARY = (("no", "yes"), ("false", "true"), ("control", "case"), ("0", "1"), ("0.0", "1.0"))


@dataclass(frozen=True)
class Outcome:
    """values (n,) float, NaN where unknown; classes: names of 0 and 1 of a binary outcome, else none; note: why it
    cannot be tested, else ''."""

    name: str
    values: Array
    classes: tuple[str, str] | None
    note: str = ""


@dataclass
class Design:
    """People as the analyses need them, in the order of the field's rows.

    who (n,) bool: nothing declared is missing; parts: {name: (n, k)} coded columns of each covariate and confounder;
    group (n,) int, −1 for unknown; block (n,) int.
    """

    n: int
    who: Array
    parts: dict[str, Array]
    outcomes: list[Outcome]
    group: Array
    groups: list[str]
    block: Array
    warnings: list[str] = field(default_factory=list)

    def columns(self, names: Sequence[str]) -> Array:
        """(n, 1 + k) ones and the columns of these; 0 for people who are left out."""
        made = np.column_stack([np.ones(self.n), *(self.parts[name] for name in names)])
        return np.where(self.who[:, None], made, 0.0)


def read(
    people: Field,
    sheet: pd.DataFrame,
    outcomes: Sequence[str],
    declared: Sequence[str],
    groups: str | None,
    mediators: Sequence[str] = (),
) -> Design:
    """The sheet (indexed by sample) on the rows of a field of people; `declared` are covariates and confounders.

    Raises InputError for columns that are not there, constant or empty, doubled ids, mediators among what is adjusted
    for; AlignmentError for rows that are not people, and a sheet that knows none of them.
    """
    for name in (*outcomes, *declared, *([groups] if groups else []), *mediators):
        if name not in sheet.columns:
            raise InputError(f"the sample sheet has no column {name!r}; {nearest(name, map(str, sheet.columns))}")
    for name in declared:
        if name in outcomes:
            raise InputError(f"{name!r} is declared as an outcome and to be adjusted for; it can be one of them only")
        if name in mediators:
            raise InputError(f"{name!r} is a declared mediator, which is never adjusted for; take it out of one list")
    sheet, warnings = _on_people(people, sheet)
    n = len(sheet)
    who, parts = np.ones(n, bool), {}
    for name in dict.fromkeys(declared):
        parts[name] = coded(sheet[name], name)
        known = np.isfinite(parts[name]).all(1)
        if (lost := int((who & ~known).sum())) > 0:
            warnings.append(f"{lost} people without {name!r} are left out")
        who &= known
    if not who.any():
        raise InputError(f"nobody has all of {', '.join(map(repr, declared))}; leave out what is mostly missing")
    label = plain_text(sheet[groups]) if groups else pd.Series([None] * n, dtype=object)
    code, names = pd.factorize(label.where(label.notna(), None), sort=True)
    block = pd.factorize(people.rows.items["block"])[0]
    if len(np.unique(block)) < n:
        warnings.append("people share blocks (families): folds respect them, standard errors and p do not")
    found = [outcome_of(sheet[name], name) for name in outcomes]
    return Design(n, who, parts, found, np.asarray(code), [str(one) for one in names], block, warnings)


def column(people: Field, sheet: pd.DataFrame, name: str) -> pd.Series:
    """A column of the sheet in the order of the people."""
    if name not in sheet.columns:
        raise InputError(f"the sample sheet has no column {name!r}; {nearest(name, map(str, sheet.columns))}")
    return _on_people(people, sheet)[0][name]


def strata_of(people: Field, sheet: pd.DataFrame, name: str) -> Array:
    """(n,) the stratum of each person; the unknown are one of their own."""
    return np.asarray(pd.factorize(plain_text(column(people, sheet, name)))[0])


def _on_people(people: Field, sheet: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    if len(people) != len(people.rows.items):
        raise AlignmentError(
            f"one row per person is wanted; these are {len(people)} rows of {len(people.rows.items)} items: pool cells "
            "to people first"
        )
    sample = people.rows.items["sample"].astype(str)
    if sample.duplicated().any():
        raise AlignmentError(
            f"sample {sample[sample.duplicated()].iloc[0]!r} has more than one row; pool to people first"
        )
    index = pd.Index(sheet.index.astype(str))
    if index.has_duplicates:
        raise InputError(
            f"the sample sheet has two lines for {index[index.duplicated()][0]!r}; one per person is wanted"
        )
    shared = sample.isin(index)
    if not shared.any():
        raise AlignmentError(
            f"the sample sheet knows none of the {len(sample)} people: it has {', '.join(map(repr, index[:3]))}, the "
            f"features have {', '.join(map(repr, sample[:3]))}"
        )
    warnings = []
    if (lost := int((~shared).sum())) > 0:
        warnings.append(f"{lost} people with features are not in the sample sheet and are left out")
    if (lost := int((~index.isin(sample)).sum())) > 0:
        warnings.append(f"{lost} people of the sample sheet have no features and are left out")
    aligned = sheet.set_axis(index).reindex(sample)
    return aligned, warnings


def _numbers(text: pd.Series, values: pd.Series) -> Array | None:
    """(n,) numbers, NaN where missing; None where something is no number."""
    number = pd.to_numeric(values.where(text.notna()), errors="coerce").to_numpy(np.float64)
    known = text.notna().to_numpy()
    return np.where(known, number, np.nan) if np.isfinite(number[known]).all() else None


def coded(values: pd.Series, name: str) -> Array:
    """(n, k) a column as numbers, NaN where missing: a scale about its mean in units of its sd, or levels less one.

    Numbers are a scale where more than FEW different ones occur; a column of type category is levels always.
    """
    text = plain_text(values)
    known = text.notna().to_numpy()
    if not known.any():
        raise InputError(f"the column {name!r} is missing for everybody; leave it out")
    number = None if isinstance(values.dtype, pd.CategoricalDtype) else _numbers(text, values)
    if number is not None and len(np.unique(number[known])) > FEW:
        return np.asarray((number - np.nanmean(number)) / np.nanstd(number))[:, None]
    code, levels = pd.factorize(text, sort=True)
    if len(levels) == 1:
        raise InputError(f"the column {name!r} is {levels[0]!r} for everybody; it adjusts for nothing: leave it out")
    if 2 * len(levels) > known.sum():
        raise InputError(f"the column {name!r} has {len(levels)} levels for {known.sum()} people; it names people")
    largest = np.bincount(code[known]).argmax()  # the level that others are told against
    kept = [level for level in range(len(levels)) if level != largest]
    return np.where(known[:, None], code[:, None] == np.array(kept)[None], np.nan)


def outcome_of(values: pd.Series, name: str) -> Outcome:
    """A column as outcome: two values are classes, more are numbers. Raises InputError for three words and more."""
    text = plain_text(values)
    levels = sorted(text.dropna().unique())
    if not levels:
        return Outcome(name, np.full(len(values), np.nan), None, "missing for everybody")
    if len(levels) == 2:
        pair = next((p for p in BINARY if {one.lower() for one in levels} == set(p)), None)
        if pair is not None:
            levels.sort(key=lambda one: pair.index(one.lower()))
        elif (number := _numbers(text, values)) is not None:
            levels.sort(key=float)
        case = np.where(text.notna(), (text == levels[1]).astype(float), np.nan)
        return Outcome(name, case, (levels[0], levels[1]))
    number = _numbers(text, values)
    if len(levels) == 1:
        return Outcome(name, np.where(text.notna(), 0.0, np.nan), None, f"{levels[0]!r} for everybody")
    if number is None:
        raise InputError(
            f"the outcome {name!r} has {len(levels)} values that are no numbers ({', '.join(map(repr, levels[:3]))}); "
            "give it as two classes or as a number"
        )
    return Outcome(name, number, None)
