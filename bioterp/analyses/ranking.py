"""AUROC and AP of raw values, exactly, and without each block (kernel; sees arrays only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array


def area(positive: Array, negative: Array) -> float:
    """Area under the ROC curve from counts (g,) per distinct value, highest first; ties count half."""
    higher = np.cumsum(positive) - positive
    total = float(positive.sum()) * float(negative.sum())
    return float((negative * (higher + 0.5 * positive)).sum() / total) if total else np.nan


def precision_area(positive: Array, negative: Array) -> float:
    """Average precision from counts (g,) per distinct value, highest first: Σ recall gained × precision."""
    tp = np.cumsum(positive)
    below = tp + np.cumsum(negative)
    total = float(positive.sum())
    return float((positive * (tp / np.maximum(below, 1))).sum() / total) if total else np.nan


@dataclass(frozen=True)
class Ranked:
    """Values ranked against a binary label: group (n,) of each row, highest value first, and counts (g,).

    Rows of one value are one group; neighbouring groups without a positive are joined, which changes neither
    area, and leaves at most twice as many groups as there are positives.
    """

    group: Array
    positive: Array
    negative: Array

    @classmethod
    def of(cls, values: Array, positive: Array) -> Ranked:
        """values (n,) finite, positive (n,) bool."""
        distinct, group = np.unique(values, return_inverse=True)
        group = len(distinct) - 1 - group.reshape(-1)
        held = np.bincount(group[positive], minlength=len(distinct)) > 0
        new = held | np.append(True, held[:-1])
        group = (np.cumsum(new) - 1)[group]
        groups = int(new.sum())
        yes = np.bincount(group[positive], minlength=groups)
        return cls(group, yes, np.bincount(group, minlength=groups) - yes)

    def without(self, positive: Array, block: Array, blocks: int) -> tuple[Array, Array]:
        """(AP, AUROC), each (blocks,), with the rows of each block left out; block (n,) codes."""
        ap, auroc = np.empty(blocks), np.empty(blocks)
        order = np.argsort(block, kind="stable")
        ends = np.searchsorted(block[order], np.arange(blocks + 1))
        for b in range(blocks):
            rows = order[ends[b] : ends[b + 1]]
            yes = np.bincount(self.group[rows[positive[rows]]], minlength=len(self.positive))
            every = np.bincount(self.group[rows], minlength=len(self.positive))
            left = self.positive - yes, self.negative - (every - yes)
            ap[b], auroc[b] = precision_area(*left), area(*left)
        return ap, auroc
