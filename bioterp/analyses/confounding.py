"""Which features follow who the people are: ancestry, site, scanner, age and whatever else the sheet tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.cohort import chance, design, gains, nulls, screening
from bioterp.analyses.cohort.nulls import Null
from bioterp.analyses.cohort.screening import Candidate, Conditional, Explained
from bioterp.analyses.cohort.sums import Sums
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field

ABOUT = Analysis(
    name="confounding",
    question="How much of each feature does each candidate confounder explain, and what is left of its effect?",
    needs=("one row per person", "a sample sheet with candidates"),
    limits=(
        "Linear in numbers, additive in levels, one candidate at a time: what goes with ancestry is told of ancestry "
        "and of a site that recruits from it alike. A flag is no reproach: most truly causal variants differ between "
        "ancestries. The conditional test sees what is linear given the candidate; attenuation of a logistic effect "
        "compares one Newton step with one."
    ),
    reference="Fisher 1925 (F); Stone 1974 (held out); Shah & Peters 2020 (GCM); Benjamini & Hochberg 1995",
)
LEVEL = 0.05
SHARE = 0.01  # of a feature's variance in people held out: less is no confounder worth the name


def confounding(
    people: Field,
    sheet: pd.DataFrame,
    *,
    outcome: str | Sequence[str] = (),
    candidates: Sequence[str] | None = None,
    covariates: Sequence[str] = (),
    mediators: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """The table of confounding: a row per feature and candidate, and per outcome where there are any.

    people, sheet, covariates: as for `association`. candidates: columns (default: all but the outcomes, mediators and
    covariates); those that tell nobody apart, or everybody, are one row with a note. A feature is flagged where
    q ≤ .05 over the features of a candidate and it explains 1 % or more of the variance of people held out. People
    who lack a candidate are left out of its rows.
    """
    names = [outcome] if isinstance(outcome, str) else list(outcome)
    if candidates is None:
        known = {*names, *mediators, *covariates}
        candidates = [str(name) for name in sheet.columns if name not in known]
    for name in candidates:
        if name in names or name in mediators:
            raise InputError(f"{name!r} is declared as an outcome or mediator and as a candidate; take it out of one")
    read = design.read(people, sheet, names, covariates, None, mediators)
    coded, lines = {}, []
    for name in dict.fromkeys(candidates):
        try:
            coded[name] = design.coded(design.column(people, sheet, name), name)
        except InputError as why:
            lines.append(_bare(name, names, str(why)))
    sums, base = Sums(read.n), read.columns(list(covariates))
    asked = {name: _Asked(read, base, columns, sums, folds, seed) for name, columns in coded.items()}
    if asked:
        sums.run(people.read, people.shape[1], read.who)
    lines += [_rows(name, one, read, sums) for name, one in asked.items()]
    declared = [column.name for column in tables.columns("confounding")]
    subject = tables.subject(people.about)
    frame = pd.concat(lines) if lines else pd.DataFrame(columns=[name for name in declared if name not in subject])
    made = tables.conform("confounding", frame.assign(**subject))
    made.attrs["warnings"] = read.warnings
    return made


class _Asked:
    """What is asked of the features about one candidate."""

    def __init__(self, read: design.Design, base: Array, columns: Array, sums: Sums, folds: int, seed: int):
        known = read.who & np.isfinite(columns).all(1)
        fold = gains.deal(read.block, known, folds, seed)
        alone = np.where(known[:, None], np.column_stack([np.ones(read.n), columns]), 0.0)
        both = np.where(known[:, None], np.column_stack([base, columns]), 0.0)
        self.candidate: Candidate = screening.candidate_of(alone, known, fold)
        screening.ask(sums, self.candidate)
        self.known, self.of_outcome = known, [_pair(one, base, both, known) for one in read.outcomes]
        for pair in self.of_outcome:
            if pair is not None:
                for null in pair[:2]:
                    nulls.ask(sums, null)
                screening.ask_conditional(sums, pair[2])


def _pair(one: design.Outcome, base: Array, both: Array, known: Array) -> tuple[Null, Null, Conditional] | None:
    """The outcome without the candidate, with it, and given it; None where it does not vary or nobody is left over."""
    who = known & np.isfinite(one.values)
    if not who.any() or np.ptp(one.values[who]) == 0:
        return None
    bases = [nulls.basis_of(columns, who) for columns in (base, both)]
    if bases[1].rank + 2 > who.sum():
        return None
    straight = nulls.linear(bases[1], one.values)
    conditional = screening.conditional_of(straight)
    if one.classes is None:
        return nulls.linear(bases[0], one.values), straight, conditional
    fitted = [nulls.logistic(basis, columns, one.values) for basis, columns in zip(bases, (base, both), strict=True)]
    return fitted[0], fitted[1], conditional


def _rows(name: str, one: _Asked, read: design.Design, sums: Sums) -> pd.DataFrame:
    usable = sums.missing == 0
    found = screening.explained(sums, one.candidate)
    found = Explained(*(np.where(usable, part, np.nan) for part in (found.r2, found.r2_held_out, found.p)))
    q = chance.corrected(found.p, "bh")
    note = np.full(len(q), None, object)
    note[np.isnan(found.p)] = "not tested: the same for everybody, or too few people"
    note[~usable] = "not tested: unknown for some people"
    told: dict[str, Any] = {
        "feature": np.arange(len(q)), "confounder": name, "n": int(one.known.sum()), "r2": found.r2,
        "r2_held_out": found.r2_held_out, "p": found.p, "q": q,
        "flag": (q <= LEVEL) & (found.r2_held_out >= SHARE), "note": note,
    }  # fmt: skip
    nothing = np.full(len(q), np.nan)
    if not read.outcomes:
        return pd.DataFrame({**told, "outcome": None, "attenuation": nothing, "conditional_p": nothing})
    frames = []
    for outcome, pair in zip(read.outcomes, one.of_outcome, strict=True):
        attenuation, conditional = nothing, nothing
        if pair is not None:
            before, after = nulls.effects(sums, pair[0]), nulls.effects(sums, pair[1])
            attenuation = np.where(usable & (before.p <= LEVEL), 1 - after.beta / before.beta, np.nan)
            conditional = np.where(usable, screening.conditional_p(sums, pair[2]), np.nan)
        columns = {"outcome": outcome.name, "attenuation": attenuation, "conditional_p": conditional}
        frames.append(pd.DataFrame({**told, **columns}))
    return pd.concat(frames)


def _bare(name: str, outcomes: Sequence[str], why: str) -> pd.DataFrame:
    """The row of a candidate that cannot be tested."""
    numbers = dict.fromkeys(("r2", "r2_held_out", "p", "q", "attenuation", "conditional_p"), np.nan)
    line = {"feature": tables.NO_FEATURE, "confounder": name, "n": 0, **numbers, "flag": False, "note": why}
    return pd.DataFrame([{**line, "outcome": outcome} for outcome in outcomes] or [{**line, "outcome": None}])
