"""The pictures of the report, drawn with matplotlib's Agg and SVG backends and given as data: URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bioterp.arrays import Array
from bioterp.report.best import excess, name_of, order_of, terms_of

INK, SOFT, LINE = "#1d232b", "#5b6570", "#dfe3e8"
PLUS, MINUS = "#0072b2", "#d55e00"
# Okabe–Ito, with a shape each, so that neither colour vision nor a printer matters.
LOOK = [
    ("#0072b2", "o"), ("#e69f00", "s"), ("#009e73", "^"), ("#8a8f98", "v"), ("#cc79a7", "D"), ("#d55e00", "P"),
    ("#56b4e9", "X"), ("#7a6a00", "<"),
]  # fmt: skip
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
RC: Any = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9, "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT, "text.color": INK, "xtick.color": SOFT, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.7, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "svg.hashsalt": "bioterp", "svg.fonttype": "path",
    "text.parse_math": False,  # names of terms are the user's: '$' in one is no formula, and must not stop a report
}  # fmt: skip


def tick(value: float) -> str:
    """A number at an axis: two digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def uri(figure: Figure, kind: str = "svg", dpi: int = 180) -> str:
    """The figure as a data: URI; the same figure always gives the same bytes."""
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(drawn(figure, kind, dpi)).decode()}"


def drawn(figure: Figure, kind: str, dpi: int = 180) -> bytes:
    """The figure as an svg or png file; the same figure always gives the same bytes."""
    held = io.BytesIO()
    with matplotlib.rc_context(RC):
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(held, format=kind, dpi=dpi, metadata=metadata, bbox_inches="tight", pad_inches=0.05)
    return held.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def dots(best: pd.DataFrame, most: int = 24, axis: str = "F1 above chance") -> str:
    """F1 above chance of the best feature per term and representation, with intervals."""
    terms, kinds = terms_of(best)[:most], order_of(best)
    with matplotlib.rc_context(RC):
        figure = _figure(9.6, 0.9 + len(terms) * max(0.36, 0.12 * len(kinds)))
        axes = figure.add_subplot()
        for k, kind in enumerate(kinds):
            mine = best[best["representation"] == kind].set_index("term").reindex(terms)
            y = np.arange(len(terms)) + (k - (len(kinds) - 1) / 2) * min(0.13, 0.8 / len(kinds))
            above = excess(mine)
            chance = mine["f1"] - above
            colour, shape = LOOK[k % len(LOOK)]
            if {"f1_lo", "f1_hi"} <= set(mine.columns):
                axes.hlines(y, mine["f1_lo"] - chance, mine["f1_hi"] - chance, color=colour, lw=1.3, alpha=0.55)
            size = 38 if k == 0 else 22
            axes.scatter(above, y, s=size, color=colour, marker=shape, label=name_of(kind), zorder=3, lw=0)
        for y in np.arange(len(terms) - 1) + 0.5:
            axes.axhline(y, color=LINE, lw=0.6, zorder=0)
        axes.set_yticks(range(len(terms)), terms)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(terms) - 0.5, -0.5)
        axes.axvline(0, color=INK, lw=0.8, zorder=1)
        axes.set_xlim(-0.15, 1)
        axes.set_xlabel(axis)
        axes.spines["left"].set_visible(False)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, handletextpad=0.3, columnspacing=1.4
        )
    return uri(figure)


def around(
    features: Sequence[str], terms: Sequence[str], curves: dict[tuple[int, int], tuple[Array, Array]], reach: int
) -> str:
    """Small multiples: features down, terms across; each the mean around the instance's start, then its end.

    curves: (feature, term) → two (2·reach,) means.
    """
    gap = reach // 2
    x = np.arange(-reach, reach) + 0.5
    shift = 2 * reach + gap
    with matplotlib.rc_context(RC):
        figure = _figure(1.1 + 1.75 * len(terms), 0.5 + 1.0 * len(features))
        grid: Any = figure.subplots(len(features), len(terms), squeeze=False, sharex=True)
        for i in range(len(features)):
            top = max((float(np.nanmax(np.concatenate(curves[i, j]), initial=0)) for j in range(len(terms))), default=1)
            for j in range(len(terms)):
                axes, own = grid[i][j], i == j
                colour = PLUS if own else SOFT
                for mean, at in zip(curves[i, j], (0, shift), strict=True):
                    axes.fill_between(x + at, np.nan_to_num(mean), color=colour, alpha=0.85 if own else 0.45, lw=0)
                    axes.axvline(at, color=INK, lw=0.6, ls=(0, (2, 2)))
                axes.axvspan(0, shift, color="#f0f2f5", zorder=-1, lw=0)
                axes.set_ylim(0, (top or 1) * 1.05)
                axes.set_xlim(-reach, shift + reach)
                axes.set_yticks([0, top] if j == 0 and top else [], ["0", tick(top)] if j == 0 and top else [])
                axes.set_xticks([0, shift], ["start", "end"])
                axes.tick_params(length=0, labelsize=8)
                axes.spines["left"].set_visible(False)
                if i == 0:
                    axes.set_title(terms[j].replace("@", "\n@"), fontsize=9, color=INK)
                if j == 0:
                    axes.set_ylabel(features[i], rotation=0, ha="right", va="center", labelpad=16, color=INK)
        figure.subplots_adjust(wspace=0.12, hspace=0.22)
    return uri(figure)


def density(values: Array) -> str:
    """How often features fire: a histogram of log10 density; dead features are not on it."""
    alive = values[values > 0]
    with matplotlib.rc_context(RC):
        figure = _figure(6.4, 2.3)
        axes = figure.add_subplot()
        if len(alive):
            low = np.floor(np.log10(alive.min()))
            axes.hist(np.log10(alive), bins=np.linspace(low, 0, 41).tolist(), color=PLUS, alpha=0.85)
            ticks = np.arange(low, 0.5)
            axes.set_xticks(ticks, [f"{10.0**t:.0%}" if t > -3 else "10" + f"{t:.0f}".translate(RAISED) for t in ticks])
        axes.set_xlabel("share of cells on which a feature is active")
        axes.set_ylabel("features")
    return uri(figure)


def locus(
    contig: str,
    start: int,
    end: int,
    places: pd.DataFrame,
    tracks: Sequence[tuple[str, Array, Array]],
) -> str:
    """Annotation lanes above feature tracks; plus strand upwards in blue, minus downwards in vermillion.

    places: instances in the window, with term, start, end, strand; tracks: (name, plus (n,), minus (n,)) per base.
    """
    lanes = list(dict.fromkeys(places["term"]))
    heights = [0.3 * max(len(lanes), 1), *[0.62] * len(tracks)]
    with matplotlib.rc_context(RC):
        figure = _figure(9.6, 0.7 + sum(heights))
        grid: Any = figure.subplots(1 + len(tracks), 1, sharex=True, squeeze=False, height_ratios=heights)
        top = grid[0][0]
        for place in places.itertuples(index=False):
            y, colour = lanes.index(place.term), MINUS if place.strand == "-" else PLUS
            lo, hi = max(place.start, start), min(place.end, end)
            # A start codon in a 4 kb window would be thinner than a hair.
            wide = max(hi - lo, (end - start) / 500)
            low = y + 0.02 if colour == MINUS else y - 0.32
            top.barh(low, wide, left=lo, height=0.3, color=colour, align="edge", lw=0)
        top.set_ylim(max(len(lanes), 1) - 0.5, -0.5)
        top.set_yticks(range(len(lanes)), lanes)
        top.tick_params(axis="both", length=0)
        for spine in top.spines.values():
            spine.set_visible(False)
        x = np.arange(start, end) + 0.5
        for axes, (name, plus, minus) in zip(grid[1:, 0], tracks, strict=True):
            both = np.concatenate([plus, minus])
            most = float(np.nanmax(both)) if np.isfinite(both).any() else 0.0
            axes.fill_between(x, np.nan_to_num(plus), color=PLUS, lw=0, step="mid")
            axes.fill_between(x, -np.nan_to_num(minus), color=MINUS, lw=0, step="mid")
            axes.axhline(0, color=SOFT, lw=0.5)
            axes.set_ylim(-(most or 1) * 1.05, (most or 1) * 1.05)
            axes.set_yticks([0], [name])
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", length=0)
            for spine in axes.spines.values():
                spine.set_visible(False)
        grid[-1][0].set_xlim(start, end)
        grid[-1][0].ticklabel_format(axis="x", style="plain", useOffset=False)
        grid[-1][0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        grid[-1][0].tick_params(axis="x", length=3)
        grid[-1][0].spines["bottom"].set_visible(True)
        grid[-1][0].set_xlabel(f"{contig} (bp)")
        figure.subplots_adjust(hspace=0.12)
    return uri(figure, "png")
