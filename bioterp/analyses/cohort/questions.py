"""Everything that is asked of the features about one outcome, as nulls of one pass (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bioterp.analyses.cohort import chance, gains, nulls
from bioterp.analyses.cohort.deciding import CLASS, EXPLAINED
from bioterp.analyses.cohort.nulls import Basis, Null
from bioterp.analyses.cohort.sums import Sums
from bioterp.arrays import Array

SPARE = 5  # degrees of freedom a group must keep


@dataclass(frozen=True)
class Asked:
    """What does not differ between outcomes. base (n, a): ones and covariates; full (n, b): confounders too; alone
    (n, c): ones and confounders; group (n,) int, −1 none, of `groups`; block, strata (n,) int."""

    base: Array
    full: Array
    alone: Array
    group: Array
    groups: int
    block: Array
    strata: Array
    folds: int
    permutations: int
    seed: int


@dataclass
class Question:
    """One outcome. sizes (groups, 2): people (numeric outcome) or controls and cases; evaluable: the groups that can be
    told; reason: why nothing is tested, else ''."""

    who: Array
    y: Array
    binary: bool
    sizes: Array
    evaluable: list[int] = field(default_factory=list)
    explained: float = np.nan
    sized: bool = False
    reason: str = ""
    naive: Null | None = None
    adjusted: Null | None = None
    group: dict[int, Null] = field(default_factory=dict)
    others: dict[int, Null] = field(default_factory=dict)
    folds: list[gains.Fold] = field(default_factory=list)
    total: float = 0.0
    straight: Null | None = None  # least squares, for permutations
    drawn: Array | None = None


class Poser:
    """Poses questions; bases of the same people and columns are made once, so that outcomes share their sums."""

    def __init__(self, asked: Asked):
        self.asked = asked
        self._made: dict[tuple[str, bytes], Basis] = {}

    def basis(self, name: str, who: Array) -> Basis:
        key = name, np.packbits(who).tobytes()
        if key not in self._made:
            self._made[key] = nulls.basis_of(getattr(self.asked, name), who)
        return self._made[key]

    def null(self, name: str, who: Array, y: Array, binary: bool) -> Null:
        plain = self.basis(name, who)
        return nulls.logistic(plain, getattr(self.asked, name), y) if binary else nulls.linear(plain, y)

    def pose(self, y: Array, who: Array, binary: bool) -> Question:
        """y (n,) with NaN where unknown; who (n,) bool: people who have all covariates and confounders."""
        a = self.asked
        who = who & np.isfinite(y)
        of_group = [who & (a.group == g) for g in range(a.groups)]
        sizes = np.array([_classes(y, own, binary) for own in of_group]).reshape(-1, 2)
        one = Question(who, y, binary, sizes)
        least = min(_classes(y, who, binary)) if who.any() else 0
        if least == 0 or (not binary and np.ptp(y[who]) == 0):
            one.reason = "the outcome does not vary among the people who have all that is declared"
            return one
        if self.basis("full", who).rank + 2 > who.sum():
            one.reason = f"{int(who.sum())} people are no more than the columns to adjust for"
            return one
        tss = float(((y[who] - y[who].mean()) ** 2).sum())
        one.explained = 1 - nulls.linear(self.basis("alone", who), y).rss / tss
        one.naive, one.adjusted = (self.null(name, who, y, binary) for name in ("base", "full"))
        for g, own in enumerate(of_group):
            varies = own.any() and np.ptp(y[own]) > 0
            if varies and sizes[g].min() >= CLASS and own.sum() - self.basis("full", own).rank - 1 >= SPARE:
                one.evaluable.append(g)
                one.group[g] = self.null("full", own, y, binary)
                rest = who & ~own
                if min(_classes(y, rest, binary)) >= CLASS and rest.sum() - self.basis("full", rest).rank - 1 >= SPARE:
                    one.others[g] = self.null("full", rest, y, binary)
        one.sized = least >= CLASS and (a.groups < 2 or len(one.evaluable) >= 2)
        self._fold(one)
        self._permute(one)
        return one

    def _fold(self, one: Question) -> None:
        a = self.asked
        number = gains.deal(a.block, one.who, a.folds, a.seed)
        pairs = [(one.who & (number != f), one.who & (number == f)) for f in range(a.folds)]
        pairs = [(fit, held) for fit, held in pairs if held.any() and fit.any()]
        for fit, held in pairs:
            if min(_classes(one.y, fit, one.binary)) < 1 or fit.sum() - self.basis("full", fit).rank - 1 < 1:
                one.folds.clear()
                return
            null = self.null("full", fit, one.y, one.binary)
            one.folds.append(gains.fold_of(null, a.full, one.y, held))
        one.total = gains.deviance(pairs, one.y, not one.binary)

    def _permute(self, one: Question) -> None:
        if not self.asked.permutations:
            return
        basis = self.basis("full", one.who)
        one.straight = nulls.linear(basis, one.y)
        drawn = chance.shuffled(one.straight.rest, one.who, self.asked.strata, self.asked.permutations, self.asked.seed)
        one.drawn = drawn - basis.left @ (basis.left.T @ drawn)

    def ask(self, sums: Sums, one: Question) -> None:
        known = [one.naive, one.adjusted, one.straight, *one.group.values(), *one.others.values()]
        for null in known:
            if null is not None:
                nulls.ask(sums, null)
        for fold in one.folds:
            gains.ask(sums, fold)
        if one.drawn is not None:
            sums.ask(one.drawn)


def identified(explained: float) -> bool:
    """Whether outcome and declared confounders can be told apart."""
    return not explained >= EXPLAINED


def permuted(sums: Sums, one: Question) -> tuple[Array, Array]:
    """(m,) p by permutation, and that of the largest statistic of all features."""
    assert one.straight is not None and one.drawn is not None
    left = nulls.remaining(sums, one.straight.basis)
    t = nulls.told(sums.of(one.straight.rest), left, one.straight).t
    rss = (one.drawn**2).sum(0)[:, None]
    score = sums.of(one.drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = score / np.sqrt(left * np.maximum(rss - score**2 / left, 0) / one.straight.df)
    return chance.exceeded(t, drawn)


def _classes(y: Array, who: Array, binary: bool) -> tuple[int, int]:
    """Controls and cases, or the number of people twice."""
    n = int(who.sum())
    cases = int(y[who].sum()) if binary else n
    return (n - cases if binary else n), cases
