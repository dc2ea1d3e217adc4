"""How much further above chance the dictionary is than each baseline: terms down, one panel per baseline."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bioterp.report.best import name_of
from bioterp.report.figures import INK, LINE, MINUS, PLUS, RC, SOFT

COLOURS = {"win": PLUS, "loss": MINUS, "open": SOFT, "none": SOFT}
SHAPES = {"win": "o", "loss": "s", "open": "D", "none": "x"}
_LONGEST = 30


def differences(comparison: pd.DataFrame, terms: list[str]) -> Figure:
    """The first seed as a mark with its 95 % interval, the other seeds as small ticks; terms in the order given."""
    kinds = list(dict.fromkeys(comparison["baseline"]))
    place = {term: at for at, term in enumerate(terms)}
    table = comparison[comparison["term"].isin(place)]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(min(9.6, 2.6 + 1.5 * len(kinds)), 1.0 + 0.24 * len(terms)))
        FigureCanvasAgg(figure)
        grid: Any = figure.subplots(1, max(len(kinds), 1), squeeze=False, sharex=True, sharey=True)
        for axes, kind in zip(grid[0], kinds, strict=False):
            mine = table[(table["baseline"] == kind) & table["difference"].notna()]
            first = mine["seed"] == comparison["seed"].iloc[0]
            _marks(axes, mine[first], mine[~first], place)
            axes.set_title("\n".join(textwrap.wrap(name_of(kind), 14)), fontsize=9, color=INK, loc="left")
            axes.axvline(0, color=INK, lw=0.8, zorder=1)
            axes.hlines(np.arange(len(terms)) + 0.5, 0, 1, color=LINE, lw=0.5, transform=axes.get_yaxis_transform())
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.tick_params(axis="x", labelsize=8)
        shown = [term if len(term) <= _LONGEST else f"{term[: _LONGEST - 1]}…" for term in terms]
        grid[0][0].set_yticks(range(len(terms)), shown)
        grid[0][0].set_ylim(len(terms) - 0.5, -0.5)
        figure.supxlabel("F1 above chance, dictionary less baseline", fontsize=9, color=SOFT)
        figure.subplots_adjust(wspace=0.1, bottom=0.5 / figure.get_size_inches()[1] + 0.02)
    return figure


def _marks(axes: Any, first: pd.DataFrame, others: pd.DataFrame, place: dict[str, int]) -> None:
    axes.scatter(others["difference"], others["term"].map(place), s=26, marker="|", color=SOFT, lw=0.9, zorder=2)
    for result, group in first.groupby("result"):
        y, colour = group["term"].map(place), COLOURS[str(result)]
        axes.hlines(y, group["lo"], group["hi"], color=colour, lw=1.5, alpha=0.6, zorder=2)
        face = (
            {"facecolors": "white", "edgecolors": colour, "lw": 1.2} if result == "open" else {"color": colour, "lw": 1}
        )
        axes.scatter(group["difference"], y, s=20, marker=SHAPES[str(result)], zorder=3, **face)
