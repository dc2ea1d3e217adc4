"""Harmonisation against planted batches, and against the posterior it claims to be at."""

from __future__ import annotations

import numpy as np
import pytest

from bioterp.analyses.combat import combat
from bioterp.errors import InputError

SITES = np.array(["a", "b", "c"])


def _world(n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x with age kept in it, a shift and a scale per site, and the sites; age is confounded with site."""
    draw = np.random.default_rng(seed)
    site = draw.integers(0, 3, n)
    age = draw.normal(size=n) + site
    clean = np.outer(age, draw.normal(size=m)) + draw.normal(size=(n, m)) + 3
    shift, scale = draw.normal(0, 2, (3, m)), draw.uniform(0.5, 2, (3, m))
    noise = clean - clean.mean(0)
    return noise * scale[site] + shift[site] + 3, SITES[site], age[:, None]


def test_planted_sites_go_and_age_stays() -> None:
    draw = np.random.default_rng(3)
    site = draw.integers(0, 3, 901)
    age = draw.normal(size=901) + site
    effect = draw.normal(size=31)
    shift, scale = draw.normal(0, 2, (3, 31)), draw.uniform(0.5, 2, (3, 31))
    x = np.outer(age, effect) + draw.normal(size=(901, 31)) * scale[site] + shift[site]
    made = combat(x, SITES[site], age[:, None])(x, SITES[site], age[:, None])
    left = made - np.outer(age, effect)
    means = np.stack([left[site == s].mean(0) for s in range(3)])
    sds = np.stack([left[site == s].std(0) for s in range(3)])
    assert np.abs(means - means.mean(0)).max() < 0.35 < np.abs(shift - shift.mean(0)).max()
    assert (sds.max(0) / sds.min(0)).max() < 1.25 < (scale.max(0) / scale.min(0)).max()
    slope = np.stack([np.polyfit(age[site == s], made[site == s], 1)[0] for s in range(3)]).mean(0)
    np.testing.assert_allclose(slope, effect, atol=0.2)


def test_shift_and_scale_are_where_the_posterior_is_highest() -> None:
    """Of one batch: the conditional posterior modes of Johnson et al., found by a general optimiser."""
    import scipy.optimize

    from bioterp.analyses.combat import _shrunk

    draw = np.random.default_rng(1)
    z = draw.normal(size=(23, 13)) * draw.uniform(0.6, 1.5, 13) + draw.normal(size=13)
    g, d = _shrunk(z)
    mean, var = z.mean(0), z.var(0, ddof=1)
    middle, width = mean.mean(), mean.var(ddof=1)
    m, s2 = var.mean(), var.var(ddof=1)
    a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    for j in (0, 5, 12):

        def shift(value: float, j: int = j) -> float:
            return float(((z[:, j] - value) ** 2).sum() / (2 * d[j]) + (value - middle) ** 2 / (2 * width))

        assert scipy.optimize.minimize_scalar(shift).x == pytest.approx(g[j], abs=1e-4)
        # E[σ²] of an inverse gamma with these parameters, from its density by quadrature.
        shape, rate = a + len(z) / 2, b + 0.5 * ((z[:, j] - g[j]) ** 2).sum()
        assert scipy.stats.invgamma(shape, scale=rate).mean() == pytest.approx(d[j], rel=1e-4)


def test_train_rows_alone_decide() -> None:
    x, site, age = _world(307, 11)
    fitted = combat(x[:200], site[:200], age[:200])
    whole, alone = fitted(x, site, age), fitted(x[200:], site[200:], age[200:])
    np.testing.assert_array_equal(whole[200:], alone)


def test_an_unseen_site_is_told_from_its_own_rows() -> None:
    x, site, age = _world(605, 17, 2)
    seen = site != "c"
    fitted = combat(x[seen], site[seen], age[seen])
    before = np.abs(x[~seen].mean(0) - x[seen].mean(0)) / x[seen].std(0)
    made = fitted(x, site, age)
    resid = made - age @ fitted.slope
    after = np.abs(resid[~seen].mean(0) - resid[seen].mean(0)) / x[seen].std(0)
    assert np.median(after) < 0.15 < np.median(before)
    few = fitted(x[~seen][:3], site[~seen][:3], age[~seen][:3])
    np.testing.assert_allclose(few, x[~seen][:3])  # three rows tell no scale: left as they came


def test_constant_features_and_bad_input() -> None:
    x, site, _ = _world(101, 7)
    x[:, 2] = 4.0
    made = combat(x, site)(x, site)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made[:, 2], 4.0)
    with pytest.raises(InputError, match="two batches"):
        combat(x, np.full(101, "a"))
    x[5, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        combat(x, site)
