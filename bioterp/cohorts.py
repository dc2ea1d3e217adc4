"""The `cohort:` block of a run: codes as one row per person, and the people's sheet as a Cohort."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bioterp.annotations.ancestry import genotype_pcs, read_pcs
from bioterp.annotations.cohort import Cohort, read_cohort
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.pooling import pool
from bioterp.records import Cohort as Block
from bioterp.records import PCs


def people_of(block: Block, source: Any, codes: Field) -> Field:
    """Codes pooled as the block says; of scans a row per subject, of haplotypes one per person."""
    return pool(codes, source if hasattr(source, "carriers") else None, block.pool, block.regions)


def components(block: PCs | None, source: Any, people: Field) -> pd.DataFrame | None:
    """Principal components of these people, off what the source reads; None where the block asks for none."""
    if block is None:
        return None
    if block.path is not None:
        return read_pcs(block.path, block.n)
    if block.vcf is None:
        raise InputError("cohort.pcs needs vcf or path")
    ids = people.rows.items["item"].astype(str)
    return genotype_pcs(block.vcf, block.n, target=getattr(source, "spaces", None), samples=ids)


def cohort_of(block: Block, source: Any, people: Field) -> Cohort:
    """The sheet's lines of these people; components join the covariates."""
    return sheet_of(block, people.rows.items["item"], components(block.pcs, source, people))


def sheet_of(block: Block, ids: pd.Series, pcs: pd.DataFrame | None = None) -> Cohort:
    """The sheet's lines of people by id, as the block asks for them."""
    return read_cohort(
        ids,
        block.samples,
        outcome=block.outcome,
        covariates=block.covariates,
        confounders=block.confounders,
        groups=block.groups,
        mediators=block.mediators,
        categorical=block.categorical,
        key=block.key,
        pcs=pcs,
    )
