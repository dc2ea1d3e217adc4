"""What a run found, in a few lines on the screen (floor 6)."""

from __future__ import annotations

from typing import Any

import pandas as pd

FEW = 5  # held-out instances below which a score says nothing


def best_per_term(detection: pd.DataFrame) -> pd.DataFrame:
    """(terms, representations) held-out F1 of the pair that was best on train and valid, of any layer and seed.

    The pair is chosen by its score on the selection blocks, never by the number that is shown.
    """
    ranked = detection.dropna(subset=["f1"]).sort_values("f1_select", ascending=False, kind="stable")
    return ranked.drop_duplicates(["term", "representation"])


def _console() -> Any:
    """A console wide enough for the table where the output is no terminal."""
    from rich.console import Console

    plain = Console()
    return plain if plain.is_terminal else Console(width=180)


def print_detection(detection: pd.DataFrame) -> None:
    """A table: per term the best feature, its interval, chance, q, and the best of each baseline."""
    from rich.table import Table

    best = best_per_term(detection)
    others = [r for r in best["representation"].unique() if r != "dictionary"]
    table = Table(title="Best feature per term, chosen on train and valid blocks, scored on held-out blocks", box=None)
    for name in ("term", "layer", "feature"):
        table.add_column(name)
    for name in ("instances", "F1", "95 % interval", "chance", "q", *others):
        table.add_column(name, justify="right")
    wide = best.pivot(index="term", columns="representation", values="f1")
    mine = best[best["representation"] == "dictionary"].sort_values("f1", ascending=False)
    few = mine[mine["n_instances"] < FEW]
    mine = mine[mine["n_instances"] >= FEW]
    for row in mine.itertuples():
        beaten = [
            f"{wide.loc[row.term, other]:.2f}" if wide.loc[row.term, other] == wide.loc[row.term, other] else "–"
            for other in others
        ]
        span = f"{row.f1_lo:.2f}–{row.f1_hi:.2f}" if row.f1_lo == row.f1_lo else "–"
        q = f"{row.q:.1e}" if row.q == row.q else "–"
        cells = [
            row.term,
            str(row.layer),
            str(row.feature),
            f"{row.n_instances:,.0f}",
            f"{row.f1:.2f}",
            span,
            f"{row.f1_null:.2f}",
            q,
        ]
        table.add_row(*cells, *beaten)
    console = _console()
    console.print(table)
    if len(few):
        console.print(f"not shown, fewer than {FEW} held-out instances: {', '.join(few['term'])}")


def print_readout(readout: pd.DataFrame) -> None:
    """A table: average precision of the model's own outputs, best term first."""
    from rich.table import Table

    table = Table(title="The model's own outputs against the annotation, all rows", box=None)
    for name in ("output", "term"):
        table.add_column(name)
    for name in ("rows", "positives", "AP", "prevalence", "AUROC"):
        table.add_column(name, justify="right")
    for row in readout.sort_values("ap", ascending=False).groupby("output", sort=False).head(3).itertuples():
        cells = [
            row.output,
            row.term,
            f"{row.n_cells:,}",
            f"{row.n_positive:,}",
            f"{row.ap:.3f}",
            f"{row.prevalence:.2g}",
        ]
        table.add_row(*cells, f"{row.auroc:.3f}")
    _console().print(table)
