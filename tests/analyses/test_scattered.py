"""Plans and counts of labels that respect nothing: long, overlapping, scattered over batches and groups."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from bioterp.analyses.counting import Counts, count
from bioterp.analyses.painting import paint, stratify
from bioterp.analyses.runs import plan
from bioterp.values import Intervals

ROWS, TERMS, FEATURES, GROUPS, BINS = 211, 3, 5, 3, 6
CHANGES, GROUP = np.array([0, 31, 60, 117, 118, 190, ROWS]), np.array([1, -1, 0, 2, 1, 0])


def scattered(rng: np.random.Generator) -> Intervals:
    """Instances of up to four runs anywhere, some as long as the rows; a fifth of the runs unknown; term 2 sparse."""
    runs = []
    for t, count_ in enumerate((23, 11, 2)):
        for i in range(1, count_ + 1):
            for _ in range(int(rng.integers(1, 5))):
                a = int(rng.integers(ROWS))
                b = min(ROWS, a + int(rng.integers(1, 9 if i % 5 else ROWS)))
                runs.append((t, -1 if rng.random() < 0.2 else i, a, b))
    return Intervals.of(*zip(*runs, strict=True), ROWS, TERMS)


def kinds(labels: Intervals) -> np.ndarray:
    """(terms, rows) 1 positive, 2 unknown, run by run."""
    whole = np.zeros((TERMS, ROWS), np.uint8)
    runs = list(zip(labels.term, labels.instance, labels.start, labels.stop, strict=True))
    for wanted, value in ((True, 2), (False, 1)):
        for t, i, a, b in runs:
            if (i == -1) == wanted:
                whole[t, a:b] = value
    return whole


def slow(labels: Intervals, codes: np.ndarray, edges: np.ndarray) -> Counts:
    """The counts by loops over cells and instances."""
    bins = (codes[:, :, None] > edges[None]).sum(2)
    group = np.repeat(GROUP, np.diff(CHANGES))
    kind = kinds(labels)
    total = np.zeros((GROUPS, FEATURES, BINS), int)
    positive, unknown, instances = (np.zeros((GROUPS, TERMS, FEATURES, BINS), int) for _ in range(3))
    n_rows, (n_positive, n_unknown, n_instances) = np.zeros(GROUPS, int), np.zeros((3, GROUPS, TERMS), int)
    for g in range(GROUPS):
        n_rows[g] = (group == g).sum()
        for f in range(FEATURES):
            total[g, f] = np.bincount(bins[group == g, f], minlength=BINS)
            for t in range(TERMS):
                for value, hist in ((1, positive), (2, unknown)):
                    hist[g, t, f] = np.bincount(bins[(group == g) & (kind[t] == value), f], minlength=BINS)
        for t in range(TERMS):
            n_positive[g, t], n_unknown[g, t] = (((group == g) & (kind[t] == value)).sum() for value in (1, 2))
            for i in np.unique(labels.instance[(labels.term == t) & (labels.instance != -1)]):
                inside = np.zeros(ROWS, bool)
                own = (labels.term == t) & (labels.instance == i)
                for a, b in zip(labels.start[own], labels.stop[own], strict=True):
                    inside[a:b] = True
                inside &= group == g
                if inside.any():
                    n_instances[g, t] += 1
                    for f in range(FEATURES):
                        instances[g, t, f, bins[inside, f].max()] += 1
    for hist in (total, positive, unknown, instances):
        hist[..., 0] = 0
    return Counts(total, positive, unknown, instances, n_rows, n_positive, n_unknown, n_instances)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [7, 64, 500])
def test_dense_and_sparse_counts_equal_loops_whatever_the_batches(seed, size):
    rng = np.random.default_rng(seed)
    labels = scattered(rng)
    codes = np.maximum(rng.integers(-2, 9, (ROWS, FEATURES)), 0).astype(np.float32)  # ties with edges
    edges = np.sort(rng.choice(np.arange(1, 9), (FEATURES, BINS - 1)), 1).astype(np.float32)
    edges[:, 0], edges[2, 3:] = 0, np.inf
    expected = slow(labels, codes, edges)
    ready = plan(labels, CHANGES, GROUP, GROUPS, size)
    matrix = scipy.sparse.csr_matrix(codes)

    def mixed(lo: int, hi: int) -> object:
        return codes[lo:hi] if lo // size % 2 else matrix[lo:hi]

    for read in (lambda lo, hi: codes[lo:hi], lambda lo, hi: matrix[lo:hi], mixed):
        found = count(read, edges, ready, threads=2)
        for name, value in vars(expected).items():
            assert np.array_equal(getattr(found, name), value), name


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_batches_of_a_plan_are_the_labels_cut(size):
    labels = scattered(np.random.default_rng(size))
    ready, whole = plan(labels, CHANGES, GROUP, GROUPS, size), kinds(labels)
    group = np.repeat(GROUP, np.diff(CHANGES))
    for b, (lo, hi) in enumerate(zip(ready.batches[:-1], ready.batches[1:], strict=True)):
        masks = np.empty((TERMS, hi - lo), np.uint8)
        for t in range(TERMS):
            paint(ready.runs, t, b, lo, masks[t])
        assert np.array_equal(masks, whole[:, lo:hi])
        assert np.array_equal(ready.groups_of(b), group[lo:hi])
        strata = stratify(masks, ready.groups_of(b))
        assert sorted(strata.order) == np.flatnonzero(group[lo:hi] >= 0).tolist()
        for k in range(len(strata.group)):
            for r in strata.order[strata.offset[k] : strata.offset[k + 1]]:
                assert group[lo + r] == strata.group[k] and np.array_equal(masks[:, r], strata.kind[k])
        assert len({(g, *kind) for g, kind in zip(strata.group, strata.kind.tolist(), strict=True)}) == len(
            strata.group
        )


def test_a_plan_is_small_beside_the_labels():
    rows, terms, size = 300_001, 3, 1000
    start = np.tile(np.arange(0, rows - 1, 3), terms)
    term = np.repeat(np.arange(terms), len(start) // terms)
    labels = Intervals.of(term, 1 + start // 300, start, start + 1, rows, terms)
    edges, group = np.array([0, 100_000, rows]), np.array([0, 1])
    plan(labels, edges, group, 2, size)  # compiled, caches filled
    tracemalloc.start()
    ready = plan(labels, edges, group, 2, size)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    runs = len(labels.term)  # 24 bytes each
    assert held < 8 * runs and peak < 40 * runs
    assert ready.n_positive.sum() == runs


def test_no_labels_and_no_rows_of_a_group():
    labels = Intervals.of([], [], [], [], 10, 2)
    ready = plan(labels, np.array([0, 4, 10]), np.array([-1, 1]), 3, 4)
    found = count(lambda lo, hi: np.ones((hi - lo, 2), np.float32), np.zeros((2, 1), np.float32), ready)
    assert found.total[:, :, 1].tolist() == [[0, 0], [6, 6], [0, 0]]
    assert ready.n_rows.tolist() == [0, 6, 0] and not found.positive.any()
