"""Wins and losses of the dictionary, counted from the table of comparisons."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bioterp.report.best import MOST_NAMED

RESULTS = ("win", "loss", "open", "none")


@dataclass(frozen=True)
class Tally:
    """One baseline: the terms of each result at the first seed, and (fewest, most) of each over all seeds."""

    baseline: str
    seed: int
    seeds: int
    terms: dict[str, list[str]]
    spread: dict[str, tuple[int, int]]


def tallies(comparison: pd.DataFrame) -> list[Tally]:
    """Per baseline, in the order of the table."""
    return [_of(str(name), group) for name, group in comparison.groupby("baseline", sort=False)]


def _of(baseline: str, group: pd.DataFrame) -> Tally:
    seeds = list(dict.fromkeys(group["seed"]))
    first = group[group["seed"] == seeds[0]]
    counts = {
        result: [int((group.loc[group["seed"] == s, "result"] == result).sum()) for s in seeds] for result in RESULTS
    }
    return Tally(
        baseline,
        int(seeds[0]),
        len(seeds),
        {result: first.loc[first["result"] == result, "term"].astype(str).tolist() for result in RESULTS},
        {result: (min(found), max(found)) for result, found in counts.items()},
    )


def in_words(tally: Tally) -> str:
    """'17 wins, 1 loss (tRNA), 4 open', with what could not be compared and how seeds differ."""
    wins, losses, undecided, without = (tally.terms[result] for result in RESULTS)
    text = f"{_count(len(wins), 'win', 'wins')}, {_count(len(losses), 'loss', 'losses')}"
    if losses:
        more = f" and {len(losses) - MOST_NAMED} more" if len(losses) > MOST_NAMED else ""
        text += f" ({', '.join(losses[:MOST_NAMED])}{more})"
    text += f", {len(undecided)} open"
    text += f", {len(without)} without an interval" if without else ""
    if tally.seeds > 1:
        ranges = [f"{_range(tally.spread[result])} {many}" for result, many in (("win", "wins"), ("loss", "losses"))]
        text += f"; over {tally.seeds} seeds {' and '.join(ranges)}"
    return text


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
