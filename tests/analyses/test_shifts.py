"""The shift null against np.roll, and its calibration."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import f1, genome, genomic_order, persistent

from bioterp.analyses import shifts
from bioterp.analyses.alignment import part_of, ring_of
from bioterp.analyses.shifts import Ring, Side, correlate, f1_null, recall_null


def masks(rng: np.random.Generator, strands: int, size: int, share: float) -> np.ndarray:
    return np.stack([persistent(rng, size, 1, share)[:, 0] > 0 for _ in range(strands)])


# 13·11·7 factors well, 1009 is prime (folded from a linear correlation), 1 and 2 are the smallest rings.
@pytest.mark.parametrize("size", [1, 2, 60, 1001, 1009])
@pytest.mark.parametrize("strands", [1, 2])
@pytest.mark.parametrize("way", ["runs", "fft"])
def test_correlation_counts_what_rolling_counts(size, strands, way, monkeypatch):
    rng = np.random.default_rng(size + strands)
    feature, term = masks(rng, strands, size, 0.3), masks(rng, strands, size, 0.2)
    term[:, -1] = True  # a run that ends with the ring
    monkeypatch.setattr(shifts, "RUN_COST", 0 if way == "runs" else 1e12)
    expected = [(np.roll(feature, s, axis=1) & term).sum() for s in range(size)]
    assert correlate(Side(feature), Side(term)).tolist() == expected


@pytest.mark.parametrize("hidden", [False, True])
def test_p_mean_and_z_are_those_of_all_rolls(hidden):
    rng = np.random.default_rng(7)
    feature, positive = masks(rng, 2, 211, 0.2), masks(rng, 2, 211, 0.25)
    unknown = (masks(rng, 2, 211, 0.1) & ~positive) if hidden else np.zeros_like(positive)
    rolled = [np.roll(feature, s, axis=1) & ~unknown for s in range(211)]
    scores = np.array([f1(active, positive) for active in rolled])
    null = f1_null(Side(feature), Side(positive), Side(unknown))
    assert null.shifts == 211
    assert null.p == (scores >= scores[0] - 1e-12).mean()
    assert null.mean == pytest.approx(scores.mean(), abs=1e-12)
    assert null.z == pytest.approx((scores[0] - scores.mean()) / scores.std(), abs=1e-9)


def test_without_unknown_rows_the_mean_is_the_closed_form():
    rng = np.random.default_rng(8)
    feature, positive = masks(rng, 2, 173, 0.2), masks(rng, 2, 173, 0.25)
    per_strand = feature.sum(1) * positive.sum(1) / 173
    null = f1_null(Side(feature), Side(positive), Side(np.zeros_like(positive)))
    assert null.mean == pytest.approx(2 * per_strand.sum() / (feature.sum() + positive.sum()), abs=1e-12)


def test_mean_instance_recall_against_rolls():
    rng = np.random.default_rng(9)
    feature = masks(rng, 2, 130, 0.1)
    lo, hi = np.array([3, 40, 60, 127, 0]), np.array([9, 41, 75, 130, 2])
    strand, first = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 3])  # instances of 1, 2 and 2 runs
    hits = []
    for s in np.arange(1, 64) * 130 // 64:
        rolled = np.roll(feature, s, axis=1)
        covered = [rolled[strand[r], lo[r] : hi[r]].any() for r in range(5)]
        hits.append(np.mean([covered[0], covered[1] or covered[2], covered[3] or covered[4]]))
    assert recall_null(Side(feature), strand, lo, hi, first) == pytest.approx(np.mean(hits))


def test_instances_of_many_runs_and_of_both_strands_are_recalled_as_rolled_ones_are():
    rng = np.random.default_rng(19)
    size, feature = 97, masks(rng, 2, 97, 0.03)
    lo = np.concatenate([np.arange(4, 60, 3), np.arange(90, 97, 3), [1, 95, 40, 41]])  # codons, the last slots, mixed
    hi = np.append(lo[:-1] + 1, 97)
    strand = np.concatenate([np.zeros(19, int), np.ones(3, int), [1, 0, 1, 0]])
    first, ends = np.array([0, 19, 22, 24]), [19, 22, 24, 26]
    hits = []
    for s in np.unique(np.arange(1, 64) * size // 64):
        rolled = np.roll(feature, s, axis=1)
        covered = [rolled[strand[r], lo[r] : hi[r]].any() for r in range(26)]
        hits.append(np.mean([any(covered[a:b]) for a, b in zip(first, ends, strict=True)]))
    assert recall_null(Side(feature), strand, lo, hi, first) == pytest.approx(np.mean(hits))


def test_the_ring_is_in_genomic_order_with_strands_side_by_side():
    rows = genome()
    part = part_of(rows, "test")
    ring = ring_of(rows, part)
    keep = np.repeat((rows.items["split"] == "test").to_numpy(), np.diff(rows.offsets))
    number = np.cumsum(keep) - 1
    for strand, order in enumerate(genomic_order(rows, keep)):
        assert np.array_equal(ring.slot[number[order]], np.arange(len(order)))
        assert (ring.strand[number[order]] == strand).all()
    assert ring.size == keep.sum() // 2


def test_strands_of_unequal_length_stay_side_by_side():
    # Two blocks; + has 3 + 2 cells, − has 2 + 2 (a k-mer model may drop a tail): slot 2 of − stays empty.
    zero = np.zeros(4, np.int64)
    block, start = np.array([1, 1, 0, 0]), np.array([0, 1, 100, 100])
    ring = Ring.lay(zero, zero, block, start, np.array([1, -1, -1, 1]), np.array([3, 2, 2, 2]))
    assert ring.size == 5
    assert ring.slot.tolist() == [0, 1, 2, 1, 0, 4, 3, 3, 4]
    assert ring.strand.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]


def test_independent_pairs_are_called_as_often_as_they_should_be():
    rng = np.random.default_rng(10)
    count, size = 400, 300
    feature, term = persistent(rng, size, count, 0.2, 0.9) > 0, persistent(rng, size, count, 0.3, 0.9) > 0
    none = Side(np.zeros((1, size), bool))
    p = np.array([f1_null(Side(feature[:, [i]].T), Side(term[:, [i]].T), none).p for i in range(count)])
    for level in (0.05, 0.2):
        error = np.sqrt(level * (1 - level) / count)
        assert abs((p <= level).mean() - level) < 3.5 * error
