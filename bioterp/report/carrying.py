"""The section on layers: which layer carries which term, and how far seeds agree."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.analyses.layers import in_order
from bioterp.report import Findings, figures, heat, page
from bioterp.report.best import CROSS, two
from bioterp.report.page import Html, join, tag

MOST_LAYERS = 12  # more columns than this are left to the picture
RANDOM = "random-weights"


def layers(found: Findings) -> Html:
    """Nothing when no table of layers was given."""
    table = found.tables.get("layers")
    if table is None or not len(table):
        return Html("")
    order = heat.in_reading_order(table)
    head = tag("h2", "Which layer carries which term")
    if not order:
        return join([head, tag("p", "No term was scored on any layer.", class_="note")])
    mine = table[(table["representation"] == heat.subject_in(table)) & table["above"].notna()]
    caption = "F1 above chance of the layer's best feature. "
    if mine["layer"].nunique() > 1:
        caption += (
            "Terms are sorted by the layer that carries them, then by strength; those nowhere "
            f"{heat.WEAK} above chance come last. The layer is framed by what was known before the scored blocks were "
            "looked at, so a neighbour may score as high."
        )
    if len(order) > heat.MOST_TERMS:
        caption += f" The {heat.MOST_TERMS} strongest of {len(order)} terms."
    if RANDOM in set(table["representation"]):
        caption += (
            " Right: the same, of a dictionary on the same network with random weights; a term that is as "
            "dark there was not learned by the model."
        )
    picture = page.figure(figures.uri(heat.layers_figure(table)), "heat map of terms and layers", caption)
    return join([head, tag("p", _told(mine, order)), picture, _table(table, mine, order)])


def _told(mine: pd.DataFrame, order: list[str]) -> str:
    """How terms fall on layers, and how far seeds differ."""
    best = mine[mine["best"].astype(bool)].set_index("term")
    clear = best[best["above"] >= heat.WEAK]
    parts = [f"layer {layer} for {int((clear['layer'] == layer).sum())}" for layer in in_order(clear["layer"])]
    text = f"Of {len(order)} terms, {len(clear)} have a layer whose best feature is at least {heat.WEAK} above chance"
    text += f": {', '.join(parts)}." if parts else "."
    if (best["n_seeds"] > 1).any():
        span = (best["above_max"] - best["above_min"])[best["n_seeds"] > 1]
        text += (
            f" Over {int(best['n_seeds'].max())} seeds, F1 above chance at that layer spans {span.median():.2f} in the "
            f"median term and {span.max():.2f} in {span.idxmax()}, where it spans most."
        )
    return text


def _table(table: pd.DataFrame, mine: pd.DataFrame, order: list[str]) -> Html:
    names = in_order(mine["layer"])
    names = names if len(names) <= MOST_LAYERS else []
    above = mine.drop_duplicates(["term", "layer"]).pivot(index="term", columns="layer", values="above")
    flagged = table[table["best"].astype(bool)]
    best = flagged[flagged["representation"] == mine["representation"].iloc[0]].set_index("term")
    rival = flagged[flagged["representation"] == RANDOM].set_index("term")
    lines = []
    for term in order:
        line = best.loc[term] if term in best.index else mine[mine["term"] == term].iloc[0]
        spread = f" {two(line['above_min'])} to {two(line['above_max'])}" if line["n_seeds"] > 1 else ""
        cells: list[Any] = [term, count(line), str(line["layer"])]
        cells.append(join([two(line["above"]), tag("small", spread)]))
        if len(rival):
            other = rival.loc[term] if term in rival.index else None
            told = f" layer {other['layer']}" if other is not None else ""
            cells.append(join([two(other["above"]) if other is not None else "–", tag("small", told)]))
        for name in names:
            text = two(above.loc[term].get(name))
            cells.append((text, "win") if name == str(line["layer"]) else text)
        lines.append(cells)
    seeds = int(mine["n_seeds"].max())
    head = ["Term", "Inst.", "Best layer", "Above chance" + (" (range over seeds)" if seeds > 1 else "")]
    head += ["Random weights"] if len(rival) else []
    return page.table([*head, *[f"L {name}" if name.isdecimal() else name for name in names]], lines)


def count(line: pd.Series) -> str:
    """The number of instances, with a star where the term was cross-fitted."""
    n = f"{line['n_instances']:,.0f}" if pd.notna(line.get("n_instances")) else "–"
    return n + "*" if line.get("split") == CROSS else n
