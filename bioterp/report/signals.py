"""The section on signals: which feature's codes rise and fall with coverage, conservation, density."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.report import Findings, page
from bioterp.report.best import name_of, number, order_of, subject_of, two
from bioterp.report.page import Html, join, tag

HEAD = "Signals: whose codes rise and fall with them"


def best_per_signal(correlation: pd.DataFrame) -> pd.DataFrame:
    """One line per signal and representation: the feature with the largest |r| on train and valid, of the first seed.

    The numbers are those of test. A signal that nothing could be chosen for keeps its line with a note.
    """
    if not len(correlation):
        return correlation
    order = {seed: rank for rank, seed in enumerate(dict.fromkeys(correlation["seed"]))}
    rank = correlation["seed"].map(order)
    table = correlation[rank == rank.groupby([correlation["representation"], correlation["term"]]).transform("min")]
    table = table.assign(_select=table["pearson_select"].abs().fillna(-1.0))
    table = table.sort_values("_select", ascending=False, kind="stable")
    return table.drop_duplicates(["term", "representation"]).drop(columns="_select").reset_index(drop=True)


def in_words(mine: pd.DataFrame) -> str:
    """'Of 3 signals, 2 are followed by a feature beyond chance (q ≤ 0.05): gc (feature 12, r −0.61), …'"""
    many = f"Of {len(mine)} signal{'s' * (len(mine) > 1)}"
    if not mine["q"].notna().any():
        return f"{many}, none was tested against chance."
    beyond = mine[mine["q"] <= 0.05]
    named = [f"{line.term} (feature {line.feature}, r {two(line.pearson)})" for line in beyond.itertuples()]
    verb = "is" if len(named) == 1 else "are"
    text = f"{many}, {len(named) or 'none'} {verb} followed by a feature beyond chance (q ≤ 0.05)"
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return text + (f": {', '.join(named[:6])}{more}." if named else ".")


def signals(found: Findings) -> Html:
    """One table, the best of each baseline beside the best feature; nothing where no signal was asked about."""
    table = found.tables.get("correlation")
    if table is None or not len(table):
        return Html("")
    best = best_per_signal(table)
    subject, others = subject_of(best), order_of(best)[1:]
    mine = best[best["representation"] == subject]
    theirs = best.pivot(index="term", columns="representation", values="pearson")
    head = ["Signal", "Layer", "Feature", "r and interval", "r, chance", "Rank correlation", "q", "Cells known"]
    lines = [[*_cells(line), *[two(theirs.loc[line["term"], o]) for o in others]] for _, line in mine.iterrows()]
    note = (
        "r: Pearson correlation of code and signal on held-out cells, silent cells as zeros, with its 95 % "
        "block-jackknife interval; chance: its mean over all circular shifts of the feature. The feature is the one "
        "with the largest |r| on train and valid."
    )
    note += " Beside it r of the best of each baseline, chosen alike." if others else ""
    parts = [tag("h2", HEAD), tag("p", in_words(mine))]
    parts.append(page.table([*head, *map(name_of, others)], lines, dense=bool(others)))
    parts.append(tag("p", note, class_="note"))
    notes = mine[mine["note"].fillna("") != ""]
    if len(notes):
        told = [[line["term"], (str(line["note"]), "text")] for _, line in notes.iterrows()]
        parts.append(
            page.details(f"Notes on {len(told)} signal{'s' * (len(told) > 1)}", page.table(["Signal", "Note"], told))
        )
    return join(parts)


def _cells(line: pd.Series) -> list[Any]:
    interval = f" {two(line['pearson_lo'])}, {two(line['pearson_hi'])}" if pd.notna(line["pearson_lo"]) else ""
    cells: list[Any] = [line["term"], line["layer"], str(line["feature"]) if line["feature"] >= 0 else "–"]
    cells.append(join([two(line["pearson"], sign=True), tag("small", interval)]))
    cells += [two(line["pearson_null"]), two(line["spearman"], sign=True)]
    return [*cells, number(line["q"]) if pd.notna(line["q"]) else "–", f"{line['n']:,}"]
