"""What makes a feature fire most: a montage of the places of its strongest cells, one scan each as far as they go."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bioterp.report import Findings, figures, page, panel
from bioterp.report.figures import INK, RC, SOFT
from bioterp.report.page import Html, join, tag
from bioterp.report.scans import Gathered, Pictured

_WIDE, _GAP, _ACROSS, _HEAD = 9.4, 0.08, 6, 0.34


def section(found: Findings, made: Gathered | None) -> Html:
    head = tag("h2", "What makes them fire most")
    if made is None or not any(one.patches for one in made.features):
        why = "Left out: see above." if made is None else "None of the best features fires on these scans."
        return join([head, tag("p", why, class_="note")])
    of = "test scans" if made.split == "test" else "all scans"
    text = (
        f"Axial pictures of {made.side:.0f} mm around the strongest cells in {of}, strongest first; a second place of "
        "a scan only where there are too few scans. Orange outline: cells above the feature's threshold; blue: cells "
        "with the label; white: the strongest cell itself. R, L, A, P: the patient's sides. The grey window "
        "(W, L) is set for the surroundings of each cell."
    )
    parts = [head, tag("p", text, class_="note")]
    for one in made.features:
        if one.patches:
            told = f"Feature {one.feature}, best for {one.term}: {_in_label(one)}"
            parts.append(page.figure(figures.uri(patches_figure(one), "png", panel.DPI), "strongest places", told))
    return join(parts)


def _in_label(one: Pictured) -> str:
    """How many of the strongest cells carry the label, and how many are not known."""
    middle = [int(p.label[0][_pixel(p.cuts[0].at, p.cuts[0].pixel, p.label[0].shape)]) for p in one.patches]
    known = [value for value in middle if value >= 0]
    scans = len({shown.peak.scan for shown in one.patches})
    text = f"{len(middle)} places in {scans} scan{'' if scans == 1 else 's'}"
    if not known:
        return f"{text}; whether they carry the label is not known."
    unknown = f", {len(middle) - len(known)} unknown" if len(known) < len(middle) else ""
    return f"{text}; {sum(known)} of {len(known)} cells carry the label{unknown}."


def _pixel(at: tuple[float, float], pixel: tuple[float, float], shape: tuple[int, ...]) -> tuple[int, int]:
    row, column = int(at[1] / pixel[1]), int(at[0] / pixel[0])
    return min(max(row, 0), shape[0] - 1), min(max(column, 0), shape[1] - 1)


def patches_figure(one: Pictured) -> Figure:
    """Six across; each with its scan, its code, letters and a bar."""
    side = (_WIDE - (_ACROSS - 1) * _GAP) / _ACROSS
    lines = int(np.ceil(len(one.patches) / _ACROSS))
    bar = panel.bar_of(min(shown.cuts[0].width for shown in one.patches))
    with matplotlib.rc_context(RC):
        figure = panel.canvas(_WIDE, lines * (side + _HEAD))
        w, h = figure.get_size_inches()
        for at, shown in enumerate(one.patches):
            left, low = at % _ACROSS * (side + _GAP), at // _ACROSS * (side + _HEAD)
            cut = shown.cuts[0]
            scale = side / max(cut.width, cut.height)
            axes = panel.place(figure, left, low + _HEAD, cut.width * scale, cut.height * scale)
            panel.draw(axes, cut, shown.window, bar)
            panel.greys(axes, shown.window)
            panel.border(axes, cut, shown.label[0] == 1, panel.LABEL, 1.2)
            panel.border(axes, cut, np.nan_to_num(shown.heat[0]) > one.threshold, panel.CODE, 1.2)
            panel.border(axes, cut, cut.cells == shown.cell, "white", 0.9)
            near: Any = {"transform": figure.transFigure, "ha": "left", "va": "bottom"}
            x = left / w
            figure.text(x, 1 - (low + 0.17) / h, panel.short(shown.peak.scan, 23), fontsize=7, color=INK, **near)
            told = f"code {shown.peak.value:.3g}   {cut.text}"
            figure.text(x, 1 - (low + _HEAD - 0.04) / h, told, fontsize=6.5, color=SOFT, **near)
    return figure
