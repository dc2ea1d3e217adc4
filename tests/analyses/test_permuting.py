"""The null of scans against brute force, and its calibration where voxels would be called significant."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import scipy.stats
from scans import balls, fields, intervals, rows_of, same_grids
from worlds import f1

from bioterp.analyses import meeting, permuting
from bioterp.analyses.alignment import exchange_of, part_of
from bioterp.analyses.detection import detect, detection
from bioterp.analyses.meeting import Meeting
from bioterp.analyses.parts import Tabulator, term_on
from bioterp.grid import Grid, Space
from bioterp.placing import places_of
from bioterp.values import Intervals

SPACINGS = ((2, 3, 1.5), (2.5, 2, 2), (1.7, 3.1, 2.2), (2, 2, 2), (3, 1.9, 2.6))
SHAPES = ((4, 5, 6), (5, 6, 4), (6, 3, 5), (7, 5, 3), (3, 6, 7))


def odd_grids() -> list[Grid]:
    """Lattices of other sizes, spacings, origins and orders of axes; the middle of one is on the edge of another."""
    rng, grids = np.random.default_rng(2), []
    orders = ((0, 1, 2), (2, 0, 1), (1, 0, 2), (0, 2, 1), (0, 1, 2))
    for i, (shape, spacing, order) in enumerate(zip(SHAPES, SPACINGS, orders, strict=True)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for k in range(3):
            affine[order[k], k] = spacing[k] * (-1 if (i + k) % 2 else 1)
        affine[:3, 3] = rng.normal(0, 50, 3)
        grids.append(Grid(Space(f"scan{i}", "mm"), shape, affine))
    return grids


def cells_at(grid: Grid, points: np.ndarray) -> np.ndarray:
    """The cell of a scan at points in mm from its centre, −1 outside."""
    return grid.locate(points + grid.index_to_world(np.array([grid.shape]) / 2))


def points_of(grids: list[Grid]) -> tuple[np.ndarray, np.ndarray]:
    """Two points per axis to a cell of middling size, over all scans; and half such a cell."""
    boxes = [g.bounds.reshape(-1, 3, 2) - g.index_to_world(np.array([g.shape]) / 2)[0][:, None] for g in grids]
    low, high = np.min([b[..., 0].min(0) for b in boxes], 0), np.max([b[..., 1].max(0) for b in boxes], 0)
    half = np.median([np.abs(g.affine[:3, :3]).max(1) for g in grids], 0) / 2
    lines = [np.arange(a + h / 2, b + h, h) for a, b, h in zip(low, high, half, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3), half


def odd_world(grids: list[Grid]):
    """Codes, positive and unknown cells and two instances per scan, scan by scan."""
    rng = np.random.default_rng(3)
    active = [rng.random(g.size) < 0.3 for g in grids]
    instance, unknown, runs, at = [], [], [], 0
    for i, g in enumerate(grids):
        own = np.zeros(g.size, int)
        own[5 : 5 + 9 + i], own[40 : 40 + 11 - i] = 2 * i + 1, 2 * i + 2
        hidden = np.zeros(g.size, bool)
        hidden[30 : 30 + 3 * i] = True
        runs += [(0, 2 * i + 1, at + 5, at + 14 + i), (0, 2 * i + 2, at + 40, at + 51 - i)]
        runs += [(0, -1, at + 30, at + 30 + 3 * i)] if i else []
        instance.append(own)
        unknown.append(hidden & (own == 0))  # what an instance covers is known
        at += g.size
    return active, instance, unknown, Intervals.of(*np.array(runs).T, at, 1)


def meeting_of(rows, labels: Intervals) -> Meeting:
    part = part_of(rows, "test")
    return Meeting(exchange_of(rows, part, places_of(rows)), term_on(part, labels, 0))


def check(met: Meeting, active: list[np.ndarray], scores: list[float], recalls: list[float]) -> None:
    null, recall = met.null(met.count(np.flatnonzero(np.concatenate(active))))
    seen = np.array(scores)
    assert null.shifts == 120
    assert null.p == (seen >= seen[0] - 1e-12).mean()
    assert null.mean == pytest.approx(seen.mean(), abs=1e-12)
    assert null.z == pytest.approx((seen[0] - seen.mean()) / seen.std(), abs=1e-9)
    assert recall == pytest.approx(np.mean(recalls), abs=1e-12)


def test_scans_on_one_lattice_meet_cell_by_cell():
    grids = same_grids(5, (4, 5, 6))
    active, instance, unknown, labels = odd_world(grids)
    scores, recalls = [], []
    for order in itertools.permutations(range(5)):
        on, yes, hit, held = [], [], 0, 0
        for s, r in enumerate(order):
            on.append(active[s] & ~unknown[r])
            yes.append(instance[r] > 0)
            hit += len(set(instance[r][active[s]]) - {0})
            held += 2
        scores.append(f1(np.concatenate(on), np.concatenate(yes)))
        recalls.append(hit / held)
    check(meeting_of(rows_of(grids), labels), active, scores, recalls)


def test_scans_on_lattices_of_their_own_meet_point_by_point():
    grids = odd_grids()
    active, instance, unknown, labels = odd_world(grids)
    points, half = points_of(grids)
    shifts = list(itertools.product((-1, 0, 1), repeat=3))
    weight = [math.prod(2 - abs(k) for k in shift) for shift in shifts]
    mine = [cells_at(g, points) for g in grids]
    moved = [[cells_at(g, points + np.array(shift) * half) for shift in shifts] for g in grids]
    scores, recalls = [], []
    for order in itertools.permutations(range(5)):
        tp = below = hit = held = 0
        for s, r in enumerate(order):
            on = (mine[s] >= 0) & active[s][mine[s]]
            for at, w in zip(moved[r], weight, strict=True):
                known = (mine[s] >= 0) & (at >= 0) & ~unknown[r][at]
                yes = known & (instance[r][at] > 0)
                tp += w * (on & yes).sum()
                below += w * ((on & known).sum() + yes.sum())
            own = np.where(mine[r] >= 0, instance[r][mine[r]], 0)
            hit += len(set(own[on]) - {0})
            held += len(set(own[mine[s] >= 0]) - {0})
        scores.append(2 * tp / below)
        recalls.append(hit / held)
    check(meeting_of(rows_of(grids), labels), active, scores, recalls)


def test_a_scan_meets_itself_as_the_table_counts(monkeypatch):
    grids = same_grids(5, (4, 5, 6))
    active, _, _, labels = odd_world(grids)
    rows = rows_of(grids)
    part = part_of(rows, "test")
    cells = np.flatnonzero(np.concatenate(active))
    tp, known, hits = (np.diag(each) for each in meeting_of(rows, labels).count(cells))
    table = Tabulator(part, term_on(part, labels, 0), part.of_rows()).table(cells)
    assert tp.tolist() == table.tp.tolist() and hits.tolist() == table.hits.tolist()
    assert (known - tp).tolist() == table.fp.tolist()
    whole = meeting_of(rows, labels).count(cells)
    monkeypatch.setattr(meeting, "EXACT", 7)  # summed a few points at a time
    assert np.array_equal(meeting_of(rows, labels).count(cells), whole)


def test_points_too_many_are_thinned(monkeypatch):
    rows = rows_of(same_grids(5, (4, 6, 8)))
    monkeypatch.setattr(permuting, "POINTS", 5 * 24)
    exchange = exchange_of(rows, part_of(rows, "test"), places_of(rows))
    assert exchange.points.tolist() == [2, 3, 4] and not exchange.fine
    odd = rows_of(odd_grids())
    exchange = exchange_of(odd, part_of(odd, "test"), places_of(odd))
    assert exchange.points.prod() * 5 <= 120 and not exchange.fine


def test_tiles_lie_within_their_scan_like_the_scan_uncut():
    """Scans whole, and the same in two tiles, the second half first: codes and labels meet the same."""
    n, shape, rng = 5, (4, 5, 6), np.random.default_rng(4)
    wholes = [Grid(Space(f"scan{i}", "mm"), shape, np.diag([2, 2, 1 + 0.1 * i, 1])) for i in range(n)]
    tiles = [
        Grid(g.space, (4, 5, k), g.affine @ (np.eye(4) + np.outer([0, 0, z, 0], [0, 0, 0, 1])))
        for g in wholes
        for z, k in ((2, 4), (0, 2))
    ]
    cut = rows_of(tiles, [f"sub{i // 2}" for i in range(2 * n)], sample=[f"scan{i // 2}" for i in range(2 * n)])
    order = np.concatenate(
        [
            np.arange(i * 120, i * 120 + 120).reshape(shape)[..., z:e].ravel()
            for i in range(n)
            for z, e in ((2, 6), (0, 2))
        ]
    )  # the row of the whole of each row of the tiles
    active, positive = rng.random(n * 120) < 0.3, rng.random((n, 120)) < 0.2
    scattered = positive.ravel()[order]
    edges = np.flatnonzero(np.diff(scattered, prepend=False, append=False))
    runs = [(0, 1 + order[a] // 120, a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    one = meeting_of(rows_of(wholes), intervals(positive)).count(np.flatnonzero(active))
    two = meeting_of(cut, Intervals.of(*np.array(runs).T, n * 120, 1)).count(np.flatnonzero(active[order]))
    assert np.array_equal(one[:2], two[:2]) and one[0].any()


def test_scans_of_a_subject_move_together_or_meet_the_first():
    rows = rows_of(same_grids(8, (1, 1, 2)), ["a", "a", "b", "b", "c", "d", "e", "f"])
    exchange = exchange_of(rows, part_of(rows, "test"), places_of(rows))
    a, b, pair = exchange.partners
    assert exchange.n == 6 and len(exchange.draws) == 720

    def meets(s: int, r: int) -> list[tuple[int, int]]:
        return [(int(x), int(y)) for x, y, p in zip(a, b, pair, strict=True) if p == s * 6 + r]

    assert meets(0, 1) == [(0, 2), (1, 3)] and meets(1, 1) == [(2, 2), (3, 3)]
    assert meets(0, 2) == [(0, 4), (1, 4)] and meets(2, 0) == [(4, 0)] and meets(5, 4) == [(7, 6)]
    positive = np.arange(16) % 2 == 1
    labels = intervals(positive.reshape(8, 2))
    tp = meeting_of(rows, labels).count(np.flatnonzero(positive & (np.arange(16) != 1)))[0]
    assert tp[0].tolist() == [1] * 6 and tp[1].tolist() == [2] * 6 and tp[2].tolist() == [1] * 6


def test_draws_are_few_and_all_or_many_and_always_the_same():
    def drawn(groups: list[int], seed: int = 0) -> np.ndarray:
        return permuting.permutations(np.array(groups), np.random.default_rng(seed))

    assert len(drawn([0])) == 1 and len(drawn([0] * 6)) == 720
    assert len({tuple(one) for one in drawn([0] * 6)}) == 720 and drawn([0] * 6)[0].tolist() == list(range(6))
    many = drawn([0] * 7, 5)
    assert many.shape == (1000, 7) and (np.sort(many, 1) == np.arange(7)).all() and (many[0] == np.arange(7)).all()
    assert np.array_equal(many, drawn([0] * 7, 5)) and len({tuple(one) for one in many}) > 800
    few = {tuple(one) for one in drawn([1, 0, 1, 0, 1, 2])}
    assert len(few) == 12 and all({p[0], p[2], p[4]} == {0, 2, 4} and p[5] == 5 for p in few)
    within = drawn([k % 2 for k in range(16)])
    assert within.shape == (1000, 16) and (within % 2 == np.arange(16) % 2).all()


def test_subjects_are_permuted_among_those_whose_cells_lie_on_theirs():
    """Odd and even numbers of cells along x: another phase. Within one, cells meet cells, whatever the size."""
    sizes = [4, 6, 4, 6, 4, 6, 5, 7, 5, 7, 5, 7]
    grids = [Grid(Space(f"scan{i}", "mm"), (k, 3, 2), np.diag([2.0, 2, 2, 1])) for i, k in enumerate(sizes)]
    rows = rows_of(grids)
    exchange = exchange_of(rows, part_of(rows, "test"), places_of(rows))
    assert not exchange.fine and len(exchange.draws) == 1000
    assert ((exchange.draws < 6) == (np.arange(12) < 6)).all()
    middle = np.concatenate([np.arange(k * 6) // 6 == k // 2 for k in sizes])  # one plane of each scan
    edges = np.flatnonzero(np.diff(middle, prepend=False, append=False))
    runs = [(0, i + 1, a, b) for i, (a, b) in enumerate(zip(edges[::2], edges[1::2], strict=True))]
    tp = meeting_of(rows, Intervals.of(*np.array(runs).T, len(rows), 1)).count(np.flatnonzero(middle))[0]
    assert (tp[:6, :6] == 6).all() and (tp[6:, 6:] == 6).all()
    assert exchange.aligned
    # Where hardly anybody shares cells all are permuted, at points between them, and the table says so.
    lone = [Grid(g.space, SHAPE, np.diag([2 + i / 10, 2, 2, 1])) for i, g in enumerate(grids)]
    rows = rows_of(lone, splits=["train", "test"] * 6)
    label = balls(np.array(SHAPE) / 2 + np.random.default_rng(8).normal(0, 1, (12, 3)), RADIUS, SHAPE)
    exchange = exchange_of(rows, part_of(rows, "test"), places_of(rows))
    assert exchange.fine and not exchange.aligned and len(exchange.draws) == 720
    row = detection(*fields(rows, label.reshape(-1, 1), intervals(label)), min_test=2).iloc[0]
    assert row["f1"] == 1 and row["f1_null"] < 0.8 and row["p"] < 0.05 and "p is approximate" in row["note"]


def test_no_more_than_some_subjects_are_permuted(monkeypatch):
    monkeypatch.setattr(permuting, "MOST", 6)
    rows = rows_of(same_grids(9, (2, 1, 1)))
    part = part_of(rows, "test")
    exchange = exchange_of(rows, part, places_of(rows))
    assert exchange.n == 6 and exchange.draws.shape == (720, 6) and exchange.partial
    a, b, pair = exchange.partners
    assert set(a) == set(b) and len(set(a)) == 6 and sorted(pair) == list(range(36))


SHAPE, SUBJECTS, RADIUS = (9, 10, 11), 12, 2.6


def cohort(rng: np.random.Generator, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Feature and label balls about one mean place, with their own jitter and a share of it in common."""
    middle = np.array(SHAPE) / 2 + rng.uniform(-1, 1, 3)
    together, apart = rng.normal(0, 1.0, (SUBJECTS, 3)), rng.normal(0, 1.0, (2, SUBJECTS, 3))
    jitter = np.sqrt(shared) * together + np.sqrt(1 - shared) * apart
    size = RADIUS + rng.uniform(-0.5, 0.5, (2, SUBJECTS))
    feature, label = (balls(middle + jitter[k], size[k], SHAPE) for k in range(2))
    return feature & (rng.random(feature.shape) < 0.8), label


def test_features_that_only_know_the_place_are_called_as_often_as_they_should_be():
    rows, rng, worlds = rows_of(same_grids(SUBJECTS, SHAPE)), np.random.default_rng(11), 400
    part = part_of(rows, "test")
    exchange = exchange_of(rows, part, places_of(rows))

    def p_of(feature: np.ndarray, label: np.ndarray) -> float:
        met = Meeting(exchange, term_on(part, intervals(label), 0))
        return met.null(met.count(np.flatnonzero(feature)))[0].p

    def shuffled(feature: np.ndarray, label: np.ndarray) -> float:
        """P(TP ≥ seen) when voxels are shuffled: hypergeometric."""
        tp = int((feature & label).sum())
        return float(scipy.stats.hypergeom.sf(tp - 1, feature.size, label.sum(), feature.sum()))

    found = [cohort(rng, 0.0) for _ in range(worlds)]
    ours, naive = np.array([p_of(*one) for one in found]), np.array([shuffled(*one) for one in found])
    for level in (0.05, 0.2):
        error = math.sqrt(level * (1 - level) / worlds)
        assert abs((ours <= level).mean() - level) < 3 * error
    assert (naive <= 0.05).mean() > 0.99, "shuffled voxels call a feature that looked at no scan"
    power = np.mean([p_of(*cohort(rng, 0.6)) <= 0.05 for _ in range(60)])
    assert power > 0.9


@pytest.mark.slow
def test_other_fields_of_view_do_not_make_significance():
    """Lattices of odd and even sizes: a scan's own cells must not count as following its anatomy."""
    rng, worlds, ps = np.random.default_rng(12), 300, []
    for _ in range(worlds):
        shapes = [tuple(int(k) for k in np.array(SHAPE) + rng.integers(-1, 3, 3)) for _ in range(SUBJECTS)]
        rows = rows_of([Grid(Space(f"scan{i}", "mm"), shape, np.eye(4)) for i, shape in enumerate(shapes)])
        away, runs, active, at = rng.uniform(-1, 1, 3), [], [], 0
        for i, shape in enumerate(shapes):
            middle = np.array(shape) / 2 + away + rng.normal(0, 1, (2, 3))
            active.append(balls(middle[:1], RADIUS, shape)[0])
            turns = np.flatnonzero(np.diff(balls(middle[1:], RADIUS, shape)[0], prepend=False, append=False))
            runs += [(0, i + 1, at + a, at + b) for a, b in zip(turns[::2], turns[1::2], strict=True)]
            at += math.prod(shape)
        met = meeting_of(rows, Intervals.of(*np.array(runs).T, at, 1))
        ps.append(met.null(met.count(np.flatnonzero(np.concatenate(active))))[0].p)
    for level in (0.05, 0.2):
        assert abs((np.array(ps) <= level).mean() - level) < 3 * math.sqrt(level * (1 - level) / worlds)


def whole(shared: float, subjects: int, seed: int, **options):
    """`detect` on a cohort of which every third subject is test, with two features that know only the place."""
    rng = np.random.default_rng(seed)
    middle = np.array(SHAPE) / 2
    jitter = rng.normal(0, 1.2, (subjects, 3))
    label = balls(middle + jitter, RADIUS, SHAPE)
    follows = balls(middle + shared * jitter, RADIUS, SHAPE)
    codes = np.stack([follows.ravel(), balls(np.tile(middle, (subjects, 1)), RADIUS, SHAPE).ravel()], 1).astype(float)
    splits = ["test" if i % 3 == 0 else "train" for i in range(subjects)]
    rows = rows_of(same_grids(subjects, SHAPE), splits=splits)
    return detect(*fields(rows, codes, intervals(label)), min_test=2, **options)


def test_detection_tells_a_feature_that_follows_from_one_that_knows_the_place():
    found = whole(0.8, 30, 1)
    table = found.table.set_index("feature")
    assert table.attrs["null"] == "permutation" and (table["n_shifts"] == 1000).all()
    assert table.loc[0, "p"] == 0.001 and table.loc[1, "p"] > 0.05
    # The place alone has no more than its null; against voxels it would look like a find.
    assert abs(table.loc[1, "f1"] - table.loc[1, "f1_null"]) < 0.02 and table.loc[1, "f1"] > 0.4
    assert table.loc[1, "prevalence"] < 0.1
    assert table.loc[0, "z"] > 4 and table["instance_recall_null"].between(0, 1).all()
    assert found.table.equals(whole(0.8, 30, 1, threads=1).table)


def test_the_interval_is_that_of_leaving_out_one_subject():
    found = whole(0.8, 30, 1)
    best = found.table.iloc[0]
    blocks = found.blocks
    assert len(blocks) == 10 == best["n_blocks"]
    left = [
        2 * rest["tp"].sum() / (rest["tp"].sum() + rest["fp"].sum() + rest["positives"].sum())
        for rest in (blocks[blocks["block"] != own] for own in blocks["block"])
    ]
    se = math.sqrt(9 / 10 * ((np.array(left) - np.mean(left)) ** 2).sum())
    reach = scipy.stats.t.ppf(0.975, 9) * se
    assert best["f1_lo"] == pytest.approx(max(best["f1"] - reach, 0))
    assert best["f1_hi"] == pytest.approx(min(best["f1"] + reach, 1))


def test_rare_terms_are_cross_fitted_fold_by_fold():
    table = whole(0.8, 40, 2, folds=4).table
    assert (table["split"] == "test").all()
    few = detection(*_rare(40), min_test=50, folds=4)
    row = few[few["split"] == "cross-fitted"].iloc[0]
    assert row["feature"] == 0 and row["p"] <= 4 / 3 * 0.002 and row["n_shifts"] == 4000 and np.isnan(row["z"])
    small = detection(*_rare(16), min_test=50, folds=4)
    row = small[small["split"] == "cross-fitted"].iloc[0]
    assert np.isnan(row["p"]) and "at least 5 needed" in row["note"] and "in a fold" in row["note"]


def _rare(subjects: int):
    rng = np.random.default_rng(6)
    middle = np.array(SHAPE) / 2
    jitter = rng.normal(0, 1.2, (subjects, 3))
    follows = balls(middle + 0.8 * jitter, RADIUS, SHAPE).ravel()
    place = balls(np.tile(middle, (subjects, 1)), RADIUS, SHAPE).ravel()
    rows = rows_of(same_grids(subjects, SHAPE), splits=["test" if i % 4 == 0 else "train" for i in range(subjects)])
    return fields(rows, np.stack([follows, place], 1), intervals(balls(middle + jitter, RADIUS, SHAPE)))


@pytest.mark.parametrize(("subjects", "said"), [(3, "one subject in test"), (9, "3 subjects in test")])
def test_few_subjects_have_no_p_and_say_so(subjects, said):
    table = whole(0.8, subjects, 3, min_instances=1, folds=None).table
    assert table["p"].isna().all() and table["note"].str.contains(f"no p: {said}, at least 5 needed").all()
    assert table["f1_null"].notna().any()


@pytest.mark.slow
def test_a_large_cohort_takes_seconds():
    rows, rng = rows_of(same_grids(36, (10, 10, 10))), np.random.default_rng(1)
    part = part_of(rows, "test")
    exchange = exchange_of(rows, part, places_of(rows))
    met = Meeting(exchange, term_on(part, intervals(balls(rng.uniform(3, 7, (36, 3)), 3, (10, 10, 10))), 0))
    active = [np.flatnonzero(rng.random(36_000) < 0.1).astype(np.int32) for _ in range(200)]
    met.null(met.count(active[0]))
    begun = time.perf_counter()
    for rows_of_one in active:
        met.null(met.count(rows_of_one))
    assert (time.perf_counter() - begun) * 1500 / 200 < 60
