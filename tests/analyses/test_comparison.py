"""The dictionary against its baselines: the paired interval, checked the slow way and by repeated worlds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from bioterp import tables
from bioterp.analyses.comparison import comparison
from bioterp.errors import InputError
from tests.analyses.test_layers import frame, row


def counts(line, tp, fp, positives, known):
    """The rows of table 'blocks' for one line of detection."""
    n = len(tp)
    held = {name: [line[name]] * n for name in ("dictionary", "seed", "representation", "layer", "feature", "term")}
    held |= {"block": [f"b{k}" for k in range(n)], "split": [line["split"]] * n}
    return pd.DataFrame({**held, "tp": tp, "fp": fp, "positives": positives, "known": known})


def blocks(*parts):
    return tables.conform("blocks", pd.concat(parts, ignore_index=True))


def slow_above(tp, fp, positives, known):
    """F1 above chance by precision and recall, and chance by a feature that fires at random as often."""
    if tp + fp == 0:
        return 0.0

    def f1(true, active):
        precision, recall = true / active, true / positives
        return 0.0 if true == 0 else 2 / (1 / precision + 1 / recall)

    return f1(tp, tp + fp) - f1((tp + fp) * positives / known, tp + fp)


def slow_interval(a, b, positives, known):
    """Each block left out in a loop; a, b: (tp, fp) lists."""
    keep = [k for k in range(len(known)) if known[k] > 0]

    def at(left):
        use = [k for k in keep if k != left]
        both = [slow_above(*[sum(int(one[k]) for k in use) for one in (*side, positives, known)]) for side in (a, b)]
        return both[0] - both[1]

    value, leaves, g = at(None), [at(k) for k in keep], len(keep)
    mean = math.fsum(leaves) / g
    se = math.sqrt((g - 1) / g * math.fsum((leaf - mean) ** 2 for leaf in leaves))
    reach = student.ppf(0.975, g - 1) * se
    return value, value - reach, value + reach


def world(rng, n=20, pa=0.7, pb=0.5, fa=0.02, fb=0.02):
    """Blocks whose difficulty both features feel: (tp, fp) of a and b, positives, known."""
    known = rng.integers(500, 1500, n)
    positives = rng.binomial(known, rng.uniform(0.02, 0.1, n))
    ease = rng.uniform(0.6, 1.2, n)
    a, b = (
        (rng.binomial(positives, np.clip(p * ease, 0, 1)), rng.binomial(known - positives, f * ease))
        for p, f in ((pa, fa), (pb, fb))
    )
    return a, b, positives, known


def planted(a, b, positives, known, **more):
    mine, theirs = row("dictionary", 0, "4", 6, "gene", 0.5, 0.5), row("neurons", 0, "2", 31, "gene", 0.4, 0.4)
    table = blocks(counts(mine, *a, positives, known), counts(theirs, *b, positives, known))
    found = comparison(frame(mine | more, theirs | more), table)
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("seed", range(5))
def test_against_a_loop_over_blocks(seed):
    rng = np.random.default_rng(seed)
    a, b, positives, known = world(rng, n=4 + 5 * seed)
    if seed == 3:  # a block that holds nothing is no block
        for one in (*a, *b, positives, known):
            one[2] = 0
    found = planted(a, b, positives, known)
    want = slow_interval(a, b, positives, known)
    np.testing.assert_allclose(found[["difference", "lo", "hi"]].astype(float), want, rtol=0, atol=1e-12)
    assert found["n_blocks"] == len(known) - (seed == 3)
    totals = [int(one.sum()) for one in (*a, positives, known)]
    assert found["above"] == pytest.approx(slow_above(*totals), abs=1e-12)
    assert found["above"] - found["baseline_above"] == pytest.approx(found["difference"], abs=1e-12)
    assert (found["layer"], found["feature"], found["baseline_layer"], found["baseline_feature"]) == ("4", 6, "2", 31)


def test_equal_predictions_differ_by_nothing():
    a, _, positives, known = world(np.random.default_rng(1))
    found = planted(a, a, positives, known)
    assert found[["difference", "lo", "hi"]].tolist() == [0, 0, 0] and found["result"] == "open"


def test_a_constant_shift_is_certain():
    eight = np.ones(8, int)
    a, b, positives, known = (6 * eight, 2 * eight), (3 * eight, 2 * eight), 10 * eight, 400 * eight
    found = planted(a, b, positives, known)
    # 12/18 − 3.2/144 … by hand: F1 = 2·6/(8+10), chance = 2·(8·10/400)/(8+10); likewise for b with 5 active.
    assert found["difference"] == pytest.approx((12 - 0.4) / 18 - (6 - 0.25) / 15, abs=1e-12)
    assert found["hi"] - found["lo"] < 1e-9 and found["result"] == "win"
    assert planted(b, a, positives, known)["result"] == "loss"


def test_silence_is_chance():
    a, _, positives, known = world(np.random.default_rng(2))
    found = planted(a, (0 * positives, 0 * positives), positives, known)
    assert found["baseline_above"] == 0 and found["difference"] == found["above"] and found["result"] == "win"


def test_coverage_over_worlds():
    """The interval holds the difference of infinitely many blocks in about 95 of 100 worlds."""
    rng = np.random.default_rng(7)
    wide = [world(rng, n=20_000) for _ in range(5)]
    totals = [np.sum([np.sum(w[i], axis=-1) for w in wide], axis=0) for i in range(4)]
    truth = slow_above(*totals[0], totals[2], totals[3]) - slow_above(*totals[1], totals[2], totals[3])
    worlds, lines, parts = [world(rng) for _ in range(300)], [], []
    for k, (a, b, positives, known) in enumerate(worlds):  # each world is a term
        for kind, side in (("dictionary", a), ("neurons", b)):
            lines.append(row(kind, 0, "4", 6, f"t{k}", 0.5, 0.5))
            parts.append(counts(lines[-1], *side, positives, known))
    found = comparison(frame(*lines), blocks(*parts)).set_index("term")
    inside = ((found["lo"] <= truth) & (truth <= found["hi"])).mean()
    assert len(found) == 300 and 0.90 <= inside <= 0.99, inside
    narrower = []
    for k, (a, b, positives, known) in enumerate(worlds[:40]):
        zero = (0 * positives, 0 * positives)
        alone = [slow_interval(side, zero, positives, known) for side in (a, b)]
        apart = math.hypot(*[hi - lo for _, lo, hi in alone])
        narrower.append(found.loc[f"t{k}", "hi"] - found.loc[f"t{k}", "lo"] < apart)
    assert np.mean(narrower) > 0.9, "pairing must pay where blocks are hard for both"


def test_best_of_all_layers_and_the_seed_of_the_same_number():
    rng = np.random.default_rng(3)
    lines, parts = [], []
    for line in (
        row("dictionary", 0, "2", 3, "gene", 0.9, 0.4), row("dictionary", 0, "10", 5, "gene", 0.1, 0.6),
        row("dictionary", 1, "2", 8, "gene", 0.5, 0.6), row("dictionary", 2, "2", 9, "gene", 0.5, 0.6),
        row("random-weights", 0, "2", 1, "gene", 0.1, 0.3), row("random-weights", 0, "4", 2, "gene", 0.1, 0.35),
        row("random-weights", 2, "4", 6, "gene", 0.1, 0.35), row("neurons", 0, "4", 7, "gene", 0.1, 0.2),
        row("model", -1, "output", 0, "gene", 0.9, 0.9),
    ):  # fmt: skip
        a, _, _, _ = world(rng, n=6)
        lines.append(line)
        parts.append(counts(line, *a, np.full(6, 200), np.full(6, 3000)))
    table = comparison(frame(*lines), blocks(*parts)).set_index(["seed", "baseline"])
    assert table["layer"].tolist() == ["10", "10", "2", "2", "2", "2"]
    assert table["feature"].loc[[0, 1, 2], "neurons"].tolist() == [5, 8, 9]
    met = table.xs("random-weights", level="baseline")
    assert met["baseline_feature"].tolist() == [2, 2, 6]
    assert met["note"].fillna("").tolist() == ["", "baseline of seed 0", ""]
    assert table.xs("neurons", level="baseline")["note"].fillna("").eq("").all()


def test_what_cannot_be_compared_says_why():
    a, b, positives, known = world(np.random.default_rng(4))
    mine, theirs = row("dictionary", 0, "4", 6, "gene", 0.5, 0.5), row("neurons", 0, "2", 31, "gene", 0.4, 0.4)
    crossed = theirs | {"split": "cross-fitted"}
    own = counts(mine, *a, positives, known)

    def only(lines, *parts):
        found = comparison(frame(*lines), blocks(*parts))
        assert found["result"].tolist() == ["none"] and found["difference"].isna().all() and found["lo"].isna().all()
        return found["note"].iloc[0]

    assert "different parts: test and cross-fitted" in only([mine, crossed], own, counts(crossed, *b, positives, known))
    unscored = theirs | {"f1": np.nan, "note": "not scored"}
    assert "baseline was not scored" in only([mine, unscored], own)
    assert "no counts by block" in only([mine, theirs], own)
    assert "same cells" in only([mine, theirs], own, counts(theirs, *b, positives, known + 1))
    few = planted(*[[one[:3] for one in side] for side in (a, b)], positives[:3], known[:3])
    assert few["result"] == "none" and "at least 4" in few["note"] and not math.isnan(few["difference"])
    empty = comparison(frame(theirs), blocks(own))
    assert empty.empty and empty.attrs["table"] == "comparison"
    with pytest.raises(InputError, match="known"):
        comparison(frame(mine, theirs), own.drop(columns="known"))


def test_cross_fitted_pairs_are_found_whatever_feature_the_counts_name():
    a, b, positives, known = world(np.random.default_rng(5))
    lines = [row("dictionary", 0, "4", 6, "rRNA", 0.5, 0.5, split="cross-fitted"),
             row("neurons", 0, "2", 31, "rRNA", 0.4, 0.4, split="cross-fitted")]  # fmt: skip
    parts = [counts(lines[0] | {"feature": -1}, *a, positives, known), counts(lines[1], *b, positives, known)]
    found = comparison(frame(*lines), blocks(*parts)).iloc[0]
    want = slow_interval(a, b, positives, known)
    np.testing.assert_allclose(found[["difference", "lo", "hi"]].astype(float), want, rtol=0, atol=1e-12)
    assert found["split"] == "cross-fitted"
