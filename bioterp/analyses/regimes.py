"""Groups of scans by the size of their numbers, found without being told (kernel; sees arrays only).

Images of one cohort may come as bytes, as raw scanner units or rescaled: their brightest voxels then differ by factors,
and a model that is shown them may tell the groups apart whatever is in the picture.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bioterp.arrays import Array

FACTOR = 2.0  # neighbours that differ by more are of two groups
LEAST = 5  # scans of a group that is told apart by a mixture
ENOUGH = 20  # scans that a mixture is fitted to
APART = 3.0  # Ashman's D of neighbouring components; two normal curves show two peaks from 2 on
VALLEY = 0.25  # of the lower peak: how many values there may be between two, for mixtures also cut plateaus up
MOST = 5


def regimes(values: Array) -> Array:
    """(n,) the group of each value, 0 the lowest; −1 for what is not finite.

    Values are cut where neighbours differ by more than a FACTOR; what is left together is split once more where a
    mixture of normal curves on the log scale says so by BIC, and its components hardly overlap.
    """
    scale = np.log1p(np.abs(np.asarray(values, np.float64)))
    found = np.full(len(scale), -1, np.int64)
    known = np.flatnonzero(np.isfinite(scale))
    order = known[np.argsort(scale[known], kind="stable")]
    if not len(order):
        return found
    cuts = np.flatnonzero(np.diff(scale[order]) > np.log(FACTOR)) + 1
    number = 0
    for part in np.split(order, cuts):
        inner = _mixture(scale[part])
        found[part] = number + inner
        number += int(inner.max()) + 1
    return found


def _mixture(scale: Array) -> Array:
    """(n,) group of each of these increasing values, 0 throughout where one curve will do."""
    one = np.zeros(len(scale), np.int64)
    if len(scale) < ENOUGH or len(np.unique(scale)) < ENOUGH // 2:
        return one
    from sklearn.mixture import GaussianMixture

    column, best, least = scale[:, None], one, np.inf
    for k in range(1, min(MOST, len(scale) // LEAST) + 1):
        fitted = GaussianMixture(k, n_init=3, random_state=0).fit(column)
        bic = float(fitted.bic(column)) + (10 if k > 1 else 0)  # very strong evidence (Kass & Raftery 1995)
        middle, spread = fitted.means_[:, 0], np.sqrt(fitted.covariances_[:, 0, 0])
        order = np.argsort(middle)
        group = np.argsort(order)[fitted.predict(column)]
        middle, spread = middle[order], spread[order]
        far = np.diff(middle) / np.sqrt((spread[1:] ** 2 + spread[:-1] ** 2) / 2)
        whole = (np.diff(group) >= 0).all() and (np.bincount(group, minlength=k) >= LEAST).all()
        if bic < least and (far > APART).all() and whole and all(_valley(scale, *two) for two in pairwise(middle)):
            best, least = group, bic
    return np.asarray(best, np.int64)


def _valley(scale: Array, low: float, high: float) -> bool:
    """Whether few values lie half way between two middles."""
    reach = (high - low) / 8
    near = [int((np.abs(scale - at) <= reach).sum()) for at in (low, (low + high) / 2, high)]
    return near[1] <= VALLEY * min(near[0], near[2])
