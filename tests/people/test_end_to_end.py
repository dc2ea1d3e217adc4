"""From a VCF to verdicts: what people's features and their sheet become is what the association takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

import bioterp as bt
from bioterp.field import Field
from bioterp.rows import Rows
from tests.people.village import village


def test_a_feature_that_counts_an_allele_follows_the_outcome_it_drives(tmp_path: Path) -> None:
    """Feature 2 fires on the bases one allele inserts, and the outcome is how many copies a person has."""
    _, fasta, names, variants, vcf = village(tmp_path, seed=8, people=83, length=307, count=7)
    source = bt.Haplotypes(vcf, fasta, window=61, halo=0, strands="+", blocks=100)
    records, grids = [], []
    for item, _, grid in source:
        middle = grid.centers[:, 0]
        keep = np.flatnonzero((middle >= item.core[0][0]) & (middle < item.core[1][0]))
        records.append(item.record)
        grids.append(grid.take(keep))
    rows = Rows.from_grids(pd.DataFrame(records), grids)
    widths = np.concatenate([np.diff(grid.bounds).ravel() for grid in grids])
    rng = np.random.default_rng(1)
    codes = rng.exponential(1, (len(rows), 5)) * (rng.random((len(rows), 5)) < 0.1)
    codes[:, 2] = widths == 0  # inserted bases have no width
    people = bt.pool(Field(rows, scipy.sparse.csr_matrix(codes.astype(np.float32)), kind="code"), source)
    inserted = np.zeros(len(names))
    for _, ref, alt, calls in variants:
        longer = [max(len(one) - len(ref), 0) for one in (ref, *alt.split(","))]
        inserted += [sum(longer[int(a)] for a in call.split("|")) for call in calls]
    sheet = pd.DataFrame({
        "sample": names, "level": inserted + rng.normal(0, 0.3 * inserted.std(), len(names)),
        "age": rng.integers(30, 80, len(names)), "site": rng.choice(["x", "y"], len(names)),
        "ancestry": rng.choice(["A", "B"], len(names)),
    })  # fmt: skip
    cohort = bt.read_cohort(
        people.rows.items, sheet.drop(index=[3, 40]), outcome="level", covariates=["age"],
        confounders=["site", "ancestry"], groups="ancestry",
    )  # fmt: skip
    assert len(cohort) == 81
    found = bt.association(
        people.take(cohort.rows), cohort.sheet, outcome="level", covariates=cohort.covariates,
        confounders=cohort.confounders, groups=cohort.groups,
    ).set_index("feature")  # fmt: skip
    assert found["p_adjusted"].idxmin() == 2 and found.loc[2, "q_adjusted"] < 1e-6 and found.loc[2, "beta_adjusted"] > 0
    # The others tag windows, and so alleles: they may follow too, but not as closely.
    assert np.log10(found["p_adjusted"].drop(index=2)).min() > np.log10(found.loc[2, "p_adjusted"]) / 2
