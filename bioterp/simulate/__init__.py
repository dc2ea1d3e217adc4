"""Cohorts whose truth is known: planted biomarkers, and features that follow ancestry or site and look like them.

The model, fixed before any analysis was run on it. Three ancestries in equal parts. Allele frequencies drift from a
common one as Balding & Nichols 1995 have it, by as much as makes the F_ST of West Africans, Europeans and East Asians
(.139, .161, .106: Bhatia et al. 2013); or variants are of trees of the expansion out of Africa (`demography.py`). The
outcome is, in units of its standard deviation within an ancestry: causal variants in equal shares of h²; noise; an
environment that differs between ancestries; a little age and sex. People are recruited at sites that each see mostly
one ancestry. Features read, with noise: a causal variant; ancestry itself; the site; a neutral variant of contigs off
the target; or nothing at all. Principal components come from yet other variants.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.rows import Rows, split_of
from bioterp.simulate import demography
from bioterp.store import writing_file

ANCESTRIES = ("AFR", "EAS", "EUR")
ENVIRONMENT = (1.4, 0.7, 0.0)
SITES = ("north", "east", "south", "west")
RECRUITED = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.2, 0.1, 0.6], [0.1, 0.6, 0.2, 0.1]])  # site of each ancestry
RELIABLE = 0.9  # of a feature's variance is the variant it reads
SHARE = (0.2, 0.7)  # of a feature's variance is the ancestry or site it reads
PCS = 5
KINDS = ("causal", "ancestry", "site", "off-target", "noise")


@dataclass(frozen=True)
class Plan:
    """Sizes and effects. features: causal, ancestry, site, off-target, noise; environment: of AFR, EAS, EUR, in
    sd; seen: variants behind the principal components; demography: 'drift', or 'out-of-africa' (needs msprime)."""

    people: int = 600
    features: tuple[int, int, int, int, int] = (6, 200, 100, 840, 854)
    h2: float = 0.5
    environment: tuple[float, float, float] = ENVIRONMENT
    binary: bool = False
    seen: int = 3_000
    demography: str = "drift"


class Simulated(NamedTuple):
    """people: Field, a row each; sheet: indexed by sample; truth: feature, kind, effect (sd per sd; 0 if none)."""

    people: Field
    sheet: pd.DataFrame
    truth: pd.DataFrame


def cohort(plan: Plan | None = None, *, seed: int = 0) -> Simulated:
    """A cohort by a plan. Raises InputError for an h2 outside [0, 1] and for fewer than 30 people."""
    plan = checked(plan or Plan())
    rng = np.random.default_rng(seed)
    n = plan.people
    ancestry = rng.permutation(np.arange(n) % 3)
    site = np.array([rng.choice(len(SITES), p=RECRUITED[a]) for a in ancestry])
    causal, by_ancestry, by_site, off_target, noise = plan.features
    age, sex = rng.normal(55, 10, n), rng.integers(0, 2, n)
    dosage, frequency = _variants(rng, ancestry, causal, plan.demography, least=0.1)
    within = np.sqrt(np.mean(2 * frequency * (1 - frequency), axis=0))
    sign = rng.choice([-1.0, 1.0], causal)
    effect = sign * np.sqrt(plan.h2 / max(causal, 1)) / within
    outcome = dosage @ effect + np.sqrt(1 - plan.h2) * rng.normal(size=n) + np.array(plan.environment)[ancestry]
    outcome += 0.15 * (age - 55) / 10 + 0.1 * sex
    read = [
        _with_noise(rng, _scaled(dosage), np.full(causal, RELIABLE)),
        _with_noise(rng, _scaled(rng.normal(size=(3, by_ancestry))[ancestry]), rng.uniform(*SHARE, by_ancestry)),
        _with_noise(rng, _scaled(rng.normal(size=(len(SITES), by_site))[site]), rng.uniform(*SHARE, by_site)),
        _with_noise(
            rng, _scaled(_variants(rng, ancestry, off_target, plan.demography)[0]), np.full(off_target, RELIABLE)
        ),
        rng.normal(size=(n, noise // 2)),
        np.maximum(rng.normal(size=(n, noise - noise // 2)) - 1, 0),  # silent in most people, as codes are
    ]
    kinds = np.repeat(KINDS, plan.features)
    values = np.concatenate(read, axis=1)
    order = rng.permutation(len(kinds))
    effects = np.zeros(len(kinds))
    effects[:causal] = sign * np.sqrt(plan.h2 / max(causal, 1))
    truth = pd.DataFrame({"feature": np.arange(len(kinds)), "kind": kinds[order], "effect": effects[order]})
    samples = [f"P{i:05d}" for i in range(n)]
    items = pd.DataFrame({"item": samples, "sample": samples, "block": samples})
    rows = Rows.free(items.assign(split=[split_of(one, seed) for one in samples]))
    about = {"dictionary": "simulated", "representation": "dictionary"}
    people = Field(rows, values[:, order].astype(np.float32), kind="activation", about=about)
    sheet = pd.DataFrame({"outcome": outcome, "age": age, "sex": np.array(["f", "m"])[sex]}, index=samples)
    sheet["ancestry"], sheet["site"] = np.array(ANCESTRIES)[ancestry], np.array(SITES)[site]
    for k, column in enumerate(_components(_variants(rng, ancestry, plan.seen, plan.demography)[0])):
        sheet[f"PC{k + 1}"] = column
    if plan.binary:
        sheet["outcome"] = classes(outcome)
    return Simulated(people, sheet.rename_axis("sample"), truth)


def checked(plan: Plan) -> Plan:
    """The plan, or InputError for what no cohort can be made of."""
    if not 0 <= plan.h2 <= 1:
        raise InputError(f"h2 is a share between 0 and 1; got {plan.h2}")
    if plan.demography not in demography.DEMOGRAPHIES:
        raise InputError(
            f"there is no demography {plan.demography!r}; {nearest(plan.demography, demography.DEMOGRAPHIES)}"
        )
    if plan.people < 30:
        raise InputError(f"a cohort of three ancestries needs 30 people or more; got {plan.people}")
    return plan


def classes(outcome: Array) -> Array:
    """Cases above the median, controls below."""
    return np.where(outcome > np.median(outcome), "case", "control")


def declared() -> dict[str, Any]:
    """What the analyses are told of such a cohort: keywords of `bioterp.associate`."""
    confounders = ["ancestry", "site", *(f"PC{k + 1}" for k in range(PCS))]
    return {"outcome": "outcome", "covariates": ["age", "sex"], "confounders": confounders, "groups": "ancestry"}


def write(made: Simulated, out: str | Path) -> Path:
    """The folder `people/` (a Field), people.tsv and truth.tsv, each whole or not at all."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    made.people.save(out / "people")
    for name, frame in (("people.tsv", made.sheet.reset_index()), ("truth.tsv", made.truth)):
        with writing_file(out / name) as beside:
            frame.to_csv(beside, sep="\t", index=False)
    return out


def _variants(
    rng: np.random.Generator, ancestry: Array, count: int, by: str = "drift", least: float = 0.05
) -> tuple[Array, Array]:
    """(people, count) 0, 1 or 2 copies, and (3, count) frequencies; the rarer allele has `least` of all copies."""
    if by != "drift":
        alleles = demography.haplotypes(rng, ancestry, count, 1, by, least)[:, :, 0].sum(-1).astype(np.float64)
        return alleles, np.stack([alleles[ancestry == a].mean(0) / 2 for a in range(3)])
    dosages, frequencies, found = [np.zeros((len(ancestry), 0))], [np.zeros((3, 0))], 0
    while found < count:
        p = demography.drifted(rng, 2 * (count - found) + 8)
        copies = rng.binomial(2, p[ancestry]).astype(np.float64)
        share = copies.mean(0) / 2
        fine = np.flatnonzero(np.minimum(share, 1 - share) >= least)[: count - found]
        dosages.append(copies[:, fine])
        frequencies.append(p[:, fine])
        found += len(fine)
    return np.concatenate(dosages, axis=1), np.concatenate(frequencies, axis=1)


def _scaled(values: Array) -> Array:
    return np.asarray((values - values.mean(0)) / np.maximum(values.std(0), 1e-12))


def _with_noise(rng: np.random.Generator, read: Array, share: Array) -> Array:
    """Columns of unit variance of which `share` is what is read."""
    return np.asarray(np.sqrt(share) * read + np.sqrt(1 - share) * rng.normal(size=read.shape))


def _components(copies: Array) -> Array:
    """(PCS, people) leading principal components of genotypes, of unit variance."""
    u = np.linalg.svd(_scaled(copies), full_matrices=False)[0]
    return np.asarray(u[:, :PCS].T * np.sqrt(len(copies)))
