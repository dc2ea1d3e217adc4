"""Which pairs are scored, and above which threshold: told from train and valid alone (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.analyses import scoring
from bioterp.analyses.counting import Counts
from bioterp.arrays import Array
from bioterp.tables import NO_FEATURE

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


def test_of(counts: Counts) -> int:
    """The group of the test rows: the last one. Those before it are where things are chosen."""
    return len(counts.n_rows) - 1


def best_edges(pair: scoring.Pair, objective: str) -> tuple[Array, Array, Array]:
    """Per feature the edge that serves a term best, F1 there and its chance level, all (m,).

    objective 'f1' takes the largest F1, 'excess' the largest F1 above chance.
    """
    curve, chance = (np.nan_to_num(each) for each in scoring.f1_curves(pair))
    at = (curve if objective == "f1" else curve - chance).argmax(1)
    own = np.arange(len(at)), at
    return at, curve[own], chance[own]


def choose(
    counts: Counts,
    edges: Array,
    terms: Array,
    n_instances: Array,
    per_term: int,
    per_feature: bool,
    min_instances: int,
    objective: str,
) -> Chosen:
    """Pairs of these `terms` (k,), chosen on all groups but the last; n_instances (2, T) there and on test."""
    m, select = counts.positive.shape[2], list(range(test_of(counts)))
    excess, at, f1 = np.full((len(terms), m), -np.inf), np.zeros((len(terms), m), np.int64), np.zeros((len(terms), m))
    left_out: list[tuple[int, int, str]] = []
    picked: set[tuple[int, int]] = set()
    for k, t in enumerate(terms.tolist()):
        few = [
            f"{int(n)} instances in {where}, at least {min_instances} needed"
            for n, where in zip(n_instances[:, t], ("train and valid", "test"), strict=True)
            if n < min_instances
        ]
        if few:
            left_out.append((NO_FEATURE, t, "not scored: " + "; ".join(few)))
            continue
        at[k], f1[k], chance = best_edges(scoring.of_groups(counts, select, t), objective)
        excess[k] = np.where(f1[k] > 0, f1[k] - chance, -np.inf)
        order = np.lexsort((np.arange(m), -excess[k]))[:per_term]
        best = [int(f) for f in order if excess[k, f] > TIE]
        picked |= {(f, k) for f in best}
        if not best:
            left_out.append((NO_FEATURE, t, "no feature is above chance on train and valid"))
    notes = {int(f): "constant: active in every cell at one value" for f in _constant(counts)}
    if per_feature and counts.positive.shape[1]:
        active = np.asarray(counts.total[select, :, 1:].any((0, 2)))
        best_term = excess.argmax(0) if len(terms) else np.zeros(m, np.int64)
        nothing = "above chance for no term on train and valid"
        if len(terms) < counts.positive.shape[1]:
            nothing += ", terms of few test instances aside"
        for f in range(m):
            if len(terms) and excess[best_term[f], f] > TIE:
                picked.add((f, int(best_term[f])))
            elif not active[f]:
                left_out.append((f, -1, "dead: never active on train and valid"))
            else:
                left_out.append((f, -1, notes.get(f, nothing)))
    pairs = np.array(sorted(picked, key=lambda pair: (pair[1], pair[0])), np.int64).reshape(-1, 2)
    feature, row = pairs[:, 0], pairs[:, 1]
    edge, best_f1 = at[row, feature], f1[row, feature]
    chance = best_f1 - excess[row, feature]
    return Chosen(feature, terms[row], edge, edges[feature, edge], best_f1, chance, left_out, notes)


def _constant(counts: Counts) -> Array:
    """Features whose cells all lie in one active bin, on all counted rows."""
    total = counts.total.astype(np.int64).sum(0)
    return np.flatnonzero(total.max(1) == counts.n_rows.sum()) if counts.n_rows.sum() else np.zeros(0, np.int64)
