"""Probes of many terms, fitted on one sample of rows and settled on another (kernel; sees arrays only).

Of each term: a linear probe on all columns (k = ALL), and probes on the k columns that forward selection takes. The
penalty is the one of the grid with the largest AP on the second sample; the cut-off is where F1 is furthest above
chance there. Nothing else is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse

from bioterp.analyses import logistic, pursuit
from bioterp.analyses.comparison import above_chance
from bioterp.analyses.drawing import Drawn
from bioterp.analyses.ranking import precision_area
from bioterp.analyses.standardising import Standard
from bioterp.arrays import Array

ALL = 0  # the k of a probe on every column
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
FEW_GRID = (1e-4, 1e-2, 1.0)  # with at most 20 columns little is to be shrunk
SCREENED = 256


@dataclass(frozen=True)
class Probe:
    """One fitted probe, s = x[columns] · coef + intercept; coef is empty where nothing could be fitted.

    penalty: its ρ; ap_valid: weighted AP on the second sample; cutoff: active where s is greater; n_rows and
    n_positive: rows it was fitted on.
    """

    term: int
    k: int
    columns: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    coef: Array = field(default_factory=lambda: np.zeros(0))
    intercept: float = 0.0
    penalty: float = np.nan
    ap_valid: float = np.nan
    cutoff: float = np.nan
    n_rows: int = 0
    n_positive: int = 0
    notes: tuple[str, ...] = ()

    @property
    def fitted(self) -> bool:
        return len(self.coef) > 0


def fit_probes(x: Any, train: Drawn, x_valid: Any, valid: Drawn, terms: list[int], ks: tuple[int, ...]) -> list[Probe]:
    """A probe per term and k. x (n, d) and x_valid dense float or CSR: the values of the rows of train and valid."""
    standard = Standard.of(x, train.weight)
    made: list[Probe] = []
    ready = []
    for t in terms:
        why = _unfit(train, t) or ("" if (standard.sd > 0).any() else "no column varies on train")
        made += [_bare(train, t, k, f"not fitted: {why}") for k in ks] if why else []
        ready += [] if why else [t]
    if not ready:
        return made
    if ALL in ks:
        made += _whole(standard, x, train, x_valid, valid, ready)
    counts = sorted(k for k in ks if k != ALL)
    if counts:
        chooser = _Chooser(x, train, standard)
        for t in ready:
            made += _sparse(chooser, train, x_valid, valid, t, counts)
    return made


def _unfit(train: Drawn, t: int) -> str:
    known = train.known[:, t]
    positives = int(train.positive[known, t].sum())
    if not known.any():
        return "no cell of train is known"
    return "no positive cell in train" if not positives else "no negative cell in train" * int(positives == known.sum())


def _bare(train: Drawn, t: int, k: int, *notes: str) -> Probe:
    known = train.known[:, t]
    return Probe(t, k, n_rows=int(known.sum()), n_positive=int(train.positive[known, t].sum()), notes=notes)


def _whole(standard: Standard, x: Any, train: Drawn, x_valid: Any, valid: Drawn, terms: list[int]) -> list[Probe]:
    z, q = standard.forward(x), len(GRID)
    y, weight = train.positive[:, terms], train.weight[:, None] * train.known[:, terms]
    of, rho = np.repeat(np.arange(len(terms)), q), np.tile(GRID, len(terms))
    fits = logistic.fit(z, standard.curvature, y, weight, of, rho)
    coef, intercept = standard.back(fits.coef, fits.intercept, scipy.sparse.issparse(x))
    scores = _scores(x_valid, coef, intercept)
    own = _scores(z, fits.coef, fits.intercept)
    every, made = np.arange(x.shape[1]), []
    for i, t in enumerate(terms):
        at = slice(i * q, (i + 1) * q)
        best, ap, cutoff, said = _settle(scores[:, at], valid, t)
        j = i * q + best
        said += _noted(own[:, j], train, t, bool(fits.converged[j]))
        fitted = every, coef[:, j], float(intercept[j]), float(rho[j]), ap, cutoff
        made.append(Probe(t, ALL, *fitted, *_size(train, t), said))
    return made


class _Chooser:
    """Forward selection, term by term, from second moments of the sample (rows of unknown label among them)."""

    def __init__(self, x: Any, train: Drawn, standard: Standard):
        self.x = x.tocsc() if scipy.sparse.issparse(x) else x
        self.train, self.standard = train, standard
        self.share = train.weight / train.weight.sum()

    def order(self, t: int, count: int) -> Array:
        """The columns taken for a term, in order."""
        known, y = self.train.known[:, t], self.train.positive[:, t]
        share = self.train.weight * known
        share = share / share.sum()
        cross = np.asarray(self.x.T @ (share * (y - share @ y)).astype(self.x.dtype), np.float64)
        columns = pursuit.strongest(cross, self.standard.sd**2, SCREENED)
        taken = pursuit.forward(self._correlation(columns), cross[columns] / self.standard.sd[columns], count)
        return np.asarray(columns[taken], np.int64)

    def _correlation(self, columns: Array) -> Array:
        """(s, s) of some columns, float64."""
        axes, inverse = self.standard.axes, 1 / self.standard.sd[columns]
        if axes is not None:
            return np.asarray((axes[columns] * self.standard.curvature) @ axes[columns].T)
        part, mean = self.x[:, columns], self.standard.mean[columns]
        if scipy.sparse.issparse(part):
            both = np.asarray((part.T @ part.multiply(self.share[:, None]).tocsc()).toarray())
            return np.asarray((both - np.outer(mean, mean)) * inverse[:, None] * inverse)
        part = (part - mean) * (inverse * np.sqrt(self.share)[:, None])
        return np.asarray(part.T @ part)


def _sparse(chooser: _Chooser, train: Drawn, x_valid: Any, valid: Drawn, t: int, counts: list[int]) -> list[Probe]:
    order = chooser.order(t, counts[-1])
    made: list[Probe] = []
    if not len(order):
        return [_bare(train, t, k, "not fitted: no column goes with the term on train") for k in counts]
    x, x_valid = (_dense(one[:, order]) for one in (chooser.x, x_valid))
    y, weight = train.positive[:, [t]], (train.weight * train.known[:, t])[:, None]
    for k in counts:
        few: tuple[str, ...] = (f"only {len(order)} columns add anything",) if k > len(order) else ()
        if made and len(made[-1].columns) == min(k, len(order)):
            made.append(replace(made[-1], k=k, notes=(*(n for n in made[-1].notes if n not in few), *few)))
            continue
        own = x[:, :k]
        standard = Standard.of(own, weight[:, 0])
        z, rho = standard.forward(own), np.array(FEW_GRID if k > 1 else FEW_GRID[:1])
        fits = logistic.fit(z, standard.curvature, y, weight, np.zeros(len(rho), np.int64), rho)
        coef, intercept = standard.back(fits.coef, fits.intercept, False)
        scores = _scores(x_valid[:, :k], coef, intercept)
        best, ap, cutoff, said = _settle(scores, valid, t)
        said += _noted(_scores(z, fits.coef, fits.intercept)[:, best], train, t, bool(fits.converged[best]))
        fitted = order[:k], coef[:, best], float(intercept[best]), float(rho[best]), ap, cutoff
        made.append(Probe(t, k, *fitted, *_size(train, t), (*said, *few)))
    return made


def _dense(part: Any) -> Array:
    return np.ascontiguousarray(part.toarray() if scipy.sparse.issparse(part) else part)


def _scores(x: Any, coef: Array, intercept: Array) -> Array:
    return np.asarray(x @ coef.astype(x.dtype) + intercept.astype(x.dtype))


def _size(train: Drawn, t: int) -> tuple[int, int]:
    known = train.known[:, t]
    return int(known.sum()), int((train.positive[:, t] & known).sum())


def _settle(scores: Array, valid: Drawn, t: int) -> tuple[int, float, float, tuple[str, ...]]:
    """Of scores (n, q) on valid: the column with the largest AP (of equals the last, which is shrunk most), that AP,
    and the score above which F1 is furthest above chance; the middle one and NaN where valid holds one class."""
    known = valid.known[:, t]
    y, weight = valid.positive[known, t], valid.weight[known]
    if y.all() or not y.any():
        what = "no known cell" if not len(y) else "no positive cell" if not y.any() else "no negative cell"
        return scores.shape[1] // 2, np.nan, np.nan, (f"penalty and cut-off not chosen: {what} in valid",)
    found = [_curve(s, y, weight) for s in scores[known].T]
    ap = [precision_area(np.diff(tp, prepend=0), np.diff(fp, prepend=0)) for _, tp, fp in found]
    best = max(range(len(ap)), key=lambda j: (ap[j], j))
    level, tp, fp = found[best]
    gain = above_chance(tp, fp, np.full(len(tp), tp[-1]), np.full(len(tp), tp[-1] + fp[-1]))
    at = int(np.argmax(gain))
    # Halfway to the next level, so that the last bits of a score, which vary with batches, do not matter.
    cutoff = float(level[at] + level[at + 1]) / 2 if at + 1 < len(level) else -np.inf
    return best, ap[best], cutoff, ()


def _curve(s: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Distinct scores, highest first, and the weights of positive and negative rows at or above each."""
    order = np.argsort(-s, kind="stable")
    s, y, weight = s[order], y[order], weight[order]
    last = np.append(np.flatnonzero(s[1:] != s[:-1]), len(s) - 1)
    return s[last], np.cumsum(weight * y)[last], np.cumsum(weight * ~y)[last]


def _noted(s: Array, train: Drawn, t: int, converged: bool) -> tuple[str, ...]:
    known = train.known[:, t]
    y, s = train.positive[known, t], s[known]
    said: tuple[str, ...] = () if converged else (f"not converged in {logistic.STEPS} steps",)
    if s[y].min() > s[~y].max():
        said += ("train is separated completely: only the penalty bounds the probe",)
    return said
