"""The pictures of the pages on people: Manhattan, QQ, forest, confounder map, utility against leakage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bioterp.report.figures import INK, LINE, LOOK, MINUS, PLUS, RC, SOFT, uri
from bioterp.report.heat import _ramp

COLOURS = {"biomarker": "#009e73", "unresolved": "#e69f00", "confounder": MINUS, "none": "#b9c0c8"}
SHAPES = {"biomarker": "o", "unresolved": "D", "confounder": "s", "none": "."}
TREATMENTS = {"none": "as it is", "leace": "confounders erased", "ablated": "flagged ablated", "combat": "ComBat"}
MANY = 2_000
TOP = 300.0  # −log₁₀ of the smallest p a float holds


def manhattan(mine: pd.DataFrame) -> str:
    """Features along, −log₁₀ adjusted p up, by verdict."""
    many = len(mine) > MANY  # marks of more features are one picture within the drawing
    with matplotlib.rc_context(RC):
        figure, axes = _figure(9.6, 3.1)
        for verdict, colour in reversed(COLOURS.items()):
            own = mine[mine["verdict"] == verdict]
            if not len(own):
                continue
            if verdict == "confounder":
                axes.scatter(
                    own["feature"],
                    _logs(own["p"]),
                    s=16,
                    facecolors="none",
                    edgecolors=colour,
                    lw=0.8,
                    marker="s",
                    rasterized=many,
                )
            size = 26 if verdict in ("biomarker", "unresolved") else 12
            label = f"{verdict} ({len(own):,})"
            axes.scatter(
                own["feature"],
                _logs(own["p_adjusted"]),
                s=size,
                color=colour,
                marker=SHAPES[verdict],
                lw=0,
                label=label,
                rasterized=many,
            )
        passed = mine.loc[mine["q_adjusted"] <= 0.05, "p_adjusted"]
        if len(passed):
            axes.axhline(float(_logs(pd.Series([passed.max()]))[0]), color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.set_xlabel("feature")
        axes.set_ylabel("−log₁₀ p")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, handletextpad=0.2)
    return uri(figure)


def qq(table: pd.DataFrame) -> str:
    """Observed against expected quantiles, naive and adjusted, with the range of chance."""
    with matplotlib.rc_context(RC):
        figure, axes = _figure(4.2, 3.8)
        for model, colour in (("naive", MINUS), ("adjusted", PLUS)):
            own = table[table["model"] == model].sort_values("expected")
            if not len(own):
                continue
            if model == "adjusted":
                axes.fill_between(own["expected"], own["lo"], own["hi"], color=LINE, lw=0, zorder=0)
            axes.plot(own["expected"], own["observed"], color=colour, lw=0, marker="o", ms=2.6, label=model)
        end = float(table["expected"].max())
        axes.plot([0, end], [0, end], color=SOFT, lw=0.8, zorder=1)
        axes.set_xlabel("expected −log₁₀ p")
        axes.set_ylabel("observed −log₁₀ p")
        axes.legend(frameon=False, loc="upper left", handletextpad=0.2)
    return uri(figure)


def forest(effects: pd.DataFrame, features: Sequence[int]) -> str:
    """Groups down within features, effect and its interval across; each feature on its own scale of its largest end."""
    shown = [f for f in features if f in set(effects["feature"])]
    groups = list(dict.fromkeys(effects["group"]))
    with matplotlib.rc_context(RC):
        columns = min(3, len(shown))
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(3.1 * columns + 0.6, rows * (0.7 + 0.26 * len(groups))))
        FigureCanvasAgg(figure)
        grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for at, axes in enumerate(grid.ravel()):
            if at >= len(shown):
                axes.set_visible(False)
                continue
            own = effects[effects["feature"] == shown[at]].set_index("group").reindex(groups)
            y = np.arange(len(groups))
            axes.hlines(y, own["lo"], own["hi"], color=PLUS, lw=1.5, alpha=0.6)
            axes.scatter(own["beta"], y, s=22, color=PLUS, zorder=3, lw=0)
            axes.axvline(0, color=INK, lw=0.8)
            axes.set_title(f"feature {shown[at]}", fontsize=9, loc="left", color=INK)
            axes.set_yticks(y, [_short(g) for g in groups])
            axes.set_ylim(len(groups) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
        figure.tight_layout()
    return uri(figure)


def confounders(table: pd.DataFrame, features: Sequence[int]) -> str:
    """Features down, confounders across, held-out R² as darkness; a dot where flagged."""
    names = list(dict.fromkeys(table["confounder"]))
    order = [f for f in features if f in set(table["feature"])]
    r2 = table.pivot_table(index="feature", columns="confounder", values="r2_held_out", aggfunc="first")
    flag = table.pivot_table(index="feature", columns="confounder", values="flag", aggfunc="first")
    r2, flag = r2.reindex(index=order, columns=names), flag.reindex(index=order, columns=names)
    with matplotlib.rc_context(RC):
        figure, axes = _figure(1.6 + 0.55 * len(names) + 0.8, 1.3 + 0.22 * len(order))
        top = max(0.1, float(np.nanmax(r2.to_numpy(float), initial=0.1)))
        drawn = axes.imshow(np.clip(r2.to_numpy(float), 0, None), cmap=_ramp(), vmin=0, vmax=top, aspect="auto")
        y, x = np.nonzero(flag.to_numpy() == True)  # noqa: E712 (an object array that may hold NaN)
        dark = r2.to_numpy(float)[y, x] > 0.5 * top
        axes.scatter(x, y, s=10, c=np.where(dark, "#ffffff", INK), lw=0)
        axes.set_xticks(range(len(names)), [_short(n) for n in names], rotation=45, ha="right")
        axes.set_yticks(range(len(order)), [f"feature {f}" for f in order])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.03)
        bar.set_label("held-out R²", color=SOFT)
        bar.outline.set_visible(False)
    return uri(figure)


def tradeoff(audit: pd.DataFrame) -> str:
    """Per confounder a panel: what is read of it across, of the outcome up, before and after treatments."""
    everyone = audit[(audit["part"] == "all") & audit["score"].notna()]
    names = list(dict.fromkeys(everyone.loc[everyone["role"] == "confounder", "target"]))[:4]
    kinds = list(dict.fromkeys(everyone.loc[everyone["role"] == "confounder", "representation"]))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.9 * len(names) + 0.5, 3.1))
        FigureCanvasAgg(figure)
        grid: Any = figure.subplots(1, len(names), squeeze=False, sharey=True)
        for axes, name in zip(grid[0], names, strict=True):
            for k, kind in enumerate(kinds):
                for probe, filled in (("linear", True), ("nonlinear", False)):
                    _line(axes, everyone, kind, name, probe, filled, LOOK[k][0])
            base = everyone[(everyone["representation"] == "confounders") & (everyone["probe"] == "linear")]
            if len(base):
                axes.axhline(float(base["score"].iloc[0]), color=SOFT, lw=0.9, ls=(0, (4, 3)))
            own = everyone[(everyone["target"] == name) & (everyone["role"] == "confounder")].iloc[0]
            axes.axvline(float(own["chance"]), color=INK, lw=0.7)
            axes.set_title(_short(name), fontsize=9, loc="left", color=INK)
            axes.set_xlabel(f"{own['metric']} of the confounder")
        outcome = everyone[everyone["role"] == "outcome"].iloc[0]
        grid[0][0].set_ylabel(f"{outcome['metric']} of {_short(outcome['target'])}")
        for k, kind in enumerate(kinds):
            grid[0][0].plot([], [], color=LOOK[k][0], marker="o", lw=0, label=kind)
        for treatment, mark in MARKS.items():
            if treatment in set(everyone["treatment"]):
                grid[0][0].plot([], [], color=SOFT, marker=mark, lw=0, label=TREATMENTS[treatment])
        grid[0][0].plot([], [], color=SOFT, marker="o", mfc="none", lw=0, label="nonlinear probe")
        grid[0][0].plot([], [], color=SOFT, lw=0.9, ls=(0, (4, 3)), label="confounders alone")
        figure.tight_layout()
        figure.legend(loc="lower left", bbox_to_anchor=(0.05, 1.0), ncols=4, frameon=False, handletextpad=0.3)
    return uri(figure)


MARKS = {"none": "o", "leace": "^", "ablated": "s", "combat": "D"}


def _line(axes: Any, table: pd.DataFrame, kind: str, target: str, probe: str, filled: bool, colour: str) -> None:
    """One representation and probe: a mark per treatment."""
    own = table[(table["representation"] == kind) & (table["probe"] == probe)]
    for treatment, mark in MARKS.items():
        of = own[own["treatment"] == treatment]
        leak, use = of[of["target"] == target], of[of["role"] == "outcome"]
        if len(leak) and len(use):
            face = colour if filled else "none"
            axes.scatter(
                leak["score"].iloc[0], use["score"].iloc[0], s=34, marker=mark, facecolors=face, edgecolors=colour, lw=1
            )


def _logs(p: pd.Series) -> Any:
    return np.minimum(-np.log10(np.maximum(p.to_numpy(float), 10.0**-TOP)), TOP)


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= 18 else f"{text[:17]}…"


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()
