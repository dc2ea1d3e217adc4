"""What the sums of one pass say of one outcome: columns of the tables, without names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from bioterp.analyses.cohort import chance, gains, logits, nulls, pooling, questions
from bioterp.analyses.cohort.deciding import LEVEL
from bioterp.analyses.cohort.design import Outcome
from bioterp.analyses.cohort.nulls import Effects
from bioterp.analyses.cohort.questions import Question
from bioterp.analyses.cohort.sums import Read, Sums, dense
from bioterp.analyses.cohort.together import sets_of
from bioterp.arrays import Array

CARRIERS = 5  # people of a group a feature must vary in
# λ of m independent features has a standard error of 2.3 / √m: of 50 it is above 1.5 once in 16 times by chance.
INFLATED, ENOUGH = 1.5, 50


@dataclass(frozen=True)
class Options:
    """refit: features with an exact logistic effect; grouped: groups must agree; full (n, b): what is adjusted for."""

    refit: int
    grouped: bool
    full: Array


@dataclass(frozen=True)
class Answer:
    """columns: those of the table `association`; groups: {group: its effects}, NaN where a group cannot tell."""

    columns: dict[str, Any]
    groups: dict[int, Effects]


def answer(read: Read, sums: Sums, one: Question, options: Options) -> Answer:
    m = len(sums.spread)
    n, cases = int(one.who.sum()), int(one.y[one.who].sum()) if one.binary else -1
    columns: dict[str, Any] = {"feature": np.arange(m), "n": n, "n_cases": cases}
    naive, adjusted = (
        nulls.effects(sums, null) if null is not None else _nothing(m) for null in (one.naive, one.adjusted)
    )
    usable = sums.missing == 0
    naive, adjusted = _only(naive, usable), _only(adjusted, usable)
    q, by = (chance.corrected(naive.p, method) for method in ("bh", "by"))
    columns |= {"beta": naive.beta, "se": naive.se, "p": naive.p, "q": q, "q_by": by}
    q, by = (chance.corrected(adjusted.p, method) for method in ("bh", "by"))
    columns |= {"p_adjusted": adjusted.p, "q_adjusted": q, "q_by_adjusted": by}
    columns |= _effect(read, sums, one, adjusted, q, options)
    called = np.isfinite(q) & (q <= LEVEL)
    columns["set"] = np.full(m, -1)
    if called.any():
        left = nulls.basis_of(options.full, one.who).left
        columns["set"] = sets_of(read, one.who, left, adjusted.p, called)
    columns["p_permuted"], columns["p_max"] = np.full(m, np.nan), np.full(m, np.nan)
    if one.drawn is not None:
        own, most = questions.permuted(sums, one)
        columns["p_permuted"], columns["p_max"] = np.where(usable, own, np.nan), np.where(usable, most, np.nan)
    told, groups = _groups(sums, one, usable)
    gained = gains.gain(sums, one.folds, one.total) if one.folds else np.full(m, np.nan)
    columns |= told | {"gain": np.where(usable & np.isfinite(adjusted.p), gained, np.nan)}
    columns["note"] = _notes(sums, one, adjusted, columns["effect"])
    return Answer(columns, groups)


def _nothing(m: int) -> Effects:
    return Effects(*(np.full(m, np.nan) for _ in range(5)))


def _only(found: Effects, usable: Array) -> Effects:
    parts = (found.beta, found.se, found.t, found.p, found.left)
    return Effects(*(np.where(usable, part, np.nan) for part in parts))


def _effect(read: Read, sums: Sums, one: Question, found: Effects, q: Array, options: Options) -> dict[str, Any]:
    """The adjusted effect with its interval: least squares, the score's, or exact for those that matter."""
    linear = not one.binary
    df = one.adjusted.df if one.adjusted is not None else 0
    far = scipy.stats.t.ppf(0.975, df) if linear and df > 0 else scipy.stats.norm.ppf(0.975)
    effect = np.full(len(q), "least squares" if linear else "score", object)
    effect[np.isnan(found.p)] = ""
    told = {"beta_adjusted": found.beta.copy(), "se_adjusted": found.se.copy()}
    told |= {"lo": found.beta - far * found.se, "hi": found.beta + far * found.se, "effect": effect}
    if linear or one.adjusted is None:
        return told
    order = np.argsort(np.where(np.isnan(found.p), np.inf, found.p), kind="stable")
    order = order[np.isfinite(found.p[order])]
    many = max(options.refit, min(int((q <= LEVEL).sum()), 10 * options.refit))
    chosen = np.sort(order[:many])
    values = np.concatenate([dense(read(lo, min(lo + 512, sums.n)))[:, chosen] for lo in range(0, sums.n, 512)])
    plain = nulls.basis_of(options.full, one.who).left[one.who]
    for at, feature in enumerate(chosen):
        exact = logits.exact(plain, values[one.who, at].astype(np.float64), one.y[one.who])
        if exact.how in ("constant", "failed"):
            continue
        told["beta_adjusted"][feature], told["se_adjusted"][feature] = exact.beta, exact.se
        told["lo"][feature], told["hi"][feature], effect[feature] = exact.lo, exact.hi, exact.how
    return told


def _groups(sums: Sums, one: Question, usable: Array) -> tuple[dict[str, Any], dict[int, Effects]]:
    m = len(usable)
    carried = sums.carriers(one.who)
    found, agree = {}, np.full((len(one.evaluable), m), np.nan)
    for at, g in enumerate(one.evaluable):
        found[g] = _only(nulls.effects(sums, one.group[g]), usable & (carried[g] >= CARRIERS))
        if g in one.others:
            beside = nulls.effects(sums, one.others[g])
            agree[at] = np.where(
                np.isnan(found[g].p + beside.p), np.nan, np.sign(found[g].beta) == np.sign(beside.beta)
            )
    beta = np.array([effects.beta for effects in found.values()]).reshape(-1, m)
    se = np.array([effects.se for effects in found.values()]).reshape(-1, m)
    pooled = pooling.pool(beta, se)
    known = np.isfinite(beta).sum(0)
    one_sign = np.abs(np.nansum(np.sign(beta), axis=0)) == known
    tried = np.isfinite(agree).sum(0)
    told = {
        "n_groups": pooled.groups,
        "same_sign": np.where(known > 0, one_sign, np.nan),
        "beta_fixed": pooled.fixed,
        "se_fixed": pooled.se_fixed,
        "beta_random": pooled.random,
        "se_random": pooled.se_random,
        "tau2": pooled.tau2,
        "q_heterogeneity": pooled.q,
        "p_heterogeneity": pooled.p,
        "transfer": np.where(tried > 0, np.nansum(agree, axis=0) / np.maximum(tried, 1), np.nan),
    }
    return told, found


def _notes(sums: Sums, one: Question, found: Effects, effect: Array) -> Array:
    notes = np.full(len(found.p), None, object)
    notes[np.isnan(found.p)] = "not tested: nothing of it is left beside what is adjusted for"
    notes[sums.spread == 0] = "not tested: the same for everybody"
    for j in np.flatnonzero(sums.missing):
        notes[j] = f"not tested: unknown for {sums.missing[j]} people"
    notes[effect == "firth"] = "classes are separated: penalised (Firth) effect, profile interval"
    if one.reason:
        notes[:] = f"not tested: {one.reason}"
    return notes


def by_group(name: str, one: Question, found: Answer, names: list[str]) -> pd.DataFrame:
    """The table `effects`: a row per feature and group, also of groups that cannot tell."""
    m, frames = len(found.columns["feature"]), []
    for g, group in enumerate(names):
        effects = found.groups.get(g, _nothing(m))
        df = one.group[g].df if g in one.group else 0
        far = scipy.stats.norm.ppf(0.975) if one.binary or df < 1 else scipy.stats.t.ppf(0.975, df)
        few = np.full(m, "fewer than 10 people of a class, or than it takes to adjust", object)
        note = few
        if g in found.groups:
            note = np.full(m, None, object)
            note[np.isnan(effects.p)] = "fewer than about 5 people vary"
        told = {"beta": effects.beta, "se": effects.se, "p": effects.p, "note": note}
        told |= {"lo": effects.beta - far * effects.se, "hi": effects.beta + far * effects.se}
        size = {"n": int(one.sizes[g].sum() if one.binary else one.sizes[g, 0])}
        size["n_cases"] = int(one.sizes[g, 1]) if one.binary else -1
        frames.append(pd.DataFrame({"feature": np.arange(m), "outcome": name, "group": group, **size, **told}))
    names_of = ["feature", "outcome", "group", "n", "n_cases", "beta", "se", "p", "lo", "hi", "note"]
    return pd.concat(frames) if frames else pd.DataFrame(columns=names_of)


def of_outcome(outcome: Outcome, one: Question, found: Answer) -> dict[str, Any]:
    """A row of the table `outcomes`."""
    p, p_adjusted = found.columns["p"], found.columns["p_adjusted"]
    tested, inflation = int(np.isfinite(p_adjusted).sum()), chance.lambda_gc(p_adjusted)
    notes = [outcome.note, one.reason, inflated(inflation, tested)]
    return {
        "outcome": outcome.name,
        "kind": "binary" if one.binary else "numeric",
        "classes": " / ".join(outcome.classes) if outcome.classes else None,
        "n": int(one.who.sum()),
        "n_cases": int(one.y[one.who].sum()) if one.binary else -1,
        "n_groups": len(one.sizes),
        "n_evaluable": len(one.evaluable),
        "explained": one.explained,
        "identified": questions.identified(one.explained),
        "sized": one.sized,
        "n_features": tested,
        "n_called": int((found.columns["q_adjusted"] <= LEVEL).sum()),
        "n_sets": len(np.unique(found.columns["set"][found.columns["set"] >= 0])),
        "lambda_naive": chance.lambda_gc(p),
        "lambda_adjusted": inflation,
        "note": "; ".join(note for note in notes if note) or None,
    }


def inflated(inflation: float, tested: int) -> str:
    """What a λ that stays high after adjusting means; '' where it does not, or of so few features says nothing."""
    if tested < ENOUGH or not inflation > INFLATED:
        return ""
    return (
        f"lambda stays {inflation:.1f} after adjusting, where 1 is chance: many features go with the outcome together. "
        "They read one cause, or what is linked with it (a haplotype block, one change of an organ), or a confounder "
        "is not declared. What is called is then the block and not the feature: pool by region, declare what is missing"
    )


def qq(name: str, found: Answer) -> pd.DataFrame:
    """The table `qq`: quantiles of −log10 p, naive and adjusted."""
    frames = []
    for model, key in (("naive", "p"), ("adjusted", "p_adjusted")):
        points = chance.quantiles(found.columns[key])
        frame = pd.DataFrame(points, columns=["expected", "observed", "lo", "hi"])
        frames.append(frame.assign(outcome=name, model=model))
    return pd.concat(frames)
