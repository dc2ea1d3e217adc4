"""`bioterp demo cohort`: a simulated cohort, so that what is planted can be printed beside what is found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp import simulate, tables
from bioterp.analyses.association import Associated, associate
from bioterp.analyses.cohort.deciding import VERDICTS
from bioterp.progress import say

SEED = 0


def run(out: Path) -> pd.DataFrame:
    """Simulate, analyse, and leave the cohort, its truth and all tables in `out`; gives counts by kind and verdict."""
    made = simulate.cohort(seed=SEED)
    simulate.write(made, out)
    people, features = made.people.shape
    say(f"{people} people of three ancestries, {features} features, six of them biomarkers of the outcome (h² 0.5)")
    found = associate(made.people, made.sheet, **simulate.declared())
    (out / "tables").mkdir(exist_ok=True)
    for name, table in {**found._asdict(), "association": found.table}.items():
        if name != "table":
            tables.write(table, out / "tables" / f"{name}.tsv")
    beside = compared(found, made.truth)
    print(beside.to_string())
    line = found.outcomes.iloc[0]
    print(
        f"inflation of p by confounding (lambda): {line['lambda_naive']:.2f} before adjusting, "
        f"{line['lambda_adjusted']:.2f} after; declared confounders explain {line['explained']:.2f} of the outcome"
    )
    if isinstance(line["note"], str):
        print(line["note"])
    return beside


def compared(found: Associated, truth: pd.DataFrame) -> pd.DataFrame:
    """A row per planted kind: features, how many are called before and after adjusting, flagged, and each verdict."""
    table = found.table.merge(truth, on="feature")
    by_kind = table.groupby("kind")
    counts = pd.DataFrame({"features": by_kind.size()})
    counts["naive q ≤ .05"] = by_kind["q"].agg(lambda q: int((q <= 0.05).sum()))
    counts["adjusted q ≤ .05"] = by_kind["q_adjusted"].agg(lambda q: int((q <= 0.05).sum()))
    counts["flagged"] = by_kind["flagged"].agg(lambda names: int((names != "").sum()))
    for verdict in VERDICTS:
        counts[verdict] = by_kind["verdict"].agg(lambda one, verdict=verdict: int((one == verdict).sum()))
    return counts.reindex([kind for kind in simulate.KINDS if kind in counts.index]).rename_axis("planted")
