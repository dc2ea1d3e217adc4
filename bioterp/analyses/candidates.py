"""Which facts of acquisition could be batches: what a feature may follow instead of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import guarded
from bioterp.analyses.blocks import BATCH, stream
from bioterp.analyses.facts import facts_of
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.placing import scans_of, subjects_of

ABOUT = Analysis(
    name="candidates",
    question="Which facts of acquisition tell the scans apart, and how many features follow each of them?",
    needs=("codes of scans", "facts of acquisition or intensity statistics among the items"),
    limits=(
        "Association of scan means, one fact at a time: sites that differ in scanner differ in patients too, and facts "
        "go together. A fact that few features follow by their mean may still show in where they fire. Scans of one "
        "subject and level count once, as their mean; levels of fewer than 5 subjects are pooled. A regime of "
        "intensities is a guess from the numbers of the file."
    ),
    reference=(
        "Kruskal & Wallis 1952; Spearman 1904; Benjamini & Hochberg 1995; regimes: Ashman, Bird & Zepf 1994 (D), "
        "Schwarz 1978 (BIC)"
    ),
)
LEAST = 5  # subjects of a level
FEW = 6  # different numbers that are levels rather than a scale
LEVEL = 0.05


def candidates(codes: Field, *, also: Sequence[str] = ()) -> pd.DataFrame:
    """The table of candidates: one row per fact, those that most features follow first.

    codes: Field (rows, m) of scans, ≥ 0. Facts are columns of the items that are constant within a scan: those of
    FACTS and BRIGHTNESS (`facts`) that are there, what the geometry in `native` says, regimes of brightness found in
    p99 (else max or p50), and the columns named in `also`. Facts that tell nothing apart are rows with a note.
    Raises InputError for rows that are no scans, and for columns of `also` that are not there.
    """
    rows = codes.rows
    if rows.ndim != 3:
        raise InputError(
            f"candidates are facts of scans: three-dimensional rows are wanted, these have {rows.ndim} axes"
        )
    missing = [name for name in also if name not in rows.items.columns]
    if missing:
        raise InputError(f"the items have no column {missing[0]!r}; they have {', '.join(rows.items.columns)}")
    scan = scans_of(rows)
    first = np.unique(scan, return_index=True)[1]
    subject = pd.factorize(subjects_of(rows).iloc[first])[0]
    facts = facts_of(rows, first, also)
    means = _scan_means(codes, scan)
    found = [_row(name, values, subject, means) for name, values in facts.items()]
    declared = [column.name for column in tables.columns("candidates")]
    frame = pd.DataFrame(found, columns=[name for name in declared if name not in tables.subject({})])
    frame = frame.sort_values(["n_associated", "top_r2"], ascending=False, kind="stable", na_position="last")
    return tables.conform("candidates", frame.assign(**tables.subject(codes.about)))


def _scan_means(codes: Field, scan: Array) -> Array:
    """(scans, m) mean code of each scan, in one pass."""
    cells = np.diff(codes.rows.offsets)
    of_rows = np.repeat(scan, cells)
    count = np.bincount(of_rows, minlength=scan.max() + 1)
    total = np.zeros((len(count), codes.shape[1]))
    with guarded(codes):
        for lo, hi, block in stream(codes.read, np.append(np.arange(0, len(codes), BATCH), len(codes))):
            held, which = np.unique(of_rows[lo:hi], return_inverse=True)
            size = hi - lo
            own = scipy.sparse.csr_matrix((np.ones(size), (which, np.arange(size))), (len(held), size))
            if isinstance(block, tuple):
                indptr, indices, data = block
                total[held] += (
                    own @ scipy.sparse.csr_matrix((data, indices, indptr), (size, codes.shape[1]))
                ).toarray()
            else:
                total[held] += own @ block
    return total / np.maximum(count, 1)[:, None]


def _row(name: str, values: pd.Series, subject: Array, means: Array) -> dict[str, Any]:
    """One candidate: what it is, and how many features follow it."""
    number = pd.to_numeric(values, errors="coerce")
    text = values.astype(object).where(values.notna() & (values.astype(str) != ""))
    known = text.notna().to_numpy()
    numeric = bool(known.any()) and bool(np.isfinite(number[known]).all()) and number[known].nunique() > FEW
    told: dict[str, Any] = {
        "candidate": name,
        "kind": "numeric" if numeric else "categorical",
        "n_scans": int(known.sum()),
    }
    told |= {"n_levels": int(text[known].nunique()), "levels": "", "n_features": 0, "n_associated": 0}
    told |= {"top_feature": tables.NO_FEATURE, "top_r2": np.nan, "median_r2": np.nan, "note": ""}
    if not known.any():
        return told | {"note": "not known of any scan"}
    who, mean = subject[known], means[known]
    missing = f"not known of {(~known).sum()} scans" if not known.all() else ""
    if numeric:
        value = number[known].to_numpy(float)
        told["levels"] = f"{value.min():.4g} to {value.max():.4g}, median {np.median(value):.4g}"
        unit, group = np.unique(who, return_inverse=True)
        if len(unit) < 2 * LEAST:
            return told | {"note": _joined(f"not tested: {len(unit)} subjects, at least {2 * LEAST} needed", missing)}
        return (
            told | _followed(_averaged(mean, group), _averaged(value[:, None], group)[:, 0], None) | {"note": missing}
        )
    label = text[known].map(_shown).to_numpy(object)
    level, pooled, note = _levels(label, who)
    told["levels"] = _told(pooled)
    if told["n_levels"] == told["n_scans"] > 1:
        return told | {"note": _joined("not tested: every scan has a level of its own", missing)}
    held = level >= 0
    if len(np.unique(level[held])) < 2:
        why = "one level" if told["n_levels"] == 1 else f"fewer than two levels of {LEAST} subjects or more"
        return told | {"note": _joined(f"not tested: {why}", missing)}
    pair, group = np.unique(np.stack([who[held], level[held]], 1), axis=0, return_inverse=True)
    return (
        told | _followed(_averaged(mean[held], group.reshape(-1)), None, pair[:, 1]) | {"note": _joined(note, missing)}
    )


def _levels(label: Array, who: Array) -> tuple[Array, Array, str]:
    """Level of each scan (−1: left out), its name once small ones are pooled, and what is to be said."""
    people = pd.Series(who).groupby(label).nunique()
    small = set(people.index[people < LEAST])
    pooled = np.array(["other" if one in small else one for one in label], object)
    level = np.asarray(pd.factorize(pooled)[0], np.int64)
    if not small:
        return level, pooled, ""
    others = pooled == "other"
    note = f"{len(small)} levels of fewer than {LEAST} subjects are pooled"
    if len(np.unique(who[others])) < LEAST:
        level[others] = -1
        note = f"{int(others.sum())} scans of small levels are left out"
    return level, pooled, note


def _followed(mean: Array, value: Array | None, level: Array | None) -> dict[str, Any]:
    """How many features follow numbers (value) or levels, by ranks of their means (units, m)."""
    rank = scipy.stats.rankdata(mean, axis=0)
    rank -= rank.mean(0)
    every = (rank**2).sum(0)
    tested = np.flatnonzero(every > 0)
    if not len(tested):
        return {"note": "no feature differs between scans"}
    rank, every, n = rank[:, tested], every[tested], len(rank)
    if level is not None:
        codes = np.unique(level, return_inverse=True)[1].reshape(-1)
        size = np.bincount(codes)
        share = (size[:, None] * _averaged(rank, codes) ** 2).sum(0) / every
        p, free = scipy.stats.chi2.sf((n - 1) * share, len(size) - 1), len(size) - 1
    else:
        of_value = scipy.stats.rankdata(value)
        of_value -= of_value.mean()
        share, free = (of_value @ rank) ** 2 / ((of_value**2).sum() * every), 1
        p = 2 * scipy.stats.t.sf(np.sqrt(share * (n - 2) / np.maximum(1 - share, 1e-15)), n - 2)
    r2 = 1 - (1 - share) * (n - 1) / max(n - 1 - free, 1)
    q = scipy.stats.false_discovery_control(p, method="bh")
    top = int(r2.argmax())
    told = {"n_features": len(tested), "n_associated": int((q <= LEVEL).sum()), "top_feature": int(tested[top])}
    return told | {"top_r2": float(r2[top]), "median_r2": float(np.median(r2))}


def _averaged(values: Array, group: Array) -> Array:
    """(groups, m) mean over the rows of each group."""
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(total, group, values)
    return np.asarray(total / np.bincount(group)[:, None])


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def _told(pooled: Array) -> str:
    size = pd.Series(pooled).value_counts(sort=True)
    names = [*(one for one in size.index if one != "other"), *(one for one in size.index if one == "other")]
    return "; ".join(f"{one}: {size[one]}" for one in names)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
