"""A world with rare terms, and their cross-fitted scores by plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
from test_detection import planted
from worlds import World, f1, genomic_order, of

from bioterp.analyses import crossfit
from bioterp.analyses.alignment import count_codes, sides_of
from bioterp.values import Intervals

FOLDS = 5


def fold_of_items(rows, folds: int = FOLDS) -> np.ndarray:
    return crossfit.folds_of(rows.items["block"].tolist(), sides_of(rows), folds)


def fold_of_rows(here: World, folds: int = FOLDS) -> np.ndarray:
    return np.repeat(fold_of_items(here.rows, folds), np.diff(here.rows.offsets))


def thinned(here: World, keep: dict[int, int]) -> World:
    """The world with only the first instances of some terms; unknown rows stay."""
    labels = here.labels
    few = np.array([i <= keep.get(int(t), i) for t, i in zip(labels.term, labels.instance, strict=True)])
    columns = (getattr(labels, name)[few] for name in ("term", "instance", "start", "stop"))
    return of(here.rows, here.dense, Intervals.of(*columns, labels.rows, labels.columns))


def rare_world() -> World:
    """Term 1 is rare and feature 3 knows it; term 2 is rare and one of its instances lies in two folds."""
    small = thinned(planted(), {1: 40, 2: 45})
    rng, (positive, _) = np.random.default_rng(4), small.labels.mask(1)
    small.dense[:, 3] = np.where(positive & (rng.random(len(positive)) < 0.8), 2, rng.random(len(positive)) < 0.02)
    fold, labels = fold_of_rows(small), small.labels
    step = np.flatnonzero((np.diff(fold) != 0) & (fold[:-1] < FOLDS - 1) & (fold[1:] < FOLDS - 1))[3]
    extra = (2, 91, step - 6, step + 3)
    old = (labels.term, labels.instance, labels.start, labels.stop)
    columns = [np.append(column, new) for column, new in zip(old, extra, strict=True)]
    return of(small.rows, small.dense, Intervals.of(*columns, labels.rows, labels.columns))


def rare(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "cross-fitted"]


def slow(here: World, term: int) -> dict:
    """The cross-fitted score of a term by loops over folds, features and edges, and by np.roll."""
    _, edges = count_codes(here.codes, here.labels)
    fold = fold_of_rows(here)
    positive, known, instances = here.masks(term)
    for rows in instances.values():  # an instance in two folds is known in one of them
        sizes = [(rows & (fold == k)).sum() for k in range(FOLDS)]
        away = rows & (fold != int(np.argmax(sizes)))
        others = np.any([r for r in instances.values() if r is not rows], axis=0)
        positive, known = positive & ~(away & ~others), known & ~(away & ~others)
        rows &= fold == int(np.argmax(sizes))
    predicted, chosen, select, p = np.zeros(len(fold), bool), [], [], []
    halves, hits = np.zeros(2), 0.0
    for k in range(FOLDS):
        best = (-np.inf, None)
        keep = (fold != k) & known
        for f in range(here.dense.shape[1]):
            for edge in edges[f][np.isfinite(edges[f])]:
                active = here.dense[keep, f] > edge
                score, share = f1(active, positive[keep]), positive[keep].mean()
                chance = 2 * active.sum() * share / (active.sum() + positive[keep].sum())
                if score > 0 and score - chance > best[0]:
                    best = score - chance, (f, edge, score, chance)
        f, edge, score, chance = best[1]
        chosen.append((f, edge))
        select.append((score, chance))
        own = fold == k
        predicted |= own & (here.dense[:, f] > edge)
        lines = genomic_order(here.rows, own)
        tp, below = [], []
        for s in range(len(lines[0])):
            rolled = [np.roll(predicted[line], s) & known[line] for line in lines]
            tp.append(sum((r & positive[line]).sum() for r, line in zip(rolled, lines, strict=True)))
            below.append(sum(r.sum() for r in rolled) + positive[own].sum())
        halves += np.mean(tp), np.mean(below)
        spaced = np.unique(np.arange(1, 64) * len(lines[0]) // 64)
        for s in spaced:
            moved = np.zeros(len(fold), bool)
            for line in lines:
                moved[line] = np.roll(predicted[line], s)
            hits += sum((moved & rows).any() for rows in instances.values()) / len(spaced)
        scores = np.array(tp) / below
        if positive[own].any():
            p.append((scores >= scores[0] - 1e-12).mean())
    held = [rows for rows in instances.values() if rows.any()]
    most = len(p) // 2 + 1
    return {
        "chosen": chosen,
        "f1": f1(predicted[known], positive[known]),
        "precision": (predicted & positive).sum() / (predicted & known).sum(),
        "recall": (predicted & positive).sum() / positive.sum(),
        "instance_recall": np.mean([predicted[rows].any() for rows in held]),
        "instance_recall_null": hits / len(held),
        "n_instances": len(held),
        "n_cells": positive.sum(),
        "f1_select": np.mean(select, axis=0)[0],
        "f1_select_null": np.mean(select, axis=0)[1],
        "f1_null": 2 * halves[0] / halves[1],
        "p": min(sorted(p)[most - 1] * len(p) / most, 1.0),
        "masks": (predicted, positive, known),
    }
