"""Haplotypes of people of three ancestries: by drift from a common frequency, or from trees of an expansion.

Drift: frequencies of an ancestry are those of Balding & Nichols 1995, by as much as makes the F_ST of West Africans,
Europeans and East Asians (Bhatia et al. 2013); variants are independent. Expansion: the history out of Africa that
Gutenkunst et al. 2009 fitted to three continents (table 1, 25 years a generation), simulated by msprime (Baumdicker
et al. 2022); variants of a locus are as linked as 20 kb are, and loci are independent. msprime is GPL-3.0: an optional
extra, called here and nowhere else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package

DRIFT = np.array([0.194, 0.128, 0.084])  # of AFR, EAS, EUR; pairs of them have the mean as F_ST
DEMOGRAPHIES = ("drift", "out-of-africa")
LOCUS, MUTATION, RECOMBINATION = 20_000, 2.35e-8, 1e-8  # bases; per base and generation
NAMES = ("YRI", "CHB", "CEU")  # in the order AFR, EAS, EUR
MOST = 50  # loci that are drawn, at most, for one that has variants enough


def drifted(rng: np.random.Generator, count: int) -> Array:
    """(3, count) frequencies in AFR, EAS, EUR."""
    common = rng.uniform(0.1, 0.9, count)
    scale = ((1 - DRIFT) / DRIFT)[:, None]
    return np.asarray(rng.beta(common * scale, (1 - common) * scale))


def haplotypes(
    rng: np.random.Generator, ancestry: Array, loci: int, each: int = 1, demography: str = "drift", least: float = 0.05
) -> Array:
    """(people, loci, each, 2) int8, 1 for the alternative allele; the rarer allele has `least` of all copies.

    ancestry: (people,) 0, 1, 2 for AFR, EAS, EUR. Raises InputError for an unknown demography, or without msprime.
    """
    if demography not in DEMOGRAPHIES:
        raise InputError(f"demography is one of {', '.join(DEMOGRAPHIES)}; got {demography!r}")
    if demography == "drift":
        return _by_drift(rng, ancestry, loci * each, least).reshape(len(ancestry), loci, each, 2)
    found = np.zeros((len(ancestry), loci, each, 2), np.int8)
    at = 0
    for alleles in _loci(rng, ancestry, loci * MOST):
        copies = alleles.mean((1, 2))
        common = np.flatnonzero(np.minimum(copies, 1 - copies) >= least)
        if len(common) >= each:
            chosen = np.sort(rng.choice(common, each, replace=False))
            found[:, at] = alleles[chosen].transpose(1, 0, 2)
            at += 1
        if at == loci:
            return found
    raise InputError(f"too few variants with a frequency of {least} or more among {len(ancestry)} people")


def _by_drift(rng: np.random.Generator, ancestry: Array, count: int, least: float) -> Array:
    found, have = [np.zeros((len(ancestry), 0, 2), np.int8)], 0
    while have < count:
        p = drifted(rng, 2 * (count - have) + 8)
        alleles = (rng.random((2, len(ancestry), p.shape[1])) < p[ancestry]).astype(np.int8).transpose(1, 2, 0)
        share = alleles.mean((0, 2))
        fine = np.flatnonzero(np.minimum(share, 1 - share) >= least)[: count - have]
        found.append(alleles[:, fine])
        have += len(fine)
    return np.concatenate(found, axis=1)


def _loci(rng: np.random.Generator, ancestry: Array, most: int) -> Any:
    """(variants, people, 2) alleles of one locus after the other; people in the order of `ancestry`."""
    try:
        import msprime
    except ImportError:
        raise missing_package("msprime", "simulate", "the out-of-africa demography") from None
    many = np.bincount(ancestry, minlength=3).tolist()
    where = np.argsort(np.argsort(ancestry, kind="stable"), kind="stable")  # place of each person among the sorted
    seed = int(rng.integers(1, 2**31))
    trees = msprime.sim_ancestry(
        {name: count for name, count in zip(NAMES, many, strict=True) if count},
        demography=_out_of_africa(msprime),
        sequence_length=LOCUS,
        recombination_rate=RECOMBINATION,
        num_replicates=most,
        random_seed=seed,
    )
    for i, tree in enumerate(trees):
        mutated = msprime.sim_mutations(tree, rate=MUTATION, random_seed=1 + (seed + i) % (2**31 - 2))
        genotypes = (mutated.genotype_matrix() > 0).astype(np.int8)
        yield genotypes.reshape(len(genotypes), -1, 2)[:, where]


def _out_of_africa(msprime: Any) -> Any:
    """Three continents: sizes, growth and migration of Gutenkunst et al. 2009, times in generations of 25 years."""
    europe, asia, growth = 1_000, 510, {"CEU": 0.004, "CHB": 0.0055}
    split, out, old = 21_200 / 25, 140_000 / 25, 220_000 / 25
    made = msprime.Demography()
    made.add_population(name="YRI", initial_size=12_300)
    made.add_population(name="CEU", initial_size=europe * np.exp(growth["CEU"] * split), growth_rate=growth["CEU"])
    made.add_population(name="CHB", initial_size=asia * np.exp(growth["CHB"] * split), growth_rate=growth["CHB"])
    made.add_population(name="OOA", initial_size=2_100)
    made.add_population(name="AMH", initial_size=12_300)
    made.add_population(name="ANC", initial_size=7_300)
    for one, other, rate in (("CEU", "CHB", 9.6e-5), ("YRI", "CHB", 1.9e-5), ("YRI", "CEU", 3e-5)):
        made.set_symmetric_migration_rate([one, other], rate)
    made.add_population_split(time=split, derived=["CEU", "CHB"], ancestral="OOA")
    made.add_symmetric_migration_rate_change(time=split, populations=["YRI", "OOA"], rate=25e-5)
    made.add_population_split(time=out, derived=["YRI", "OOA"], ancestral="AMH")
    made.add_population_split(time=old, derived=["AMH"], ancestral="ANC")
    return made
