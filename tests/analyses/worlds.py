"""Small genomes with codes and labels, and slow, plain answers about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import Intervals

CONTIGS = {"c1": 2300, "c2": 1100}
BLOCK, WINDOW, TERMS, FEATURES = 100, 37, 4, 9


@dataclass
class World:
    rows: Rows
    dense: np.ndarray
    labels: Intervals
    codes: Field
    truth: Field

    def split(self) -> np.ndarray:
        """The split of every row."""
        return np.repeat(self.rows.items["split"].to_numpy(), np.diff(self.rows.offsets))

    def blocks(self) -> np.ndarray:
        return np.repeat(self.rows.items["block"].to_numpy(), np.diff(self.rows.offsets))

    def masks(self, term: int) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
        """Positive, known, and the rows of each instance, run by run in plain Python."""
        n = len(self.rows)
        positive, unknown, instances = np.zeros(n, bool), np.zeros(n, bool), {}
        for t, i, a, b in zip(self.labels.term, self.labels.instance, self.labels.start, self.labels.stop, strict=True):
            if t != term:
                continue
            if i == -1:
                unknown[a:b] = True
            else:
                positive[a:b] = True
                instances.setdefault(int(i), np.zeros(n, bool))[a:b] = True
        return positive, positive | ~unknown, instances


def genome(
    contigs: dict[str, int] | None = None, block: int = BLOCK, window: int = WINDOW, strands: str = "+-"
) -> Rows:
    """Windows inside blocks, both strands; blocks go train, train, train, valid, test, round and round."""
    items, grids, number = [], [], 0
    order = ("train", "test", "train", "valid", "train")
    for contig, length in (contigs or CONTIGS).items():
        for at in range(0, length, block):
            for strand in strands:
                for start in range(at, min(at + block, length), window):
                    end = min(start + window, at + block, length)
                    items.append((f"{contig}:{start}{strand}", "s", f"{contig}:{at}", order[number % 5]))
                    grids.append(Grid.line(Space(contig, "bp", length), start, end, strand))
            number += 1
    return Rows.from_grids(pd.DataFrame(items, columns=["item", "sample", "block", "split"]), grids)


def persistent(rng: np.random.Generator, n: int, m: int, share: float = 0.15, stay: float = 0.8) -> np.ndarray:
    """(n, m) codes that come in runs (a two-state chain), with ties: a tenth of the levels repeat."""
    on = np.zeros((n, m), bool)
    on[0] = rng.random(m) < share
    for i in range(1, n):
        keep = rng.random(m) < stay
        on[i] = np.where(keep, on[i - 1], rng.random(m) < share)
    levels = rng.gamma(2.0, 1.0, (n, m)).astype(np.float32)
    levels[rng.random((n, m)) < 0.1] = 1.5
    return np.where(on, levels, 0).astype(np.float32)


def labels_on(rng: np.random.Generator, rows: Rows, terms: int = TERMS, count: int = 90) -> Intervals:
    """Instances of one or several runs, overlapping at times, inside one block each; some rows are unknown."""
    ends = rows.offsets
    runs: list[tuple[int, int, int, int]] = []
    for t in range(terms):
        for i in range(1, count + 1):
            item = int(rng.integers(len(rows.items)))
            a = int(rng.integers(ends[item], ends[item + 1]))
            b = min(a + int(rng.integers(1, 20)), int(ends[item + 1]))
            runs.append((t, i, a, b))
            near = item + 1
            if i % 3 == 0 and near < len(rows.items) and rows.items["block"][near] == rows.items["block"][item]:
                runs.append((t, i, int(ends[near]), min(int(ends[near]) + 5, int(ends[near + 1]))))
        for _ in range(t * 4):  # term 0 has no unknown rows
            a = int(rng.integers(len(rows) - 30))
            runs.append((t, -1, a, a + int(rng.integers(5, 30))))
    term, instance, start, stop = zip(*runs, strict=True)
    return Intervals.of(term, instance, start, stop, len(rows), terms)


def world(seed: int = 0, features: int = FEATURES, terms: int = TERMS, rows: Rows | None = None) -> World:
    rng = np.random.default_rng(seed)
    rows = genome() if rows is None else rows
    return of(rows, persistent(rng, len(rows), features), labels_on(rng, rows, terms))


def of(rows: Rows, dense: np.ndarray, labels: Intervals) -> World:
    about = {"dictionary": "toy", "seed": 3, "layer": "2", "representation": "sae"}
    codes = Field(rows, scipy.sparse.csr_matrix(dense), kind="code", about=about)
    truth = Field(rows, labels, [f"term{t}" for t in range(labels.columns)], kind="label")
    return World(rows, dense, labels, codes, truth)


def f1(active: np.ndarray, positive: np.ndarray) -> float:
    tp = (active & positive).sum()
    return 2 * tp / (active.sum() + positive.sum()) if active.any() or positive.any() else np.nan


def genomic_order(rows: Rows, keep: np.ndarray) -> list[np.ndarray]:
    """Per strand the kept rows in the order of their contig and coordinate."""
    item, start, _ = rows.cells()
    space, minus = rows.space_code[item], rows.affines[item, 0, 0] < 0
    found = []
    for strand in (False, True):
        own = np.flatnonzero(keep & (minus == strand))
        if len(own):
            found.append(own[np.lexsort((start[own], space[own]))])
    return found
