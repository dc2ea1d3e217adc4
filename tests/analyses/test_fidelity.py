"""Reconstruction, density, cosines and matching: against dense computations, theorems, and planted truth."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scipy.spatial.distance import cdist
from scipy.stats import t as student
from sklearn.metrics import r2_score

from bioterp import tables
from bioterp.analyses import directions, sampling
from bioterp.analyses.fidelity import EDGES, fidelity
from bioterp.analyses.reconstruction import Sums, density_bins
from bioterp.analyses.stability import stability
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.rows import Rows

N, D, M, BLOCKS = 611, 13, 29, 7


def world(mean: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, sparse codes, reconstructions and blocks of different sizes."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((N, D)) * rng.uniform(0.3, 2, D) + mean).astype(np.float32)
    codes = rng.exponential(1, (N, M)) * (rng.random((N, M)) < np.linspace(0, 0.4, M))
    rebuilt = (x + 0.4 * rng.standard_normal((N, D))).astype(np.float32)
    return x, codes.astype(np.float32), rebuilt, np.sort(rng.integers(0, BLOCKS, N))


def people(values: np.ndarray, blocks: np.ndarray, split: str = "test") -> Field:
    names = [f"p{i}" for i in range(len(values))]
    frame = pd.DataFrame({"item": names, "sample": names, "block": blocks.astype(str), "split": split})
    return Field(Rows.free(frame), values, about={"layer": "2"})


# ---------------------------------------------------------------------- reconstruction


def test_fvu_is_that_of_all_rows_at_once_in_any_pieces() -> None:
    x, codes, rebuilt, block = world()
    whole = Sums(BLOCKS, M, np.zeros(D))
    whole.add(block, x, codes, rebuilt)
    parts = Sums(BLOCKS, M, np.zeros(D))
    for lo, hi in ((400, 611), (0, 1), (1, 400)):
        one = Sums(BLOCKS, M, np.zeros(D))
        one.add(block[lo:hi], x[lo:hi], scipy.sparse.csr_matrix(codes[lo:hi]), rebuilt[lo:hi])
        parts.merge(one)
    wanted = 1 - r2_score(x.astype(float), rebuilt.astype(float), multioutput="variance_weighted")
    for sums in (whole, parts):
        assert sums.fvu == pytest.approx(wanted, rel=1e-9)
        assert sums.l0 == pytest.approx(np.count_nonzero(codes) / N, rel=1e-12)
        assert sums.dead == pytest.approx(np.mean(~codes.any(0)))
        assert sums.gamma == pytest.approx(
            np.linalg.norm(x.mean(0, dtype=float)) / np.linalg.norm(x.std(0, dtype=float))
        )
        np.testing.assert_allclose(sums.mean, x.mean(0, dtype=float), rtol=1e-9)


def test_the_interval_is_that_of_deleting_blocks_one_by_one() -> None:
    x, codes, rebuilt, block = world()
    sums = Sums(BLOCKS, M, x[0])
    sums.add(block, x, codes, rebuilt)
    left = []
    for b in range(BLOCKS):
        kept, made = x[block != b].astype(float), rebuilt[block != b].astype(float)
        left.append(np.square(kept - made).sum() / np.square(kept - kept.mean(0)).sum())
    error = np.sqrt((BLOCKS - 1) * np.var(left))
    reach = student.ppf(0.975, BLOCKS - 1) * error
    found = sums.fvu_spread()
    assert (found.lo, found.hi) == pytest.approx((sums.fvu - reach, sums.fvu + reach), rel=1e-9)


def test_a_large_mean_costs_no_digits() -> None:
    x, codes, _, block = world()
    far = (x + np.float32(4096)).astype(np.float32)
    sums = Sums(BLOCKS, M, far[0])
    sums.add(block, far, codes, np.full_like(far, 4096))
    exact = far.astype(np.longdouble)
    wanted = np.square(exact - 4096).sum() / np.square(exact - exact.mean(0)).sum()
    assert sums.fvu == pytest.approx(float(wanted), rel=1e-12)


def test_the_rows_themselves_and_their_mean_are_the_ends_of_the_scale() -> None:
    x, codes, _, block = world()
    for rebuilt, wanted in ((x, 0.0), (np.tile(x.mean(0, dtype=float), (N, 1)), 1.0)):
        sums = Sums(BLOCKS, M, x[5])
        sums.add(block, x, codes, rebuilt)
        assert sums.fvu == pytest.approx(wanted, abs=1e-12)
    still = Sums(BLOCKS, M, np.zeros(D))
    still.add(block, np.ones((N, D)), codes, np.ones((N, D)))
    assert np.isnan(still.fvu)


def test_densities_fall_into_bins_that_end_where_they_say() -> None:
    fired = np.array([0, 0, 1, 10, 100, 999, 1000])
    counts = density_bins(fired, 1000, EDGES)
    assert counts.sum() == 5  # the dead are in none
    for share in (0.001, 0.01, 0.1, 1.0):  # edges themselves belong to the bin they end
        (bin_of,) = np.flatnonzero((EDGES[:-1] < share * (1 - 1e-9)) & (share * (1 - 1e-9) <= EDGES[1:]))
        assert counts[bin_of] >= 1
    assert density_bins(np.array([1]), 10**9, EDGES)[0] == 1


# ---------------------------------------------------------------------- directions


def test_many_dead_features_are_told_beside_what_the_rows_hold() -> None:
    """Rows planted in three directions, 23 of them different: the note counts both, and is left out where few die."""
    rng = np.random.default_rng(70)
    x = (rng.standard_normal((23, 3)) @ rng.standard_normal((3, D))).astype(np.float32)[rng.permutation(23 * 7) % 23]
    eye = np.eye(D, dtype=np.float32)
    bias = np.where(np.arange(D) < 6, -1e6, 0).astype(np.float32)  # six of thirteen never fire
    acts, nothing = people(x, np.arange(len(x)) % BLOCKS), np.zeros(D, np.float32)
    sae = Dictionary(eye, eye, bias, nothing, x.min(0) - 1, activation="threshold", threshold=0.0)
    note = str(fidelity(acts, sae).table["note"][0])
    away = x - x.mean(0)
    eigen = np.sort(np.linalg.eigvalsh(away.T @ away))[::-1]
    most = next(i for i in range(1, 4) if eigen[:i].sum() >= 0.99 * eigen.sum())
    assert f"46% of its features are active in no row looked at; of 161 rows 23 differ, and {most} of 13" in note
    whole = Dictionary(eye, eye, nothing, nothing, x.min(0) - 1, activation="threshold", threshold=0.0)
    assert "active in no row" not in str(fidelity(acts, whole).table["note"][0])
    assert directions.held_in(np.ones((5, 2), np.float32), 0.99) == (1, 0)
    assert directions.held_in(np.diag([3.0, 2.0, 1.0]).astype(np.float32) @ np.ones((3, 3), np.float32), 0.999) == (
        3,
        1,
    )


def test_nearest_is_what_every_pair_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    made = rng.standard_normal((M, D)).astype(np.float32) * rng.uniform(0.1, 9, (M, 1)).astype(np.float32)
    made[7] = -2.5 * made[3]  # a near-duplicate the other way round
    made[11] = made[20] + 0.02 * rng.standard_normal(D)
    cosine = np.abs(1 - cdist(made.astype(float), made.astype(float), "cosine"))
    np.fill_diagonal(cosine, 0)
    monkeypatch.setattr(directions, "SLICE", 10)
    largest, pairs = directions.nearest(made, 0.9)
    np.testing.assert_allclose(largest, cosine.max(1), atol=1e-6)
    assert pairs == np.triu(cosine >= 0.9).sum() == 2
    largest, pairs = directions.nearest(np.vstack([made, np.zeros((2, D), np.float32)]), 0.9)
    assert pairs == 2 and (largest[-2:] == 0).all()


def test_of_many_features_some_are_compared_and_pairs_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.repeat(np.eye(40, dtype=np.float32), 2, axis=0)  # 40 pairs of equals
    monkeypatch.setattr(directions, "MOST", 16)
    largest, pairs = directions.nearest(made, 0.9)
    assert len(largest) == 16 and (largest == 1).all() and pairs == pytest.approx(40)


def test_matching_finds_a_shuffled_dictionary_and_the_best_of_all_assignments() -> None:
    rng = np.random.default_rng(2)
    made = rng.standard_normal((6, 4))
    order = rng.permutation(6)
    np.testing.assert_allclose(directions.assigned(made, 3 * made[order]), 1, atol=1e-6)
    np.testing.assert_allclose(directions.greedy(made, 3 * made[order]), 1, atol=1e-6)
    other = rng.standard_normal((6, 4))
    cosine = 1 - cdist(made, other, "cosine")
    best = max(sum(cosine[i, p[i]] for i in range(6)) for p in permutations(range(6)))
    assert directions.assigned(made, other).sum() == pytest.approx(best, rel=1e-5)
    np.testing.assert_allclose(directions.greedy(made, other), cosine.max(1), atol=1e-6)
    assert directions.assigned(made, -made).mean() < 0.9  # codes have a sign, and so have directions


@pytest.mark.parametrize("m", [5, 64, 4096])
def test_the_random_level_in_three_dimensions_is_archimedes(m: int) -> None:
    """There the cosine to a random direction is uniform: the mean of the largest of m is (m − 1) / (m + 1)."""
    assert directions.expected_greedy(m, 3) == pytest.approx((m - 1) / (m + 1), abs=1e-3 / m**0.5)
    assert directions.expected_nearest(m, 3) == pytest.approx(0.5 ** (1 / (m - 1)), rel=1e-9)


def test_the_random_level_is_that_of_drawn_dictionaries() -> None:
    rng = np.random.default_rng(5)
    one, other = rng.standard_normal((700, 37)), rng.standard_normal((900, 37))
    cosine = 1 - cdist(one, other, "cosine")
    assert directions.expected_greedy(900, 37) == pytest.approx(cosine.max(1).mean(), abs=0.01)
    within = np.abs(1 - cdist(one, one, "cosine"))
    np.fill_diagonal(within, 0)
    assert directions.expected_nearest(700, 37) == pytest.approx(np.median(within.max(1)), abs=0.01)
    small = directions.expected_assigned(60, 60, 37)
    assert small < directions.expected_greedy(60, 37) and small == pytest.approx(
        directions.assigned(one[:60], other[:60]).mean(), abs=0.03
    )


# ---------------------------------------------------------------------- the tables


def silent(d: int, mean: np.ndarray) -> Dictionary:
    """A dictionary none of whose features ever fires."""
    rng = np.random.default_rng(4)
    draw = rng.standard_normal((M, d)).astype(np.float32)
    low = np.full(M, -1e9, np.float32)
    return Dictionary(draw, draw, low, np.zeros(d, np.float32), mean.astype(np.float32), k=4, about={"seed": 3})


def both_ways(d: int) -> Dictionary:
    """Channels and their negatives: reconstructs exactly."""
    ways = np.vstack([np.eye(d), -np.eye(d)]).astype(np.float32)
    zero = np.zeros(d, np.float32)
    return Dictionary(ways, ways, np.zeros(2 * d, np.float32), zero, zero, activation="relu", about={"seed": 1})


def test_the_line_of_a_perfect_and_of_a_silent_dictionary() -> None:
    x, _, _, block = world()
    acts = people(x, block)
    perfect = fidelity(acts, both_ways(D))
    line = perfect.table.iloc[0]
    assert line["fvu"] == 0 and line["dead"] <= 0.5 and line["l0"] == D and line["near_duplicates"] == D
    assert line["n"] == N and line["n_blocks"] == BLOCKS and line["layer"] == "" and line["seed"] == 1
    none = fidelity(acts, silent(D, perfect.mean))
    line = none.table.iloc[0]
    assert line["fvu"] == pytest.approx(1, abs=1e-9) and line["l0"] == 0 and line["dead"] == 1 and line["k"] == 4
    dead = none.density[(none.density["lo"] == 0) & (none.density["hi"] == 0)]
    assert dead["n_features"].tolist() == [M] and none.density["n_features"].sum() == M


def test_only_the_split_counts() -> None:
    x, _, _, block = world()
    acts = people(x, block)
    acts.rows.items.loc[acts.rows.items["block"].isin(["2", "5"]), "split"] = "train"
    kept = x[~np.isin(block, [2, 5])]
    line = fidelity(acts, silent(D, np.zeros(D))).table.iloc[0]
    wanted = np.square(kept.astype(float)).sum() / np.square(kept - kept.mean(0, dtype=float)).sum()
    assert line["n"] == len(kept) and line["fvu"] == pytest.approx(wanted, rel=1e-9) and line["n_blocks"] == BLOCKS - 2
    assert fidelity(acts, silent(D, np.zeros(D)), split=None).table["n"].iloc[0] == N
    with pytest.raises(InputError, match="no row is in the split 'valid'"):
        fidelity(acts, silent(D, np.zeros(D)), split="valid")
    with pytest.raises(AlignmentError, match="writes 5 channels"):
        fidelity(acts, silent(5, np.zeros(5)))


def test_whole_items_are_drawn_and_blocks_stay_whole() -> None:
    items = pd.DataFrame({"item": [f"i{i}" for i in range(90)], "sample": "s", "split": ["train", "test", "test"] * 30})
    rows = Rows.free(items.assign(block=[f"b{i // 4}" for i in range(90)]))
    drawn = sampling.some_items(rows, "test", 17)
    assert len(drawn) == 17 and (np.diff(drawn) > 0).all() and set(items["split"].iloc[drawn]) == {"test"}
    assert len(sampling.some_items(rows, "test", 17, least=23)) == 23
    assert len(sampling.some_items(rows, "test", 999)) == 60
    group, groups = sampling.groups_of(rows, drawn)
    of = pd.DataFrame({"block": rows.items["block"].iloc[drawn].to_numpy(), "group": group})
    assert groups == of["block"].nunique() and (of.groupby("block")["group"].nunique() == 1).all()


def test_stability_of_seeds_that_share_half_their_directions() -> None:
    rng = np.random.default_rng(9)
    shared, d = rng.standard_normal((20, 64)), 64
    coders = []
    for seed in (0, 3, 8):
        own = np.vstack([shared, rng.standard_normal((20, d))])[rng.permutation(40)].astype(np.float32)
        zero = np.zeros(d, np.float32)
        about = {"seed": seed, "dictionary": "x", "layer": 2}
        coders.append(Dictionary(own, own, np.zeros(40, np.float32), zero, zero, k=2, about=about))
    table = stability(coders)
    assert list(zip(table["seed"], table["other_seed"], strict=True)) == [(0, 3), (0, 8), (3, 8)]
    assert (table["found_again"] == 0.5).all() and table["layer"].eq("2").all()
    # Half are found exactly; the others are 20 random directions matched with 20 others.
    np.testing.assert_allclose(table["assigned"], 0.5 + directions.expected_assigned(20, 20, 64) / 2, atol=0.02)
    assert (table["greedy"] >= table["assigned"] - 1e-6).all()
    assert len(stability(coders[:1])) == 0 and tables.conform("stability", stability(coders[:1])) is not None


def test_wide_dictionaries_are_not_matched_one_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioterp.analyses.stability.ASSIGNED", 28)
    line = stability([silent(D, np.zeros(D)), silent(D, np.ones(D))]).iloc[0]
    assert np.isnan(line["assigned"]) and line["greedy"] == pytest.approx(1) and "28 features" in line["note"]
    other = stability([silent(D, np.zeros(D)), silent(5, np.ones(5))]).iloc[0]
    assert np.isnan(other["greedy"]) and "13 and 5 channels" in other["note"]
