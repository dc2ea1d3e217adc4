"""Planted cohorts: what is called before and after adjusting, what the audit flags, what becomes of the verdicts.

python benchmarks/cohort/planted.py [--seeds 30] [--plan "h2 0.5"] [--binary]
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial

from over_seeds import over_seeds

import bioterp as bt
from bioterp import simulate

PLANS = {
    "h2 0.5": simulate.Plan(),
    "h2 0": simulate.Plan(h2=0.0),
    "environment 0/5/10 sd": simulate.Plan(environment=(10.0, 5.0, 0.0)),
}


def measure(plan: simulate.Plan, seed: int) -> dict[str, float]:
    """Shares of each kind of feature, of one cohort."""
    made = simulate.cohort(plan, seed=seed)
    found = bt.associate(made.people, made.sheet, **simulate.declared())
    table = found.table.set_index("feature")
    kind = made.truth.set_index("feature")["kind"]
    naive, called = table["q"] <= 0.05, table["q_adjusted"] <= 0.05
    flagged, marker = table["flagged"] != "", table["verdict"] == "biomarker"
    of_ancestry = table["flagged"].str.contains("ancestry|PC")
    causal, planted = kind == "causal", kind.isin(["ancestry", "site"])
    return {
        "lambda_naive": found.outcomes["lambda_naive"][0],
        "lambda_adjusted": found.outcomes["lambda_adjusted"][0],
        "explained": found.outcomes["explained"][0],
        "naive_calls_ancestry": naive[kind == "ancestry"].mean(),
        "adjusted_calls_ancestry": called[kind == "ancestry"].mean(),
        "power": called[causal].mean(),
        "fdp": (called & ~causal).sum() / max(called.sum(), 1),
        "flags_ancestry": flagged[kind == "ancestry"].mean(),
        "flags_site": flagged[kind == "site"].mean(),
        "flags_off_target": flagged[kind == "off-target"].mean(),
        "flags_noise": flagged[kind == "noise"].mean(),
        "biomarker_planted": marker[planted].mean(),
        "biomarker_causal": marker[causal].mean(),
        "causal_of_ancestry": (marker & causal & of_ancestry).sum() / max((marker & causal).sum(), 1),
        "n_biomarker": marker.sum(),
        "unresolved": (table["verdict"] == "unresolved").mean(),
        "confounder_of_ancestry": (table["verdict"] == "confounder")[kind == "ancestry"].mean(),
        **{f"failed: {one}": (table["failed_clause"][causal] == one).mean() for one in (
            "adjusted q", "groups with the feature", "same sign", "heterogeneity", "transfer", "gain")},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--plan", choices=[*PLANS], default=None, help="one of the plans (default: all)")
    parser.add_argument("--binary", action="store_true")
    options = parser.parse_args()
    for name in PLANS if options.plan is None else [options.plan]:
        plan = dataclasses.replace(PLANS[name], binary=options.binary)
        over_seeds(partial(measure, plan), range(options.seeds), name)


if __name__ == "__main__":
    main()
