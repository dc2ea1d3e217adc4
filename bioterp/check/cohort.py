"""The people's sheet: every column that is asked for, who is in one file only, designs that cannot tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bioterp.annotations.cohort import Cohort
from bioterp.arrays import Array
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, problem, some
from bioterp.cohorts import sheet_of
from bioterp.errors import BioterpError, masked
from bioterp.records import Cohort as Asked
from bioterp.records import HaplotypeSource, Run

CLASS = 10  # people per class per group, below which a verdict is 'unresolved'
KNOWN_BY = 0.8  # R² of the outcome on its confounders from which on it cannot be told from them
CODES = 10  # whole numbers of at most so many values may be the codes of a category
ROLES = ("covariates", "confounders", "mediators")


def findings(run: Run, source: Any) -> Iterator[Finding]:
    """Every column of the sheet alone, then what they are together."""
    asked = run.cohort
    if asked is None or not asked.samples.is_file():  # an absent file is told with the other paths
        return
    items = source.people if isinstance(run.source, HaplotypeSource) else source.items
    key = "item" if isinstance(run.source, HaplotypeSource) else "subject" if "subject" in items.columns else "sample"
    ids = items[key].astype(str).drop_duplicates()
    usable = yield from _columns(asked, ids)
    if usable is None:
        return
    try:
        cohort = sheet_of(usable, ids)
    except BioterpError as error:  # columns that are fine alone exclude each other
        yield problem(error, "cohort")
        return
    yield from _people(cohort)
    for name in cohort.outcomes:
        yield from _outcome(cohort, name)
    yield from _design(cohort)


def _columns(asked: Asked, ids: pd.Series) -> Generator[Finding, None, Asked | None]:
    """What is wrong with single columns; returns the block with those that are not, None without an outcome."""
    outcomes = [asked.outcome] if isinstance(asked.outcome, str) else list(asked.outcome)
    bare: dict[str, Any] = {"covariates": [], "confounders": [], "mediators": [], "groups": None, "pcs": None}
    good = []
    for outcome in outcomes:
        try:
            sheet_of(dataclasses.replace(asked, outcome=outcome, **bare), ids)
            good.append(outcome)
        except BioterpError as error:
            yield problem(error, "cohort")
    if not good:
        return None
    kept: dict[str, Any] = {}
    for role in ROLES:
        kept[role] = []
        for column in getattr(asked, role):
            try:
                sheet_of(dataclasses.replace(asked, outcome=good[0], **{**bare, role: [column]}), ids)
                kept[role].append(column)
            except BioterpError as error:
                yield problem(error, "cohort")
    groups = asked.groups
    if groups is not None:
        try:
            sheet_of(dataclasses.replace(asked, outcome=good[0], **{**bare, "groups": groups}), ids)
        except BioterpError as error:
            yield problem(error, "cohort")
            groups = None
    return dataclasses.replace(asked, outcome=good, groups=groups, pcs=None, **kept)


def _people(cohort: Cohort) -> Iterator[Finding]:
    """Who is there, who is in one file only, who lacks what."""
    yield Finding(OK, "cohort", f"{len(cohort)} people in sheet and source")
    for reason, lines in cohort.unmatched.groupby("reason"):
        first = f"{len(lines)} people are {reason}, a name such as {masked(lines['sample'].iloc[0])}"
        yield Finding(WARNING, "cohort", first, "they are not analysed: see that both files spell ids alike")
    for column, lines in cohort.missing.groupby("column"):
        first = masked(lines["sample"].iloc[0])
        what = f"{column} is missing for {len(lines)} of {len(cohort)} people, a name such as {first}"
        yield Finding(WARNING, "cohort", what, "whoever lacks a column of a model is left out of it")


def _outcome(cohort: Cohort, name: str) -> Iterator[Finding]:
    y = cohort.outcome(name)
    told = y[np.isfinite(y)]
    if len(np.unique(told)) < 2:
        what = f"everybody has the same {name} ({told[0]:g})"
        yield Finding(PROBLEM, "cohort.outcome", what, "nothing can go with it: name another outcome")
        return
    if cohort.kinds[name] == "binary":
        low, high = int((told == 0).sum()), int((told == 1).sum())
        yield Finding(OK, "cohort.outcome", f"{name}: {high} of {cohort.levels[name][1]}, {low} of the others")
        if min(low, high) < CLASS:
            what = f"{name} has {min(low, high)} people in its smaller class, and verdicts want {CLASS}"
            yield Finding(WARNING, "cohort.outcome", what, "every verdict will be 'unresolved'")
    if cohort.groups is not None:
        yield from _groups(cohort, name, y)
    taken = list(cohort.confounders)
    if taken:
        design = cohort.design(taken).to_numpy(np.float64)
        use = np.isfinite(design).all(1) & np.isfinite(y)
        share = _explained(design[use], y[use])
        if share >= KNOWN_BY:
            what = f"{some(taken)} explain {share:.0%} of the variance of {name}"
            remedy = f"from {KNOWN_BY:.0%} on every verdict is 'unresolved': no data of this design can tell them apart"
            yield Finding(WARNING, "cohort.confounders", what, remedy)


def _groups(cohort: Cohort, name: str, y: Array) -> Iterator[Finding]:
    """Which groups can be evaluated; two must be."""
    group = cohort.sheet[cohort.groups].astype(object).to_numpy()
    good: list[str] = []
    bad: list[str] = []
    for one in sorted({str(g) for g in group if g is not None and g == g}):
        mine = y[(group == one) & np.isfinite(y)]
        binary = cohort.kinds[name] == "binary"
        least = min((mine == 0).sum(), (mine == 1).sum()) if binary else len(mine)
        (good if least >= CLASS else bad).append(one)
    if bad:
        what = f"groups with fewer than {CLASS} people" + (" per class" if cohort.kinds[name] == "binary" else "")
        level = WARNING if len(good) < 2 else OK
        remedy = "two groups must be evaluable for a verdict: merge groups" if level == WARNING else "they do not count"
        yield Finding(level, "cohort.groups", f"{what} of {name}: {some(bad)}", remedy)
    elif len(good) < 2:
        yield Finding(WARNING, "cohort.groups", f"all people are of one group ({some(good)})", "leave groups out")


def _design(cohort: Cohort) -> Iterator[Finding]:
    """Columns that are constant, that others already tell, or that look like codes."""
    names = list(dict.fromkeys([*cohort.covariates, *cohort.confounders]))
    for name in names:
        values = cohort.sheet[name].dropna()
        if values.nunique() == 1:
            yield Finding(WARNING, _role(cohort, name), f"{name} is the same for everybody", "leave it out")
        elif cohort.kinds[name] == "continuous" and (values % 1 == 0).all() and 3 <= values.nunique() <= CODES:
            what = f"{name} has {values.nunique()} whole numbers and is taken as a quantity"
            yield Finding(WARNING, _role(cohort, name), what, f"if they are codes give categorical: [{name}]")
    names = [name for name in names if cohort.sheet[name].dropna().nunique() > 1]
    whole = cohort.design(names)
    use = np.isfinite(whole.to_numpy(np.float64)).all(1)
    n, columns = int(use.sum()), whole.shape[1]
    if names and n < 2 * (columns + 1):
        what = f"{n} people have all covariates, which are {columns} columns"
        level = PROBLEM if n <= columns + 1 else WARNING
        yield Finding(level, "cohort.covariates", what, "adjust for fewer, or mend what is missing")
        if level == PROBLEM:
            return
    before = np.zeros((n, 0))
    earlier: list[str] = []
    for name in names:
        block = cohort.design([name]).to_numpy(np.float64)[use]
        if before.shape[1] and min(_explained(before, one) for one in block.T) > 1 - 1e-9:
            what = f"{name} is already told by {some(earlier)}"
            yield Finding(WARNING, _role(cohort, name), what, "leave one out: their shares cannot be told apart")
        before = np.concatenate([before, block], 1)
        earlier.append(name)


def _role(cohort: Cohort, name: str) -> str:
    return "cohort.covariates" if name in cohort.covariates else "cohort.confounders"


def _explained(x: Array, y: Array) -> float:
    """R² of y on x and an intercept; 1 where y is constant."""
    spread = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
    if spread == 0:
        return 1.0
    scale = np.where(x.std(0) > 0, x.std(0), 1)
    full = np.column_stack([np.ones(len(y)), (x - x.mean(0)) / scale])
    fitted = full @ np.linalg.lstsq(full, y, rcond=None)[0]
    return 1 - float(((y - fitted) ** 2).sum()) / spread
