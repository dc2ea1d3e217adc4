"""The section on candidate batch confounders: facts of the scans that features follow."""

from __future__ import annotations

import pandas as pd

from bioterp.report import Findings, page
from bioterp.report.page import Html, join, tag

MOST = 8  # candidates shown; the table holds all


def batches(found: Findings) -> Html:
    """Which facts of acquisition the features' scan means follow; nothing where that was not asked."""
    table = found.tables.get("candidates")
    if table is None or not len(table):
        return Html("")
    first = table.iloc[0]
    of_first = (table["dictionary"] == first["dictionary"]) & (table["seed"] == first["seed"])
    tested = table[of_first & (table["n_features"] > 0)].copy()
    untested = sorted(set(table["candidate"]) - set(tested["candidate"]))
    tested["share"] = tested["n_associated"] / tested["n_features"]
    tested = tested.sort_values(["share", "top_r2"], ascending=False, kind="stable").drop_duplicates("candidate")
    text = (
        "What the scans themselves tell of how they were made, and how many features follow it: the mean code of a "
        "scan against the fact (Kruskal–Wallis or rank correlation, Benjamini–Hochberg over the features of a layer, "
        "5 %). A feature that follows one of these may know the scanner, not the person. Intensity regimes were found "
        "from the stored values, without being told."
    )
    parts = [tag("h2", "Candidate batch confounders"), tag("p", text, class_="note")]
    if len(tested):
        head = ["Fact", "Levels or range", "Scans", "Layer", "Features that follow it", "Strongest", "R²"]
        parts.append(page.table(head, [_line(row) for _, row in tested.head(MOST).iterrows()]))
    else:
        parts.append(tag("p", "None could be tested.", class_="note"))
    if untested:
        shown = ", ".join(name.replace("_", " ") for name in untested)
        parts.append(tag("p", f"Not tested (one level, or one of its own per scan): {shown}.", class_="note"))
    return join(parts)


def _line(row: pd.Series) -> list[str]:
    follow = f"{row['n_associated']:,.0f} of {row['n_features']:,.0f}"
    r2 = f"{row['top_r2']:.2f}" if pd.notna(row["top_r2"]) else "–"
    name, levels = str(row["candidate"]).replace("_", " "), str(row["levels"])
    return [name, levels, f"{row['n_scans']:,.0f}", str(row["layer"]), follow, f"feature {row['top_feature']}", r2]
