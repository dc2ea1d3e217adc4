"""Which few columns tell a term: forward selection on second moments (kernel; sees arrays only).

At each step the column is taken that lowers the squared error of a linear fit most, given those that were taken
(orthogonal least squares: Chen, Billings & Luo 1989). Only Gram matrices are needed, never the rows again.
"""

from __future__ import annotations

import numpy as np

from bioterp.arrays import Array

ALONE = 1e-6  # share of its variance a column must keep, given those that were taken, to be taken


def strongest(cross: Array, variance: Array, count: int) -> Array:
    """Up to `count` columns with the largest squared correlation, strongest first; those that never vary are left out.

    cross (d,) covariance of each column with the term, variance (d,) of each column.
    """
    score = np.where(variance > 0, cross**2 / np.where(variance > 0, variance, 1.0), -1.0)
    order = np.argsort(-score, kind="stable")[:count]
    return np.asarray(order[score[order] > 0])


def forward(gram: Array, cross: Array, count: int) -> list[int]:
    """Positions of up to `count` columns in the order they are taken.

    gram (s, s) covariance of the columns, cross (s,) their covariance with the term; both float64. Ends early when no
    column is left that varies by itself and adds anything.
    """
    left, rest, own = np.diag(gram).astype(np.float64), cross.astype(np.float64), np.diag(gram)
    made = np.zeros((0, len(left)))
    taken: list[int] = []
    while len(taken) < min(count, len(left)):
        free = left > ALONE * own
        free[taken] = False
        gain = np.where(free, rest**2 / np.where(free, left, 1.0), 0.0)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        line = (gram[best] - made[:, best] @ made) / np.sqrt(left[best])
        rest = rest - line * (rest[best] / np.sqrt(left[best]))
        left = left - line**2
        made = np.concatenate([made, line[None]])
        taken.append(best)
    return taken
