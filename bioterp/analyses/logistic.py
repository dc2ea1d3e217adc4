"""Penalised logistic regression for many terms and penalties at once (kernel; sees arrays only).

Each column q minimises, over its coefficients u and a free intercept b,

    Σ w (log(1 + e^s) − y s) / Σ w  +  ½ ρ v ‖u‖²        s = x · u + b,  v = ȳ (1 − ȳ)

so that ρ counts in units of the curvature a standardised column has: ρ = 1 halves what is known least. All columns
share the rows x, and one product serves them all. L-BFGS (Liu & Nocedal 1989) begins with v (curvature + ρ) for a
Hessian, which is nearly right when x lies along its principal axes; each column has a step length of its own, found on
its line without another product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp.arrays import Array

MEMORY = 8
STEPS = 100
TOLERANCE = 1e-3  # of the gradient at the start, in the metric of the first Hessian
HALVINGS = 12
ENOUGH = 1e-4  # of the slope's promise that a step must keep (Armijo)
TILE = 2_048


@dataclass(frozen=True)
class Fits:
    """coef (d, Q), intercept (Q,), converged (Q,) bool, and how many steps were taken in all."""

    coef: Array
    intercept: Array
    converged: Array
    steps: int


def fit(
    x: Any,
    curvature: Array,
    y: Array,
    weight: Array,
    of: Array,
    rho: Array,
    tolerance: float = TOLERANCE,
    steps: int = STEPS,
) -> Fits:
    """x (n, d) dense or CSR; curvature (d,) about the variance of each column of x; y and weight (n, T), 0 = left out.

    of (Q,) the term of each column, rho (Q,) its penalty. Every term needs both classes among its rows. Where the
    classes can be separated and ρ = 0 there is no minimum: such columns do not converge.
    """
    dtype = x.dtype
    share = weight.sum(0, dtype=np.float64)
    rate = (weight * y).sum(0, dtype=np.float64) / share
    w = (weight / share).astype(dtype)
    v = (rate * (1 - rate))[of]
    first = np.empty((x.shape[1] + 1, len(of)))
    first[:-1] = v * (np.asarray(curvature, np.float64)[:, None] + rho)
    first[-1] = v
    penalty = np.append(np.ones(x.shape[1]), 0)[:, None] * (rho * v)
    found = np.zeros_like(first)
    found[-1] = np.log(rate / (1 - rate))[of]
    problem = _Problem(x, y.astype(dtype), w, of, first, penalty, found)
    return problem.solve(tolerance, steps)


class _Problem:
    """The columns still at work, and what L-BFGS remembers of them.

    Rows go by in tiles that stay in the cache; bend (n, Q) is w p (1 − p) at the point that was last looked at.
    """

    def __init__(self, x: Any, y: Array, w: Array, of: Array, first: Array, penalty: Array, found: Array):
        tiles = [slice(at, min(at + TILE, len(y))) for at in range(0, len(y), TILE)]
        self.tiles = [(tile, x[tile]) for tile in tiles]
        self.dtype, self.y, self.w = x.dtype, y, w
        self.of, self.first, self.penalty, self.found = of, first, penalty, found
        self.live, self.u = np.arange(len(of)), found.copy()
        self.bend = np.empty((len(y), len(of)), self.dtype)
        self.noise = 100 * float(np.finfo(self.dtype).eps)  # of a loss: a sum of many rows
        self.history: list[tuple[Array, Array, Array]] = []

    def solve(self, tolerance: float, steps: int) -> Fits:
        converged = np.zeros(len(self.live), bool)
        s = self._forward(self.u)[0]
        loss, gradient = self._look(s, self.u)
        least = tolerance * np.sqrt(_dot(gradient, gradient / self.first))
        taken = 0
        for taken in range(1, steps + 1):  # noqa: B007
            way = -self._precondition(gradient)
            slope = _dot(gradient, way)
            along, curve = self._forward(way, bent=True)
            curve += (self.penalty * way * way).sum(0)
            length = np.where(curve > 0, -slope / np.maximum(curve, 1e-300), 1.0)
            before, moved = gradient, np.ones(len(loss), bool)
            new, gradient = self._look(s + along * length.astype(s.dtype), self.u + way * length)
            far = new > loss + ENOUGH * length * slope + self.noise * np.abs(loss)
            if far.any():
                length[far], moved[far] = self._shorter(np.flatnonzero(far), s, along, way, loss, slope, length)
                new, gradient = self._look(s + along * length.astype(s.dtype), self.u + way * length)
            step, loss = way * length, new
            self.u += step
            s += along * length.astype(s.dtype)
            self._remember(step, gradient - before)
            size = np.sqrt(_dot(gradient, gradient / self.first))
            done = (size <= least) | ~moved
            self.found[:, self.live] = self.u
            # A column that can go no further has met the end of its precision: near the minimum it is done.
            converged[self.live[done]] = (moved | (size <= 100 * least))[done]
            if done.all():
                break
            if done.mean() > 0.2:
                s, loss, gradient, least = self._keep(~done, s, loss, gradient, least)
        return Fits(self.found[:-1], self.found[-1], converged, taken)

    def _keep(self, keep: Array, s: Array, *parts: Array) -> tuple[Array, ...]:
        for name in ("u", "first", "penalty", "bend"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, keep]))
        self.live, self.of = self.live[keep], self.of[keep]
        self.history = [(a[:, keep], b[:, keep], r[keep]) for a, b, r in self.history]
        return np.ascontiguousarray(s[:, keep]), *(part[..., keep] for part in parts)

    def _forward(self, u: Array, bent: bool = False) -> tuple[Array, Array]:
        """(n, Q) scores of coefficients, and the sum of their squares times bend."""
        own, offset = u[:-1].astype(self.dtype), u[-1].astype(self.dtype)
        found, curve = np.empty((len(self.y), u.shape[1]), self.dtype), np.zeros(u.shape[1])
        for tile, x in self.tiles:
            part = x @ own
            part += offset
            found[tile] = part
            if bent:
                curve += np.einsum("nq,nq,nq->q", part, part, self.bend[tile])
        return found, curve

    def _look(self, s: Array, u: Array) -> tuple[Array, Array]:
        """The penalised mean loss of each column and its gradient (d+1, Q), both float64; sets bend."""
        loss, gradient = 0.5 * (self.penalty * u * u).sum(0), self.penalty * u
        for tile, x in self.tiles:
            own, weight, y = s[tile], self.w[tile].take(self.of, 1), self.y[tile].take(self.of, 1)
            e = np.exp(-np.abs(own))
            each = np.log1p(e) if s.dtype == np.float64 else np.log(1 + e)
            each += np.maximum(own, 0) - y * own
            loss += np.einsum("nq,nq->q", each, weight)
            p = np.where(own >= 0, 1, e) / (1 + e)
            self.bend[tile] = p * (1 - p) * weight
            p -= y
            p *= weight
            gradient[:-1] += x.T @ p
            gradient[-1] += p.sum(0)
        return loss, gradient

    def _shorter(
        self, at: Array, s: Array, along: Array, way: Array, loss: Array, slope: Array, length: Array
    ) -> tuple[Array, Array]:
        """Lengths of the columns `at` that went too far, halved until they do not, and whether they got anywhere."""
        found, moved = length[at] / 2, np.zeros(len(at), bool)
        weight, y = self.w.take(self.of[at], 1), self.y.take(self.of[at], 1)
        s, along, penalty = s[:, at], along[:, at], self.penalty[:, at]
        for _ in range(HALVINGS):
            there, u = s + along * found.astype(s.dtype), self.u[:, at] + way[:, at] * found
            each = np.logaddexp(0, there) - y * there
            new = np.einsum("nq,nq->q", each, weight) + 0.5 * (penalty * u * u).sum(0)
            moved = new <= loss[at] + ENOUGH * found * slope[at] + self.noise * np.abs(loss[at])
            if moved.all():
                break
            found[~moved] /= 2
        found[~moved] = 0
        return found, moved

    def _precondition(self, gradient: Array) -> Array:
        """The two loops of L-BFGS, column by column."""
        q, taken = gradient.copy(), []
        for step, change, r in reversed(self.history):
            a = r * _dot(step, q)
            q -= a * change
            taken.append(a)
        q /= self.first
        if self.history:
            _, change, r = self.history[-1]
            size = r * _dot(change, change / self.first)
            q /= np.where(size > 0, size, 1.0)
        for (step, change, r), a in zip(self.history, reversed(taken), strict=True):
            q += step * (a - r * _dot(change, q))
        return q

    def _remember(self, step: Array, change: Array) -> None:
        product = _dot(step, change)
        fine = product > 1e-12 * np.sqrt(_dot(step, step) * _dot(change, change))
        r = np.where(fine, 1 / np.where(fine, product, 1.0), 0.0)
        self.history = [*self.history[-(MEMORY - 1) :], (step, change, r)]


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("dq,dq->q", a, b))
