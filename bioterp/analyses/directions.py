"""How decoder directions lie to each other: within a dictionary, and between two of them (kernel; sees arrays only).

What two dictionaries of independent random directions would give is known, and stands beside every number: the
cosine of a direction to a random one in d dimensions is 2B − 1 with B ~ Beta((d − 1)/2, (d − 1)/2), and those to
several random ones are independent.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.optimize
import scipy.stats

from bioterp.arrays import Array

SLICE = 1_024  # directions compared with all others at a time: 32 MB of 4,096
MOST = 8_192  # directions that are compared with all others; of more, that many evenly spread
ASSIGNED = 4_096  # the widest dictionary that is matched one to one: 3 to 10 s


def unit(directions: Array) -> Array:
    """Rows (m, d) of length one; a row of zeros stays what it is and has cosine 0 to everything.

    float64, so that what a library's threads change in the order of a sum is lost when a cosine is told in float32.
    """
    made = np.asarray(directions, np.float64)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(np.divide(made, length, out=np.zeros_like(made), where=length > 0))


def held_in(x: Array, share: float) -> tuple[int, int]:
    """Rows (n, d) → how many of them differ, and the fewest directions that hold `share` of their variance.

    Zero directions where nothing varies.
    """
    rows = np.ascontiguousarray(x, np.float32) + np.float32(0)  # −0 is 0
    distinct = len(np.unique(rows.view(np.dtype((np.void, rows.strides[0])))))
    away = rows - rows.mean(0, dtype=np.float64)
    along = np.linalg.svd(away, compute_uv=False) ** 2
    if not along.sum() > 0:
        return distinct, 0
    return distinct, int(np.searchsorted(np.cumsum(along) / along.sum(), share)) + 1


def compared(width: int) -> Array:
    """The directions that are compared with all others: all, or MOST of them evenly spread."""
    return np.arange(width) if width <= MOST else np.linspace(0, width - 1, MOST).astype(np.int64)


def nearest(directions: Array, bar: float) -> tuple[Array, float]:
    """Directions (m, d) → largest |cosine| of each to another (of those `compared`), and pairs with |cosine| ≥ bar.

    Pairs are counted exactly where all were compared, and otherwise estimated from those that were.
    """
    made = unit(directions)
    chosen = compared(len(made))
    largest, near = np.zeros(len(chosen), np.float32), 0
    for lo in range(0, len(chosen), SLICE):
        own = chosen[lo : lo + SLICE]
        cosine = np.abs(made[own] @ made.T)
        cosine[np.arange(len(own)), own] = 0
        largest[lo : lo + SLICE] = cosine.max(1, initial=0)
        near += int((cosine >= bar).sum())
    return largest, near / 2 * len(made) / max(len(chosen), 1)


def greedy(one: Array, other: Array) -> Array:
    """Largest cosine of each direction of one dictionary (of those `compared`) to any of the other: (≤ m,)."""
    mine, theirs = unit(one), unit(other)
    chosen = compared(len(mine))
    pieces = [(mine[chosen[lo : lo + SLICE]] @ theirs.T).max(1) for lo in range(0, len(chosen), SLICE)]
    return np.concatenate(pieces).astype(np.float32)


def twins(one: Array, other: Array) -> tuple[Array, Array]:
    """Of each direction (m, d) the nearest of the other dictionary's (n, d): its number (m,) and the cosine (m,)."""
    mine, theirs = unit(one), unit(other)
    number, cosine = np.zeros(len(mine), np.int64), np.zeros(len(mine), np.float32)
    for lo in range(0, len(mine), SLICE):
        part = mine[lo : lo + SLICE] @ theirs.T
        number[lo : lo + SLICE] = part.argmax(1)
        cosine[lo : lo + SLICE] = part.max(1)
    return number, cosine


def pairs_near(directions: Array, bar: float) -> tuple[Array, Array]:
    """Every pair i < j of directions (m, d) with cosine ≥ bar, sorted by i, then j: two (k,) arrays."""
    made = unit(directions)
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for lo in range(0, len(made), SLICE):
        row, column = np.nonzero(made[lo : lo + SLICE] @ made[lo:].T >= bar)
        above = column > row
        first.append(row[above] + lo)
        second.append(column[above] + lo)
    return np.concatenate(first), np.concatenate(second)


def assigned(one: Array, other: Array) -> Array:
    """Cosines of the one-to-one matching with the largest sum: as many as the smaller dictionary has features."""
    cosine = unit(one) @ unit(other).T
    rows, columns = scipy.optimize.linear_sum_assignment(cosine, maximize=True)
    return np.asarray(cosine[rows, columns], np.float32)


def expected_nearest(m: int, d: int) -> float:
    """The median of the largest |cosine| of a direction to m − 1 independent random ones in d dimensions."""
    if m < 2 or d < 2:
        return float(m > 1)
    beyond = -np.expm1(np.log(0.5) / (m - 1))  # P(one |cosine| is larger), which of large m no power would keep
    return float(np.sqrt(scipy.stats.beta.isf(beyond, 0.5, (d - 1) / 2)))


def expected_greedy(m: int, d: int, points: int = 4_096) -> float:
    """The mean of the largest cosine of a direction to m independent random ones in d dimensions."""
    if d < 2:
        return 1.0 - 2.0**-m * 2
    u = (np.arange(points) + 0.5) / points  # the mean of a distribution is the mean of its quantiles
    beyond = -np.expm1(np.log(u) / m)
    return float(np.mean(2 * scipy.stats.beta.isf(beyond, (d - 1) / 2, (d - 1) / 2) - 1))


@lru_cache(maxsize=16)
def expected_assigned(one: int, other: int, d: int) -> float:
    """Mean cosine of the one-to-one matching of two random dictionaries: drawn once, for no formula is known."""
    rng = np.random.default_rng([one, other, d])
    return float(assigned(rng.standard_normal((one, d)), rng.standard_normal((other, d))).mean())
