"""The section on headline claims: the best match of each term with its blocks drawn anew, and turned within them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.report import Findings, page
from bioterp.report.adjustment import KEY
from bioterp.report.best import MOST_NAMED, number, two
from bioterp.report.page import Html, join, tag


def of_best(table: pd.DataFrame | None, mine: pd.DataFrame) -> pd.DataFrame:
    """The headline rows of these features, in their order; empty where there are none."""
    if table is None or not len(table) or not len(mine) or not set(KEY) <= set(mine.columns):
        return pd.DataFrame(columns=["term", "p_local", "q_local"])
    order = mine[KEY].assign(_order=range(len(mine)))
    return table.merge(order, on=KEY, how="inner").sort_values("_order", kind="stable").drop(columns="_order")


def in_words(best: pd.DataFrame) -> str:
    """'Within blocks 9 of 12 matches are closer than chance (q ≤ 0.05). For a, b, c …'"""
    tested = best[best["q_local"].notna()]
    if not len(tested):
        return ""
    weak = tested.loc[tested["q_local"] > 0.05, "term"].astype(str).tolist()
    text = f"Within blocks {len(tested) - len(weak)} of {len(tested)} matches are closer than chance (q ≤ 0.05)"
    if not weak:
        return text + "."
    more = f" and {len(weak) - MOST_NAMED} more" if len(weak) > MOST_NAMED else ""
    return f"{text}. For {', '.join(weak[:MOST_NAMED])}{more} it may be enough that the same blocks hold much of both."


def claims(found: Findings) -> Html:
    """One table; nothing without the table of headline claims."""
    best = of_best(found.tables.get("headline"), found.mine)
    if not len(best):
        return Html("")
    local = bool(best["p_local"].notna().any())
    head = ["Term", "Feature", "F1 and interval", "above chance", "Precision", "Recall"]
    head += ["F1, chance in blocks", "p in blocks", "q"] if local else []
    note = (
        f"95 % intervals from {found.words.held} drawn anew (BCa bootstrap); none where there are too few of them. The "
        "match is the best of its term on train and valid."
    )
    if local:
        note += (
            " In blocks: each block is turned by itself, so that what differs between regions (GC, isochores, arrays "
            "of repeats) stays where it is; the q of other tables turns all of them as one ring and cannot tell such "
            "regions from a match. A term longer than a block cannot be found in this way."
        )
    lines = [_line(line, local) for _, line in best.iterrows()]
    told = in_words(best)
    return join(
        [
            tag("h3", "The best match of each term, resampled"),
            tag("p", told) if told else Html(""),
            page.table(head, lines, dense=True),
            tag("p", note, class_="note"),
        ]
    )


def _line(line: pd.Series, local: bool) -> list[Any]:
    cells: list[Any] = [line["term"], str(line["feature"]) if line["feature"] >= 0 else "–"]
    cells += [_spread(line, name) for name in ("f1", "above", "precision", "recall")]
    if local:
        cells += [
            two(line["f1_local"]),
            *(number(line[n]) if pd.notna(line[n]) else "–" for n in ("p_local", "q_local")),
        ]
    return cells


def _spread(line: pd.Series, name: str) -> Html:
    lo, hi = line[f"{name}_lo"], line[f"{name}_hi"]
    return join([two(line[name]), tag("small", f" {two(lo)}–{two(hi)}" if pd.notna(lo) else "")])
