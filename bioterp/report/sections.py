"""The sections of the report, each a piece of markup from the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bioterp.report import MOST_SENTENCES, Findings, densities, figures, page
from bioterp.report.best import CROSS, MOST_NAMED, chosen_on_test, sentence, shares_regions
from bioterp.report.fidelity import fidelity
from bioterp.report.optimism import optimism
from bioterp.report.page import Html, join, tag
from bioterp.report.versus import cell, is_layered
from bioterp.report.words import cell_size
from bioterp.rows import SPLITS, Rows

# What is told of a dictionary, in this order, under these names.
QUALITY = {
    "name": "Name", "representation": "Weights", "layer": "Layer", "seed": "Seed", "kind": "Kind", "width": "Width",
    "k": "k", "tokens": "Tokens", "fvu": "FVU", "l0": "L0", "dead": "Dead",
}  # fmt: skip


def lead(found: Findings) -> str:
    if not len(found.mine):
        return "No feature was matched to a term: the detection table is missing or empty."
    tested = "q" in found.mine.columns and bool(found.mine["q"].notna().any())
    beyond = "no test against chance was made"
    if tested:
        many = int((found.mine["q"] <= 0.05).sum())
        verb = "agrees with" if all(map(found.words.agreement, found.mine["term"])) else "finds"
        beyond = f"{many} have a feature that {verb} them beyond chance (q ≤ 0.05)"
        regions = int(shares_regions(found.mine).sum())
        beyond += f", {regions} of them no more than the regions it shares with them may explain" if regions else ""
    top = found.mine.iloc[0]
    chance = f" (chance {top['f1_null']:.2f})" if pd.notna(top.get("f1_null")) else ""
    text = f"{len(found.mine)} terms were looked for; {beyond}. "
    text += f"Furthest above chance is {top['term']}, F1 {top['f1']:.2f}{chance}."
    text += _labelled(found)
    if chosen_on_test(found.detection):
        return text
    return f"{text} All numbers are from {found.words.held} that took no part in the choice of feature and threshold."


def _labelled(found: Findings) -> str:
    """Which terms were labelled by a model: their scores are agreement, and no reader should take them for truth."""
    mine = [term for term in found.mine["term"] if found.words.agreement(term)]
    if not mine:
        return ""
    few = len(mine) <= MOST_NAMED and len(mine) < len(found.mine)
    which = "All labels were" if len(mine) == len(found.mine) else (
        f"The labels of {', '.join(map(str, mine))} were" if few else f"The labels of {len(mine)} of the terms were"
    )  # fmt: skip
    return f" {which} made by a model: such a score is agreement with that model, not accuracy."


def what_was_run(found: Findings) -> Html:
    pairs = [(name.replace("_", " "), text) for name, text in _told(found.about)]
    if found.codes is not None:
        pairs = [pair for pair in pairs if pair[0] != "rows"]  # told better below
        rows = found.codes.rows
        pairs += _scans(rows) if rows.ndim == 3 else []
        pairs.append(("rows", f"{len(rows):,} in {len(rows.items):,} items, id {rows.id[:8]}"))
        blocks = rows.items.groupby("split")["block"].nunique()
        pairs.append(("blocks per split", ", ".join(f"{name} {int(blocks.get(name, 0))}" for name in SPLITS)))
    return join([tag("h2", "What was run"), page.definitions(pairs)])


def _scans(rows: Rows) -> list[tuple[str, str]]:
    """How many scans of how many people, and what a cell is."""
    if not len(rows.items):
        return []
    once = rows.items.drop_duplicates("sample")
    people = f" of {once['subject'].nunique():,} subjects" if "subject" in once.columns else ""
    per = once["split"].value_counts()
    told = ", ".join(f"{name} {int(per.get(name, 0))}" for name in SPLITS)
    return [
        ("scans", f"{len(once):,}{people}; {told}"),
        ("cells", f"{cell_size(rows)} (right–left × front–back × up–down)"),
    ]


def _told(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    flat = {**dict(about.get("config") or {}), **{name: held for name, held in about.items() if name != "config"}}
    first = ("sequence", "scans", "source", "model", "layer", "layers", "dictionary", "rows", "splits", "seed", "seeds")
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
    models = len(found.mine) and all(map(found.words.agreement, found.mine["term"]))
    head = tag("h2", "What the features agree with" if models else "What the features find")
    if not len(found.mine):
        return join([head, tag("p", "There is no detection table to speak from.", class_="note")])
    lines = [
        sentence(line, is_layered(found), found.words.agreement(line["term"]))
        for _, line in found.mine.head(MOST_SENTENCES).iterrows()
    ]
    parts = [head, page.bullets(lines)]
    if len(found.mine) > MOST_SENTENCES:
        parts.append(tag("p", f"{len(found.mine) - MOST_SENTENCES} more terms are in the table below.", class_="note"))
    told = optimism(found.mine)
    parts += [tag("p", told.in_words(found.words.held), class_="note")] if told else []
    return join([*parts, _unscored(found)])


def _unscored(found: Findings) -> Html:
    """Terms that only have notes, folded away: there may be many, and each says the same."""
    table = found.detection
    if not {"note", "f1", "term"} <= set(table.columns):
        return Html("")
    bare = table[table["f1"].isna() & table["term"].notna() & ~table["term"].isin(set(found.mine["term"]))]
    bare = bare[bare["note"].fillna("") != ""].drop_duplicates("term")
    if not len(bare):
        return Html("")
    lines = [
        [line["term"], cell(line, "n_instances", "{:,.0f}"), (str(line["note"]).removeprefix("not scored: "), "text")]
        for _, line in bare.iterrows()
    ]
    title = f"{len(lines)} term{'' if len(lines) == 1 else 's'} that could not be scored"
    return page.details(title, page.table(["Term", "Instances", "Why"], lines))


def readout(found: Findings) -> Html:
    """The model's own outputs against the labels, where they were asked for; nothing otherwise."""
    table = found.tables.get("readout")
    if table is None or not len(table):
        return Html("")
    best = table.sort_values("ap", ascending=False, kind="stable").drop_duplicates("term")
    lines = []
    for _, line in best.iterrows():
        cells = [line["term"], line["output"], cell(line, "n_cells", "{:,.0f}"), cell(line, "prevalence", "{:.2g}")]
        for name in ("ap", "auroc"):
            lo, hi = cell(line, f"{name}_lo", "{:.3f}"), cell(line, f"{name}_hi", "{:.3f}")
            interval = tag("small", f" {lo}–{hi}") if lo != "–" and hi != "–" else Html("")
            cells.append(join([cell(line, name, "{:.3f}"), interval]))
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
    made = fidelity(found)
    if made:
        parts.append(made)
    elif names:
        lines = [[_plain(record.get(name)) for name in names] for record in records]
        parts.append(page.table([QUALITY[name] for name in names], lines))
    if not made and not {"fvu", "l0", "dead"} & set(names):
        text = "Reconstruction error (FVU), L0 and dead share were not passed to the report."
        parts.append(tag("p", text, class_="note"))
    values = densities(found)
    if values is None or not len(values):
        parts.append(tag("p", "The density of the features is unknown: no codes, no table of features.", class_="note"))
        return join(parts)
    dead = int((values <= 0).sum())
    always = int((values > 0.5).sum())
    caption = (
        f"{len(values):,} features{_of_all(found)}; {dead:,} ({dead / len(values):.1%}) never fire on these rows and "
        f"are not drawn, {always:,} fire on more than half of the cells."
    )
    return join([*parts, page.figure(figures.density(values), "density of features", caption)])


def _of_all(found: Findings) -> str:
    table = found.tables.get("features")
    if table is None or not {"layer", "seed"} <= set(table.columns):
        return ""
    return " of all layers and seeds" if len(table[["layer", "seed"]].drop_duplicates()) > 1 else ""


def how_to_read(found: Findings) -> Html:
    words = found.words
    lines = [
        f"A feature and its threshold are chosen on train and valid {words.held}; precision, recall and F1 are from "
        f"test {words.held}.",
        *words.more,
        "An instance is recalled when at least one of its cells is above the threshold. Cells whose label is unknown "
        "count for nothing.",
        words.chance,
        words.intervals,
    ]
    if len(found.best) and chosen_on_test(found.detection):
        lines[0] = (
            "This table does not say how features did where they were chosen, so the best line per term was taken by "
            "the very F1 shown: read the numbers as optimistic."
        )
    if "split" in found.best.columns and (found.best["split"] == CROSS).any():
        lines.insert(
            1,
            "* cross-fitted: where fewer than 20 instances of a term lie in test blocks, all blocks are scored, each "
            "by a feature and a threshold chosen without it; the feature may differ from part to part. Its layer is "
            "chosen by all parts together, so its number may be slightly high where there are many layers.",
        )
    made = page.tag("footer", "Written by bioterp. This file needs no network and holds no script.")
    return join([tag("h2", "How to read this"), page.bullets(lines), made])
