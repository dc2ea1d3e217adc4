"""Which features go with an outcome of people, before and after who the people are is taken into account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.cohort import answers, chance, design
from bioterp.analyses.cohort.answers import Answer, Options
from bioterp.analyses.cohort.questions import Asked, Poser, Question
from bioterp.analyses.cohort.sums import Sums
from bioterp.analyses.confounding import confounding
from bioterp.analyses.verdicts import verdicts
from bioterp.errors import InputError
from bioterp.field import Field

ABOUT = Analysis(
    name="association",
    question="Which features go with the outcome, and is it the outcome or who the people are?",
    needs=(
        "one row per person",
        "a sample sheet with an outcome",
        "confounders to adjust for",
        "groups to replicate in",
    ),
    limits=(
        "Adjusting helps against confounders that were declared and measured, and no other. Effects are linear in the "
        "feature. People of one family count as unrelated in standard errors. p of a classified outcome is the score "
        "test's, which is too small for features that few people have and rare outcomes; permutations then help. "
        "Fixed and random effects of few groups have intervals that are too narrow. The dictionary may have seen the "
        "people; the gain is held out of the regressions, not of it."
    ),
    reference=(
        "Frisch & Waugh 1933, Lovell 1963; Rao 1948; Firth 1993, Heinze & Schemper 2002; Freedman & Lane 1983, Winkler "
        "et al. 2014; Westfall & Young 1993; Devlin & Roeder 1999; Cochran 1954, DerSimonian & Laird 1986; Benjamini & "
        "Hochberg 1995, Benjamini & Yekutieli 2001; held-out gain: Stone 1974"
    ),
)


class Associated(NamedTuple):
    """The table `association`; by group `effects`, by outcome `outcomes` and `qq`; and `confounding`."""

    table: pd.DataFrame
    effects: pd.DataFrame
    outcomes: pd.DataFrame
    qq: pd.DataFrame
    confounding: pd.DataFrame


def association(people: Field, sheet: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """The table of associations with verdicts; `associate` tells what may be asked and gives the tables beside it."""
    return associate(people, sheet, **options).table


def associate(
    people: Field,
    sheet: pd.DataFrame,
    *,
    outcome: str | Sequence[str],
    covariates: Sequence[str] = (),
    confounders: Sequence[str] = (),
    groups: str | None = None,
    mediators: Sequence[str] = (),
    inverse_normal: bool = False,
    permutations: int = 0,
    strata: str | None = None,
    folds: int = 5,
    refit: int = 50,
    seed: int = 0,
) -> Associated:
    """Every feature against every outcome, in one pass over the features.

    people: lattice-free Field (people, m), one row each, `sample` names them and `block` is their family; sheet: a line
    per person, indexed by sample. outcome: columns; two values are classes (logistic regression), more are numbers
    (least squares). The naive model has the covariates, the adjusted one the confounders too; mediators are named so
    that they cannot be adjusted for by mistake. groups: the column whose groups must agree. inverse_normal: numeric
    outcomes by normal scores of their ranks. permutations: of residuals within strata (default: groups). folds: of
    blocks, for the held-out gain. refit: how many features of a classified outcome get an exact effect, the most
    significant ones; those with adjusted q ≤ .05 beyond them too, up to ten times as many.

    People who lack a covariate or confounder are left out everywhere, those who lack an outcome for that one; the
    attribute `warnings` of the tables says how many. Raises InputError for columns that cannot serve, AlignmentError
    for a sheet or field that is not of the same people.
    """
    names = [outcome] if isinstance(outcome, str) else list(outcome)
    if not names:
        raise InputError("no outcome is named; give outcome= a column of the sample sheet")
    if folds < 2:
        raise InputError(f"the held-out gain needs two folds or more; got folds={folds}")
    sheet_of = design.read(people, sheet, names, [*covariates, *confounders], groups, mediators)
    stratum = sheet_of.group if strata is None else design.strata_of(people, sheet, strata)
    asked = Asked(
        sheet_of.columns(list(covariates)),
        sheet_of.columns(list(dict.fromkeys([*covariates, *confounders]))),
        sheet_of.columns(list(confounders)),
        sheet_of.group,
        len(sheet_of.groups),
        sheet_of.block,
        stratum,
        folds,
        permutations,
        seed,
    )
    poser, sums = Poser(asked), Sums(sheet_of.n)
    questions: list[Question] = []
    for one in sheet_of.outcomes:
        y = chance.normal_scores(one.values) if inverse_normal and one.classes is None else one.values
        questions.append(poser.pose(y, sheet_of.who, one.classes is not None))
        poser.ask(sums, questions[-1])
    if sheet_of.groups:
        sums.divide(np.where(sheet_of.who, sheet_of.group, -1), len(sheet_of.groups))
    sums.run(people.read, people.shape[1], sheet_of.who)
    options = Options(refit, groups is not None and len(sheet_of.groups) > 1, asked.full)
    found = [answers.answer(people.read, sums, one, options) for one in questions]
    audit = confounding(people, sheet, outcome=names, candidates=confounders, covariates=covariates, seed=seed)
    return _tables(people, sheet_of, questions, found, audit)


def _tables(
    people: Field, sheet: design.Design, questions: list[Question], found: list[Answer], audit: pd.DataFrame
) -> Associated:
    about = tables.subject(people.about)
    of = list(zip(sheet.outcomes, questions, found, strict=True))
    table = pd.concat([pd.DataFrame({**answer.columns, "outcome": one.name}) for one, _, answer in of])
    effects = pd.concat([answers.by_group(one.name, question, answer, sheet.groups) for one, question, answer in of])
    told = pd.DataFrame([answers.of_outcome(one, question, answer) for one, question, answer in of])
    qq = pd.concat([answers.qq(one.name, answer) for one, _, answer in of])
    stays = [(line["outcome"], line["lambda_adjusted"], line["n_features"]) for _, line in told.iterrows()]
    high = [f"{name}: {why}" for name, *one in stays if (why := answers.inflated(*one))]
    attrs = {"warnings": [*sheet.warnings, *high]}
    made = []
    for name, frame in (("association", table), ("effects", effects), ("outcomes", told), ("qq", qq)):
        if name == "association":
            frame = frame.assign(verdict="", failed_clause="", flagged="")
        made.append(tables.conform(name, frame.assign(**about)))
        made[-1].attrs |= attrs
    judged = verdicts(made[0], audit, made[2])
    return Associated(judged, made[1], made[2], made[3], audit)
