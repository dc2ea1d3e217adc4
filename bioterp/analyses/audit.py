"""How much of a model's apparent skill is who the sample is: probes of outcome and confounders, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis, ridge
from bioterp.analyses.concordance import auroc
from bioterp.analyses.people import Column, beside, column, dealt
from bioterp.analyses.treating import NAMES, Around, treat
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field

ABOUT = Analysis(
    name="audit",
    question="How much of what a probe reads of the outcome is left when nothing can be read of the confounders?",
    needs=("people (pooled codes, and activations if there are any)", "a sample sheet with outcome and confounders"),
    limits=(
        "A probe tells what can be read, not what a model uses. Linear erasure leaves what is not linear: the row of "
        "the nonlinear probe says how much. Erasing a confounder takes away what of the outcome goes with it, cause "
        "or not; where the two cannot be told apart no treatment can. The covariance an erasure needs is shrunk where "
        "people are few, and what is zero on train people is only near zero on others. Ablation of flagged features "
        "changes the rows a probe sees, not the model. ComBat uses the values, never the outcome, of an unseen batch."
    ),
    reference=(
        "Belrose et al. 2023 (LEACE); Johnson, Li & Rabinovic 2007, Fortin et al. 2018 (ComBat); Golub, Heath & Wahba "
        "1979 (GCV); Williams & Seeger 2001 (Nyström); DeLong et al. 1988; Efron 1979 (bootstrap, of blocks)"
    ),
)
LEAST = 10  # people of each class behind a score
RESAMPLES = 200


def audit(
    people: Mapping[str, Field],
    sheet: pd.DataFrame,
    *,
    outcome: str,
    confounders: Sequence[str],
    covariates: Sequence[str] = (),
    batch: str | None = None,
    groups: str | None = None,
    flagged: Sequence[int] | None = None,
    folds: int = 5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The audit table: what can be read of the outcome and of each confounder, representation by representation.

    people: {'activations': Field, 'codes': Field} of the same lattice-free rows, one per person; sheet: a line per
    person, indexed by sample. Every number is cross-fitted over blocks of people: treatments, scaling, penalties and
    probes are fitted on the other folds. batch: the confounder ComBat takes out (default: the first with categories);
    groups: a column whose levels are scored apart, and left out of the fit in turn (part 'unseen …'); flagged:
    features of 'codes' to ablate, else those flagged anew in each fold. Linear probes are ridge; 'nonlinear' ones a
    Gaussian kernel. Scores are AUROC of pairs within a fold (of classes: mean of one against the rest) or R², with a
    bootstrap interval over blocks. Confounders and covariates alone are representations too ('confounders',
    'covariates'), and each representation beside them ('codes + confounders').

    People of whom a confounder or covariate is unknown are left out, and counted in attrs['left_out']. Raises
    InputError for columns that are not there or constant, people the sheet lacks, and too few people.
    """
    fields = dict(people)
    if not fields:
        raise InputError("an audit needs people: {'activations': Field, 'codes': Field}")
    first = next(iter(fields.values()))
    for other in fields.values():
        first.check_same_rows(other)
    lines = beside(first, sheet)
    targets = {name: column(lines, name) for name in dict.fromkeys([outcome, *confounders])}
    if not confounders:
        raise InputError("an audit needs a confounder: name columns of the sheet, such as ancestry or site")
    more = [column(lines, name) for name in covariates]
    known = np.logical_and.reduce([targets[name].known for name in confounders] + [c.known for c in more])
    if known.sum() < 2 * folds:
        raise InputError(f"{int(known.sum())} people have every confounder and covariate; at least {2 * folds} needed")
    keep = np.flatnonzero(known)
    targets = {name: _take(c, keep) for name, c in targets.items()}
    names = _batch(targets, confounders, batch)
    z = np.concatenate([_scaled(targets[name].values) for name in confounders], 1)
    c = np.concatenate([_scaled(one.values[keep]) for one in more], 1) if more else np.zeros((len(keep), 0))
    around = Around(z, c, names)
    block = first.rows.items["block"].astype(str).to_numpy()[keep]
    fold, group = dealt(block, folds), _groups(lines, groups, keep)
    draws = _draws(block, resamples, seed)
    wanted = [name for name in NAMES if name != "combat" or names is not None]
    rows: list[dict[str, Any]] = []
    for name, x, treatment, alone in _jobs(fields, keep, around, wanted):
        fixed = None if flagged is None or name != "codes" else np.asarray(flagged, np.int64)
        asked = {outcome: targets[outcome]} if alone else targets
        made, said = _read(x, treatment, asked, around, fold, fixed, seed)
        about = {"representation": name, "treatment": treatment, "note": said}
        for probe, scores in made.items():
            for target, score in scores.items():
                role = "outcome" if target == outcome else "confounder"
                line = {**about, "target": target, "role": role, "probe": probe}
                everyone = np.ones(len(fold), bool)
                rows.append(line | {"part": "all", **_score(targets[target], score, fold, everyone, draws)})
                if role == "outcome":
                    rows += [
                        line | one for one in _of_groups(targets[outcome], score, fold, group, draws, "within", groups)
                    ]
        if groups is not None:
            unseen = _unseen(x, treatment, targets[outcome], around, group, fixed, seed)
            line = {**about, "target": outcome, "role": "outcome", "probe": "linear"}
            one_fit = np.zeros(len(fold), np.int64)
            rows += [
                line | one for one in _of_groups(targets[outcome], unseen, one_fit, group, draws, "unseen", groups)
            ]
    frame = pd.DataFrame(rows)
    frame["note"] = [
        a if not b else b if not a else f"{a}; {b}" for a, b in zip(frame["note"], frame["why"], strict=True)
    ]
    about = {k: v for k, v in tables.subject(first.about).items() if k != "representation"}
    frame = tables.conform("audit", frame.assign(**about))
    frame.attrs |= {"left_out": len(known) - len(keep), "outcome": outcome, "confounders": list(confounders)}
    return frame


def _jobs(
    fields: Mapping[str, Field], keep: Array, around: Around, wanted: list[str]
) -> Iterator[tuple[str, Array, str, bool]]:
    """(representation, rows, treatment, whether only the outcome is asked of it)."""
    if around.covariates.shape[1]:
        yield "covariates", around.covariates, "none", True
    sheet = np.concatenate([around.z, around.covariates], 1)
    yield "confounders", sheet, "none", True
    for name, field in fields.items():
        values = field.values
        x = np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)[keep]
        if not np.isfinite(x).all():
            raise InputError(f"the people's {name} hold NaN or inf; pool again, or leave those columns out")
        for treatment in wanted:
            yield name, x, treatment, False
        yield f"{name} + confounders", np.concatenate([x, sheet], 1), "none", True


def _take(c: Column, keep: Array) -> Column:
    return Column(c.name, c.kind, c.values[keep], c.levels, c.known[keep])


def _scaled(values: Array) -> Array:
    return np.asarray((values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1))


def _batch(targets: Mapping[str, Column], confounders: Sequence[str], batch: str | None) -> Array | None:
    """(n,) names of the batch ComBat takes out, or None where no confounder has categories."""
    if batch is not None and batch not in confounders:
        raise InputError(f"batch is one of the confounders, {', '.join(confounders)}; got {batch!r}")
    categorical = [name for name in confounders if targets[name].kind != "numbers"]
    if batch is not None and batch not in categorical:
        raise InputError(f"batch must have categories, and {batch!r} holds numbers")
    if not categorical:
        return None
    told = targets[batch or categorical[0]]
    code = told.values[:, 0].astype(int) if told.kind == "binary" else told.values.argmax(1)
    return np.asarray([str(one) for one in code])


def _groups(lines: pd.DataFrame, groups: str | None, keep: Array) -> Array:
    """(n,) name of each person's group, '' where it has none."""
    if groups is None:
        return np.full(len(keep), "")
    found = column(lines, groups)
    if found.kind == "numbers":
        raise InputError(f"groups must have categories, and {groups!r} holds numbers")
    text = lines[groups].astype(object).where(lines[groups].notna(), "").astype(str).str.strip().to_numpy(str)
    return np.where(found.known, text, "")[keep]


def _read(
    x: Array, treatment: str, targets: Mapping[str, Column], around: Around, fold: Array, fixed: Array | None, seed: int
) -> tuple[dict[str, dict[str, Array]], str]:
    """{probe: {target: (n, t) scores}}, each person by probes of the other folds; and what treatment says last."""
    made = {p: {name: np.full(c.values.shape, np.nan) for name, c in targets.items()} for p in ("linear", "nonlinear")}
    note = ""
    for f in np.unique(fold):
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        changed, note = treat(treatment, x, train, around, fixed)
        for probe, inner in _coordinates(changed, train, seed):
            for name, told in targets.items():
                middle, weights = ridge.fit(inner[0], told.values[train], told.known[train])
                made[probe][name][test] = middle + inner[1](test) @ weights
    return made, note


def _coordinates(x: Array, train: Array, seed: int) -> Iterator[tuple[str, Any]]:
    """For each probe: the basis of the train rows, and the coordinates of any rows in it."""
    basis = ridge.Basis.of(x[train], seed)
    yield "linear", (basis, lambda rows: basis.coordinates(x[rows]))
    if not len(basis.s):
        return
    own = basis.coordinates(x[train])
    kernel = ridge.Kernel.of(own, seed)
    wider = ridge.Basis.of(kernel(own), seed)
    yield "nonlinear", (wider, lambda rows: wider.coordinates(kernel(basis.coordinates(x[rows]))))


def _unseen(
    x: Array, treatment: str, told: Column, around: Around, group: Array, fixed: Array | None, seed: int
) -> Array:
    """(n, t) scores of each group's people by a probe that has seen none of them."""
    score = np.full(told.values.shape, np.nan)
    for name in np.unique(group[group != ""]):
        train, test = np.flatnonzero((group != name) & told.known), np.flatnonzero(group == name)
        y = told.values[train]
        if len(train) < 2 * LEAST or (y == y[:1]).all():
            continue
        if treatment == "combat" and len(np.unique(np.asarray(around.batch)[train])) < 2:
            continue  # what is left is one batch: there is nothing to harmonise
        changed = treat(treatment, x, train, around, fixed)[0]
        basis = ridge.Basis.of(changed[train], seed)
        middle, weights = ridge.fit(basis, y)
        score[test] = middle + basis.coordinates(changed[test]) @ weights
    return score


def _draws(block: Array, resamples: int, seed: int) -> Array:
    """(resamples + 1, n) weights of people: all once, then blocks drawn with replacement."""
    names, code = np.unique(block, return_inverse=True)
    draw = np.random.default_rng(seed)
    counts = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    return np.concatenate([np.ones((1, len(block))), counts[:, code]])


def _of_groups(
    told: Column, score: Array, stratum: Array, group: Array, draws: Array, how: str, groups: str | None
) -> list[dict[str, Any]]:
    return [
        {"part": f"{how} {groups}={name}", **_score(told, score, stratum, group == name, draws)}
        for name in np.unique(group[group != ""])
    ]


def _score(told: Column, score: Array, stratum: Array, within: Array, draws: Array) -> dict[str, Any]:
    """Of the people of one part: n, metric, chance, score with its interval, or why there is none."""
    own = np.flatnonzero(within & told.known & np.isfinite(score).all(1))
    numbers = told.kind == "numbers"
    line: dict[str, Any] = {"n": len(own), "metric": "R2" if numbers else "AUROC", "chance": 0.0 if numbers else 0.5}
    nothing = dict.fromkeys(("score", "lo", "hi"), np.nan)
    y = told.values[own]
    if numbers:
        if len(own) < 2 * LEAST:
            return line | nothing | {"why": f"not scored: {len(own)} people, at least {2 * LEAST} needed"}
        weights = draws[:, own]
        made = _explained(y[:, 0], score[own, 0], stratum[own], weights)
    else:
        few = int(min(y.sum(0).min(), (1 - y).sum(0).min())) if len(own) else 0
        if told.kind == "binary" and few < LEAST:
            return line | nothing | {"why": f"not scored: {few} people in the smaller class, at least {LEAST} needed"}
        held = np.flatnonzero((y.sum(0) >= LEAST) & ((1 - y).sum(0) >= LEAST)) if len(own) else np.zeros(0, int)
        if not len(held):
            return line | nothing | {"why": f"not scored: no level has {LEAST} people"}
        made = np.mean(
            [[auroc(score[own, t], y[:, t] == 1, stratum[own], w) for w in draws[:, own]] for t in held], axis=0
        )
    lo, hi = np.nanpercentile(made[1:], [2.5, 97.5]) if len(made) > 1 else (np.nan, np.nan)
    return line | {"score": float(made[0]), "lo": float(lo), "hi": float(hi), "why": ""}


def _explained(y: Array, score: Array, stratum: Array, weights: Array) -> Array:
    """R² about each stratum's own mean, for each row of weights."""
    left, every = np.zeros(len(weights)), np.zeros(len(weights))
    for s in np.unique(stratum):
        own = stratum == s
        w = weights[:, own]
        total = np.maximum(w.sum(1), 1e-300)
        middle = w @ y[own] / total
        left += w @ (y[own] - score[own]) ** 2
        every += w @ y[own] ** 2 - total * middle**2
    return np.asarray(1 - left / np.where(every > 0, every, np.nan))
