"""The section on baselines: what the dictionary adds to what was there without it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.report import Findings, figures, forest, page
from bioterp.report.best import SHORT, compare, excess, name_of, number, order_of, subject_of, terms_of, two, verdict
from bioterp.report.carrying import count
from bioterp.report.page import Html, join, tag
from bioterp.report.tally import in_words, tallies

MOST_DOTS = 24
MOST_ROWS = 40
LOCALLY = (
    "In blocks: q of shifts within blocks; where it is large beside a small q, feature and term may only share regions."
)
SEVERAL = "Several seeds were run; seed {} is shown."


def baselines(found: Findings) -> Html:
    """With a table of comparisons by paired intervals, otherwise by the scores of the detection table alone."""
    head = tag("h2", "Next to the baselines")
    subject = subject_of(found.best)
    if subject is None:
        return join([head, tag("p", "Nothing to compare.", class_="note")])
    paired = found.tables.get("comparison")
    paired = paired if paired is not None and len(paired) else None
    parts = [head]
    comparisons = compare(found.best)
    if paired is not None:
        lines = [f"Against the best {name_of(tally.baseline)}: {in_words(tally)}." for tally in tallies(paired)]
        parts += [page.bullets(lines), tag("p", _how(paired, found.words.scans), class_="note")]
    elif comparisons:
        parts.append(page.bullets(verdict(comparison, subject) for comparison in comparisons))
    else:
        text = "No baseline was run on these rows, so nothing here says that the dictionary was needed."
        parts.append(tag("p", text, class_="note"))
    terms = terms_of(found.best)
    parts.append(_scores(found, terms) if paired is None else _differences(paired, terms))
    parts.append(_table(found, terms, [] if paired is not None else order_of(found.best)[1:]))
    return join(parts)


def _scores(found: Findings, terms: list[str]) -> Html:
    """Scores side by side, each with its own interval: all that a detection table alone can show."""
    caption = (
        "Best feature per term, furthest above chance first. Lines: 95 % block-jackknife intervals, where there are "
        f"enough blocks. {found.words.zero}"
    )
    if len(terms) > MOST_DOTS:
        caption += f" The first {MOST_DOTS} of {len(terms)} terms."
    return page.figure(figures.dots(found.best, MOST_DOTS, found.words.axis), "F1 per term and representation", caption)


def _how(paired: pd.DataFrame, scans: bool) -> str:
    seeds = list(dict.fromkeys(paired["seed"]))
    text = (
        "A win is a 95 % interval of the difference wholly above 0, a loss one wholly below; the two features are "
        "compared block by block on the same cells. Each interval stands alone: without any difference, about one "
        "term in forty would still be a win and one a loss."
    )
    if scans:  # the null of the scores permutes subjects, and would hide how much place alone explains
        text += " Chance, on both sides, is here that of a feature that fires as often but wherever it likes."
    return text + (f" The first of {len(seeds)} seeds ({seeds[0]}) is shown." if len(seeds) > 1 else "")


def _differences(paired: pd.DataFrame, terms: list[str]) -> Html:
    """Terms down, baselines across: the difference of F1 above chance with its paired interval."""
    seeds, kinds = list(dict.fromkeys(paired["seed"])), list(dict.fromkeys(paired["baseline"]))
    first = paired[paired["seed"] == seeds[0]]
    lines, notes = [], []
    for term in [term for term in terms if term in set(first["term"])]:
        mine = first[first["term"] == term].drop_duplicates("baseline").set_index("baseline")
        one = mine.iloc[0]
        cells: list[Any] = [term, count(one), two(one["above"])]
        for kind in kinds:
            line = mine.loc[kind] if kind in mine.index else pd.Series({"result": "none"}, dtype=object)
            results = paired.loc[(paired["term"] == term) & (paired["baseline"] == kind), "result"].tolist()
            cells.append(_difference(line, results))
            if line["result"] == "none" and line.get("note"):
                notes.append([term, name_of(kind), (str(line["note"]), "text")])
        lines.append(cells)
    head = ["Term", "Inst.", "↑\u00a0this", *[f"less {SHORT.get(kind, kind)}" for kind in kinds]]
    note = (
        "↑ this: F1 above chance of the best dictionary feature; then how much further above chance it is than the "
        "best of each baseline, with the interval. Blue: win; orange: loss; plain: open."
    )
    if len(seeds) > 1:
        note += f" n/{len(seeds)}: seeds with that result, where they are not all."
    told = [term for term in terms if term in set(first["term"])][:MOST_ROWS]
    caption = (
        "Difference of F1 above chance between the best dictionary feature and the best of each baseline, with its "
        "paired 95 % interval. Blue circles: wins; orange squares: losses; open diamonds: the interval holds 0."
    )
    caption += " Grey ticks: the other seeds." if len(seeds) > 1 else ""
    caption += f" The first {MOST_ROWS} of {first['term'].nunique()} terms." if len(told) == MOST_ROWS else ""
    picture = figures.uri(forest.differences(paired, told))
    parts = [page.figure(picture, "differences from baselines per term", caption)]
    parts += [tag("h3", "Differences"), page.table(head, lines, dense=True), tag("p", note, class_="note")]
    if notes:
        title = f"{len(notes)} comparisons without an interval"
        parts.append(page.details(title, page.table(["Term", "Baseline", "Why"], notes)))
    return join(parts)


def _difference(line: pd.Series, results: list[str]) -> Any:
    """One cell: '+0.23 0.15, 0.31', coloured by its result."""
    if pd.isna(line.get("difference")):
        return "–"
    interval = f" {two(line['lo'])}, {two(line['hi'])}" if pd.notna(line["lo"]) else ""
    same = results.count(line["result"])
    agree = f" {same}/{len(results)}" if same < len(results) else ""
    return join([two(line["difference"], sign=True), tag("small", interval + agree)]), str(line["result"])


def _table(found: Findings, terms: list[str], others: list[str]) -> Html:
    subject, *_ = order_of(found.best)
    above = found.best.assign(above=excess(found.best)).pivot(index="term", columns="representation", values="above")
    rows = found.best[found.best["representation"] == subject].set_index("term")
    layered = is_layered(found)
    lines = []
    for term in terms:
        top = above.loc[term].max() if others and above.loc[term].max() >= 0.005 else None  # nobody wins with nothing
        line = rows.loc[term] if term in rows.index else pd.Series(dtype=object)
        feature = cell(line, "feature", "{:.0f}")
        feature = f"{line['layer']} / {feature}" if layered and "layer" in line.index else feature
        cells: list[Any] = [term, count(line), feature]
        cells += [cell(line, name, "{:.2f}") for name in ("precision", "recall", "instance_recall")]
        interval = ""
        if pd.notna(line.get("f1_lo")) and pd.notna(line.get("f1_hi")):
            interval = f" {line['f1_lo']:.2f}–{line['f1_hi']:.2f}"
        own = join([cell(line, "f1", "{:.2f}"), tag("small", interval)])
        cells += [own, cell(line, "f1_null", "{:.2f}"), _q(line)]
        for kind in (subject, *others):
            value = above.loc[term].get(kind)
            cells.append((two(value), "win") if value == top else two(value))
        lines.append(cells)
    feature = "Layer / feature" if layered else "Feature"
    names = ["Term", "Inst.", feature, "Prec.", "Recall", "Inst. recall", "F1 and interval", "Chance", "q"]
    made = page.table([*names, *[f"↑ {SHORT.get(kind, kind)}" for kind in (subject, *others)]], lines)
    note = "↑: F1 above chance, of the feature" + (" and of the best of each baseline." if others else ".")
    if "q_local" in rows.columns and rows["q_local"].notna().any():
        note += f" {LOCALLY}"
    if "seed" in found.detection.columns and found.best[found.best["representation"] == subject]["seed"].nunique() == 1:
        seeds = found.detection.loc[found.detection["representation"] == subject, "seed"].nunique()
        note += f" {SEVERAL.format(int(rows['seed'].iloc[0]))}" if seeds > 1 else ""
    return join([tag("h3", "The best feature of each term"), made, tag("p", note, class_="note")])


def _q(line: pd.Series) -> Any:
    """q, and beside it that of shifts within blocks."""
    told = number(line["q"]) if pd.notna(line.get("q")) else "–"
    local = line.get("q_local")
    return told if pd.isna(local) else join([told, tag("small", f" {number(local)} in blocks")])


def is_layered(found: Findings) -> bool:
    return "layer" in found.mine.columns and found.mine["layer"].nunique() > 1


def cell(line: pd.Series, name: str, form: str) -> str:
    """A number of a line, or a dash where there is none."""
    return form.format(line[name]) if name in line.index and pd.notna(line[name]) else "–"
