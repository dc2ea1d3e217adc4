"""Which layer carries which term, as one picture: terms down, layers across, beside the same with random weights."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bioterp.analyses.layers import in_order
from bioterp.arrays import Array
from bioterp.report.best import CROSS, SUBJECTS, two
from bioterp.report.figures import INK, RC, SOFT

MOST_TERMS = 40
WEAK = 0.05  # F1 above chance below which the order of layers is mostly chance
TITLES = {"random-weights": "random weights"}
_WIDE, _HIGH, _ROOM, _GAP = 0.6, 0.27, 7.0, 0.45  # inches: a cell at most, a row, all cells together, between panels
_LONGEST = 30
_BLANK = "#eceff2"


def _ramp() -> ListedColormap:
    """From paper to dark blue in equal steps of CIELAB: uniform to the eye, read by lightness alone."""
    first, last = np.array([97.0, -1.0, -2.0]), np.array([25.0, 8.0, -36.0])
    lab = first + np.linspace(0, 1, 256)[:, None] * (last - first)
    f = (lab[:, :1] + 16) / 116 + lab[:, 1:] / [500, -200]  # x and z; y is the lightness alone
    f = np.column_stack([f[:, 0], (lab[:, 0] + 16) / 116, f[:, 1]])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    linear = xyz @ np.array([[3.2406, -0.9689, 0.0557], [-1.5372, 1.8758, -0.2040], [-0.4986, 0.0415, 1.0570]])
    linear = np.clip(linear, 0, 1)
    return ListedColormap(np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear))


def subject_in(layers: pd.DataFrame) -> str | None:
    """The representation the picture is of: the dictionary, or what comes first."""
    present = list(dict.fromkeys(layers["representation"]))
    return next((name for name in SUBJECTS if name in present), present[0] if present else None)


def in_reading_order(layers: pd.DataFrame) -> list[str]:
    """Terms by the layer that carries them, then by strength; those that no layer carries come last."""
    mine = layers[(layers["representation"] == subject_in(layers)) & layers["above"].notna()]
    most = mine.groupby("term")["above"].max()
    best = mine[mine["best"].astype(bool)].drop_duplicates("term").set_index("term")
    depth = {name: at for at, name in enumerate(in_order(mine["layer"]))}

    def rank(term: str) -> tuple[bool, int, float, str]:
        weak = bool(most[term] < WEAK)
        at = depth[str(best.loc[term, "layer"])] if term in best.index and not weak else 0
        return weak, at, -float(best["above"].get(term, most[term])), term

    return sorted(most.index, key=rank)


def layers_figure(layers: pd.DataFrame) -> Figure:
    """The heat map of a table of layers: the subject, and the random-weights model on the same colours beside it.

    A cell is the mean over seeds of F1 above chance of the layer's best feature; the outlined layer of a term did
    best where features are chosen. At most 40 terms, the strongest. An empty table gives an empty picture.
    """
    order = in_reading_order(layers)
    shown = layers[layers["term"].isin(order)]
    if len(order) > MOST_TERMS:
        mine = shown[shown["representation"] == subject_in(layers)]
        kept = set(mine.groupby("term")["above"].max().nlargest(MOST_TERMS).index)
        order = [term for term in order if term in kept]
    kinds = [kind for kind in (subject_in(layers), "random-weights") if kind in set(shown["representation"])]
    panels = {str(kind): shown[shown["representation"] == kind] for kind in dict.fromkeys(kinds)}
    names = {kind: in_order(panel["layer"]) for kind, panel in panels.items()}
    top = max(0.1, np.ceil(10 * float(shown["above"].max())) / 10) if len(order) else 1.0
    wide = min(_WIDE, _ROOM / max(sum(map(len, names.values())), 1))
    high = _HIGH * max(len(order), 1)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.6, high + 1.2))
        FigureCanvasAgg(figure)
        left = 2.0
        for at, (kind, panel) in enumerate(panels.items()):
            axes = _axes(figure, left, 0.75, wide * len(names[kind]), high)
            _panel(axes, panel, order, names[kind], top, wide)
            title = TITLES.get(kind, "trained model" if len(panels) > 1 else "")
            axes.text(0, -0.35, title, ha="left", va="bottom", fontsize=9.5, weight="bold", color=INK)
            if at == 0:
                _terms(axes, panel, order)
            left += max(wide * len(names[kind]), 1.05) + _GAP
        if len(order):
            _scale(figure, left - 0.1, 0.75 + high, min(high, 1.6), top)
            _foot(figure, panels, order)
    return figure


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes placed in inches, so that cells have the same size in both panels."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def _panel(axes: Axes, panel: pd.DataFrame, order: list[str], names: list[str], top: float, wide: float) -> None:
    table = panel.drop_duplicates(["term", "layer"]).set_index(["term", "layer"])
    above: Array = table["above"].unstack().reindex(index=order, columns=names).to_numpy(float)
    ramp = _ramp()
    axes.pcolormesh(
        np.ma.masked_invalid(above), cmap=ramp, vmin=0, vmax=top, edgecolors="white", linewidth=1.2, antialiased=True
    )
    axes.set_facecolor(_BLANK)
    axes.set_ylim(len(order), 0)
    for i, j in np.argwhere(np.isfinite(above)) if wide >= 0.2 else ():
        text = two(above[i, j])
        text = text.replace("0.", ".", 1) if wide < 0.36 else text
        dark = above[i, j] > 0.6 * top
        size = 7.5 if wide >= 0.36 else 6.0
        axes.text(j + 0.5, i + 0.53, text, ha="center", va="center", fontsize=size, color="white" if dark else INK)
    best = table["best"].astype(bool)
    for term, layer in best[best].index:
        if term in order and len(names) > 1:
            corner = (names.index(str(layer)) + 0.035, order.index(term) + 0.06)
            axes.add_patch(Rectangle(corner, 0.93, 0.88, fill=False, edgecolor="#d55e00", lw=1.6, zorder=4))
    every = int(np.ceil(len(names) * 0.16 / max(wide * len(names), 0.1)))
    axes.set_xticks(np.arange(len(names))[::every] + 0.5, names[::every])
    long = max((len(name) for name in names), default=0) * 0.075 > wide * every
    axes.tick_params(axis="x", length=0, labelrotation=90 if long else 0, pad=2)
    axes.set_yticks([])
    axes.set_xlabel("layer", labelpad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _terms(axes: Axes, panel: pd.DataFrame, order: list[str]) -> None:
    """Names and instance numbers to the left of the first panel."""
    first = panel[panel["above"].notna()].drop_duplicates("term").set_index("term")
    near: Any = {"va": "center", "ha": "right", "transform": axes.get_yaxis_transform()}
    to_inch = 1 / (axes.get_position().width * axes.get_figure().get_size_inches()[0])  # type: ignore[union-attr]
    counts = [f"{int(first.loc[t, 'n_instances']):,}{'*' if first.loc[t, 'split'] == CROSS else ' '}" for t in order]
    room = 0.16 + 0.075 * max((len(count) for count in counts), default=0)
    for i, (term, count) in enumerate(zip(order, counts, strict=True)):
        name = term if len(term) <= _LONGEST else f"{term[: _LONGEST - 1]}…"
        axes.text(-0.06 * to_inch, i + 0.53, count, fontsize=7.5, color=SOFT, **near)
        axes.text(-room * to_inch, i + 0.53, name, fontsize=9, color=INK, **near)
    axes.text(-0.06 * to_inch, -0.35, "instances", fontsize=7.5, color=SOFT, **{**near, "va": "bottom"})


def _scale(figure: Figure, left: float, top_edge: float, height: float, top: float) -> None:
    axes = _axes(figure, left, top_edge - height, 0.13, height)
    axes.imshow(np.linspace(top, 0, 256)[:, None], cmap=_ramp(), vmin=0, vmax=top, aspect="auto", extent=(0, 1, 0, top))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0, top / 2, top], ["0", f"{top / 2:.2g}", f"{top:.2g}"])
    axes.tick_params(axis="y", length=0, labelsize=7.5, pad=3)
    axes.set_title("F1 above\nchance", fontsize=7.5, color=SOFT, loc="left", pad=5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _foot(figure: Figure, panels: dict[str, pd.DataFrame], order: list[str]) -> None:
    """What a reader must know when the picture travels without its page."""
    lines = []
    seeds = {kind: int(panel["n_seeds"].max()) for kind, panel in panels.items()}
    if max(seeds.values()) > 1:
        one = f" ({TITLES['random-weights']}: 1)" if seeds.get("random-weights") == 1 else ""
        lines.append(f"Mean over {max(seeds.values())} seeds{one}.")
    if any(panel["layer"].nunique() > 1 for panel in panels.values()):
        lines.append("Orange frame: the layer that did best where features are chosen.")
    crossed = pd.concat(panels.values())
    if (crossed["term"].isin(order) & (crossed["split"] == CROSS) & crossed["above"].notna()).any():
        lines.append("* cross-fitted: each block is scored by a feature chosen without it.")
    w, h = figure.get_size_inches()
    figure.text(2.0 / w, 0.3 / h, "\n".join(lines), fontsize=7.5, color=SOFT, va="top", ha="left")
