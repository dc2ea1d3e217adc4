"""One picture of a scan: grey values, heat, outlines, letters, scale bar; and the look all of them share."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from bioterp.arrays import Array
from bioterp.report.figures import INK, SOFT, tick
from bioterp.report.view import Cut, outline

# Heat runs dark orange → pale yellow and labels are outlined in sky blue: yellow against blue is told apart by every
# colour vision, and heat grows lighter as it grows stronger.
LABEL = "#56b4e9"
CODE = "#ffb000"
DPI = 150
_BARS = (200, 100, 50, 20, 10, 5, 2, 1)
_SHADE, _THIN = [[withStroke(linewidth=width, foreground="black")] for width in (2.2, 1.3)]


def ramp() -> ListedColormap:
    """Red-brown over orange to pale yellow, more opaque as it grows."""
    anchors = ["#8a2a00", "#d55e00", "#fb9a1c", "#ffcf33", "#ffee70"]
    colours = LinearSegmentedColormap.from_list("heat", anchors)(np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(0.4, 0.66, 256)
    return ListedColormap(colours)


def canvas(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes placed in inches from the left and the top of the figure."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def bar_of(width: float) -> int:
    """The longest round number of mm that takes no more than a third of a picture."""
    return next((bar for bar in _BARS if bar <= 0.34 * width), _BARS[-1])


def draw(axes: Axes, cut: Cut, window: tuple[float, float], bar: int) -> None:
    """The grey values, black where there are none, with letters and a bar of so many mm."""
    axes.set_facecolor("black")
    extent = (0, cut.width, cut.height, 0)
    axes.imshow(
        cut.image, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="bilinear", aspect="auto"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    left, right, top, bottom = cut.letters
    near: Any = {"transform": axes.transAxes, "fontsize": 8, "color": "white", "weight": "bold", "path_effects": _SHADE}
    axes.text(0.02, 0.5, left, va="center", ha="left", **near)
    axes.text(0.98, 0.5, right, va="center", ha="right", **near)
    axes.text(0.5, 0.98, top, va="top", ha="center", **near)
    axes.text(0.5, 0.02, bottom, va="bottom", ha="center", **near)
    _bar(axes, cut, bar)


def _bar(axes: Axes, cut: Cut, long: int) -> None:
    """A bar of so many mm in the lower right corner."""
    inch = axes.get_window_extent().width / axes.figure.dpi / cut.width  # inches per mm
    right, low = cut.width - 0.09 / inch, cut.height - 0.09 / inch
    axes.plot([right - long, right], [low, low], color="white", lw=1.6, solid_capstyle="butt", path_effects=_SHADE)
    axes.text(
        right - long / 2, low - 0.03 / inch, f"{long} mm", color="white", fontsize=6.5, ha="center", va="bottom",
        path_effects=_THIN,
    )  # fmt: skip
    axes.set_xlim(0, cut.width)
    axes.set_ylim(cut.height, 0)


def heat(axes: Axes, cut: Cut, values: Array, top: float) -> None:
    """Cells as they are, where the code is above 0."""
    shown = np.ma.masked_where(~(np.nan_to_num(values) > 0), values)
    extent = (0, cut.width, cut.height, 0)
    axes.imshow(shown, cmap=ramp(), vmin=0, vmax=top, extent=extent, interpolation="nearest", aspect="auto")


def border(axes: Axes, cut: Cut, mask: Array, colour: str, lw: float = 1.1) -> None:
    """The edge of a mask along pixels, on a dark rim so that it shows on white and on black."""
    pieces = outline(mask, cut.pixel)
    axes.add_collection(LineCollection(list(pieces), colors="black", lw=lw + 1, alpha=0.55, capstyle="projecting"))
    axes.add_collection(LineCollection(list(pieces), colors=colour, lw=lw, capstyle="projecting"))


def cross(axes: Axes, cut: Cut, gap: float, edge: float) -> None:
    """A hair cross through the point cut at, that leaves its surroundings and the letters at the edges free (mm)."""
    x, y = cut.at
    lines = [
        [(edge, y), (max(x - gap, edge), y)],
        [(min(x + gap, cut.width - edge), y), (cut.width - edge, y)],
        [(x, edge), (x, max(y - gap, edge))],
        [(x, min(y + gap, cut.height - edge)), (x, cut.height - edge)],
    ]
    axes.add_collection(LineCollection(lines, colors="white", lw=0.6, alpha=0.6))


def caption(axes: Axes, text: str) -> None:
    """Where a plane lies, in its upper left corner."""
    axes.text(
        0.02, 0.98, text, transform=axes.transAxes, fontsize=6.5, color="white", ha="left", va="top",
        path_effects=_THIN,
    )  # fmt: skip


def scale(figure: Figure, left: float, top: float, width: float, most: float, threshold: float, name: str) -> None:
    """The colours of heat from 0 to the strongest code, with a mark at the threshold."""
    axes = place(figure, left, top, width, 0.12)
    axes.set_facecolor("#6d6d6d")  # heat is translucent: shown on a middle grey, as on tissue
    axes.imshow(np.linspace(0, most, 256)[None], cmap=ramp(), vmin=0, vmax=most, aspect="auto", extent=(0, most, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([0, most / 2, most], ["0", tick(most / 2), tick(most)])
    axes.tick_params(axis="x", length=2, labelsize=7, pad=1)
    if 0 < threshold < most:
        axes.axvline(threshold, color=INK, lw=1.4)
        axes.text(threshold, 1.25, f"threshold {tick(threshold)}", fontsize=7, color=INK, ha="center", va="bottom")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(-0.02 * most, 0.5, name, fontsize=7.5, color=SOFT, ha="right", va="center")


def greys(axes: Axes, window: tuple[float, float]) -> None:
    """The grey window in the lower left corner, as on a workstation."""
    near: Any = {"transform": axes.transAxes, "fontsize": 6, "color": "white", "path_effects": _THIN}
    axes.text(0.02, 0.02, levels(window).replace(" L", "\nL"), va="bottom", ha="left", **near)


def key(figure: Figure, left: float, top: float, colour: str, text: str) -> None:
    """A line of a colour on a dark rim, and what it means; placed in inches from the left and the top."""
    w, h = figure.get_size_inches()
    y = 1 - top / h
    at: Any = {"transform": figure.transFigure}
    for width, shade in ((3.2, "#4a4a4a"), (1.6, colour)):
        figure.add_artist(Line2D([left / w, (left + 0.28) / w], [y, y], color=shade, lw=width, **at))
    figure.text((left + 0.36) / w, y, text, fontsize=7.5, color=SOFT, va="center", ha="left", **at)


def short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def levels(window: tuple[float, float]) -> str:
    """'W 2.1 L 0.4', as a workstation says it."""
    low, high = window
    return f"W {_plain(high - low)} L {_plain((low + high) / 2)}".replace("-", "−")


def _plain(value: float) -> str:
    """Three digits without an exponent: 0.882, 12.3, 1500."""
    if abs(value) >= 100 or value == 0:
        return f"{value:.0f}"
    return (
        f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3}f}" if abs(value) >= 1e-3 else f"{value:.1e}"
    )
