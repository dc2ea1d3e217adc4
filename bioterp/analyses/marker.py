"""A marker of few features: stable under resampling, a formula that can be read, judged on people it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis, ridge
from bioterp.analyses.cohort.logits import firth, newton
from bioterp.analyses.concordance import delong
from bioterp.analyses.formula import Marker, coded, design_of
from bioterp.analyses.people import beside, column, dealt
from bioterp.analyses.selecting import PAIRS, stable
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field

ABOUT = Analysis(
    name="marker",
    question="Can a few features and the covariates tell the outcome of people nothing was chosen on?",
    needs=(
        "codes pooled to people",
        "a sample sheet with a binary outcome",
        "raw activations of the same people, if any",
    ),
    limits=(
        "The figures are those of the procedure (choosing and fitting, again in every fold); the formula that is kept "
        "was fitted on everyone, and a second cohort is its test. A marker is no cause. DeLong's interval holds "
        "for the scores as they are, not for the choice of features. People of one block are never on both sides."
    ),
    reference=(
        "Meinshausen & Bühlmann 2010, Shah & Samworth 2013 (stability selection); Firth 1993; DeLong et al. 1988; "
        "Cox 1958 (calibration slope); Brier 1950; nested cross-validation: Varma & Simon 2006"
    ),
)
LEAST = 10


def marker(
    codes: Field,
    sheet: pd.DataFrame,
    *,
    outcome: str,
    covariates: Sequence[str] = (),
    activations: Field | None = None,
    most: int = 5,
    folds: int = 5,
    pairs: int = PAIRS,
    seed: int = 0,
) -> tuple[Marker, pd.DataFrame]:
    """The marker fitted on everyone, and the table 'marker': how the procedure does on people it was not fitted on.

    codes: lattice-free Field (people, m); sheet: a line per person, indexed by sample; outcome: a column of two
    categories, the second in order (or 1) is the case; covariates: columns that are in the model whatever is chosen;
    activations: the same people's pooled activations, for the probe the marker must stand beside; most: features of
    the formula at most. Models of the table: 'marker', 'covariates', 'all features', 'activations' (ridge probes with
    the covariates), each with AUROC within folds and DeLong's interval, Brier score, calibration slope and intercept,
    and the marker's AUROC minus its own with a paired interval. Raises InputError for an outcome that is not binary,
    fewer than LEAST people a class, or columns that are not there.
    """
    lines = beside(codes, sheet)
    told = column(lines, outcome)
    if told.kind != "binary":
        raise InputError(f"a marker tells two classes apart; {outcome!r} has {told.kind}")
    plan = [coded(column(lines, name)) for name in covariates]
    known = np.logical_and.reduce([told.known, *[column(lines, name).known for name in covariates]])
    keep = np.flatnonzero(known)
    y = told.values[keep, 0]
    few = int(min(y.sum(), (1 - y).sum()))
    if few < LEAST:
        raise InputError(f"{few} people in the smaller class of {outcome!r}; a marker needs at least {LEAST}")
    x = _dense(codes)[keep]
    raw = None if activations is None else _dense(_same(codes, activations))[keep]
    design = design_of(plan, lines.iloc[keep])
    block = codes.rows.items["block"].astype(str).to_numpy()[keep]
    fold = dealt(block, folds)
    models = ["marker", "covariates", "all features", *(["activations"] if raw is not None else [])]
    p = np.full((len(models), len(y)), np.nan)
    chosen: list[list[int]] = []
    for f in range(folds):
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        if len(np.unique(y[train])) < 2:
            raise InputError(f"all people outside fold {f} are of one class; give fewer folds or more blocks")
        own = _fit(x, y, design, block, train, most, pairs, seed)
        chosen.append(own[0].tolist())
        p[0, test] = _told(own, x[test], design[test])
        p[1, test] = _told(
            (own[0][:0], *_scaled(x[train][:, :0]), _fitted(x[:, :0], design, y, train)), x[test], design[test]
        )
        for at, values in ((2, x), (3, raw)):
            if values is not None:
                p[at, test] = _probe(values, design, y, train, test, seed)
    whole = _fit(x, y, design, block, np.arange(len(y)), most, pairs, seed)
    made = Marker.of(codes, outcome, told.levels[0], plan, whole, len(y), int(y.sum()))
    return made, _table(codes, models, p, y, fold, chosen, made, len(known) - len(keep))


def _dense(field: Field) -> Array:
    values = field.values
    x = np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
    if not np.isfinite(x).all():
        raise InputError("the people's values hold NaN or inf; pool again, or leave those columns out")
    return x


def _same(codes: Field, activations: Field) -> Field:
    codes.check_same_rows(activations)
    return activations


def _scaled(x: Array) -> tuple[Array, Array]:
    sd = x.std(0)
    return x.mean(0), np.where(sd > 0, sd, 1.0)


Own = tuple[Array, Array, Array, Array]  # features, their mean, their sd, coefficients (design, then features)


def _fit(x: Array, y: Array, design: Array, block: Array, train: Array, most: int, pairs: int, seed: int) -> Own:
    """Choose and fit on the train people."""
    features = stable(x[train], y[train], design[train], block[train], pairs, seed).chosen(most)
    own = x[:, features]
    return features, *_scaled(own[train]), _fitted(own, design, y, train)


def _fitted(own: Array, design: Array, y: Array, train: Array) -> Array:
    mean, sd = _scaled(own[train])
    return firth(np.concatenate([design[train], (own[train] - mean) / sd], 1), y[train])


def _told(own: Own, x: Array, design: Array) -> Array:
    features, mean, sd, beta = own
    z = np.concatenate([design, (x[:, features] - mean) / sd], 1) @ beta
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def _probe(x: Array, design: Array, y: Array, train: Array, test: Array, seed: int) -> Array:
    """A ridge probe with the covariates, made a probability by a logistic fit on its own leave-out scores in train."""
    both = np.concatenate([design[:, 1:], x], 1)
    half = dealt([str(i) for i in train], 5)
    inner = np.empty(len(train))
    for h in range(5):
        a, b = train[half != h], half == h
        basis = ridge.Basis.of(both[a], seed)
        middle, weights = ridge.fit(basis, y[a, None])
        inner[b] = (middle + basis.coordinates(both[train[b]]) @ weights)[:, 0]
    basis = ridge.Basis.of(both[train], seed)
    middle, weights = ridge.fit(basis, y[train, None])
    score = (middle + basis.coordinates(both[test]) @ weights)[:, 0]
    ones = np.ones((len(train), 1))
    slope = firth(np.concatenate([ones, inner[:, None]], 1), y[train])
    return np.asarray(1 / (1 + np.exp(-np.clip(slope[0] + slope[1] * score, -30, 30))))


def _table(
    codes: Field, models: list[str], p: Array, y: Array, fold: Array, chosen: list[list[int]], made: Marker, left: int
) -> pd.DataFrame:
    found = delong(p, y == 1, fold)
    rows: list[dict[str, Any]] = []
    for at, name in enumerate(models):
        lo, hi = found.interval(at)
        gap = found.difference(0, at) if at else (np.nan,) * 4
        logit = np.log(np.clip(p[at], 1e-9, 1) / np.clip(1 - p[at], 1e-9, 1))
        note = ""
        if not at:
            again = ", ".join(f"{f} in {sum(f in one for one in chosen)}" for f in made.features) or "none was stable"
            note = f"features of the formula, in how many of {len(chosen)} folds they were chosen: {again}"
        rows.append(
            {
                "model": name,
                "n": len(y),
                "n_cases": int(y.sum()),
                "auroc": float(found.auroc[at]),
                "auroc_lo": lo,
                "auroc_hi": hi,
                "difference": gap[0],
                "difference_lo": gap[1],
                "difference_hi": gap[2],
                "difference_p": gap[3],
                "brier": float(((p[at] - y) ** 2).mean()),
                "calibration_slope": _slope(logit, y),
                "calibration_intercept": float(_large(logit, y)),
                "note": note,
            }
        )
    frame = tables.conform("marker", pd.DataFrame(rows).assign(**tables.subject(codes.about)))
    frame.attrs |= {"left_out": left, "formula": made.formula, "chosen": chosen}
    return frame


def _slope(logit: Array, y: Array) -> float:
    """Calibration slope by maximum likelihood; NaN where the logits separate the classes and there is none."""
    beta, found = newton(np.stack([np.ones(len(y)), logit], 1), y)
    return float(beta[1]) if found else np.nan


def _large(logit: Array, y: Array) -> float:
    """Calibration in the large: the shift of the logits at which the mean is right."""
    shift = 0.0
    for _ in range(50):
        mean = 1 / (1 + np.exp(-(logit + shift)))
        step = (y - mean).sum() / max((mean * (1 - mean)).sum(), 1e-12)
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return shift


def judged(marker: Marker, p: Array, y: Array) -> dict[str, float]:
    """A frozen marker on another cohort: AUROC with DeLong's interval and p against one half, Brier, calibration."""
    found = delong(p[None], y == 1)
    lo, hi = found.interval(0)
    logit = np.log(np.clip(p, 1e-9, 1) / np.clip(1 - p, 1e-9, 1))
    se = float(np.sqrt(found.covariance[0, 0]))
    value = float(found.auroc[0])
    return {
        "auroc": value,
        "auroc_lo": lo,
        "auroc_hi": hi,
        "p": float(2 * scipy.stats.norm.sf(abs(value - 0.5) / se)) if se > 0 else np.nan,
        "brier": float(((p - y) ** 2).mean()),
        "calibration_slope": _slope(logit, y),
        "calibration_intercept": _large(logit, y),
    }
