"""Ridge probes against scikit-learn at the same penalty, and what the kernel sees that a line cannot."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.linear_model

from bioterp.analyses import ridge
from bioterp.analyses.concordance import auroc


@pytest.mark.parametrize(("n", "d"), [(97, 23), (41, 133)])
def test_chosen_penalty_minimises_gcv_and_the_fit_is_ridge(n: int, d: int) -> None:
    draw = np.random.default_rng(n)
    x = draw.normal(size=(n, d)) * draw.uniform(0.1, 9, d) + 3
    y = np.stack([x[:, 0] + draw.normal(size=n), draw.normal(size=n)], 1)
    basis = ridge.Basis.of(x)
    middle, weights = ridge.fit(basis, y)
    z = (x - x.mean(0)) / x.std(0)
    level = (basis.s**2).mean()
    for t in range(2):
        best = (np.inf, np.zeros(n))
        for penalty in ridge.PENALTIES * level:
            hat = z @ np.linalg.solve(z.T @ z + penalty * np.eye(d), z.T)
            free = n - 1 - 1.4 * np.trace(hat)
            if free <= 0:
                continue
            left = (np.eye(n) - hat) @ (y[:, t] - y[:, t].mean())
            made = sklearn.linear_model.Ridge(alpha=penalty).fit(z, y[:, t]).predict(z)
            best = min(best, ((left @ left) / free**2, made), key=lambda one: one[0])
        np.testing.assert_allclose(middle[t] + basis.coordinates(x) @ weights[:, t], best[1], atol=1e-6)


def test_a_penalty_for_nearly_as_many_channels_as_rows_serves_other_rows() -> None:
    """Kinds of people who come several times, channels that fall off: the score of the fit rows favours going through
    all of them. What is left unexplained of others is near what the best penalty, chosen on them, leaves (1.2 times
    in the mean; 1.9 with degrees of freedom counted once)."""
    n, d, kinds = 211, 199, 170
    left, least = [], []
    for seed in range(8):
        draw = np.random.default_rng(seed)
        label = draw.integers(2, size=kinds).astype(float)
        made = draw.normal(size=(kinds, d))
        made[:, :5] += 1.2 * label[:, None]
        made = made @ (draw.normal(size=(d, d)) * np.exp(-np.arange(d) / 20)[:, None])
        who, others = draw.integers(kinds, size=n), draw.integers(kinds, size=400)
        x, y = made[who] + 0.02 * draw.normal(size=(n, d)), label[who]
        new, truth = made[others] + 0.02 * draw.normal(size=(400, d)), label[others]
        basis = ridge.Basis.of(x)
        middle, weights = ridge.fit(basis, y[:, None])
        left.append(((middle + basis.coordinates(new) @ weights)[:, 0] - truth).var())
        mean, sd = x.mean(0), x.std(0)
        least.append(
            min(
                (sklearn.linear_model.Ridge(alpha=a).fit((x - mean) / sd, y).predict((new - mean) / sd) - truth).var()
                for a in np.logspace(-3, 4, 15)
            )
        )
    assert np.mean(left) < 1.5 * np.mean(least)


def test_rows_that_are_not_known_have_no_say() -> None:
    draw = np.random.default_rng(5)
    x, y = draw.normal(size=(71, 13)), draw.normal(size=(71, 1))
    known = draw.random(71) < 0.7
    basis = ridge.Basis.of(x)
    first = ridge.fit(basis, y, known)
    y[~known] = 1e6
    second = ridge.fit(basis, y, known)
    np.testing.assert_array_equal(first[1], second[1])


def test_constant_channels_do_nothing() -> None:
    x = np.random.default_rng(6).normal(size=(37, 5))
    x[:, 3] = 1e9
    basis = ridge.Basis.of(x)
    assert basis.axes.shape[1] == 4 and np.isfinite(basis.coordinates(x)).all()


def test_the_kernel_sees_what_a_line_cannot() -> None:
    """A class that differs in spread only."""
    draw = np.random.default_rng(7)
    case = draw.random(900) < 0.5
    x = draw.normal(size=(900, 7)) * np.where(case, 2.0, 1.0)[:, None]
    train = np.arange(900) < 600
    basis = ridge.Basis.of(x[train])
    kernel = ridge.Kernel.of(basis.coordinates(x[train]))
    inner = ridge.Basis.of(kernel(basis.coordinates(x[train])))
    middle, weights = ridge.fit(inner, case[train, None].astype(float))
    score = middle + inner.coordinates(kernel(basis.coordinates(x[~train]))) @ weights
    linear = ridge.fit(basis, case[train, None].astype(float))
    line = linear[0] + basis.coordinates(x[~train]) @ linear[1]
    strata = np.zeros(300, int)
    assert auroc(score[:, 0], case[~train], strata) > 0.85
    assert abs(auroc(line[:, 0], case[~train], strata) - 0.5) < 0.1
