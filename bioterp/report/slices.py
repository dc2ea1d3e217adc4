"""Orthogonal slices through the strongest cells of the best features, with the code as heat and the term outlined."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bioterp.report import Findings, figures, page, panel
from bioterp.report.figures import INK, RC, SOFT
from bioterp.report.page import Html, join, tag
from bioterp.report.scans import Gathered, Pictured, Shown, gather
from bioterp.report.view import whole

_WIDE, _GAP, _TALLEST = 9.4, 0.06, 3.1  # inches: the picture, between planes, a plane at most
_HEAD, _FOOT = 0.3, 0.5


def gathered(found: Findings) -> Gathered | None:
    """What is to be drawn; nothing when there are no codes, no images or no detection table."""
    from bioterp.report.pictures import readable

    mine = readable(found)
    if found.codes is None or found.images is None or found.codes.rows.ndim != 3 or not len(mine):
        return None
    return gather(found.codes, found.truth, mine, found.images)


def section(found: Findings, made: Gathered | None) -> Html:
    head = tag("h2", "Where the features fire")
    if made is None:
        text = "Left out: it needs codes on the rows of scans, the images (images=), and a detection table."
        return join([head, tag("p", text, class_="note")])
    parts = [head, tag("p", conventions(made), class_="note")]
    for one in made.features:
        parts.append(tag("h3", f"Feature {one.feature}, best for {one.term}"))
        if not one.slices:
            parts.append(tag("p", "It does not fire on these scans.", class_="note"))
            continue
        text = f"{_score(one.line, found.words.agreement(one.term))} {_whose(one, made)}"
        parts.append(page.figure(figures.uri(slices_figure(one), "png", panel.DPI), "slices through scans", text))
    if made.unread:
        parts.append(tag("p", f"Images that could not be read: {', '.join(made.unread)}.", class_="note"))
    return join(parts)


def conventions(made: Gathered) -> str:
    """What a radiologist asks before looking."""
    text = (
        "Radiological convention: the patient's right (R) is on the left of coronal and axial pictures, anterior (A) "
        "on the left of sagittal ones. Heat: the code, cell by cell and not smoothed, transparent where it is 0. Blue "
        "outline: cells with the label; white: the strongest cell, under the hair cross. Bars are in mm, places in mm "
        "RAS+ of the scan. Grey: the image as the model was shown it, in the units it was given; W and L are the width "
        "and the middle of the grey window, from the 1st to the 99.5th percentile of the scan."
    )
    if made.channels > 1:
        text += f" Of the {made.channels} channels the first is shown."
    if made.tilt > 1:
        text += f" Slices follow the scan's own axes, here up to {made.tilt:.0f}° from those the letters name."
    return text


def _whose(one: Pictured, made: Gathered) -> str:
    n = len(one.slices)
    of = "test scan" if made.split == "test" else "scan (none is in the test split)"
    which = f"The {of} where it is strongest" if n == 1 else f"The {n} {of}s where it is strongest"
    return f"{which}, each cut through its strongest cell: chosen for strength, not typical."


def _score(line: pd.Series, agreement: bool) -> str:
    chance = f" (chance {line['f1_null']:.2f})" if pd.notna(line.get("f1_null")) else ""
    what = "Agreement with the model that made the label, F1" if agreement else "F1"
    return f"{what} {line['f1']:.2f}{chance}."


def slices_figure(one: Pictured) -> Figure:
    """A line per scan: sagittal, coronal and axial, all on one scale."""
    wide = max(sum(cut.width for cut in shown.cuts) for shown in one.slices)
    tall = max(cut.height for shown in one.slices for cut in shown.cuts)
    inch = min((_WIDE - 2 * _GAP) / wide, _TALLEST / tall)  # per mm
    heights = [max(cut.height for cut in shown.cuts) * inch for shown in one.slices]
    top = max(float(np.nanmax(heat, initial=0)) for shown in one.slices for heat in shown.heat)
    top = max(top, *(shown.peak.value for shown in one.slices))
    bar = panel.bar_of(min(cut.width for shown in one.slices for cut in shown.cuts))
    with matplotlib.rc_context(RC):
        figure = panel.canvas(_WIDE, sum(heights) + _HEAD * len(heights) + _FOOT)
        low = 0.0
        for shown, height in zip(one.slices, heights, strict=True):
            _line(figure, shown, low, height, inch, top, bar)
            low += height + _HEAD
        _legend(figure, one, low, top)
    return figure


def _line(figure: Figure, shown: Shown, low: float, height: float, inch: float, top: float, bar: int) -> None:
    w, h = figure.get_size_inches()
    x, y, z = map(whole, shown.peak.point)
    told = f"code {shown.peak.value:.3g} at x {x}, y {y}, z {z} mm    {panel.levels(shown.window)}"
    above: Any = {"va": "bottom", "transform": figure.transFigure}
    line = 1 - (low + _HEAD - 0.05) / h
    figure.text(0, line, panel.short(shown.peak.scan, 60), fontsize=8.5, color=INK, weight="bold", ha="left", **above)
    used = sum(cut.width for cut in shown.cuts) * inch + 2 * _GAP
    figure.text(used / w, line, told, fontsize=7.5, color=SOFT, ha="right", **above)
    left = 0.0
    for cut, heat, label in zip(shown.cuts, shown.heat, shown.label, strict=True):
        # Planes of different heights stand on one middle line.
        room = (height - cut.height * inch) / 2
        axes = panel.place(figure, left, low + _HEAD + room, cut.width * inch, cut.height * inch)
        panel.draw(axes, cut, shown.window, bar)
        panel.heat(axes, cut, heat, top)
        panel.border(axes, cut, label == 1, panel.LABEL)
        panel.border(axes, cut, cut.cells == shown.cell, "white", 0.9)
        panel.cross(axes, cut, 0.2 / inch, 0.17 / inch)
        panel.caption(axes, f"{cut.plane} {cut.text}" if cut.height * inch < 1.2 else f"{cut.plane}\n{cut.text}")
        left += cut.width * inch + _GAP


def _legend(figure: Figure, one: Pictured, low: float, top: float) -> None:
    panel.scale(figure, 1.35, low + 0.26, 1.9, top, one.threshold, f"code of feature {one.feature}")
    if one.term:
        panel.key(figure, 3.5, low + 0.32, panel.LABEL, f"labelled {panel.short(one.term, 30)}")
    panel.key(figure, 6.2, low + 0.32, "white", "strongest cell")
