"""Planted truth: what is found is what was planted, seed after seed, and a feature of the other strand is not."""

from __future__ import annotations

import numpy as np
from worlds import genome, labels_on, of, persistent

import bioterp as bt

SEEDS, FEATURES, TERMS = 14, 12, 4
ROWS = genome({"c1": 2900, "c2": 1300})
FOLLOWS = {3: 1, 7: 2}  # feature: term


def planted(seed: int) -> tuple[dict[str, float], list[float]]:
    """Two features follow a term each in 85 % of its cells, one follows term1 on the other strand; the rest nothing."""
    rng = np.random.default_rng([seed, 99])
    labels = labels_on(rng, ROWS, TERMS, 110)
    dense = persistent(rng, len(ROWS), FEATURES, 0.08, 0.7)
    item, start, _ = ROWS.cells()
    minus = ROWS.affines[item, 0, 0] < 0
    place = ROWS.space_code[item] * 10_000 + start
    here = of(ROWS, dense, labels)
    for feature, term in FOLLOWS.items():
        positive, _, _ = here.masks(term)
        dense[:, feature] *= rng.random(len(ROWS)) < 0.3
        dense[positive & (rng.random(len(ROWS)) < 0.85), feature] = 2.5
    positive, _, _ = here.masks(1)
    for strand in (False, True):
        dense[:, 5] = np.where((minus != strand) & np.isin(place, place[positive & (minus == strand)]), 2, dense[:, 5])
    dense[positive, 5] = 0
    found = bt.detection(
        of(ROWS, dense, labels).codes, here.truth, per_term=3, per_feature=False, folds=None, threads=1
    )
    tested = found[found["p"].notna()]
    term = tested["term"].str[4:].astype(int)
    true = tested["feature"].map(FOLLOWS) == term
    # The other strand of term1 is bound to term1, so feature 5 with it is no independent pair.
    null = ~true & ~((tested["feature"] == 5) & (term == 1))
    called = tested["q"] <= 0.05
    discoveries = int((called & (true | null)).sum())
    told = {
        "fdp": int((called & null).sum()) / max(discoveries, 1),
        "power": len(set(term[called & true])) / len(FOLLOWS),
        "decoy": float((called & (tested["feature"] == 5) & (term == 1)).any()),
    }
    return told, tested["p"][null].tolist()


def test_false_discoveries_power_and_the_other_strand() -> None:
    told, p = zip(*(planted(seed) for seed in range(SEEDS)), strict=True)
    fdp, power, decoy = (np.array([one[name] for one in told]) for name in ("fdp", "power", "decoy"))
    assert fdp.mean() <= 0.05 + 2 * max(fdp.std() / np.sqrt(SEEDS), np.sqrt(0.05 * 0.95 / SEEDS) / 2)
    assert power.mean() >= 0.9 and not decoy.any()
    free = np.concatenate(p)
    assert len(free) > 80
    assert (free <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(free))
