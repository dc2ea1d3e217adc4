"""Logistic regression with Firth's penalty: finite where outcomes are separated (kernel; sees arrays only).

Firth 1993 adds half the log determinant of the information to the likelihood, which takes away the first-order bias
and keeps estimates finite under perfect separation (Heinze & Schemper 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array

STEPS, CLOSE, REACH = 100, 1e-8, 5.0


@dataclass(frozen=True)
class Fitted:
    """coefficients (k,), their covariance (k, k), and whether Newton's steps came to rest."""

    coefficients: Array
    covariance: Array
    converged: bool


def firth(x: Array, y: Array, weight: float = 0.5) -> Fitted:
    """Fit y (n,) of 0 and 1 on design x (n, k), which holds its own intercept; weight 0 is plain likelihood.

    Directions that x does not span get coefficient 0 (a pseudo-inverse is taken).
    """
    beta = np.zeros(x.shape[1])
    converged = False
    for _ in range(STEPS):
        mean, root = _mean(x, beta)
        inverse = np.linalg.pinv(root.T @ root, hermitian=True)
        leverage = np.einsum("ij,jk,ik->i", root, inverse, root)
        step = inverse @ (x.T @ (y - mean + leverage * weight * (1 - 2 * mean)))
        longest = np.abs(x @ step).max() if len(x) else 0.0
        step *= min(1.0, REACH / longest) if longest > 0 else 1.0
        beta = beta + step
        if np.abs(step).max() < CLOSE:
            converged = True
            break
    root = _mean(x, beta)[1]
    return Fitted(beta, np.linalg.pinv(root.T @ root, hermitian=True), converged)


def _mean(x: Array, beta: Array) -> tuple[Array, Array]:
    mean = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
    return mean, x * np.sqrt(mean * (1 - mean))[:, None]
