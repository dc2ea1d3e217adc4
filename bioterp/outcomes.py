"""From one layer of a run to people: pooled codes, associations with verdicts, the audit, the marker.

What is of single people stays in `out/people`; tables, reports and logs hold what is of many.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import store
from bioterp.analyses.association import associate
from bioterp.analyses.audit import audit
from bioterp.analyses.formula import Marker
from bioterp.analyses.marker import LEAST, marker
from bioterp.annotations.cohort import Cohort, read_cohort
from bioterp.arrays import Array
from bioterp.cohorts import cohort_of, people_of, sheet_of
from bioterp.errors import InputError
from bioterp.export import export, safe
from bioterp.field import Field
from bioterp.opening import content
from bioterp.planning import PEOPLE
from bioterp.progress import say
from bioterp.records import Cohort as Asked
from bioterp.records import HaplotypeSource, Run

Frames = dict[str, pd.DataFrame]
FOLDER = PEOPLE
EXPORTS = ("h5ad", "phenotypes", "bids")


def depends_on(asked: Asked) -> Any:
    """What the tables of a cohort hang on, as plain JSON: the block of the run file, files by their content."""
    files = [asked.samples, asked.regions]
    if asked.pcs is not None:
        vcf = asked.pcs.vcf if isinstance(asked.pcs.vcf, list) else [asked.pcs.vcf]
        files += [*vcf, asked.pcs.path]
    told = {k: v for k, v in dataclasses.asdict(asked).items() if k not in ("samples", "regions", "pcs")}
    return [told, asked.pcs.n if asked.pcs else 0, [content(path) for path in files if path is not None]]


def _kept(people: Field, folder: Path) -> Field:
    store.discard(folder)
    return people.save(folder)


def look(run: Run, source: Any) -> None:
    """Raise for a sheet that cannot serve, before the model runs."""
    if run.cohort is None:
        return
    items = source.people if isinstance(run.source, HaplotypeSource) else source.items
    key = "item" if isinstance(run.source, HaplotypeSource) else "subject" if "subject" in items.columns else "sample"
    sheet_of(run.cohort, items[key].astype(str).drop_duplicates())


def analyse(run: Run, source: Any, codes: Field, acts: Field, layer: Any) -> Frames:
    """The tables `OF_PEOPLE` of one layer's dictionary."""
    asked = run.cohort
    assert asked is not None
    root = run.out / FOLDER / f"layer={layer}"
    everyone = _kept(people_of(asked, source, codes), root / "codes")
    raw = _kept(people_of(dataclasses.replace(asked, pool="mean"), source, acts), root / "activations")
    cohort = cohort_of(asked, source, everyone)
    pcs = [name for name in cohort.covariates if name not in asked.covariates]
    for reason, lines in cohort.unmatched.groupby("reason"):
        say(f"cohort: {len(lines)} people are {reason}")
    for column, lines in cohort.missing.groupby("column"):
        say(f"cohort: {column} is missing for {len(lines)} of {len(cohort)} people")
    people = everyone.take(cohort.rows)
    covariates = [name for name in cohort.covariates if name in asked.covariates]
    confounders = [*cohort.confounders, *pcs]
    sheet = _named(cohort)
    found = associate(
        people,
        sheet,
        outcome=list(cohort.outcomes),
        covariates=covariates,
        confounders=confounders,
        groups=cohort.groups,
        mediators=cohort.mediators,
        seed=run.seed,
    )
    for line in found.outcomes[found.outcomes["note"].notna()].itertuples():
        say(f"{line.outcome}: {line.note}")
    made: Frames = {
        "association": found.table,
        "effects": found.effects,
        "outcomes": found.outcomes,
        "qq": found.qq,
        "confounding": found.confounding,
    }
    if confounders:
        made["audit"] = _audited(cohort, sheet, people, raw.take(cohort.rows), covariates, confounders, run.seed)
    markers = [
        _marked(sheet, people, raw.take(cohort.rows), name, covariates, root, run.seed) for name in _binary(cohort)
    ]
    if markers:
        made["marker"] = pd.concat(markers, ignore_index=True)
    return made


def _audited(
    cohort: Cohort,
    sheet: pd.DataFrame,
    people: Field,
    raw: Field,
    covariates: list[str],
    confounders: list[str],
    seed: int,
) -> pd.DataFrame:
    """The audit of every outcome; what is read of confounders is the same for all, and told once."""
    parts: list[pd.DataFrame] = []
    for name in cohort.outcomes:
        if cohort.sheet[name].nunique() < 2 or (cohort.kinds[name] == "binary" and _few(cohort.outcome(name)) < LEAST):
            say(f"audit: {name} has too few people of a class, or one value; it is left out")
            continue
        told = audit(
            {"activations": complete(raw), "codes": complete(people)},
            sheet,
            outcome=name,
            confounders=confounders,
            covariates=covariates,
            groups=cohort.groups,
            seed=seed,
        )
        parts.append(told if not parts else told[told["role"] == "outcome"])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _marked(
    sheet: pd.DataFrame, people: Field, raw: Field, outcome: str, covariates: list[str], root: Path, seed: int
) -> pd.DataFrame:
    """The marker of a binary outcome; its formula is kept beside the people it was made of."""
    made, table = marker(
        complete(people), sheet, outcome=outcome, covariates=covariates, activations=complete(raw), seed=seed
    )
    made.save(root / f"marker.{safe(outcome)}.json")
    return table


def _named(cohort: Cohort) -> pd.DataFrame:
    """The sheet with the classes of its outcomes as they were called, for people to read."""
    made = cohort.sheet.copy()
    for name in cohort.outcomes:
        if cohort.kinds[name] == "binary":
            low, high = cohort.levels[name]
            made[name] = made[name].map({0.0: low, 1.0: high})
    return made


def _binary(cohort: Cohort) -> list[str]:
    return [o for o in cohort.outcomes if cohort.kinds[o] == "binary" and _few(cohort.outcome(o)) >= LEAST]


def _few(y: Array) -> int:
    return int(min((y == 1).sum(), (y == 0).sum()))


def complete(people: Field) -> Field:
    """Without the columns that are unknown for somebody: a probe needs them all."""
    values = people.values
    x = np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float32)
    held = np.flatnonzero(np.isfinite(x).all(0))
    if len(held) == x.shape[1]:
        return people
    if not len(held):
        raise InputError("every pooled column is unknown for somebody: give regions that all people have")
    say(f"{x.shape[1] - len(held)} of {x.shape[1]} pooled columns are unknown for somebody and left out of probes")
    return Field(people.rows, x[:, held], people.columns.iloc[held], people.kind, people.about)


def export_people(run: Run, source: Any, joined: Frames) -> list[Path]:
    """Of every layer the features that go best with the outcome (`export_features` of them), for tools of cohorts."""
    formats = [name for name in run.exports if name in EXPORTS]
    if run.cohort is None or not formats or "association" not in joined:
        return []
    written: list[Path] = []
    for layer, mine in joined["association"].groupby("layer", sort=False):
        folder = run.out / FOLDER / f"layer={layer}" / "codes"
        people = Field.open(folder)
        cohort = cohort_of(run.cohort, source, people)
        own = people.take(cohort.rows)
        ranked = mine[mine["p_adjusted"].notna()].sort_values("p_adjusted", kind="stable").drop_duplicates("feature")
        chosen = ranked["feature"].head(run.export_features).to_numpy(np.int64)
        if not len(chosen):
            continue
        place = run.out / "exports" / FOLDER / f"layer={layer}"
        for kind in formats:
            say(f"exporting people as {kind}")
            written += export(own, chosen, place, format=kind, sheet=cohort.sheet, table=ranked)
    return written


def apply(
    path: str | Path, people: str | Path, sheet: str | Path, key: str | None = None
) -> tuple[pd.Series, pd.DataFrame]:
    """A kept marker on another cohort: each person's probability, and how it does (table `marker`, model 'applied').

    people: a folder `people/layer=…/codes` of a run with the same dictionary and pooling; sheet: its sample sheet.
    """
    from bioterp import tables
    from bioterp.analyses.marker import judged

    kept = Marker.load(path)
    field = Field.open(people)
    asked = [one.name for one in kept.covariates]
    try:
        cohort = read_cohort(field.rows.items, sheet, outcome=kept.outcome, covariates=asked, key=key)
    except InputError as error:
        raise InputError(f"the marker cannot be applied: {error}") from None
    own = field.take(cohort.rows)
    p = kept(own, cohort.sheet)
    y = cohort.outcome()
    use = np.isfinite(y) & np.isfinite(p.to_numpy(float))
    if _few(y[use]) < 1:
        raise InputError(f"everybody with an outcome is of one class of {kept.outcome!r}; a marker is judged on both")
    told = judged(kept, p.to_numpy(float)[use], y[use])
    line: dict[str, Any] = {c.name: np.nan for c in tables.columns("marker")}
    line |= {k: v for k, v in told.items() if k in line}
    line |= {"model": "applied", "n": int(use.sum()), "n_cases": int(y[use].sum()), "note": kept.formula}
    line |= tables.subject(field.about)
    return p, tables.conform("marker", pd.DataFrame([line]))
