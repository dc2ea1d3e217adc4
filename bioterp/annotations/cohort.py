"""A cohort as analyses take it: outcomes, covariates, confounders, groups and mediators of people, from one sheet.

What is missing stays missing: NaN in numbers, None in categories, and a table of who lacks what. A mediator lies on the
way from cause to outcome and is never adjusted for, so it may not be a covariate or confounder as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.annotations.records import KEYS, NO, YES, plain_text
from bioterp.arrays import Array
from bioterp.errors import InputError, masked, nearest
from bioterp.imaging.sheet import read_table

PERSON = (*KEYS, "person", "participant_id", "IID")
MOST_LEVELS = 50


@dataclass(frozen=True)
class Cohort:
    """People who are in the sheet and among the rows, in the order of the rows.

    rows: (n,) positions of these people among those asked for. sheet: (n) lines, indexed by id: numbers and 0/1 as
    float64, categories as str, missing NaN or None. kinds: {column: 'binary', 'continuous' or 'categorical'}. levels:
    {column: its categories, sorted; of a binary one what 0 and 1 were}. missing: sample, column of every value that is
    missing in a column that has a role. unmatched: sample, reason of people who are in one file only.
    """

    rows: Array
    sheet: pd.DataFrame
    outcomes: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    confounders: tuple[str, ...] = ()
    groups: str | None = None
    mediators: tuple[str, ...] = ()
    kinds: dict[str, str] = field(default_factory=dict)
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["sample", "column"]))
    unmatched: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["sample", "reason"]))

    def __len__(self) -> int:
        return len(self.sheet)

    def outcome(self, name: str | None = None) -> Array:
        """(n,) float64: 0/1 or numbers, NaN where missing; by default of the first outcome."""
        return np.asarray(self.sheet[name or self.outcomes[0]], np.float64)

    def design(self, columns: Iterable[str] | None = None) -> pd.DataFrame:
        """(n, k) float64 columns without an intercept; by default of the covariates and confounders.

        A category of c levels gives c − 1 columns `name=level`, the first level left out; a person who lacks it is NaN
        in all.
        """
        wanted = [*self.covariates, *self.confounders] if columns is None else list(columns)
        made: dict[str, Array] = {}
        for name in dict.fromkeys(wanted):
            values = self.sheet[name]
            if self.kinds[name] != "categorical":
                made[name] = values.to_numpy(np.float64)
                continue
            gone = values.isna().to_numpy()
            for level in self.levels[name][1:]:
                made[f"{name}={level}"] = np.where(gone, np.nan, (values == level).to_numpy(np.float64))
        return pd.DataFrame(made, index=self.sheet.index)

    def complete(self, columns: Iterable[str]) -> Array:
        """(n,) bool: people who lack none of these columns."""
        return np.asarray(self.sheet[list(columns)].notna().all(axis=1))


def read_cohort(
    people: Sequence[str] | pd.Series | pd.DataFrame,
    samples: str | Path | pd.DataFrame,
    *,
    outcome: str | Sequence[str],
    covariates: Sequence[str] = (),
    confounders: Sequence[str] = (),
    groups: str | None = None,
    mediators: Sequence[str] = (),
    categorical: Sequence[str] = (),
    key: str | None = None,
    pcs: pd.DataFrame | None = None,
) -> Cohort:
    """The sheet's columns for these people, typed and checked.

    people: ids, or the `items` of a lattice-free Field. samples: TSV, CSV or DataFrame, a line per person. categorical:
    columns of numbers that are codes. key: the sheet's column of ids (default: the first of sample, scan, item,
    subject, id, person, participant_id, IID; of a DataFrame without any, its index). pcs: columns to add to the
    covariates, indexed by id (`bioterp.genotype_pcs`).

    InputError, in one sentence, for an id that comes twice, no id in common, an unknown column, a column of two roles
    that exclude each other, an outcome of more than two categories, and a column nobody has.
    """
    ids = people["item"] if isinstance(people, pd.DataFrame) else people
    asked = pd.Index([str(one) for one in ids])
    _once(asked, "the rows")
    table, title = _sheet(samples, key)
    outcomes = (outcome,) if isinstance(outcome, str) else tuple(outcome)
    named = [*covariates, *(list(pcs.columns) if pcs is not None else [])]
    if pcs is not None:
        _once(pd.Index(pcs.index.astype(str)), "pcs")
        table = table.drop(columns=[c for c in pcs.columns if c in table]).join(pcs.set_axis(pcs.index.astype(str)))
    roles = {"outcome": outcomes, "covariates": named, "confounders": confounders, "mediators": mediators}
    roles["groups"] = () if groups is None else (groups,)
    _check_roles(roles, table, title)
    here = np.flatnonzero(asked.isin(table.index))
    if not len(here):
        raise InputError(
            f"{title} and the rows have no person in common: names such as {', '.join(map(masked, table.index[:3]))} "
            f"against {', '.join(map(masked, asked[:3]))} (a for letters, 9 for digits)"
        )
    unmatched = [(one, f"not in {title}") for one in asked[~asked.isin(table.index)]]
    unmatched += [(one, f"only in {title}") for one in table.index[~table.index.isin(asked)]]
    columns = list(dict.fromkeys(name for names in roles.values() for name in names))
    own = table.loc[asked[here]]
    typed: dict[str, pd.Series] = {}
    kinds: dict[str, str] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for name in columns:
        typed[name], kinds[name], levels[name] = _typed(
            own[name], name in categorical or name == groups, name in outcomes
        )
        if not typed[name].notna().any():
            raise InputError(f"{title}: nobody among the {len(here)} people has a value in the column {name!r}")
        if name in outcomes and kinds[name] == "categorical":
            raise InputError(
                f"{title}: the outcome {name!r} has {len(levels[name])} categories ({', '.join(levels[name][:4])}); "
                "wanted numbers or two categories"
            )
        if kinds[name] == "categorical" and len(levels[name]) > MOST_LEVELS and name != groups:
            raise InputError(
                f"{title}: {name!r} has {len(levels[name])} categories among {len(here)} people; that many cannot be "
                "adjusted for: merge them, or leave it out"
            )
    sheet = pd.DataFrame(typed, index=pd.Index(own.index, name="sample"))
    who, what = np.nonzero(sheet.isna().to_numpy())
    missing = pd.DataFrame({"sample": sheet.index.to_numpy()[who], "column": np.array(columns, object)[what]})
    return Cohort(
        here, sheet, outcomes, tuple(dict.fromkeys(named)), tuple(confounders), groups, tuple(mediators), kinds,
        {name: found for name, found in levels.items() if found}, missing,
        pd.DataFrame(unmatched, columns=["sample", "reason"]),
    )  # fmt: skip


def _sheet(samples: str | Path | pd.DataFrame, key: str | None) -> tuple[pd.DataFrame, str]:
    """The sheet indexed by id, and what to call it."""
    if isinstance(samples, pd.DataFrame):
        table, title = samples, "the sheet"
    else:
        path = Path(samples)
        if not path.is_file():
            raise InputError(f"there is no sheet {path} (samples)")
        table, title = read_table(path), path.name
    if key is not None and key not in table.columns:
        raise InputError(f"{title} has no column {key!r} (key); {nearest(key, table.columns)}")
    found = key or next((name for name in PERSON if name in table.columns), None)
    if found is None and not isinstance(samples, pd.DataFrame):
        raise InputError(f"{title} has no column of ids ({', '.join(PERSON)}); name it with key")
    table = table if found is None else table.set_index(found)
    table = table.set_axis(table.index.astype(str).str.strip())
    _once(table.index, title)
    return table, title


def _once(ids: pd.Index, title: str) -> None:
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputError(
            f"{title} has an id more than once ({len(twice)} such lines, the first line "
            f"{int(ids.duplicated().argmax()) + 2}, a name such as {masked(twice[0])}); wanted one per person"
        )


def _check_roles(roles: dict[str, Sequence[str]], table: pd.DataFrame, title: str) -> None:
    if not roles["outcome"]:
        raise InputError("a cohort needs an outcome; name a column of the sheet")
    for role, names in roles.items():
        for name in names:
            if name not in table.columns:
                raise InputError(f"{title} has no column {name!r} ({role}); {nearest(name, table.columns)}")
    for one, other in (
        ("outcome", "covariates"), ("outcome", "confounders"), ("outcome", "mediators"), ("mediators", "covariates"),
        ("mediators", "confounders"),
    ):  # fmt: skip
        both = [name for name in roles[one] if name in roles[other]]
        if both:
            raise InputError(f"{both[0]!r} is named as {one} and among the {other}; it can be one of them only")


def _typed(values: pd.Series, coded: bool, outcome: bool) -> tuple[pd.Series, str, tuple[str, ...]]:
    """A column as numbers or text, what it is, and its categories (of a binary one: what is 0 and what is 1)."""
    text = plain_text(values)
    told = text.dropna()
    numbers = pd.to_numeric(told, errors="coerce")
    lower = told.str.lower()
    if not coded and lower.isin((*YES, *NO)).all() and not numbers.isin([0, 1]).all():
        return lower.isin(YES).astype(np.float64).reindex(values.index), "binary", ("no", "yes")
    if not coded and len(told) and numbers.notna().all():
        distinct = sorted(set(numbers))
        if set(distinct) <= {0.0, 1.0}:
            return numbers.astype(np.float64).reindex(values.index), "binary", ("0", "1")
        if outcome and len(distinct) == 2:  # PLINK's 1 and 2, or any other two
            made = (numbers == distinct[1]).astype(np.float64)
            return made.reindex(values.index), "binary", (f"{distinct[0]:g}", f"{distinct[1]:g}")
        return numbers.astype(np.float64).reindex(values.index), "continuous", ()
    found = tuple(sorted(set(told)))
    if outcome and len(found) == 2:
        return (told == found[1]).astype(np.float64).reindex(values.index), "binary", found
    return text, "categorical", found
