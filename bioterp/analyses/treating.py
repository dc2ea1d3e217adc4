"""What is done to people's rows before a probe sees them, fitted on train people only (kernel; sees arrays only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.stats

from bioterp.analyses.combat import combat
from bioterp.analyses.leace import erase
from bioterp.arrays import Array

LEVEL = 0.05
NAMES = ("none", "leace", "ablated", "combat")
Treatment = Callable[[Array], Array]


@dataclass(frozen=True)
class Around:
    """What treatments may know of people: z (n, k) coded confounders, covariates (n, c), batch (n,) names or None."""

    z: Array
    covariates: Array
    batch: Array | None


def treat(name: str, x: Array, train: Array, around: Around, fixed: Array | None = None) -> tuple[Array, str]:
    """Rows x (n, m) of everyone after a treatment fitted on the train positions, and what is to be said of it.

    none; leace: linear erasure of the confounders; ablated: without the features that follow a confounder (fixed (f,)
    columns, or those flagged on train at BH 5 %); combat: location and scale of the batch taken out.
    """
    if name == "leace":
        fitted = erase(x[train], around.z[train])
        return fitted(x), f"{fitted.rank} directions erased"
    if name == "ablated":
        gone = flagged(x[train], around.z[train], around.covariates[train]) if fixed is None else fixed
        kept = np.setdiff1d(np.arange(x.shape[1]), gone)
        # Without any feature left a probe has nothing: a constant stands for it.
        return (x[:, kept] if len(kept) else np.zeros((len(x), 1))), f"{len(gone)} of {x.shape[1]} features ablated"
    if name == "combat":
        assert around.batch is not None
        made = combat(x[train], around.batch[train], around.covariates[train])
        return made(x, around.batch, around.covariates), f"{len(made.batches)} batches"
    return x, ""


def flagged(x: Array, z: Array, covariates: Array) -> Array:
    """Features (columns of x) that follow the confounders given the covariates: F test, BH 5 %."""
    n = len(x)
    base = np.concatenate([np.ones((n, 1)), covariates], 1)
    q0 = scipy.linalg.orth(base)
    q1 = scipy.linalg.orth(np.concatenate([base, z], 1))
    free, more = n - q1.shape[1], q1.shape[1] - q0.shape[1]
    if free <= 0 or more <= 0:
        return np.zeros(0, np.int64)
    centred = x - x.mean(0)
    every = (centred**2).sum(0)
    of_base, of_all = ((q0.T @ centred) ** 2).sum(0), ((q1.T @ centred) ** 2).sum(0)
    left = np.maximum(every - of_all, 1e-12 * np.maximum(every, 1e-300))
    p = scipy.stats.f.sf(np.maximum(of_all - of_base, 0) / more / (left / free), more, free)
    live = every > 1e-12 * np.maximum((x**2).sum(0), 1e-300)
    if not live.any():
        return np.zeros(0, np.int64)
    q = np.ones(x.shape[1])
    q[live] = scipy.stats.false_discovery_control(p[live], method="bh")
    return np.flatnonzero(q <= LEVEL)
