"""Verdicts on features, and the clause that failed (kernel; sees arrays only).

biomarker: adjusted q ≤ .05, the same sign in every evaluable group, heterogeneity p > .01, the sign transfers to each
left-out group, held-out gain above the confounders > 0. unresolved: the declared confounders explain .8 of the outcome
or more, or there are fewer than 10 people per class per group, or a clause fails after adjusted q ≤ .05. confounder:
naive q ≤ .05, adjusted not, and flagged by a confounder. Otherwise none. What cannot be told is never taken for true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array

VERDICTS = ("biomarker", "unresolved", "confounder", "none")
LEVEL = 0.05
HETEROGENEITY = 0.01
EXPLAINED = 0.8  # of the outcome by declared confounders: then the two cannot be told apart
CLASS = 10  # people per class per group


@dataclass(frozen=True)
class Evidence:
    """All (m,) but `identified` and `sized`, which are of the outcome; NaN is what could not be told.

    grouped: groups were declared, so that signs must be seen in at least two. same_sign, transfer: 1 where every
    evaluable group agrees, 0 where one does not.
    """

    q: Array
    q_adjusted: Array
    same_sign: Array
    p_heterogeneity: Array
    transfer: Array
    gain: Array
    flagged: Array
    groups: Array
    grouped: bool
    identified: bool
    sized: bool


def decide(found: Evidence) -> tuple[Array, Array]:
    """(m,) verdicts and (m,) failed clauses, '' for a biomarker; clauses are tried in the order of the definition."""
    m = len(found.q_adjusted)
    verdict, clause = np.full(m, "none", object), np.full(m, "", object)
    if not found.identified or not found.sized:
        verdict[:] = "unresolved"
        clause[:] = "identifiability" if not found.identified else "people per class per group"
        return verdict, clause
    called, naive = found.q_adjusted <= LEVEL, found.q <= LEVEL
    clause[~called] = "adjusted q"
    verdict[~called & naive & found.flagged] = "confounder"
    clause[~called & naive & ~found.flagged] = "adjusted q; no confounder flags it"
    clause[np.isnan(found.q_adjusted) & np.isnan(found.q)] = "not tested"
    many = np.asarray(found.groups) >= 2
    clauses = (
        ("groups with the feature", many | (not found.grouped)),
        ("same sign", (found.same_sign == 1) | (not found.grouped)),
        ("heterogeneity", (found.p_heterogeneity > HETEROGENEITY) | (not found.grouped)),
        ("transfer", (found.transfer == 1) | (not found.grouped)),
        ("gain", found.gain > 0),
    )
    passed = called.copy()
    for name, holds in clauses:
        clause[passed & ~holds] = name
        passed &= holds
    verdict[called] = "unresolved"
    verdict[passed] = "biomarker"
    return verdict, clause
