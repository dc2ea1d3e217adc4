"""What a run found, in a few lines on the screen."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.analyses.layers import in_order
from bioterp.analyses.probe_fits import ALL
from bioterp.report.adjustment import in_words as adjusted_in_words
from bioterp.report.adjustment import of_best
from bioterp.report.best import CROSS, best_per_term, excess, order_of, shares_regions, two
from bioterp.report.fidelity import agreement
from bioterp.report.heat import in_reading_order, subject_in
from bioterp.report.optimism import optimism
from bioterp.report.probes import answers
from bioterp.report.probes import tally as told
from bioterp.report.probes import two as precise
from bioterp.report.signals import best_per_signal
from bioterp.report.signals import in_words as followed
from bioterp.report.tally import in_words, tallies

FEW = 5  # held-out instances below which a score says nothing
LONGEST = 32  # letters of a term
NARROW = 120  # columns of a screen; on a narrower one baselines, chance and q are left to the report
MOST_LAYERS = 12  # more columns than this fit no screen
SPREAD = "range over seeds"
SHARED = (
    "~ turned within its blocks the feature does about as well (q_local > 0.05): both may only live in the same regions"
)
CROSSED = (
    "* cross-fitted: fewer than 20 lie in test blocks, so all blocks are scored, each by a feature chosen without it"
)


def _console() -> Any:
    """A console wide enough for the table where the output is no terminal."""
    from rich.console import Console

    plain = Console()
    return plain if plain.is_terminal else Console(width=180)


def _table(console: Any, title: str, *right: str) -> Any:
    """A table of terms without lines: on a narrow screen the names give way and the numbers stay."""
    from rich.table import Table

    table = Table(title=title, box=None, padding=(0, 1 if console.width < NARROW else 2, 0, 0))
    table.add_column("term", max_width=LONGEST, overflow="ellipsis")
    for name in right:
        side: Any = "left" if name in ("layer", "feature") else "right"
        table.add_column(name.replace("-", "-\n"), justify=side, no_wrap=True)
    return table


def _number(value: float, form: str) -> str:
    return format(value, form) if pd.notna(value) else "–"


def _count(row: pd.Series) -> str:
    """Instances, with a star where the term was cross-fitted."""
    return f"{row['n_instances']:,.0f}{'*' if row.get('split') == CROSS else ' '}"


def _say_crossed(console: Any, rows: pd.DataFrame) -> None:
    if "split" in rows.columns and (rows["split"] == CROSS).any():
        console.print(CROSSED, highlight=False)


def print_detection(detection: pd.DataFrame) -> None:
    """A table: per term the best feature, its interval, chance, q, and the best of each baseline."""
    from rich.markup import escape

    best = best_per_term(detection)
    console = _console()
    wide = console.width >= NARROW
    others = [kind for kind in order_of(best) if kind != "dictionary" and wide]
    title = "Best feature per term: chosen on train and valid blocks, scored on held-out ones; then F1 above chance"
    chance = ("chance", "q") if wide else ()
    heads = ("layer", "feature", "instances", "F1", "95 % interval", *chance, "above", *others)
    table = _table(console, title, *heads)
    above = best.assign(above=excess(best)).pivot(index="term", columns="representation", values="above")
    mine = best[best["representation"] == "dictionary"].set_index("term")
    mine = mine.assign(above=excess(mine)).sort_values("above", ascending=False, kind="stable")
    few = mine[mine["n_instances"] < FEW]
    shown = mine[mine["n_instances"] >= FEW]
    mark = shares_regions(shown).map({True: "~", False: " "})
    for term, row in shown.iterrows():
        interval = f"{row['f1_lo']:.2f}–{row['f1_hi']:.2f}" if pd.notna(row["f1_lo"]) else "–"
        feature = str(row["feature"]) if row["feature"] >= 0 else "–"
        cells = [escape(str(term)), escape(str(row["layer"])), feature, _count(row), f"{row['f1']:.2f}"]
        cells += [interval, *([_number(row["f1_null"], ".2f"), _number(row["q"], ".1e") + mark[term]] if wide else [])]
        table.add_row(*cells, two(row["above"]), *(two(above.loc[term, other]) for other in others))
    if table.row_count:
        console.print(table)
        _say_crossed(console, shown)
        if wide and (mark == "~").any():
            console.print(SHARED)
        told = optimism(shown)
        if told is not None:
            console.print(told.in_words("blocks"), highlight=False)
    else:
        console.print(f"No term has {FEW} held-out instances: read more, or give smaller blocks (source.blocks).")
    if len(few):
        console.print(f"not shown, fewer than {FEW} held-out instances: {escape(', '.join(few.index))}")


def print_layers(layers: pd.DataFrame) -> None:
    """A table: terms by layers, F1 above chance as the mean over seeds, the layer chosen for a term in brackets.

    Nothing for one layer of one seed, or where no term was scored.
    """
    from rich.markup import escape

    order = in_reading_order(layers)
    if not order:
        return
    mine = layers[(layers["representation"] == subject_in(layers)) & layers["above"].notna()]
    names, seeds = in_order(mine["layer"]), int(mine["n_seeds"].max())
    if len(names) == seeds == 1:
        return  # the table of features says as much
    names = names if len(names) <= MOST_LAYERS else []
    flagged = layers[layers["best"].astype(bool)]
    best = flagged[flagged["representation"] == subject_in(layers)].set_index("term")
    rival = flagged[flagged["representation"] == "random-weights"].set_index("term")["above"]
    title = f"F1 above chance by layer{f', mean over {seeds} seeds' if seeds > 1 else ''}; [ ]: chosen layer"
    title = title if names else title.partition(";")[0]
    ends = [*([] if names else ["layer", "above"]), *([SPREAD] if seeds > 1 else [])]
    ends += ["random-weights"] if len(rival) else []
    console = _console()
    ends = [name for name in ends if console.width >= NARROW or name != SPREAD]
    table = _table(console, title, "instances", *[f"{name} " for name in names], *ends)
    above = mine.drop_duplicates(["term", "layer"]).set_index(["term", "layer"])["above"]
    for term in order:
        row = best.loc[term] if term in best.index else mine[mine["term"] == term].iloc[0]
        cells = [escape(term), _count(row)]
        for name in names:
            value = two(above.get((term, name), float("nan")))
            cells.append(rf"[bold]\[{value}][/bold]" if name == str(row["layer"]) else f"{value} ")
        cells += [] if names else [escape(str(row["layer"])), two(row["above"])]
        cells += [f"{two(row['above_min'])} to {two(row['above_max'])}"] if SPREAD in ends else []
        cells += [two(rival.get(term, float("nan")))] if len(rival) else []
        table.add_row(*cells)
    console.print(table)
    _say_crossed(console, mine)


def print_dictionaries(dictionaries: pd.DataFrame, stability: pd.DataFrame | None = None) -> None:
    """A line per layer: FVU, L0, dead, loss recovered, KL, how far seeds agree; means over seeds. Nothing for none."""
    mine = dictionaries[dictionaries["representation"] != "random-weights"]
    if not len(mine):
        return
    names = {"fvu": ".3f", "l0": ".1f", "dead": ".1%", "recovered_mean": ".3f", "kl": ".2g", "change": ".2g"}
    names = {name: form for name, form in names.items() if mine[name].notna().any()}
    heads = {"fvu": "FVU", "l0": "L0", "kl": "KL bits", "recovered_mean": "loss recovered", "change": "output change"}
    random = dictionaries[dictionaries["representation"] == "random-weights"].groupby("layer")["fvu"].mean()
    pairs = agreement(stability)
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Dictionaries on {mine['n'].median():,.0f} held-out rows, mean over seeds", box=None)
    table.add_column("layer")
    more = [*(["seeds agree", "(random)"] if pairs else []), *(["FVU, random weights"] if len(random) else [])]
    for head in [*(heads.get(name, name) for name in names), *more]:
        table.add_column(head, justify="right")
    for layer in in_order(mine["layer"]):
        own = mine[mine["layer"] == layer]
        cells = [escape(layer), *(_number(own[name].mean(), form) for name, form in names.items())]
        held = pairs.get((str(own["representation"].iloc[0]), layer), (float("nan"), float("nan")))
        cells += [_number(value, ".2f") for value in held] if pairs else []
        table.add_row(*cells, *([_number(random.get(layer, float("nan")), ".3f")] if len(random) else []))
    _console().print(table)


def print_comparison(comparison: pd.DataFrame) -> None:
    """A line per baseline: on which terms the paired interval of the difference lies above or below 0."""
    from rich.markup import escape

    if not len(comparison):
        return
    console = _console()
    console.print("Terms on which the dictionary is further above chance (paired 95 % interval; open: it holds 0):")
    for tally in tallies(comparison):
        console.print(escape(f"  against {tally.baseline}: {in_words(tally)}"), highlight=False)


def print_probes(comparison: pd.DataFrame, probing: pd.DataFrame) -> None:
    """A table: per term the AP of the raw probe and of the dictionary's, and whether the dictionary is better."""
    from rich.markup import escape

    lines = answers(comparison, probing)
    if not lines:
        return
    console, ks = _console(), list(lines[0].codes)
    heads = ["layer", "instances", "chance", "raw", *["codes" if k == ALL else f"k={k}" for k in ks]]
    table = _table(console, "AP of probes on held-out cells: raw activations, then k features, then all codes", *heads)
    table.add_column("is the dictionary better?", overflow="fold")
    for a in lines:
        count = f"{a.instances:,}{'*' if a.crossed else ' '}"
        cells = [escape(a.term), escape(a.layer), count, precise(a.prevalence), precise(a.raw)]
        table.add_row(*cells, *(precise(a.codes[k]) for k in ks), escape(a.words))
    console.print(table)
    console.print(escape(told(lines)), highlight=False)


def print_readout(readout: pd.DataFrame) -> None:
    """A table: average precision of the model's own outputs, best term first."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title="The model's own outputs: the terms each ranks best, on all rows whose label is known", box=None
    )
    for name in ("output", "term"):
        table.add_column(name)
    for name in ("rows", "positive", "prevalence", "AP", "95 % interval", "AUROC"):
        table.add_column(name, justify="right")
    lift = readout.assign(lift=readout["ap"] / readout["prevalence"]).sort_values("lift", ascending=False)
    for row in lift.groupby("output", sort=False).head(2).itertuples():
        interval = f"{row.ap_lo:.2f}–{row.ap_hi:.2f}" if pd.notna(row.ap_lo) else "–"
        cells = [
            escape(str(row.output)),
            escape(str(row.term)),
            f"{row.n:,}",
            f"{row.n_cells:,}",
            f"{row.prevalence:.2g}",
            f"{row.ap:.3f}",
        ]
        table.add_row(*cells, interval, f"{row.auroc:.3f}")
    _console().print(table)


def print_adjusted(adjusted: pd.DataFrame, detection: pd.DataFrame) -> None:
    """A table: each term's best feature, its log odds crude and within strata, and what the covariates tell alone."""
    from rich.markup import escape

    best = best_per_term(detection)
    found = of_best({"adjusted": adjusted}, best[best["representation"] == "dictionary"])
    if not len(found):
        return
    console = _console()
    heads = ("log2 odds", "adjusted", "95 % interval", "AUROC", "adjusted ", "fixed alone", "verdict")
    table = _table(console, "The same features among cells alike in what is held fixed", "held fixed", *heads)
    for row in found[found["main"].astype(bool)].itertuples():
        interval = f"{two(row.lo)} to {two(row.hi)}" if pd.notna(row.lo) else "–"
        cells = [
            escape(str(row.term)),
            escape(str(row.covariates)),
            two(row.log2_odds_crude),
            two(row.log2_odds),
            interval,
        ]
        cells += [two(row.auroc_crude), two(row.auroc), two(row.covariates_auroc), str(row.verdict)]
        table.add_row(*cells)
    console.print(table)
    console.print(adjusted_in_words(found), highlight=False)


def print_correlation(correlation: pd.DataFrame) -> None:
    """A table: per signal the best feature, its r with interval, chance, q, and r of the best of each baseline."""
    from rich.markup import escape

    best = best_per_signal(correlation)
    if not len(best):
        return
    console = _console()
    others = [kind for kind in order_of(best)[1:] if console.width >= NARROW]
    heads = ("layer", "feature", "r", "95 % interval", "chance", "rank r", "q", *others)
    table = _table(
        console, "Signals: the feature that goes with each most on train and valid, on held-out blocks", *heads
    )
    r = best.pivot(index="term", columns="representation", values="pearson")
    mine = best[best["representation"] == subject_in(best)]
    for row in mine.itertuples():
        interval = f"{two(row.pearson_lo)} to {two(row.pearson_hi)}" if pd.notna(row.pearson_lo) else "–"
        cells = [escape(str(row.term)), escape(str(row.layer)), str(row.feature) if row.feature >= 0 else "–"]
        cells += [two(row.pearson), interval, two(row.pearson_null), two(row.spearman), _number(row.q, ".1e")]
        table.add_row(*cells, *(two(r.loc[row.term, other]) for other in others))
    console.print(table)
    console.print(followed(mine), highlight=False)
