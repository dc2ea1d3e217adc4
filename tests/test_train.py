"""Training: gradients against autograd, a planted dictionary recovered, the deployed L0, determinism."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioterp.errors import InputError
from bioterp.train import Trainer, batches, fit
from tests.test_dictionary import people

D, M, K = 32, 40, 4


def planted(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Activations made of 3 of 40 known directions, about a large mean, with a little noise."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((M, D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((n, M))
    for row in codes:
        row[rng.choice(M, 3, replace=False)] = rng.uniform(1, 3, 3)
    mean = rng.standard_normal(D) * 5
    return (codes @ directions + mean + 0.02 * rng.standard_normal((n, D))).astype(np.float32), directions


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_sparse_gradients_equal_autograd(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(23, D)
    with torch.no_grad():
        trainer = Trainer(D, M, K, kind, 10, 1e-3, seed=1)
        for p in (trainer.b_enc, trainer.b_dec):
            p.add_(torch.randn_like(p) * 0.1)
        row, index, value = trainer._pairs(x)
        error = trainer._decode(value, index, len(x), row) + trainer.b_dec - x
        trainer._gradients(x, error * (2 / x.square().sum()), row, index, value, fresh=True)
    ours = [p.grad.clone() for p in trainer.parameters]
    encoder, decoder, b_enc, b_dec = (p.detach().clone().requires_grad_() for p in trainer.parameters)
    pre = (x - b_dec) @ encoder.T + b_enc
    if kind == "topk":
        limit = pre.topk(K, dim=1).values[:, -1:]
    else:
        limit = pre.flatten().topk(K * len(x)).values[-1]
    codes = torch.where((pre >= limit) & (pre > 0), pre, torch.zeros(()))
    loss = (codes @ decoder + b_dec - x).square().sum() / x.square().sum()
    loss.backward()
    for mine, theirs in zip(ours, (encoder, decoder, b_enc, b_dec), strict=True):
        torch.testing.assert_close(mine, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_recovers_a_planted_dictionary(kind: str) -> None:
    x, directions = planted(7_733)
    x, held = x[:6_000], x[6_000:]
    d = fit(people(x), width=64, k=3, kind=kind, tokens=400_000, batch=256, seed=2)
    cosine = (directions @ d.decoder.T).max(1)
    assert np.median(cosine) > 0.97 and (cosine > 0.9).mean() > 0.85
    quality = d.quality(people(held))
    assert quality["fvu"] < 0.1
    assert quality["l0"] == pytest.approx(3, rel=0.05)


def test_same_seed_same_weights_and_torch_state_kept() -> None:
    x, _ = planted(900)
    state = torch.get_rng_state()
    a, b, c = (fit(people(x), width=M, k=K, tokens=9_000, batch=100, seed=s) for s in (1, 1, 2))
    assert a.id == b.id and a.id != c.id
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_allclose(np.linalg.norm(a.decoder, axis=1), 1, rtol=1e-5)


def test_batches_give_every_row_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioterp.train.CHUNK", 10)
    monkeypatch.setattr("bioterp.train.BUFFER", 40)
    values = np.arange(96, dtype=np.float32)[:, None]
    stream = batches(people(values), 12, seed=3)
    first = np.concatenate([next(stream) for _ in range(8)]).ravel()
    assert sorted(first) == list(range(96)) and not np.array_equal(first, np.sort(first))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"k": 0}, "k must lie"), ({"k": 40}, "k must lie"), ({"kind": "jump"}, "kind is one of")],
)
def test_bad_options(options: dict, expected: str) -> None:
    x, _ = planted(50)
    with pytest.raises(InputError, match=expected):
        fit(people(x), **{"width": M, "k": K, "tokens": 100, **options})


def test_useless_activations_are_refused() -> None:
    with pytest.raises(InputError, match="do not vary"):
        fit(people(np.ones((60, D), np.float32)), width=M, k=K, tokens=100)
    x, _ = planted(50)
    x[7, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit(people(x), width=M, k=K, tokens=100)
