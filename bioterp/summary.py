"""What a run found, in a few lines on the screen."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.report.best import best_per_term, excess

FEW = 5  # held-out instances below which a score says nothing


def _console() -> Any:
    """A console wide enough for the table where the output is no terminal."""
    from rich.console import Console

    plain = Console()
    return plain if plain.is_terminal else Console(width=180)


def _number(value: float, form: str) -> str:
    return format(value, form) if pd.notna(value) else "–"


def print_detection(detection: pd.DataFrame) -> None:
    """A table: per term the best feature, its interval, chance, q, and the best of each baseline."""
    from rich.table import Table

    best = best_per_term(detection)
    others = [kind for kind in best["representation"].unique() if kind != "dictionary"]
    title = "Best feature per term: chosen on train and valid blocks, scored on held-out ones; then F1 above chance"
    table = Table(title=title, box=None)
    for name in ("term", "layer", "feature"):
        table.add_column(name)
    for name in ("instances", "F1", "95 % interval", "chance", "q", "above", *others):
        table.add_column(name, justify="right")
    above = best.assign(above=excess(best)).pivot(index="term", columns="representation", values="above")
    mine = best[best["representation"] == "dictionary"].set_index("term")
    mine = mine.assign(above=excess(mine)).sort_values("above", ascending=False, kind="stable")
    few = mine[mine["n_instances"] < FEW]
    for term, row in mine[mine["n_instances"] >= FEW].iterrows():
        interval = f"{row['f1_lo']:.2f}–{row['f1_hi']:.2f}" if pd.notna(row["f1_lo"]) else "–"
        cells = [str(term), str(row["layer"]), str(row["feature"]), f"{row['n_instances']:,.0f}", f"{row['f1']:.2f}"]
        cells += [interval, _number(row["f1_null"], ".2f"), _number(row["q"], ".1e"), f"{row['above']:.2f}"]
        table.add_row(*cells, *(_number(above.loc[term, other], ".2f") for other in others))
    console = _console()
    if table.row_count:
        console.print(table)
    else:
        console.print(f"No term has {FEW} held-out instances: read more of the genome, or give smaller source.blocks.")
    if len(few):
        console.print(f"not shown, fewer than {FEW} held-out instances: {', '.join(few.index)}")


def print_readout(readout: pd.DataFrame) -> None:
    """A table: average precision of the model's own outputs, best term first."""
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
        cells = [row.output, row.term, f"{row.n:,}", f"{row.n_cells:,}", f"{row.prevalence:.2g}", f"{row.ap:.3f}"]
        table.add_row(*cells, interval, f"{row.auroc:.3f}")
    _console().print(table)
