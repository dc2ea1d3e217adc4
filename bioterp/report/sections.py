"""The sections of the report, each a piece of markup from the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bioterp.report import MOST_SENTENCES, Findings, densities, figures, page
from bioterp.report.best import (
    SHORT,
    chosen_on_test,
    compare,
    excess,
    number,
    order_of,
    sentence,
    shown,
    subject_of,
    terms_of,
    verdict,
)
from bioterp.report.page import Html, join, tag
from bioterp.rows import SPLITS

# What is told of a dictionary, in this order, under these names.
QUALITY = {
    "name": "Name", "representation": "Weights", "layer": "Layer", "seed": "Seed", "kind": "Kind", "width": "Width",
    "k": "k", "tokens": "Tokens", "fvu": "FVU", "l0": "L0", "dead": "Dead",
}  # fmt: skip


def lead(found: Findings) -> str:
    if not len(found.mine):
        return "No feature was matched to a term: the detection table is missing or empty."
    tested = "q" in found.mine.columns and bool(found.mine["q"].notna().any())
    beyond = f"{int(shown(found.mine).sum())} have a feature that finds them beyond chance (q ≤ 0.05)"
    beyond = beyond if tested else "no test against chance was made"
    top = found.mine.iloc[0]
    chance = f" (chance {top['f1_null']:.2f})" if pd.notna(top.get("f1_null")) else ""
    return (
        f"{len(found.mine)} terms were looked for; {beyond}. "
        f"Furthest above chance is {top['term']}, F1 {top['f1']:.2f}{chance}."
    ) + ("" if chosen_on_test(found.detection) else " All numbers are from blocks that took no part in the choice.")


def what_was_run(found: Findings) -> Html:
    pairs = [(name.replace("_", " "), text) for name, text in _told(found.about)]
    if found.codes is not None:
        rows = found.codes.rows
        pairs.append(("rows", f"{len(rows):,} in {len(rows.items):,} items, id {rows.id[:8]}"))
        blocks = rows.items.groupby("split")["block"].nunique()
        pairs.append(("blocks per split", ", ".join(f"{name} {int(blocks.get(name, 0))}" for name in SPLITS)))
    return join([tag("h2", "What was run"), page.definitions(pairs)])


def _told(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    flat = {**dict(about.get("config") or {}), **{name: held for name, held in about.items() if name != "config"}}
    first = ("sequence", "source", "model", "layer", "layers", "dictionary", "rows", "splits", "seed", "seeds")
    last = ("command", "python", "versions")
    hidden = {"quality", "name", "stages", "out", *first, *last}
    for name in [*first, *[name for name in flat if name not in hidden], *last]:
        held = flat.get(name)
        text = " ".join(map(str, held)) if name == "command" and isinstance(held, list) else _plain(held)
        if text:
            yield name, text


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(held)}" for key, held in value.items() if _plain(held))
    if isinstance(value, list | tuple | set):
        return ", ".join(_plain(held) for held in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return "" if value is None else str(value)


def in_words(found: Findings) -> Html:
    head = tag("h2", "What the features find")
    if not len(found.mine):
        return join([head, tag("p", "There is no detection table to speak from.", class_="note")])
    lines = [sentence(line, _layered(found)) for _, line in found.mine.head(MOST_SENTENCES).iterrows()]
    parts = [head, page.bullets(lines)]
    if len(found.mine) > MOST_SENTENCES:
        parts.append(tag("p", f"{len(found.mine) - MOST_SENTENCES} more terms are in the table below.", class_="note"))
    if "note" in found.detection.columns:
        without = found.detection[found.detection["f1"].isna() & (found.detection["note"].fillna("") != "")]
        notes = without.dropna(subset="term").drop_duplicates("term")[["term", "note"]].head(MOST_SENTENCES)
        if len(notes):
            told = "; ".join(f"{term} ({note.removeprefix('not scored: ')})" for term, note in notes.values)
            parts.append(tag("p", f"Terms that could not be scored: {told}.", class_="note"))
    return join(parts)


def _layered(found: Findings) -> bool:
    return "layer" in found.mine.columns and found.mine["layer"].nunique() > 1


def baselines(found: Findings) -> Html:
    head = tag("h2", "Next to the baselines")
    subject = subject_of(found.best)
    if subject is None:
        return join([head, tag("p", "Nothing to compare.", class_="note")])
    parts = [head]
    comparisons = compare(found.best)
    if comparisons:
        parts.append(page.bullets(verdict(comparison, subject) for comparison in comparisons))
    else:
        text = "No baseline was run on these rows, so nothing here says that the dictionary was needed."
        parts.append(tag("p", text, class_="note"))
    terms = terms_of(found.best)
    caption = (
        "Best feature per term, furthest above chance first. Lines: 95 % block-jackknife intervals, where there are "
        "enough test blocks. 0 is the mean F1 of circular shifts of that very feature."
    )
    if len(terms) > 24:
        caption += f" The first 24 of {len(terms)} terms."
    parts.append(page.figure(figures.dots(found.best), "F1 per term and representation", caption))
    parts.append(_table(found, terms))
    return join(parts)


def _table(found: Findings, terms: list[str]) -> Html:
    subject, *others = order_of(found.best)
    above = found.best.assign(above=excess(found.best)).pivot(index="term", columns="representation", values="above")
    rows = found.best[found.best["representation"] == subject].set_index("term")
    lines = []
    for term in terms:
        top = above.loc[term].max() if above.loc[term].max() >= 0.005 else None  # nobody wins with nothing
        line = rows.loc[term] if term in rows.index else pd.Series(dtype=object)
        feature = _cell(line, "feature", "{:.0f}")
        feature = f"{line['layer']} / {feature}" if _layered(found) and "layer" in line.index else feature
        cells: list[Any] = [term, _cell(line, "n_instances", "{:,.0f}"), feature]
        cells += [_cell(line, name, "{:.2f}") for name in ("precision", "recall", "instance_recall")]
        interval = ""
        if pd.notna(line.get("f1_lo")) and pd.notna(line.get("f1_hi")):
            interval = f" {line['f1_lo']:.2f}–{line['f1_hi']:.2f}"
        own = join([_cell(line, "f1", "{:.2f}"), tag("small", interval)])
        mine = above.loc[term].get(subject)
        cells += [own, _cell(line, "f1_null", "{:.2f}"), number(line["q"]) if pd.notna(line.get("q")) else "–"]
        text = f"{mine:.2f}" if pd.notna(mine) else "–"
        cells.append((text, "win") if mine == top else text)
        for other in others:
            value = above.loc[term].get(other)
            text = f"{value:.2f}" if pd.notna(value) else "–"
            cells.append((text, "win") if value == top else text)
        lines.append(cells)
    feature = "Layer / feature" if _layered(found) else "Feature"
    names = ["Term", "Inst.", feature, "Prec.", "Recall", "Inst. recall", "F1 and interval", "Chance", "q"]
    made = page.table([*names, *[f"↑ {SHORT.get(other, other)}" for other in order_of(found.best)]], lines)
    return join([made, tag("p", "↑: F1 above chance, of the feature and of the best of each baseline.", class_="note")])


def _cell(line: pd.Series, name: str, form: str) -> str:
    return form.format(line[name]) if name in line.index and pd.notna(line[name]) else "–"


def readout(found: Findings) -> Html:
    """The model's own outputs against the labels, where they were asked for; nothing otherwise."""
    table = found.tables.get("readout")
    if table is None or not len(table):
        return Html("")
    best = table.sort_values("ap", ascending=False, kind="stable").drop_duplicates("term")
    lines = []
    for _, line in best.iterrows():
        cells = [line["term"], line["output"], _cell(line, "n_cells", "{:,.0f}"), _cell(line, "prevalence", "{:.2g}")]
        for name in ("ap", "auroc"):
            lo, hi = _cell(line, f"{name}_lo", "{:.3f}"), _cell(line, f"{name}_hi", "{:.3f}")
            interval = tag("small", f" {lo}–{hi}") if lo != "–" and hi != "–" else Html("")
            cells.append(join([_cell(line, name, "{:.3f}"), interval]))
        lines.append(cells)
    text = "Average precision of the output that ranks the term's cells best. Its chance level is the prevalence."
    head = ["Term", "Output", "Positive cells", "Prevalence", "AP and interval", "AUROC and interval"]
    return join([tag("h2", "The model's own outputs"), tag("p", text, class_="note"), page.table(head, lines)])


def quality(found: Findings) -> Html:
    parts = [tag("h2", "Quality of the dictionary")]
    told = found.about.get("quality")
    records = told if isinstance(told, list) else [told] if told else []
    if isinstance(told, Mapping) and all(isinstance(value, Mapping) for value in told.values()):
        records = [{"name": name, **value} for name, value in told.items()]
    names = [name for name in QUALITY if any(_plain(record.get(name)) for record in records)]
    if names:
        lines = [[_plain(record.get(name)) for name in names] for record in records]
        parts.append(page.table([QUALITY[name] for name in names], lines))
    if not {"fvu", "l0", "dead"} & set(names):
        text = "Reconstruction error (FVU), L0 and dead share were not passed to the report."
        parts.append(tag("p", text, class_="note"))
    values = densities(found)
    if values is None or not len(values):
        parts.append(tag("p", "The density of the features is unknown: no codes, no table of features.", class_="note"))
        return join(parts)
    dead = int((values <= 0).sum())
    always = int((values > 0.5).sum())
    caption = (
        f"{len(values):,} features; {dead:,} ({dead / len(values):.1%}) never fire on these rows and are not drawn, "
        f"{always:,} fire on more than half of the cells."
    )
    return join([*parts, page.figure(figures.density(values), "density of features", caption)])


def how_to_read(found: Findings) -> Html:
    lines = [
        "A feature and its threshold are chosen on train and valid blocks; precision, recall and F1 are from test "
        "blocks.",
        "An instance is recalled when at least one of its cells is above the threshold. Cells whose label is unknown "
        "count for nothing.",
        "Chance is the mean F1 when the feature's activity is shifted around the sequence; q corrects the p of that "
        "null over the pairs that were chosen (Benjamini–Hochberg).",
        "Intervals leave out one block at a time (jackknife, 95 %).",
    ]
    if len(found.best) and chosen_on_test(found.detection):
        lines[0] = (
            "This table does not say how features did where they were chosen, so the best line per term was taken by "
            "the very F1 shown: read the numbers as optimistic."
        )
    made = page.tag("footer", "Written by bioterp. This file needs no network and holds no script.")
    return join([tag("h2", "How to read this"), page.bullets(lines), made])
