"""The pictures along a sequence: means around instances, and a locus; and the picture of layers as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.errors import InputError
from bioterp.report import MOST_PROFILES, MOST_TRACKS, REACH, Findings, figures, page
from bioterp.report.best import best_per_term, excess, shown
from bioterp.report.heat import layers_figure
from bioterp.report.loci import Reader, choose_locus, instances, prefer_test
from bioterp.report.loci import profiles as means_around
from bioterp.report.page import Html, join, tag
from bioterp.store import writing_file


def save_layers(table: pd.DataFrame, path: str | Path) -> Path:
    """Write the heat map of a table of layers to a .png or .svg file, whole or not at all, and return its path.

    Raises InputError for another ending.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"the picture of layers is written as .png or .svg; got {path.name!r}")
    with writing_file(path) as beside:
        beside.write_bytes(figures.drawn(layers_figure(table), path.suffix[1:]))
    return path


def _places(found: Findings) -> pd.DataFrame | None:
    """Instances of the labels, when there are codes of the subject to read along them."""
    if found.codes is None or found.truth is None or found.codes.rows.ndim != 1 or not len(found.mine):
        return None
    places = instances(found.truth)
    return places if len(places) else None


def readable(found: Findings) -> pd.DataFrame:
    """Per term the best feature among the columns of the codes given (their layer, dictionary, seed), best first."""
    if found.codes is None or not len(found.mine):
        return found.mine.iloc[:0]
    mine = found.detection[found.detection["representation"] == found.mine["representation"].iloc[0]]
    for key in ("layer", "dictionary", "seed"):
        told = found.codes.about.get(key)
        if told is not None and not isinstance(told, dict) and key in mine.columns and mine[key].nunique() > 1:
            mine = mine[mine[key].astype(str) == str(told)]
    mine = best_per_term(mine[(mine["feature"] >= 0) & (mine["feature"] < found.codes.shape[1])])
    # What is shown beyond chance first, then by how far above it.
    rank = pd.DataFrame({"shown": shown(mine), "excess": excess(mine)}, index=mine.index)
    return mine.loc[rank.sort_values(["shown", "excess"], ascending=False, kind="stable").index]


def profiles(found: Findings) -> Html:
    head = tag("h2", "Around the instances")
    places, mine = _places(found), readable(found)
    if places is None or found.codes is None or not len(mine):
        text = "Left out: it needs codes and interval labels on the rows of a sequence, and a detection table."
        return join([head, tag("p", text, class_="note")])
    mine = mine[mine["term"].isin(set(places["term"]))].drop_duplicates("feature").head(MOST_PROFILES)
    columns, terms = mine["feature"].astype(int).tolist(), mine["term"].tolist()
    reader, curves, used = Reader(found.codes), {}, []
    for j, term in enumerate(terms):
        start, end, n = means_around(reader, prefer_test(places[places["term"] == term]), columns, REACH)
        used.append(f"{term} {n}")
        for i in range(len(columns)):
            curves[i, j] = (start[:, i], end[:, i])
    names = [f"feature {feature}\n{term}" for feature, term in zip(columns, terms, strict=True)]
    caption = (
        f"Mean activation {REACH} bp to either side of the start and of the end of instances, read in their own "
        f"direction (grey band: inside). Rows share a scale; blue is a feature at its own term. Instances drawn: "
        f"{', '.join(used)}."
    )
    picture = figures.around(names, terms, curves, REACH)
    return join([head, page.figure(picture, "mean activation around instances", caption)])


def locus(found: Findings, asked: tuple[str, int, int] | None) -> Html:
    head = tag("h2", "A locus")
    places, mine = _places(found), readable(found)
    if found.codes is None or found.codes.rows.ndim != 1 or not len(mine):
        text = "Left out: it needs codes on the rows of a sequence, and a detection table."
        return join([head, tag("p", text, class_="note")])
    reader = Reader(found.codes)
    if places is None:
        places = pd.DataFrame(columns=["term", "contig", "start", "end", "strand", "sense", "split"])
    place = asked or (choose_locus(reader, places, mine) if len(places) else None)
    if place is None:
        return join([head, tag("p", "No instance was found that its best feature recalls.", class_="note")])
    contig, start, end = place
    near = places[(places["contig"] == contig) & (places["end"] > start) & (places["start"] < end)]
    drawn = mine[mine["term"].isin(set(near["term"]))].drop_duplicates("feature").head(MOST_TRACKS)
    drawn = drawn if len(drawn) else mine.drop_duplicates("feature").head(MOST_TRACKS)
    columns = drawn["feature"].astype(int).tolist()
    plus, minus = (reader.read(contig, strand, start, end, columns) for strand in "+-")
    tracks = [
        (f"{feature}  {term}", plus[:, k], minus[:, k])
        for k, (feature, term) in enumerate(zip(columns, drawn["term"], strict=True))
    ]
    how = (
        "Given."
        if asked
        else "Chosen because its best feature recalls it and many terms are near: not a typical place."
    )
    split = near["split"].iloc[0] if len(near) else None
    where = f" It lies in a {split} block." if split else ""
    caption = (
        f"{contig}:{start:,}-{end:,}. Above: annotation. Below: the best feature of each term there, each on its own "
        f"scale. Blue, upwards: plus strand; vermillion, downwards: minus strand. {how}{where}"
    )
    if not (np.isfinite(plus).any() or np.isfinite(minus).any()):
        caption += " There are no rows here."
    return join([head, page.figure(figures.locus(contig, start, end, _lanes(near), tracks), "locus", caption)])


def _lanes(near: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """The instances to draw: terms by bases covered; parts (`CDS.phase0`) and antisense copies are left out."""
    terms = set(near["term"])
    part = near["term"].map(lambda term: "@" in term or ("." in term and term.split(".")[0] in terms))
    kept = near[~part.astype(bool)]
    covered = (kept["end"] - kept["start"]).groupby(kept["term"]).sum().sort_values(ascending=False)
    kept = kept[kept["term"].isin(covered.index[:most])]
    return kept.sort_values("term", key=lambda column: column.map({t: i for i, t in enumerate(covered.index)}))
