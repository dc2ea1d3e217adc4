"""A step of every kind against a dense one by autograd, and what a step must not depend on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import threadpoolctl
import torch

from bioterp.train import products
from bioterp.train.crew import Crew
from bioterp.train.engine import Engine
from bioterp.train.moments import Moments
from bioterp.train.recipe import Recipe, Sizes

B, D, OUT, M, K = 203, 19, 13, 97, 5
HOW = Recipe(batch=B, steps=40, lr=1e-3, patience=3 * B, aux=0.25, even=0.0, cap=np.inf)
KINDS = [("topk", False, False), ("batchtopk", False, False), ("matryoshka", False, False)]
KINDS += [("topk", True, False), ("batchtopk", True, True), ("matryoshka", True, True)]


@pytest.fixture()
def crew() -> Iterator[Crew]:
    with Crew(1) as one:
        yield one


def rows(seed: int, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((B, d), np.float32)


def engine(crew: Crew, kind: str, transcoder: bool = False, skip: bool = False, how: Recipe = HOW) -> Engine:
    sizes = Sizes(D, OUT if transcoder else D, M, K, kind, transcoder, skip)
    into, out = Moments(rows(1)[0], 1.7, 0.0), Moments(rows(2, OUT)[0], 0.6, 0.0)
    made = Engine(sizes, how, 3, into, crew, out=out if transcoder else None)
    rng = np.random.default_rng(4)
    for bias in (made.b_enc, made.b_out):
        bias += 0.1 * rng.standard_normal(len(bias), np.float32)
    made.encoder += 0.1 * rng.standard_normal(made.encoder.shape, np.float32)
    made.skip += 0.1 * rng.standard_normal(made.skip.shape, np.float32)
    return made


def dense(
    made: Engine, x: np.ndarray, y: np.ndarray | None, helped: list[int] | None = None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The loss as the papers write it, and the parameters that it can be differentiated by."""
    sizes, how = made.sizes, made.recipe
    params = [torch.tensor(a, requires_grad=True) for a in (made.encoder, made.decoder, made.b_enc, made.b_out)]
    skip = torch.tensor(made.skip, requires_grad=True)
    encoder, decoder, b_enc, b_out = params
    x = (torch.tensor(x) - torch.tensor(made.into.mean)) / made.into.scale
    target = x if y is None else (torch.tensor(y) - torch.tensor(made.out.mean)) / made.out.scale
    pre = (x if sizes.transcoder else x - b_out) @ encoder.T + b_enc
    if sizes.kind == "topk":
        limit = pre.topk(sizes.k, dim=1).values[:, -1:]
    else:
        limit = pre.flatten().topk(sizes.k * len(x)).values[-1]
    codes = torch.where((pre >= limit) & (pre > 0), pre, torch.zeros(()))
    straight = x @ skip.T if sizes.skip else 0
    total = target.square().sum()
    errors = [codes[:, :cut] @ decoder[:cut] + b_out + straight - target for cut in sizes.cuts]
    loss = sum(error.square().sum() / total for error in errors) / len(errors)
    dead = torch.tensor(made.silent > how.patience)
    if helped is not None:
        dead = torch.isin(torch.arange(sizes.width), torch.tensor(helped))
    if dead.any():
        few = min(2 * sizes.k, int(dead.sum()))
        own = torch.where(dead, pre if sizes.transcoder else (x - b_out.detach()) @ encoder.T + b_enc, -torch.inf)
        best = own.topk(few, dim=1)
        spare = torch.zeros_like(pre).scatter(1, best.indices, best.values.clamp_min(0))
        left = -errors[-1].detach()
        loss = loss + how.aux * (spare @ decoder - left).square().sum() / left.square().sum()
    return loss, [encoder, decoder, b_enc, b_out, skip]


@pytest.mark.parametrize("some_dead", [False, True])
@pytest.mark.parametrize(("kind", "transcoder", "skip"), KINDS)
def test_gradients_are_those_of_autograd(kind: str, transcoder: bool, skip: bool, some_dead: bool, crew: Crew) -> None:
    made = engine(crew, kind, transcoder, skip)
    if some_dead:
        made.silent[np.random.default_rng(6).choice(M, 31, replace=False)] = 10_000
    x, y = rows(7), rows(8, OUT) if transcoder else None
    loss, params = dense(made, x, y)
    loss.backward()
    wanted = [p.grad.numpy() if p.grad is not None else np.zeros(p.shape) for p in params]
    decoder = made.decoder.copy()
    fvu = made.step(x, y)
    if kind != "matryoshka" and not some_dead:
        assert fvu == pytest.approx(float(loss.detach()), rel=1e-4)
    wanted[1] = wanted[1] - (wanted[1] * decoder).sum(1, keepdims=True) * decoder  # rows keep their length
    for i, (want, name) in enumerate(zip(wanted, ("encoder", "decoder", "b_enc", "b_out", "skip"), strict=True)):
        got = made.moments[2 * i] / (1 - HOW.beta1)  # after the first step, Adam's first moment is the gradient
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-6, err_msg=name)


def test_only_the_longest_silent_are_helped(crew: Crew) -> None:
    """Of 61 dead features, all silent for different times, the gradients of the auxiliary loss reach nine of 97."""
    made = engine(crew, "topk")
    rng = np.random.default_rng(60)
    dead = rng.choice(M, 61, replace=False)
    made.silent[dead] = HOW.patience + 1 + rng.permutation(61)
    longest = sorted(dead.tolist(), key=lambda j: made.silent[j])[-9:]  # a tenth, rounded down
    loss, params = dense(made, rows(61), None, longest)
    loss.backward()
    made.step(rows(61))
    for i, one in enumerate(params[:3:2]):  # encoder and its bias
        got = made.moments[4 * i] / (1 - HOW.beta1)
        np.testing.assert_allclose(got, one.grad.numpy(), rtol=2e-3, atol=2e-6)


def test_a_step_is_one_of_adam(crew: Crew) -> None:
    """Two steps against torch's own optimiser, where no row length is held: the encoder."""
    made = engine(crew, "topk")
    start = torch.tensor(made.encoder.copy(), requires_grad=True)
    theirs = torch.optim.Adam([start], lr=1.0, betas=(HOW.beta1, HOW.beta2), eps=1e-8)
    for step in range(2):
        before = made.moments[0].copy()
        made.step(rows(20 + step))
        gradient = (made.moments[0] - HOW.beta1 * before) / (1 - HOW.beta1)
        start.grad = torch.tensor(gradient)
        theirs.param_groups[0]["lr"] = HOW.rate(step)
        theirs.step()
    np.testing.assert_allclose(made.encoder, start.detach().numpy(), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(made.decoder, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka"])
def test_threads_change_nothing(kind: str) -> None:
    states = []
    for threads in (1, 3):
        with Crew(threads) as crew:
            made = engine(crew, kind)
            for step in range(7):  # features that have been silent for 3 batches come in from the fourth on
                made.step(rows(30 + step))
            states.append(made.state())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_restored_it_goes_on_to_the_same_bits(kind: str, crew: Crew) -> None:
    made, other = engine(crew, kind), engine(crew, kind)
    for step in range(5):
        made.step(rows(40 + step))
    other.restore({name: array.copy() for name, array in made.state().items()})
    assert other.done == 5
    for one in (made, other):
        one.step(rows(50))
    assert all(np.array_equal(a, other.state()[name]) for name, a in made.state().items())


def test_long_rows_do_not_rule_the_gradient(crew: Crew) -> None:
    """A row a thousand times as long as the others, capped, moves the weights no more than one four times as long."""
    how = Recipe(batch=B, steps=40, lr=1e-3, cap=4.0)
    moved = []
    for length in (4.0, 4_000.0):
        made = engine(crew, "topk", how=how)
        x = rows(60)
        x[17] = made.into.mean + x[17] / np.linalg.norm(x[17]) * length * made.into.scale * np.sqrt(D)
        made.step(x)
        moved.append(made.moments[0].copy())
    assert np.linalg.norm(moved[1]) < 1.5 * np.linalg.norm(moved[0])


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_either_library_makes_the_same_step(kind: str, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for numpy_does in (True, False):
        monkeypatch.setattr(products, "numpy_multiplies_faster", lambda told=numpy_does: told)
        made = engine(crew, kind)
        for step in range(5):
            made.step(rows(70 + step))
        states.append(made.state())
    for name in ("encoder", "decoder", "b_enc", "b_out"):
        np.testing.assert_allclose(states[0][name], states[1][name], atol=2e-6, err_msg=name)


def test_the_threads_of_torch_and_numpy_are_given_back() -> None:
    def counts() -> list[int]:
        return [torch.get_num_threads(), *(one["num_threads"] for one in threadpoolctl.threadpool_info())]

    before = counts()
    with Crew(2) as crew:
        crew.map(lambda piece: piece, range(4))
        blas = [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
        assert set(blas) == {1}
    assert counts() == before
