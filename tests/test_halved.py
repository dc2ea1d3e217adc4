"""The top-k of a product in bfloat16 against products in float64, and the bound it rests on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from bioterp.dictionary import Dictionary
from bioterp.halved import Halves
from bioterp.topk import top_k
from bioterp.train import fit
from bioterp.train.crew import Crew
from bioterp.train.engine import Engine
from bioterp.train.moments import moments
from bioterp.train.recipe import Recipe, Sizes
from tests.test_dictionary import people
from tests.test_train import planted

N, D, M, K = 157, 96, 710, 13


def data(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, an encoder and its bias."""
    rng = np.random.default_rng(seed)
    x, w, b = rng.standard_normal((N, D)), rng.standard_normal((M, D)) / np.sqrt(D), 0.2 * rng.standard_normal(M)
    if kind == "heavy":  # one channel rules the length of every row
        x[:, 5] *= 100
    elif kind == "norms":  # encoder rows, and cells, of very different length
        w *= 10 ** rng.uniform(-1, 1, (M, 1))
        x *= 10 ** rng.uniform(-3, 3, (N, 1))
    elif kind == "negative":  # hardly anything is active
        b -= 3
    elif kind == "aligned":  # cells are sums of features with much else in common
        x = rng.gamma(1, 1, (N, M)) * (rng.random((N, M)) < 0.02) @ w * 3
        b -= 1
    elif kind == "tiny":
        x, w, b = x * 1e-30, w * 1e-6, b * 1e-36
    elif kind == "short":  # columns without a group of 64 to fill
        w, b = w[:50], b[:50]
    return x.astype(np.float32), w.astype(np.float32), b.astype(np.float32)


def dense(parts: tuple, m: int) -> np.ndarray:
    value, column, indptr = parts
    out = np.zeros((len(indptr) - 1, m), np.float32)
    for r in range(len(out)):
        own = column[indptr[r] : indptr[r + 1]]
        assert (np.diff(own) > 0).all()
        out[r, own] = value[indptr[r] : indptr[r + 1]]
    return out


def exact(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pre-activations in float64, and how much of each float32 sums may lose."""
    return x.astype(float) @ w.T.astype(float) + b, 1e-6 * (np.abs(x).astype(float) @ np.abs(w.T) + np.abs(b))


KINDS = ["gaussian", "heavy", "norms", "negative", "aligned", "tiny", "short"]


@pytest.mark.parametrize("kind", KINDS)
def test_top_is_that_of_float64(kind: str) -> None:
    x, w, b = data(kind)
    pre, error = exact(x, w, b)
    found = dense(Halves(w, b).near(x).top(K), len(w))
    decided = 0
    for row, own, loses in zip(pre, found, error, strict=True):
        order = np.argsort(-row)
        kth, after = max(row[order[K - 1]], 0.0), max(row[order[K]], 0.0)
        if kth - after > 2 * loses.max() or after == 0:
            decided += 1
            assert np.array_equal(np.flatnonzero(own), np.sort(order[:K][row[order[:K]] > 0]))
        active = own > 0
        assert (np.abs(own - row)[active] <= np.maximum(1e-5 * row, loses)[active]).all()
    assert decided > 0.9 * N


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", [False, True])
def test_above_is_that_of_float64(kind: str, each: bool) -> None:
    x, w, b = data(kind)
    pre, error = exact(x, w, b)
    bar = float(np.float32(np.quantile(pre, 0.97)))
    bars = np.float32(bar) * np.random.default_rng(4).uniform(0.5, 1.5, len(w)).astype(np.float32) if each else bar
    found = dense(Halves(w, b).near(x).above(bars), len(w)) != 0
    sure = np.abs(pre - bars) > error
    assert sure.mean() > 0.99 and np.array_equal(found[sure], (pre > bars)[sure])


@pytest.mark.parametrize("kind", ["gaussian", "heavy", "norms", "midpoints", "tiny"])
def test_the_bound_holds(kind: str) -> None:
    """Also where every value lies half way between two bfloat16, the way that errors add up."""
    x, w, b = data("gaussian" if kind == "midpoints" else kind)
    if kind == "midpoints":
        x, w = (np.float32(1 + 2.0**-8) * np.ones_like(a) for a in (x, w))
        x[::3] *= np.float32(1 + 2.0**-7)
    halves = Halves(w, np.zeros_like(b))
    near = halves.near(x)
    approx = torch.from_numpy(near.bits.copy()).view(torch.bfloat16).double().numpy()
    pre, _ = exact(x, w, np.zeros_like(b))
    reach = np.outer(near.own, halves.length).astype(float) + np.outer(near.far, halves.left) + D * 2.0**-124
    assert (np.abs(pre - approx) <= reach + 0.003908 * np.abs(approx)).all()
    if kind == "midpoints":  # and it is not idle: more than half of it is used
        assert (np.abs(pre - approx) / (reach + 0.003908 * np.abs(approx))).max() > 0.5


def test_few_more_than_k_are_multiplied_again() -> None:
    x, w, b = data("gaussian")
    _, indptr = Halves(w, b).near(x).likely(K)
    assert np.diff(indptr).min() >= K and np.diff(indptr).mean() < 2 * K


def test_of_equals_the_lower_columns_stay() -> None:
    """Encoder rows that come five times, among them the k-th: as `top_k` of one and the same product."""
    x, w, b = data("gaussian")
    w, b = np.repeat(w[:90], 5, axis=0), np.repeat(b[:90], 5)
    value, column, indptr = Halves(w, b).near(x).top(K)
    for r in range(N):
        own = slice(indptr[r], indptr[r + 1])
        copies = column[own] // 5
        for one in np.unique(copies):  # of its five columns the first few
            assert np.array_equal(column[own][copies == one], 5 * one + np.arange((copies == one).sum()))
            assert len(set(value[own][copies == one])) == 1
        assert (np.unique(copies, return_counts=True)[1] < 5).sum() <= 1
    same = np.ones((3, D), np.float32)
    assert Halves(np.ones((70, D), np.float32), np.zeros(70)).near(same).top(4)[1].tolist() == [0, 1, 2, 3] * 3


def test_a_code_does_not_depend_on_the_other_rows() -> None:
    x, w, b = data("gaussian")
    halves = Halves(w, b)
    together = dense(halves.near(x).top(K), M)
    for rows in (slice(0, 1), slice(40, 57), slice(100, 157)):
        assert np.array_equal(dense(halves.near(x[rows]).top(K), M), together[rows])


def test_useless_rows_and_columns_are_as_in_float32() -> None:
    x, w, b = data("gaussian")
    x[3], x[7, 4], x[11], x[13], x[17] = 0, np.nan, 3e38, x[13] * 1e6, x[17] * 1e-42
    b[:] = np.abs(b) * np.where(np.arange(M) % 2, 1, -1)
    b[5], w[9] = -np.inf, 0
    parts = dense(Halves(w, b).near(x).top(K), M)
    made = torch.mm(torch.from_numpy(x), torch.from_numpy(w).T).numpy()
    for row in (3, 7, 13, 17):
        wanted = dense(top_k(made[row : row + 1], b, K, 1.0), M)[0]
        assert np.array_equal(parts[row] > 0, wanted > 0)
        np.testing.assert_allclose(parts[row], wanted, rtol=2e-5)
    assert (parts[11] > 0).sum() == K and not parts[7].any() and not parts[:, 5].any()
    w[20, 3] = np.nan
    assert not dense(Halves(w, b).near(x[:9]).top(K), M)[:, 20].any()
    nothing = Halves(w[:64], b[:64]).near(x[:0]).top(K)
    assert len(nothing[0]) == 0 and nothing[2].tolist() == [0]


def test_k_may_be_all_columns_and_columns_may_be_chosen() -> None:
    x, w, b = data("gaussian")
    pre, _ = exact(x, w, b)
    near = Halves(w, b).near(x)
    assert np.array_equal(dense(near.top(M), M) > 0, pre > 0)
    columns = np.flatnonzero(np.arange(M) % 7 == 2)
    own = dense(near.among(columns).top(5), len(columns)) > 0
    wanted = np.sort(np.argsort(-pre[:, columns], 1)[:, :5], 1)
    assert np.array_equal(own.nonzero()[1].reshape(N, 5), wanted)


# ---------------------------------------------------------------------- what is built on it


def engine(kind: str, selection: str, crew: Crew, x: np.ndarray) -> Engine:
    how = Recipe(batch=len(x), steps=50, lr=2e-3, patience=300, even=0.0, selection=selection)
    return Engine(Sizes(D, D, 190, 7, kind), how, 3, moments(x), crew)


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka"])
def test_steps_of_training_are_those_of_float32(kind: str) -> None:
    """Twelve steps, some of them with dead features: the same weights, so the same features were active."""
    rng = np.random.default_rng(6)
    rows = [rng.standard_normal((130, D)).astype(np.float32) * rng.gamma(1, 1, (130, 1)).astype(np.float32)]
    rows += [rng.standard_normal((130, D)).astype(np.float32) for _ in range(11)]
    with Crew(1) as crew:
        both = [engine(kind, selection, crew, rows[0]) for selection in ("float32", "bfloat16")]
        for one in both:
            one.start(rows[0])
            one.b_enc[::9] = -3  # they fire never or hardly
            one.silent[::9] = 1_000
            for x in rows:
                one.step(x)
            assert (one.silent > 1_000).any()
        assert np.array_equal(both[0].silent, both[1].silent)
        for name in ("encoder", "decoder", "b_enc", "b_out"):
            np.testing.assert_allclose(getattr(both[0], name), getattr(both[1], name), atol=1e-5)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_a_fit_recovers_a_planted_dictionary(kind: str) -> None:
    x, directions = planted(7_733)
    x, held = x[:6_000], x[6_000:]
    d = fit(people(x), width=64, k=3, kind=kind, tokens=400_000, batch=256, seed=2, selection="bfloat16")
    cosine = (directions @ d.decoder.T).max(1)
    assert np.median(cosine) > 0.97 and (cosine > 0.9).mean() > 0.8
    assert d.quality(people(held))["fvu"] < 0.1


@pytest.mark.parametrize("activation", ["topk", "threshold", "thresholds", "relu"])
def test_codes_are_those_of_float32(activation: str) -> None:
    """About a mean far larger than what varies, as activations have it."""
    x, w, b = data("gaussian")
    x += 300 * np.random.default_rng(1).standard_normal(D).astype(np.float32)
    limit = np.linspace(1, 4, M) if activation == "thresholds" else 2.5
    d = Dictionary(w, w, b, b[:D], x.mean(0), 1.7, activation.rstrip("s"), K, limit)
    if activation == "topk":
        d = dataclasses.replace(d, threshold=None)
    one, other = (d.encode_array(x, selection=s) for s in ("float32", "bfloat16"))
    dense_one, dense_other = (np.asarray(c if activation == "relu" else c.toarray()) for c in (one, other))
    differ = (dense_one > 0) != (dense_other > 0)
    assert differ.sum() <= 1e-3 * (dense_one > 0).sum()  # float32 leaves the last digits of so large a sum open
    np.testing.assert_allclose(dense_one[~differ], dense_other[~differ], atol=2e-3 if activation != "relu" else 0)
    if activation != "relu":
        field = d.encode(people(x), selection="bfloat16")
        assert np.array_equal(np.asarray(field.read(5, 20).todense()), dense_other[5:20])
