"""Small cohorts of scans with codes and labels: what the tests of three-dimensional rows share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import Intervals


def rows_of(grids: list[Grid], subjects: list[str] | None = None, splits: str | list[str] = "test", **columns) -> Rows:
    """One scan per grid, its block being its subject."""
    n = len(grids)
    items = pd.DataFrame({"item": [f"scan{i}" for i in range(n)], "sample": [f"scan{i}" for i in range(n)]})
    items["subject"] = items["block"] = [f"sub{i}" for i in range(n)] if subjects is None else subjects
    return Rows.from_grids(items.assign(split=splits, **columns), grids)


def same_grids(n: int, shape=(7, 8, 9), step: float = 2.0) -> list[Grid]:
    return [Grid(Space(f"scan{i}", "mm"), shape, np.diag([step, step, step, 1])) for i in range(n)]


def balls(centres: np.ndarray, radius: np.ndarray | float, shape: tuple[int, int, int]) -> np.ndarray:
    """(n, cells) bool: a ball in each scan, about centres (n, 3) in cells."""
    at = np.stack(np.meshgrid(*[np.arange(k) + 0.5 for k in shape], indexing="ij"), -1).reshape(-1, 3)
    far = np.linalg.norm(at[None] - centres[:, None], axis=2)
    return far < np.broadcast_to(np.asarray(radius, float), (len(centres),))[:, None]


def intervals(masks: np.ndarray, unknown: np.ndarray | None = None) -> Intervals:
    """One term from (n, cells) masks of scans of equal size, an instance for each scan."""
    runs = []
    for i, mask in enumerate(masks):
        for number, own in ((i + 1, mask), (-1, None if unknown is None else unknown[i])):
            if own is not None:
                turns = np.flatnonzero(np.diff(own, prepend=False, append=False)) + i * masks.shape[1]
                runs += [(0, number, a, b) for a, b in zip(turns[::2], turns[1::2], strict=True)]
    return Intervals.of(*np.array(runs).reshape(-1, 4).T, masks.size, 1)


def fields(rows: Rows, codes: np.ndarray, labels: Intervals) -> tuple[Field, Field]:
    about = {"dictionary": "toy", "seed": 3, "layer": "2", "representation": "dictionary"}
    names = [f"term{t}" for t in range(labels.columns)]
    return Field(rows, codes.astype(np.float32), kind="code", about=about), Field(rows, labels, names, kind="label")
