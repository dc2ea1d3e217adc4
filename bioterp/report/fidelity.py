"""The section on how good the dictionaries themselves are: what they lose, and whether seeds agree."""

from __future__ import annotations

from typing import Any

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bioterp.analyses.layers import in_order
from bioterp.report import Findings, figures, page
from bioterp.report.page import Html, join, tag

RANDOM = "random-weights"
NUMBERS = {
    "fvu": ("FVU", "{:.3f}"), "l0": ("L0", "{:.1f}"), "dead": ("Dead", "{:.1%}"), "gamma": ("γ", "{:.2g}"),
    "near_duplicates": ("Near-dupl.", "{:,.0f}"), "recovered_mean": ("Loss recovered", "{:.3f}"),
    "recovered_zero": ("(zeros)", "{:.3f}"), "kl": ("KL, bits", "{:.2g}"), "change": ("Change of outputs", "{:.2g}"),
}  # fmt: skip
RANGED = ("fvu", "recovered_mean")  # numbers whose range over seeds is shown
MEANT = {
    "fvu": "FVU is the variance of the rows that the reconstruction leaves unexplained.",
    "gamma": "γ is how far the rows lie from the origin, in their own standard deviations.",
    "near_duplicates": "Near-duplicates are pairs of features whose decoder rows have |cosine| ≥ 0.9.",
    "recovered_mean": (
        "Loss recovered: the reconstruction is put in place of the layer's activations; 1 is the loss of the model as "
        "it is, 0 that with the mean of the rows in their place (or zeros)."
    ),
    "kl": (
        "KL is how far the model's outputs then are from what they were, per token; beside it as a share of what the "
        "mean in their place does, which can be compared between models."
    ),
    "change": "Change of outputs: squared, over their variance, when the reconstruction is put in.",
}
AGREE = (
    "Seeds agree: mean cosine of decoder rows of two seeds, matched one to one (in wide dictionaries to the nearest); "
    "beside it that of two random dictionaries of the same size, where training begins."
)


def fidelity(found: Findings) -> Html:
    """The table of dictionaries, layer by layer, and a picture of it; nothing where there is none."""
    table = found.tables.get("dictionaries")
    if table is None or not len(table):
        return Html("")
    table = table.assign(share=table["kl"] / table["kl_mean"].where(table["kl_mean"] > 0))
    names = [name for name in NUMBERS if table[name].notna().any()]
    pairs = agreement(found.tables.get("stability"))
    head = ["Layer", *(NUMBERS[name][0] for name in names), *(["Seeds agree"] if pairs else [])]
    text = f"On about {table['n'].median():,.0f} held-out rows of each layer"
    spliced = table.loc[table["n_spliced"] > 0, "n_spliced"]
    text += f", and {spliced.median():,.0f} cells of the model's output. " if len(spliced) else ". "
    text += " ".join(MEANT[name] for name in names if name in MEANT)
    text += f" {AGREE}" if pairs else ""
    seeds = int(table.groupby(["representation", "layer"]).size().max())
    text += f" Means over {seeds} seeds; beside FVU and loss recovered the range." if seeds > 1 else ""
    parts = [page.table(head, _lines(table, names, pairs), dense=True), tag("p", text, class_="note"), _notes(table)]
    if table["layer"].nunique() > 1 or seeds > 1:
        caption = "Each dot is a dictionary, with its interval; grey: the same network with random weights."
        caption += " The dashed line: where training begins." if pairs else ""
        parts.append(page.figure(figures.uri(picture(table, pairs)), "quality of the dictionaries by layer", caption))
    return join(parts)


def agreement(stability: pd.DataFrame | None) -> dict[tuple[str, str], tuple[float, float]]:
    """{(representation, layer): (mean matched cosine over pairs of seeds, that of random dictionaries)}."""
    if stability is None or not len(stability):
        return {}
    made = {}
    for key, group in stability.groupby(["representation", "layer"], sort=False):
        one = "assigned" if group["assigned"].notna().all() else "greedy"
        if group[one].notna().any():
            made[str(key[0]), str(key[1])] = float(group[one].mean()), float(group[f"{one}_random"].mean())
    return made


def _lines(table: pd.DataFrame, names: list[str], pairs: dict[tuple[str, str], tuple[float, float]]) -> list[list[Any]]:
    lines = []
    for layer in in_order(table["layer"]):
        for kind, group in table[table["layer"] == layer].groupby("representation", sort=False):
            line: list[Any] = [f"{layer}, random weights" if kind == RANDOM else layer]
            line += [_over_seeds(group, name) for name in names]
            if pairs:
                held = pairs.get((str(kind), layer))
                line.append(join([f"{held[0]:.2f}", tag("small", f" {held[1]:.2f}")]) if held else "–")
            lines.append(line)
    return lines


def _over_seeds(group: pd.DataFrame, name: str) -> Html | str:
    """The mean over seeds; beside it, where that says something, the range, or what it is to be compared with."""
    known, form = group[name].dropna(), NUMBERS[name][1]
    if not len(known):
        return "–"
    low, high = form.format(known.min()), form.format(known.max())
    small = f" {low}–{high}" if name in RANGED and low != high else ""
    if name == "kl" and group["share"].notna().any():
        small = f" {group['share'].mean():.1%}"
    return join([form.format(known.mean()), tag("small", small)])


def _notes(table: pd.DataFrame) -> Html:
    """What was not measured, and why: each reason once, with the layers it is of."""
    lines = []
    for (kind, note), group in table[table["note"].fillna("") != ""].groupby(["representation", "note"], sort=False):
        weights = " with random weights" if kind == RANDOM else ""
        lines.append(f"Layer {', '.join(in_order(group['layer']))}{weights}: {note}.")
    return tag("p", " ".join(lines), class_="note") if lines else Html("")


def picture(table: pd.DataFrame, pairs: dict[tuple[str, str], tuple[float, float]]) -> Figure:
    """FVU, loss recovered and agreement of seeds by layer, as far as each is known."""
    layers = in_order(table["layer"])
    at = {layer: i for i, layer in enumerate(layers)}
    panels = [("fvu", "FVU")]
    panels += [("recovered_mean", "loss recovered")] if table["recovered_mean"].notna().any() else []
    panels += [("share", "KL / mean-ablated")] if table["share"].notna().any() else []
    with matplotlib.rc_context(figures.RC):
        figure = Figure(figsize=(1.0 + 2.7 * (len(panels) + bool(pairs)), 2.5))
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels) + bool(pairs), squeeze=False)[0]
        for one, (name, label) in zip(axes, panels, strict=False):
            for kind, group in table.groupby("representation", sort=False):
                colour = figures.SOFT if kind == RANDOM else figures.PLUS
                turn = group.groupby("layer").cumcount() * 0.14
                x = group["layer"].map(at) + turn - (turn.max() / 2 if kind != RANDOM else -0.22)
                if f"{name}_lo" in group:
                    one.vlines(x, group[f"{name}_lo"], group[f"{name}_hi"], color=colour, lw=1.2, alpha=0.5)
                one.scatter(x, group[name], s=20, color=colour, lw=0, zorder=3)
            one.set_ylabel(label)
            if name != "recovered_mean":
                one.set_ylim(bottom=0)
            else:
                one.axhline(1, color=figures.LINE, lw=0.8, zorder=0)
        if pairs:
            held = [(at[layer], *values) for (kind, layer), values in pairs.items() if kind != RANDOM]
            axes[-1].scatter([h[0] for h in held], [h[1] for h in held], s=20, color=figures.PLUS, lw=0, zorder=3)
            axes[-1].hlines(
                [h[2] for h in held], [h[0] - 0.4 for h in held], [h[0] + 0.4 for h in held], color=figures.SOFT,
                lw=1, ls=(0, (3, 2)),
            )  # fmt: skip
            axes[-1].set_ylim(0, 1)
            axes[-1].set_ylabel("seeds agree (cosine)")
        for one in axes:
            one.set_xticks(range(len(layers)), layers)
            one.set_xlim(-0.6, len(layers) - 0.4)
            one.set_xlabel("layer")
        figure.subplots_adjust(wspace=0.45)
    return figure
