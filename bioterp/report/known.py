"""The sections on evidence: discoveries, by how many seeds; terms without a feature; features without a term."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from bioterp.report import Findings, figures, page, panel
from bioterp.report.best import excess, number, two
from bioterp.report.logos import logo
from bioterp.report.page import Html, join, tag

MOST_LINES = 24  # terms of the table; the rest is in tables/discoveries
MOST_UNKNOWN = 6
MOST_LOGOS = 8
MOST_PLACES = 5


def evidence(found: Findings) -> Html:
    """Discoveries by term, seeds, and what was not found; nothing without the table of discoveries."""
    table = _first_seed(found.tables.get("discoveries"))
    if table is None:
        return Html("")
    parts = [tag("h2", "How well the matches hold"), tag("p", _in_short(table))]
    best = _at_best_layer(found, table)
    hits = best[best["n_discoveries"] > 0]
    if len(hits):
        seeds = int(hits["n_seeds"].max()) > 1
        head = ["Term", "Layer", "Features", "of them different", "Best", "above chance", "q"]
        head += ["Seeds that find the term", "with this feature"] if seeds else []
        parts.append(page.table(head, [_line(row, seeds) for _, row in hits.head(MOST_LINES).iterrows()]))
        text = (
            "Features: those with q ≤ 0.05 for the term, on its best layer. Different: features that point the same "
            "way (decoder cosine ≥ 0.5) and fire together (Jaccard ≥ 0.3) are counted once. Best: the one furthest "
            "above chance on train and valid; its own q may be larger. "
        )
        same = "A seed has this feature when one of its own has a decoder cosine of 0.7 or more to it."
        text += same if seeds else "One seed was fitted; whether another would find them is not known."
        more = f" {len(hits) - MOST_LINES} more terms are in tables/discoveries." if len(hits) > MOST_LINES else ""
        parts.append(tag("p", text + more, class_="note"))
    return join([*parts, _missing(table)])


def _first_seed(table: pd.DataFrame | None) -> pd.DataFrame | None:
    if table is None or not len(table):
        return None
    return table[table["seed"] == table["seed"].iloc[0]]


def _in_short(table: pd.DataFrame) -> str:
    terms, found = table["term"].nunique(), table.loc[table["n_discoveries"] > 0, "term"].nunique()
    layers = table["layer"].nunique()
    where = f" over {layers} layers" if layers > 1 else ""
    text = (
        f"{found} of {terms} terms have a feature that matches them beyond chance (q ≤ 0.05){where}: "
        f"{int(table['n_discoveries'].sum()):,} matches, {int(table['n_clusters'].sum()):,} when features that say "
        "the same are counted once."
    )
    known = table[table["n_found"] > 0]
    if len(known) and known["n_seeds"].max() > 1:
        every = known[known["n_found"] == known["n_seeds"]]
        same = known[known["n_same"] == known["n_seeds"]]
        text += (
            f" Of the {len(known)} best matches{' of a layer' if layers > 1 else ''}, the term is found by all "
            f"{int(known['n_seeds'].max())} seeds in {len(every)}, and the very feature in {len(same)}."
        )
    return text


def _at_best_layer(found: Findings, table: pd.DataFrame) -> pd.DataFrame:
    """A line per term: of the layer the report speaks of, in its order, else of the layer furthest above chance."""
    rank = {(str(line["layer"]), line["term"]): at for at, (_, line) in enumerate(found.mine.iterrows())} if (
        "layer" in found.mine.columns
    ) else {}  # fmt: skip
    at = [rank.get(key, len(rank)) for key in zip(table["layer"].astype(str), table["term"], strict=True)]
    table = table.assign(_rank=at, _above=-excess(table).fillna(-1))
    return table.sort_values(["_rank", "_above"], kind="stable").drop_duplicates("term")


def _line(row: pd.Series, seeds: bool) -> list[Any]:
    cells: list[Any] = [row["term"], str(row["layer"]), f"{row['n_discoveries']:,}", f"{row['n_clusters']:,}"]
    cells += [str(row["feature"]) if row["feature"] >= 0 else "–", two(row["f1"] - row["f1_null"])]
    cells.append(number(row["q"]) if pd.notna(row["q"]) else "–")
    if seeds:
        known = row["n_found"] > 0
        cells += [f"{row[name]} of {row['n_seeds']}" if known else "–" for name in ("n_found", "n_same")]
    return cells


def _missing(table: pd.DataFrame) -> Html:
    """Terms that no layer has a feature for, with the reason at the layer where they came furthest."""
    have = set(table.loc[table["n_discoveries"] > 0, "term"])
    none = table[~table["term"].isin(have)].copy()
    if not len(none):
        return tag("p", "Every term has a feature.", class_="note")
    none["_above"] = excess(none).fillna(-1)
    none = none.sort_values("_above", ascending=False, kind="stable").drop_duplicates("term")
    lines = []
    for _, row in none.iterrows():
        above = two(row["f1"] - row["f1_null"]) if pd.notna(row["f1"]) else "–"
        q = number(row["q"]) if pd.notna(row["q"]) else "–"
        lines.append([row["term"], f"{row['n_instances']:,}", above, q, (str(row["note"]), "text")])
    many = len(lines)
    title = f"{many} term{'' if many == 1 else 's'} without a feature, and why"
    return page.details(title, page.table(["Term", "Instances", "Best above chance", "q", "Why"], lines))


def unknown(found: Findings) -> Html:
    """Strong, stable features without a term: what is written or shown where they fire."""
    table, places = found.tables.get("features"), found.tables.get("loci")
    if table is None or places is None or "unknown" not in table.columns or not len(table):
        return Html("")
    own = table[table["seed"] == table["seed"].iloc[0]]
    head = tag("h2", "Strong features without a term")
    text = (
        "Features that no term explains beyond chance, although they are strong (mean code at least the median), "
        "stable (mean decoder cosine to the other seeds at least 0.7), active on 10⁻⁵ to 5 % of the cells and, along "
        "sequences, alike on both strands or on one only. What the labels lack may be among them, and so may plain "
        "runs of letters. Of rare terms only one feature was tested: see what labels lie at their strongest places."
    )
    parts = [head, tag("p", text, class_="note")]
    if int(own["n_seeds"].max()) < 2:
        why = (
            "None can be named: one seed was fitted, and what is stable shows only beside a second (dictionary.seeds)."
        )
        return join([*parts, tag("p", why)])
    mine = own[own["unknown"].astype(bool)]
    mine = mine.assign(_mass=mine["density"] * mine["mean_active"]).sort_values("_mass", ascending=False, kind="stable")
    if not len(mine):
        return join([*parts, tag("p", "There are none.")])
    parts.append(tag("p", f"{len(mine)} of {int((~own['dead'].astype(bool)).sum()):,} features that fire."))
    shown = mine.head(MOST_UNKNOWN)
    pictures = _slices(found, shown)
    for _, line in shown.iterrows():
        parts.append(tag("h3", f"Feature {line['feature']} of layer {line['layer']}"))
        parts.append(tag("p", f"{str(line['says'])[:1].upper()}{str(line['says'])[1:]}."))
        parts.append(_logo(found, line))
        parts.append(pictures.get((str(line["layer"]), int(line["feature"])), Html("")))
        parts.append(_places(_of(places, line)))
    return join(parts)


def letters(found: Findings) -> Html:
    """Logos of the best features of terms."""
    table = found.tables.get("motifs")
    if table is None or not len(table) or not len(found.mine) or "layer" not in found.mine.columns:
        return Html("")
    mine = found.mine.drop_duplicates(["layer", "feature"])
    # Those that carry most at some position, in the order of the terms.
    most = [_of(table, line)["bits"].max() for _, line in mine.iterrows()]
    kept = pd.Series(most, mine.index, dtype=float).dropna().nlargest(MOST_LOGOS).index
    parts = []
    for _, line in mine[mine.index.isin(kept)].iterrows():
        told = f"Feature {line['feature']} of layer {line['layer']}, best for {line['term']}. "
        parts.append(_logo(found, line, told))
    if not parts:
        return Html("")
    text = (
        "Letters around the strongest cells of the best features, aligned by these cells; their height is the "
        "information they carry against the letters of the whole sequence. Dashed: what 1 in 100 sets of random places "
        "passes anywhere. Grey: the strongest cell."
    )
    return join([tag("h2", "What is written there"), tag("p", text, class_="note"), *parts])


def _of(table: pd.DataFrame, line: pd.Series) -> pd.DataFrame:
    same = (table["layer"].astype(str) == str(line["layer"])) & (table["feature"] == line["feature"])
    same &= table["representation"] == line["representation"]
    return table[same & (table["seed"] == line["seed"])]


def _logo(found: Findings, line: pd.Series, before: str = "") -> Html:
    table = found.tables.get("motifs")
    own = _of(table, line) if table is not None and len(table) else pd.DataFrame()
    if not len(own):
        return Html("")
    copies = int(own["n_copies"].iloc[0])
    text = f"{before}{int(own['n_places'].iloc[0])} strongest places"
    text += f"; {copies} more are copies of one of them and left out." if copies else "."
    alt = f"letters where feature {line['feature']} fires"
    return page.figure(logo(own, alt), alt, text)


def _places(places: pd.DataFrame) -> Html:
    """The strongest places, and what lies there."""
    if not len(places):
        return Html("")
    scans = (places["start"] < 0).all()
    lines = []
    for _, row in places.sort_values("rank").head(MOST_PLACES).iterrows():
        if scans:
            where = [row["contig"], *(f"{round(row[axis])}".replace("-", "−") for axis in "xyz")]
        else:
            where = [row["contig"], f"{row['start']:,}", f"{row['stop']:,}", row["strand"]]
        lines.append([*where, f"{row['activation']:.3g}", (row["terms"] or "–", "text")])
    head = ["Scan", "x mm", "y mm", "z mm"] if scans else ["Contig", "Start", "Stop", "Strand"]
    parts = [page.table([*head, "Code", "Labels there"], lines)]
    told = [term for text in places["terms"].dropna() for term in text.split(", ") if term]
    bare = int((places["terms"] == "").sum())
    if told or bare:
        often = [f"{term} {n}" for term, n in Counter(told).most_common(4)]
        text = f"Labels at its {len(places)} strongest places: {', '.join([f'none {bare}', *often])}."
        parts.append(tag("p", text, class_="note"))
    return join(parts)


def _slices(found: Findings, shown: pd.DataFrame) -> dict[tuple[str, int], Html]:
    """Slices through scans, of the features that are columns of the codes given."""
    if found.codes is None or found.images is None or found.codes.rows.ndim != 3:
        return {}
    from bioterp.report.scans import gather
    from bioterp.report.slices import slices_figure

    about = found.codes.about
    mine = shown[(shown["layer"].astype(str) == str(about.get("layer"))) & (shown["seed"] == about.get("seed"))]
    if not len(mine):
        return {}
    made = gather(found.codes, None, mine[["feature"]].assign(term="", threshold=0.0), found.images)
    return {
        (str(about.get("layer")), one.feature): page.figure(
            figures.uri(slices_figure(one), "png", panel.DPI), "slices through scans", "Where it is strongest."
        )
        for one in made.features
        if one.slices
    }
