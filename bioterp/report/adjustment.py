"""The section on what is left of each match once GC, codon phase, place or brightness are held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bioterp.report import Findings, page
from bioterp.report.best import number, two
from bioterp.report.page import Html, join, tag
from bioterp.report.versus import cell

KEY = ["dictionary", "seed", "representation", "layer", "feature", "term"]
VERDICTS = ("holds", "explained", "open", "determined", "reversed", "none")
SAID = {
    "holds": "hold within strata of like cells",
    "explained": "are explained by what was held fixed",
    "open": "can be neither told from nothing nor from what they were",
    "determined": "are of terms that the covariates themselves tell",
    "reversed": "turn round",
    "none": "could not be adjusted",
}


def of_best(tables: Mapping[str, pd.DataFrame], mine: pd.DataFrame) -> pd.DataFrame:
    """The rows of the adjusted table of these features, main rows first, in their order; empty where there is none."""
    table = tables.get("adjusted")
    if table is None or not len(table) or not len(mine) or not set(KEY) <= set(mine.columns):
        return pd.DataFrame(columns=["term", "main", "verdict"])
    order = mine[KEY].assign(_order=range(len(mine)))
    found = table.merge(order, on=KEY, how="inner")
    return found.sort_values(["main", "_order"], ascending=[False, True], kind="stable").drop(columns="_order")


def in_words(best: pd.DataFrame) -> str:
    """'Of 12 terms' best features, 7 hold within strata of like cells, 3 are explained by …'"""
    main = best[best["main"].astype(bool)]
    counts = main["verdict"].value_counts()
    parts = [f"{counts[name]} {SAID[name]}" for name in VERDICTS if counts.get(name, 0)]
    return f"Of the best features of {len(main)} terms, {', '.join(parts)}."


def adjustment(found: Findings) -> Html:
    """One table, crude beside adjusted beside what the covariates tell alone; nothing where it was not asked for."""
    best = of_best(found.tables, found.mine)
    title = tag("h2", "With GC, codon phase and the like held fixed" if not found.words.scans else _SCANS)
    if not len(best):
        return _nothing(found, title)
    main = best[best["main"].astype(bool)]
    beaten = int((main["covariates_auroc"] > main["auroc_crude"]).sum())
    text = in_words(best)
    if beaten:
        text += f" For {beaten} the covariates alone rank the cells better than the feature does."
    head = [
        "Term",
        "Held fixed",
        "log2 odds, crude",
        "within strata",
        "AUROC, crude",
        "within",
        "matched",
        "fixed alone",
    ]
    table = page.table([*head, "q", "Verdict"], [_line(line) for _, line in main.iterrows()], dense=True)
    note = (
        "Within strata: cells are compared only with cells alike in what is held fixed (Mantel–Haenszel odds ratio; "
        "AUROC over pairs of one stratum; matched: against as many negatives drawn from the same strata). Fixed alone: "
        "the AUROC of the covariates without any feature, learnt on train. A covariate that itself tells a term is "
        "left out for that term. Explained: the interval holds 0 and lies below the crude value; open: it holds both. "
        "q is that of F1 above what the strata lead to expect."
    )
    parts = [title, tag("p", text), table, tag("p", note, class_="note"), _alone(best)]
    notes = main[main["note"].fillna("") != ""]
    if len(notes):
        lines = [[line["term"], (str(line["note"]), "text")] for _, line in notes.iterrows()]
        many = f"{len(lines)} term{'s' * (len(lines) > 1)}"
        parts.append(page.details(f"Notes on {many}", page.table(["Term", "Note"], lines)))
    return join(parts)


def _nothing(found: Findings, title: Html) -> Html:
    """Why none of the matches above was adjusted, where it was asked for."""
    table = found.tables.get("adjusted")
    if table is None or not len(table) or not len(found.mine):
        return Html("")
    told = [str(note) for note in table["note"].dropna() if note]
    why = f": {max(set(told), key=told.count)}" if told else ""
    return join([title, tag("p", f"None of the matches above could be adjusted{why}.")])


_SCANS = "With place and brightness held fixed"
_CLASS = {"holds": "win", "explained": "loss", "reversed": "loss"}


def _line(line: pd.Series) -> list[Any]:
    kind = _CLASS.get(str(line["verdict"]), "")
    cells: list[Any] = [line["term"], (str(line["covariates"]), "text")]
    cells.append(_interval(line, "log2_odds_crude", "crude_lo", "crude_hi"))
    cells.append((_interval(line, "log2_odds", "lo", "hi"), kind))
    cells += [cell(line, name, "{:.2f}") for name in ("auroc_crude", "auroc", "auroc_matched", "covariates_auroc")]
    q = number(line["q"]) if pd.notna(line["q"]) else "–"
    return [*cells, q, (str(line["verdict"]), kind)]


def _interval(line: pd.Series, name: str, lo: str, hi: str) -> Html:
    interval = f" {two(line[lo])}, {two(line[hi])}" if pd.notna(line[lo]) else ""
    return join([two(line[name], sign=True), tag("small", interval)])


def _alone(best: pd.DataFrame) -> Html:
    """The verdict by each covariate alone, folded away: which of them explains what."""
    alone = best[~best["main"].astype(bool)]
    if not len(alone):
        return Html("")
    names = list(dict.fromkeys(alone["covariates"]))
    lines = []
    for term in dict.fromkeys(best["term"]):
        own = alone[alone["term"] == term].drop_duplicates("covariates").set_index("covariates")
        cells: list[Any] = [term]
        for name in names:
            if name in own.index:
                line = own.loc[name]
                kind = _CLASS.get(str(line["verdict"]), "")
                cells.append((join([two(line["log2_odds"], sign=True), tag("small", f" {line['verdict']}")]), kind))
            else:
                cells.append("–")
        lines.append(cells)
    return page.details("Each held fixed alone", page.table(["Term", *names], lines))
