"""Made-up heads: ellipsoid brains with one bright ball at a known place, in any orientation, spacing and tilt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import pandas as pd

from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import Intervals

BALL, OTHER, WIDTH = 3, 5, 7  # columns of the codes: the ball, the left half of the brain; how many there are
RADIUS = 14.0
EVIL = "<b>../../sub-x\\$^{&\"'"


@dataclass(frozen=True)
class Head:
    """One scan: its ball's middle (mm), the grid the model sees it on, its cells, and its file's own grid."""

    scan: str
    ball: np.ndarray
    voxels: Grid
    cells: Grid
    native: dict


def orientations():
    """All 48 ways of permuting and flipping three axes, as 3 × 3 matrices."""
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turn = np.zeros((3, 3))
            turn[list(order), range(3)] = signs
            yield turn


def tilt(degrees):
    """A rotation about a skew axis (Rodrigues' formula)."""
    axis = np.array([0.36, 0.48, 0.8])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def centred(turn, spacing, shape, middle=(0.0, 0.0, 0.0)):
    """(4, 4) voxel centres → mm, so that the middle of the whole box of voxels lies at `middle`."""
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = np.array(middle) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def head(scan, ball, *, model_turn=None, native_turn=None, spacing=(4.0, 4.0, 4.0), stride=2, shape=(46, 54, 40),
         native_spacing=(3.0, 2.5, 4.5), native_shape=(61, 83, 41), codes=(2, 1), middle=(1.3, -2.2, 3.1)):  # fmt: skip
    model_turn = np.eye(3) if model_turn is None else model_turn
    native_turn = np.eye(3) if native_turn is None else native_turn
    voxels = Grid.from_centers(Space(scan, "mm"), shape, centred(model_turn, spacing, shape, middle))
    native = {
        "shape": list(native_shape),
        "affine": centred(native_turn, native_spacing, native_shape, middle).tolist(),
    }
    native |= {"sform_code": codes[0], "qform_code": codes[1]}
    return Head(scan, np.array(ball, float), voxels, voxels.coarsen(stride), native)


def in_ball(points, middle, radius=RADIUS):
    return np.linalg.norm(points - middle, axis=-1) <= radius


def in_brain(points):
    return (((points - [0, -8, 2]) / [66, 82, 60]) ** 2).sum(-1) <= 1


def image(one, seed=0):
    """(1, x, y, z) float32: skull, brain, dark ventricles right of the middle, the bright ball; a little noise."""
    points = one.voxels.centers
    brain = in_brain(points)
    skull = (((points - [0, -8, 2]) / [74, 90, 68]) ** 2).sum(-1) <= 1
    grey = 0.25 * skull + 0.35 * brain
    grey[in_ball(points, np.array([10, -10, 8]), 11)] = 0.15
    grey[in_ball(points, one.ball)] = 1.1
    grey += np.random.default_rng(seed).normal(0, 0.03, len(grey)) * skull
    return grey.reshape(one.voxels.shape).astype(np.float32)[None]


def halves(one):
    """The cells of a head as two tiles along the first axis, of different size."""
    shape = np.array(one.cells.shape)
    cut = int(shape[0] * 0.4)
    shift = np.eye(4)
    shift[0, 3] = cut
    space = one.cells.space
    first = Grid(space, (cut, *shape[1:]), one.cells.affine)
    return [first, Grid(space, (shape[0] - cut, *shape[1:]), one.cells.affine @ shift)]


def study(heads, splits=None, tiles=False, terms=("ball", "left", EVIL)):
    """(codes, truth) of some heads: BALL is 2 in cells whose middle is in the ball, more in later heads."""
    items, grids, of = [], [], []
    for at, one in enumerate(heads):
        pieces = halves(one) if tiles else [one.cells]
        for k, grid in enumerate(pieces):
            split = splits[at] if splits else "test"
            items.append({"item": one.scan if not tiles else f"{one.scan}:{k},0,0", "sample": one.scan,
                          "subject": f"p{at}", "block": f"p{at}", "split": split, "age": 20.0 + at,
                          "native": json.dumps(one.native)})  # fmt: skip
            grids.append(grid)
            of.append(at)
    rows = Rows.from_grids(pd.DataFrame(items), grids)
    values = np.zeros((len(rows), WIDTH), np.float32)
    runs = []
    for at, lo, hi, grid in zip(of, rows.offsets[:-1], rows.offsets[1:], grids, strict=True):
        middle = grid.centers
        distance = np.linalg.norm(middle - heads[at].ball, axis=-1)
        ball, left = distance <= RADIUS, in_brain(middle) & (middle[:, 0] < 0)
        values[lo:hi, BALL] = ball * (2 + 0.1 * at + 0.01 * (RADIUS - distance) / RADIUS)
        values[lo:hi, OTHER] = left * (0.5 + 0.3 * np.cos(middle[:, 1] / 25))
        for term, mask in enumerate((ball, left)):
            runs += [(term, 1, lo + a, lo + b) for a, b in stretches(mask)]
        runs += [(2, -1, lo, hi)]
    labels = Intervals.of(*np.array(runs).T, len(rows), len(terms))
    about = {"layer": "4", "dictionary": "d", "seed": 0, "representation": "dictionary"}
    import scipy.sparse

    codes = Field(rows, scipy.sparse.csr_matrix(values), kind="code", about=about)
    return codes, Field(rows, labels, list(terms), "label")


def stretches(mask):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def detection(terms=("ball", "left", EVIL)):
    first = {"dictionary": "d", "seed": 0, "layer": "4", "n_instances": 7.0, "f1_null": 0.05, "instance_recall": 1.0,
             "recall": 0.8, "precision": 0.9, "q": 1e-3, "split": "test", "note": ""}  # fmt: skip
    first["f1_select_null"] = 0.05
    lines = [("dictionary", BALL, terms[0], 0.92, 0.9, 0.7), ("dictionary", OTHER, terms[1], 0.71, 0.7, 0.2),
             ("dictionary", 6, terms[2], 0.11, 0.1, 0.2), ("intensity", 0, terms[0], 0.3, 0.31, 0.1)]  # fmt: skip
    names = ("representation", "feature", "term", "f1", "f1_select", "threshold")
    made = [first | dict(zip(names, line, strict=True)) for line in lines]
    return pd.DataFrame(made).assign(f1_lo=lambda t: t["f1"] - 0.05, f1_hi=lambda t: t["f1"] + 0.05)
