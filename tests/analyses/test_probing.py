"""Probes: against scikit-learn and scipy, planted directions, labels of no use, and what cannot be fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.sparse
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from worlds import genome

from bioterp.analyses import drawing, logistic, pursuit
from bioterp.analyses.probe_comparison import probe_comparison
from bioterp.analyses.probing import probing
from bioterp.analyses.standardising import Standard
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import Intervals

ROWS = genome({"c1": 3900})
SPLIT = np.repeat(ROWS.items["split"].to_numpy(), np.diff(ROWS.offsets))
BLOCK = np.repeat(ROWS.items["block"].to_numpy(), np.diff(ROWS.offsets))
N = len(ROWS)


def field(values, representation="dictionary"):
    about = {"dictionary": "toy", "seed": 3, "layer": "2", "representation": representation}
    return Field(ROWS, values, kind="code" if representation == "dictionary" else "activation", about=about)


def labels(*masks, unknown=()):
    """Each positive row an instance of its own, so that none crosses a block."""
    runs = [(t, i + 1, r, r + 1) for t, mask in enumerate(masks) for i, r in enumerate(np.flatnonzero(mask))]
    runs += [(t, -1, lo, hi) for t, lo, hi in unknown]
    columns = zip(*runs, strict=True) if runs else ([], [], [], [])
    return Field(ROWS, Intervals.of(*columns, N, len(masks)), [f"t{i}" for i in range(len(masks))], kind="label")


def line(table, term, k):
    return table[(table["term"] == term) & (table["k"] == k)].iloc[0]


@pytest.mark.parametrize("sparse", [False, True])
def test_fits_are_those_of_scipy(sparse):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(431, 7)) @ rng.normal(size=(7, 7)) + 3
    x[:, 4] = 2.5  # constant
    x = scipy.sparse.csr_matrix(np.where(rng.random(x.shape) < 0.3, np.abs(x), 0)) if sparse else x
    y = rng.random((431, 3)) < [0.5, 0.2, 0.07]
    weight = rng.integers(0, 4, (431, 3)).astype(float)
    standard = Standard.of(x, np.ones(431))
    z, of, rho = standard.forward(x), np.repeat([0, 1, 2], 2), np.tile([1e-3, 0.3], 3)
    found = logistic.fit(z, standard.curvature, y, weight, of, rho, tolerance=1e-9)
    assert found.converged.all()
    coef, intercept = standard.back(found.coef, found.intercept, sparse)
    plain = x.toarray() if sparse else x
    sd = plain.std(0)
    live = sd > 1e-9
    for q, t in enumerate(of):
        w = weight[:, t] / weight[:, t].sum()
        v = (w * y[:, t]).sum() * (1 - (w * y[:, t]).sum())

        def loss(u, w=w, t=t, penalty=rho[q] * v):
            s = (plain[:, live] / sd[live]) @ u[:-1] + u[-1]
            return (w * (np.logaddexp(0, s) - y[:, t] * s)).sum() + penalty / 2 * (u[:-1] ** 2).sum()

        best = scipy.optimize.minimize(loss, np.zeros(live.sum() + 1), method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(coef[live, q] * sd[live], best.x[:-1], atol=2e-5)
        assert intercept[q] == pytest.approx(best.x[-1], abs=1e-4) and np.all(coef[~live, q] == 0)


def test_a_probe_without_penalty_does_not_mind_the_basis():
    rng = np.random.default_rng(2)
    x, turn = rng.normal(size=(600, 5)), rng.normal(size=(5, 5))
    y = rng.random((600, 1)) < 1 / (1 + np.exp(-x[:, :1] + 0.7 * x[:, 1:2]))
    scores = []
    for values in (x, x @ turn + rng.normal(size=5)):
        standard = Standard.of(values, np.ones(600))
        z = standard.forward(values)
        found = logistic.fit(z, standard.curvature, y, np.ones((600, 1)), np.array([0]), np.array([0.0]), 1e-10)
        scores.append(z @ found.coef + found.intercept)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    known = LogisticRegression(C=1e9, tol=1e-10, max_iter=500).fit(x, y[:, 0])
    np.testing.assert_allclose(scores[0][:, 0], known.decision_function(x), atol=1e-4)


def test_the_sample_stands_for_all_rows():
    rng = np.random.default_rng(3)
    common, rare = rng.random(N) < 0.3, rng.random(N) < 0.01
    truth = labels(common, rare).data.read(0, N)
    group = ROWS.items["split"].map({"train": 0, "valid": 1, "test": -1}).to_numpy()
    block = np.arange(len(ROWS.items))
    sums = []
    for seed in range(200):
        drawn = drawing.draw(truth, ROWS.offsets, group, block, np.array([911, 307]), seed)
        assert not (SPLIT[drawn.row] == "test").any()
        own = drawn.group == 0
        assert drawn.positive[own, 1].sum() == (rare & (SPLIT == "train")).sum(), "every rare positive is drawn"
        sums.append((own.sum(), drawn.weight[own].sum(), drawn.weight[own & drawn.positive[:, 0]].sum()))
    mean, error = np.mean(sums, 0), np.std(sums, 0) / np.sqrt(200)
    train = SPLIT == "train"
    wanted = np.array([911, train.sum(), (train & common).sum()])
    assert (np.abs(mean - wanted) < 4 * error + [3, 0, 0]).all()


def test_forward_selection_is_the_plain_one():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 9)) @ rng.normal(size=(9, 9))
    x[:, 6] = x[:, 2]
    y = x @ rng.normal(size=9) + rng.normal(size=300)
    x, y = x - x.mean(0), y - y.mean()
    taken: list[int] = []
    for _ in range(5):
        left = [j for j in range(9) if j not in taken and not (j == 6 and 2 in taken)]
        errors = [np.linalg.lstsq(x[:, [*taken, j]], y, rcond=None)[1][0] for j in left]
        taken.append(left[int(np.argmin(errors))])
    assert pursuit.forward(x.T @ x / 300, x.T @ y / 300, 5) == taken
    assert len(pursuit.forward(x.T @ x / 300, x.T @ y / 300, 9)) == 8, "a copy adds nothing"


@pytest.fixture(scope="module")
def planted():
    """t0: a direction of raw space that no channel and no feature is. t1: feature 4. t2: the sum of 1 and 6."""
    rng = np.random.default_rng(5)
    raw = rng.normal(size=(N, 6)).astype(np.float32)
    codes = np.where(rng.random((N, 11)) < 0.2, rng.gamma(2, 1, (N, 11)), 0).astype(np.float32)
    raw[:, 5] += 0.4 * (codes[:, 4] > 0)
    direction = raw @ [1, -1, 1, 1, -1, 0] / np.sqrt(5)
    masks = direction > 1, codes[:, 4] > 0, codes[:, 1] + codes[:, 6] > 3
    truth = labels(*masks, unknown=[(0, 37, 90)])
    ks = (1, 2, 5, 0)
    made = [probing(field(raw, "neurons"), truth, ks=ks), probing(field(scipy.sparse.csr_matrix(codes)), truth, ks=ks)]
    return raw, codes, masks, made


def test_planted_directions_are_found_where_they_are(planted):
    _, _, _, (raw, codes) = planted
    assert line(raw.table, "t0", 0)["ap"] > 0.98 > 0.6 > line(raw.table, "t0", 1)["ap"]
    assert line(codes.table, "t0", 0)["auroc"] < 0.65
    assert line(codes.table, "t1", 1)["ap"] == pytest.approx(1) and line(codes.table, "t1", 1)["features"] == "4"
    assert set(line(codes.table, "t2", 2)["features"].split(",")) == {"1", "6"}
    assert line(codes.table, "t2", 2)["ap"] > 0.95 > 0.8 > line(codes.table, "t2", 1)["ap"]
    assert "separated completely" in line(codes.table, "t1", 0)["note"] or line(codes.table, "t1", 0)["ap"] > 0.999


def test_areas_and_intervals_are_those_of_sklearn_on_the_same_feature(planted):
    _, codes, masks, (_, made) = planted
    row = line(made.table, "t2", 1)
    values, test = codes[:, int(row["features"])], SPLIT == "test"
    assert row["ap"] == pytest.approx(average_precision_score(masks[2][test], values[test]), abs=1e-12)
    assert row["auroc"] == pytest.approx(roc_auc_score(masks[2][test], values[test]), abs=1e-12)
    names = np.unique(BLOCK[test])
    left = [average_precision_score(masks[2][test & (b != BLOCK)], values[test & (b != BLOCK)]) for b in names]
    own = made.blocks[(made.blocks["term"] == "t2") & (made.blocks["k"] == 1)].set_index("block").loc[names]
    np.testing.assert_allclose(own["ap_without"], left, atol=1e-12)
    reach = scipy.stats.t.ppf(0.975, len(names) - 1) * np.std(left) * np.sqrt(len(names) - 1)
    assert (row["ap_lo"], row["ap_hi"]) == pytest.approx((row["ap"] - reach, min(row["ap"] + reach, 1)), abs=1e-9)
    unknown = np.zeros(N, bool)
    unknown[37:90] = True
    assert line(made.table, "t0", 1)["n_cells"] == (masks[0] & test).sum()
    assert line(made.table, "t0", 1)["prevalence"] == pytest.approx(masks[0][test & ~(unknown & ~masks[0])].mean())


def test_wins_and_losses_against_the_raw_probe(planted):
    *_, (raw, codes) = planted
    table = pd.concat([raw.table, codes.table], ignore_index=True)
    blocks = pd.concat([raw.blocks, codes.blocks], ignore_index=True)
    made = probe_comparison(table, blocks)
    result = made[made["baseline_k"] == 0].set_index(["term", "k"])["result"]
    assert set(result["t0"]) == {"loss"} and result["t1", 1] == "win" and result["t2", 0] == "win"
    row = made[(made["term"] == "t2") & (made["k"] == 2) & (made["baseline_k"] == 2)].iloc[0]
    sides = [one.blocks[(one.blocks["term"] == "t2") & (one.blocks["k"] == 2)]["ap_without"] for one in (codes, raw)]
    left = sides[0].to_numpy() - sides[1].to_numpy()
    se = np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())
    assert row["hi"] - row["difference"] == pytest.approx(scipy.stats.t.ppf(0.975, len(left) - 1) * se)
    other = blocks.assign(known=blocks["known"] + (blocks["representation"] == "neurons"))
    assert set(probe_comparison(table, other)["note"]) == {"the two were not scored on the same cells"}


@pytest.mark.parametrize("min_test", [1, 10**6])
def test_labels_of_no_use_have_an_auroc_of_a_half(min_test):
    """On test blocks, and cross-fitted: pooled as they are, scores of folds would lie below it."""
    found, covered = [], 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        raw = rng.normal(size=(N, 5)).astype(np.float32)
        base = rng.beta(1, 9, len(np.unique(BLOCK)))  # blocks differ in how many they hold
        mask = rng.random(N) < base[np.unique(BLOCK, return_inverse=True)[1]]
        row = line(probing(field(raw), labels(mask), ks=(0,), min_test=min_test, sample=900).table, "t0", 0)
        assert row["split"] == ("test" if min_test == 1 else "cross-fitted")
        found.append(row["auroc"])
        covered += row["auroc_lo"] <= 0.5 <= row["auroc_hi"]
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / 5
    assert covered >= 21


def test_what_cannot_be_fitted_says_why():
    rng = np.random.default_rng(8)
    values = rng.normal(size=(N, 3)).astype(np.float32)
    everywhere, nowhere, once = np.ones(N, bool), np.zeros(N, bool), np.zeros(N, bool)
    once[np.flatnonzero(SPLIT == "train")[5]] = True
    some, only_train = rng.random(N) < 0.1, (SPLIT == "train") & (rng.random(N) < 0.2)
    truth = labels(everywhere, nowhere, once, some, only_train)
    table = probing(field(values), truth, ks=(1, 0), folds=None).table
    said = table[table["k"] == 0].set_index("term")["note"]
    assert (
        said["t0"] == "not fitted: no negative cell in train" and said["t1"] == "not fitted: no positive cell in train"
    )
    assert "no known cell is positive" in said["t2"] and "penalty and cut-off not chosen" in said["t4"]
    assert table[table["ap"].isna()]["note"].ne("").all() and not said["t3"]
    crossed = probing(field(values), truth, ks=(1, 0)).table.set_index("term")["note"]
    assert set(crossed["t1"]) == {"not scored: 0 instances in all, at least 4 needed"}
    flat = probing(field(np.ones((N, 3), np.float32)), labels(some), ks=(1, 0), folds=None).table
    assert set(flat["note"]) == {"not fitted: no column varies on train"} and flat["ap"].isna().all()
    values[ROWS.offsets[4] + 2, 1] = np.nan
    with pytest.raises(InputError, match=r"column '1' holds nan at item .*, cell 2"):
        probing(field(values), labels(some), ks=(0,))


def test_more_blocks_help_where_there_is_more_to_learn():
    rng = np.random.default_rng(9)
    values = rng.normal(size=(N, 31)).astype(np.float32)
    mask = values @ np.full(31, 0.5) + rng.normal(size=N) > 2
    made = probing(field(values), labels(mask), ks=(1,), curve=(0,)).curves
    assert made["n_train_blocks"].tolist() == [1, 2, 4, 8, 16, len(np.unique(BLOCK[SPLIT == "train"]))]
    assert made["ap"].iloc[0] < made["ap"].iloc[-1] - 0.02 and made["n_rows"].is_monotonic_increasing
