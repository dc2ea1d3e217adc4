"""How much better features look where they were chosen than where they are reported: the optimism of the choice."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bioterp.report.best import CROSS, two

_NEEDED = ("f1", "f1_null", "f1_select", "f1_select_null")


@dataclass(frozen=True)
class Optimism:
    """Means over terms: F1 where the feature was chosen and where it is reported, the same above chance; how many."""

    f1_select: float
    f1: float
    above_select: float
    above: float
    terms: int

    @property
    def gap(self) -> float:
        """Mean F1 where chosen less mean F1 where reported."""
        return self.f1_select - self.f1

    def in_words(self, held: str = "blocks") -> str:
        """One sentence."""
        many = f"{self.terms} term{'' if self.terms == 1 else 's'}"
        return (
            f"Optimism of the choice: mean F1 of the best feature of {many} is {two(self.f1_select)} on the {held} it "
            f"was chosen on and {two(self.f1)} on held-out ones (difference {two(self.gap, sign=True)}; above chance "
            f"{two(self.above_select)} and {two(self.above)}). Only the latter are reported."
        )


def optimism(best: pd.DataFrame) -> Optimism | None:
    """Of one line per term; None where no line tells both. Cross-fitted lines, whose parts overlap, are left out."""
    if not set(_NEEDED) <= set(best.columns):
        return None
    told = best[best[list(_NEEDED)].notna().all(axis=1)]
    if "split" in told.columns:
        told = told[told["split"] != CROSS]
    if not len(told):
        return None
    mean = told[list(_NEEDED)].mean()
    return Optimism(
        float(mean["f1_select"]),
        float(mean["f1"]),
        float(mean["f1_select"] - mean["f1_select_null"]),
        float(mean["f1"] - mean["f1_null"]),
        len(told),
    )
