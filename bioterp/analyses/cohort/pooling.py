"""Effects of groups put together: fixed and random effects, heterogeneity (kernel; sees arrays only).

DerSimonian & Laird 1986; Cochran 1954.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats

from bioterp.arrays import Array


@dataclass(frozen=True)
class Pooled:
    """All (m,). groups: how many had an effect; q, p: Cochran's Q and its p, NaN for fewer than two groups."""

    groups: Array
    fixed: Array
    se_fixed: Array
    random: Array
    se_random: Array
    tau2: Array
    q: Array
    p: Array


def pool(beta: Array, se: Array) -> Pooled:
    """beta, se (groups, m); NaN where a group cannot tell. No group at all gives NaN."""
    known = np.isfinite(beta) & np.isfinite(se) & (se > 0)
    weight = np.where(known, 1 / np.where(known, se, 1) ** 2, 0.0)
    effect = np.where(known, beta, 0.0)
    groups, total = known.sum(0), weight.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        fixed = np.where(groups > 0, (weight * effect).sum(0) / total, np.nan)
        q = np.where(groups > 1, (weight * (effect - fixed) ** 2).sum(0), np.nan)
        scale = total - (weight**2).sum(0) / total
        tau2 = np.where(groups > 1, np.maximum(q - (groups - 1), 0) / scale, 0.0)
        wide = np.where(known, 1 / (1 / np.where(known, weight, 1) + tau2), 0.0)
        random = np.where(groups > 0, (wide * effect).sum(0) / wide.sum(0), np.nan)
        errors = [np.where(groups > 0, 1 / np.sqrt(w), np.nan) for w in (total, wide.sum(0))]
        p = np.where(groups > 1, scipy.stats.chi2.sf(q, np.maximum(groups - 1, 1)), np.nan)
    return Pooled(groups, fixed, errors[0], random, errors[1], np.where(groups > 1, tau2, np.nan), q, p)
