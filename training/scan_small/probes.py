"""Linear probes for the parts of the hippocampus: which representation of a cell tells them apart.

A cell is a cube of `stride` voxels. A part that fills at least half of a cell is its class; a cell that no part
touches is background; the rest are not asked (the rule of `bioterp.label`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from corpus import Voxels
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

CLASSES = ("background", "anterior", "posterior")
MOST_CELLS = 120_000
"""Training cells of a probe; where there are more, these many at random."""

Floats = NDArray[np.float32]


def cell_classes(labels: NDArray[np.int16], stride: int) -> NDArray[np.int64]:
    """Class of each cell that lies wholly in the scan (x, y, z): 0, 1, 2, or −1 where none is at least half of it."""
    cells = [n // stride for n in labels.shape]
    inside = labels[tuple(slice(n * stride) for n in cells)]
    split = inside.reshape(cells[0], stride, cells[1], stride, cells[2], stride)
    found = np.full(cells, -1, np.int64)
    found[(split == 0).all((1, 3, 5))] = 0
    for part in (1, 2):
        found[(split == part).mean((1, 3, 5)) >= 0.5] = part
    return found


def positions(shape: tuple[int, ...], stride: int) -> Floats:
    """Middles of a scan's cells from the scan's own middle, in mm, with squares and products: (x, y, z, 9)."""
    axes = [(np.arange(n // stride) + 0.5) * stride - n / 2 for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=-1).astype(np.float32)


def surroundings(voxels: Voxels, stride: int) -> Floats:
    """The voxels of each cell and one cell around it: (x, y, z, (3 · stride)³); 0 outside the scan."""
    cells = [n // stride for n in voxels.shape]
    wide = np.pad(voxels, [(stride, 2 * stride)] * 3)
    view = np.lib.stride_tricks.sliding_window_view(wide, (3 * stride,) * 3)[::stride, ::stride, ::stride]
    return np.ascontiguousarray(view[: cells[0], : cells[1], : cells[2]]).reshape(*cells, -1)


class Probe:
    """Multinomial logistic regression on standardised columns, fitted on training cells."""

    def __init__(self, rows: Floats, classes: NDArray[np.int64], seed: int = 0) -> None:
        if len(rows) > MOST_CELLS:
            chosen = np.random.default_rng(seed).choice(len(rows), MOST_CELLS, replace=False)
            rows, classes = rows[chosen], classes[chosen]
        self.scaler = StandardScaler().fit(rows)
        self.fit = LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(self.scaler.transform(rows), classes)

    def score(self, rows: Floats, classes: NDArray[np.int64]) -> dict[str, float]:
        """Macro F1 of the likeliest class, and each class against the rest: F1 and AUROC."""
        chances = self.fit.predict_proba(self.scaler.transform(rows))
        guessed = chances.argmax(1)
        each = f1_score(classes, guessed, labels=range(3), average=None, zero_division=0.0)
        found = {"macro_f1": float(each.mean())}
        for i, name in enumerate(CLASSES):
            here = classes == i
            found[f"f1_{name}"] = float(each[i])
            found[f"auroc_{name}"] = (
                float(roc_auc_score(here, chances[:, i])) if 0 < here.sum() < len(here) else math.nan
            )
        return found


def by_block(probe: Probe, rows: Floats, classes: NDArray[np.int64], blocks: NDArray[Any]) -> dict[str, list[float]]:
    """Each measure, block by block in the order of their names."""
    scores = [probe.score(rows[blocks == b], classes[blocks == b]) for b in np.unique(blocks)]
    return {key: [score[key] for score in scores] for key in scores[0]}
