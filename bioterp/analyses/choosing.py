"""Which pairs are scored, and above which threshold: told from train and valid alone (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.analyses import scoring
from bioterp.analyses.counting import Counts
from bioterp.arrays import Array
from bioterp.tables import NO_FEATURE

SELECT, TEST = 0, 1
TIE = 1e-12


@dataclass(frozen=True)
class Chosen:
    """Pairs to score, all (S,): feature, term, edge and its threshold, F1 and its chance level on select.

    left_out: (feature, term, note) of what is not scored, −1 for none; notes: what to say of a feature.
    """

    feature: Array
    term: Array
    edge: Array
    threshold: Array
    f1: Array
    chance: Array
    left_out: list[tuple[int, int, str]]
    notes: dict[int, str]


def choose(
    counts: Counts, edges: Array, per_term: int, per_feature: bool, min_instances: int, objective: str
) -> Chosen:
    terms, m = counts.positive.shape[1], counts.positive.shape[2]
    excess, at, f1 = np.full((terms, m), -np.inf), np.zeros((terms, m), np.int64), np.full((terms, m), np.nan)
    left_out: list[tuple[int, int, str]] = []
    picked: set[tuple[int, int]] = set()
    for t in range(terms):
        few = [
            f"{int(n)} instances in {where}, at least {min_instances} needed"
            for n, where in zip(counts.n_instances[:, t], ("train and valid", "test"), strict=True)
            if n < min_instances
        ]
        if few:
            left_out.append((NO_FEATURE, t, "not scored: " + "; ".join(few)))
            continue
        curve, chance = scoring.f1_curves(scoring.of_term(counts, SELECT, t))
        curve, chance = np.nan_to_num(curve), np.nan_to_num(chance)
        at[t] = (curve if objective == "f1" else curve - chance).argmax(1)
        own = np.arange(m), at[t]
        f1[t] = curve[own]
        excess[t] = np.where(f1[t] > 0, curve[own] - chance[own], -np.inf)
        order = np.lexsort((np.arange(m), -excess[t]))[:per_term]
        best = [int(f) for f in order if excess[t, f] > TIE]
        picked |= {(f, t) for f in best}
        if not best:
            left_out.append((NO_FEATURE, t, "no feature is above chance on train and valid"))
    active = counts.total[SELECT][:, 1:].astype(np.int64)
    notes = {int(f): "constant: active in every cell at one value" for f in _constant(counts)}
    if per_feature and terms:
        best_term = excess.argmax(0)
        for f in range(m):
            if excess[best_term[f], f] > TIE:
                picked.add((f, int(best_term[f])))
            elif not active[f].any():
                left_out.append((f, -1, "dead: never active on train and valid"))
            else:
                left_out.append((f, -1, notes.get(f, "above chance for no term on train and valid")))
    pairs = np.array(sorted(picked, key=lambda pair: (pair[1], pair[0])), np.int64).reshape(-1, 2)
    feature, term = pairs[:, 0], pairs[:, 1]
    edge = at[term, feature]
    best_f1 = f1[term, feature]
    return Chosen(feature, term, edge, edges[feature, edge], best_f1, best_f1 - excess[term, feature], left_out, notes)


def _constant(counts: Counts) -> Array:
    """Features whose cells all lie in one active bin, on all counted rows."""
    total = counts.total.astype(np.int64).sum(0)
    return np.flatnonzero(total.max(1) == counts.n_rows.sum()) if counts.n_rows.sum() else np.zeros(0, np.int64)
