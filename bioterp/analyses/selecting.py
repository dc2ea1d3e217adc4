"""Stability selection over people: which features a lasso takes again and again (kernel; sees arrays only).

Meinshausen & Bühlmann 2010 with the complementary pairs of Shah & Samworth 2013: blocks of people are cut in two
halves, and again, `pairs` times; in each half the lasso takes its first q features. A feature is stable when at least
`share` of the halves take it. With q² ≤ (2 share − 1) m, no more than one feature that is unlike the rest by chance is
expected among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import sklearn.linear_model

from bioterp.arrays import Array

SHARE, PAIRS, SCREEN = 0.75, 25, 300


@dataclass(frozen=True)
class Stable:
    """frequency (m,) with which each feature was taken, and q, the most a half could take."""

    frequency: Array
    q: int

    def chosen(self, most: int, share: float = SHARE) -> Array:
        """Features taken in at least this share of halves, most often first, at most `most`."""
        order = np.argsort(-self.frequency, kind="stable")
        return order[self.frequency[order] >= share][:most]


def stable(x: Array, y: Array, design: Array, block: Array, pairs: int = PAIRS, seed: int = 0) -> Stable:
    """x (n, m) features, y (n,) outcome, design (n, c) covariates with intercept, block (n,) codes of people.

    Outcome and features are freed of the design within each half; the lasso is that of least squares, also for
    outcomes of 0 and 1, for it only orders features. Each half screens its SCREEN best by correlation first.
    """
    m = x.shape[1]
    q = max(1, int(np.sqrt((2 * SHARE - 1) * m)))
    taken = np.zeros(m)
    draw = np.random.default_rng(seed)
    names, code = np.unique(block, return_inverse=True)
    for _ in range(pairs):
        first = draw.permutation(len(names)) < len(names) // 2
        for half in (first[code], ~first[code]):
            taken[_first(x[half], y[half], design[half], q)] += 1
    return Stable(taken / (2 * pairs), q)


def _first(x: Array, y: Array, design: Array, q: int) -> Array:
    """The first q features the lasso takes."""
    base = scipy.linalg.orth(design)
    y = y - base @ (base.T @ y)
    if not (y**2).sum() > 0:
        return np.zeros(0, np.int64)
    left = x - base @ (base.T @ x)
    size = np.sqrt((left**2).sum(0))
    live = np.flatnonzero(size > 1e-8 * np.maximum(np.sqrt((x**2).sum(0)), 1e-300))
    r = np.abs(y @ left[:, live]) / size[live]
    best = live[np.argsort(-r, kind="stable")[: max(SCREEN, q)]]
    if not len(best):
        return best
    z = left[:, best] / size[best]
    order = sklearn.linear_model.lars_path(z, y, method="lasso", max_iter=q, return_path=False)[1]
    return np.asarray(best[order[:q]])
