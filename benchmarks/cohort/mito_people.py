"""The people of `mito.py`: who they are, their variants, and a trait that one of these drives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.genotypes import MISSING, VCF

GROUP, TRAIT = "super_pop", "trait"
EFFECT, SHIFT, SEED = 1.0, 0.5, 0
FREQUENCY, ANCESTRY = 0.3, (0.2, 0.5)


def dosages(data: Path) -> tuple[list[str], pd.DataFrame, np.ndarray]:
    """People; variants (pos 0-based, ref, alt); (people, variants) 0/1, NaN where the call is missing or mixed."""
    vcf = VCF(data / "mito" / "1000G_phase1_chrMT_1074samples.vcf.gz")
    lines, columns = [], []
    for record in vcf.records(range(len(vcf.samples))):
        for k, alt in enumerate(record.alts, 1):
            table = np.array(
                [
                    np.nan if MISSING in one.alleles or one.mixed else float(one.alleles[0] == k)
                    for one in record.genotypes
                ]
            )
            columns.append(table[record.calls])
            lines.append((record.start, record.ref.upper(), alt.upper()))
    return list(vcf.samples), pd.DataFrame(lines, columns=["pos", "ref", "alt"]), np.stack(columns, 1)


def panel(data: Path, people: list[str]) -> pd.DataFrame:
    """pop and super_pop of these people; those who are not in the panel have none."""
    read = pd.read_csv(data / "variation" / "integrated_call_samples_v3.20130502.ALL.panel", sep=r"\s+", index_col=0)
    return read[["pop", GROUP]].reindex(people)


def r2_of_groups(values: np.ndarray, groups: pd.Series) -> np.ndarray:
    """(columns,) share of the variance that lies between groups; people without a value are left out."""
    made = np.full(values.shape[1], np.nan)
    for k in range(values.shape[1]):
        own = np.isfinite(values[:, k])
        x, g = values[own, k], groups[own]
        total = ((x - x.mean()) ** 2).sum()
        if total > 0:
            means = pd.Series(x).groupby(g.to_numpy()).transform("mean").to_numpy()
            made[k] = ((means - x.mean()) ** 2).sum() / total
    return made


def r2_with(values: np.ndarray, one: np.ndarray) -> np.ndarray:
    """(columns,) squared correlation with one column, of people who have both."""
    made = np.full(values.shape[1], np.nan)
    for k in range(values.shape[1]):
        own = np.isfinite(values[:, k]) & np.isfinite(one)
        x, y = values[own, k], one[own]
        if x.std() > 0 and y.std() > 0:
            made[k] = np.corrcoef(x, y)[0, 1] ** 2
    return made


def simulated(groups: pd.Series, variants: pd.DataFrame, doses: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """A trait and its truth: the variant whose frequency is nearest 0.3 among those of an ancestry R² of 0.2 to 0.5.

    One noise SD an allele; an environment of 0, 0.5, 1, … SD by super-population, in the order of how common the
    variant is there, so that ancestry goes the way the variant does.
    """
    known = groups.notna().to_numpy()
    own, labels = doses[known], groups[known]
    share, ancestry = np.nanmean(own, axis=0), r2_of_groups(own, labels)
    fit = (ancestry >= ANCESTRY[0]) & (ancestry <= ANCESTRY[1])
    cause = int(np.where(fit, np.abs(share - FREQUENCY), np.inf).argmin())
    dose = np.where(np.isfinite(doses[:, cause]), doses[:, cause], 0.0)
    by_group = pd.Series(dose[known]).groupby(labels.to_numpy()).mean().sort_values()
    shift = {name: SHIFT * k for k, name in enumerate(by_group.index)}
    noise = np.random.default_rng(SEED).normal(size=len(doses))
    trait = EFFECT * dose + groups.map(shift).to_numpy(float) + noise
    same = np.flatnonzero(r2_with(own, own[:, cause]) >= 0.9)
    line = variants.iloc[cause]
    truth = {
        "pos": int(line["pos"]),
        "variant": f"{line['ref']}{int(line['pos']) + 1}{line['alt']}",
        "frequency": float(share[cause]),
        "ancestry_r2": float(ancestry[cause]),
        "frequency_by_group": by_group.round(4).to_dict(),
        "shift": shift,
        "explained_by_ancestry": float(r2_of_groups(trait[known][:, None], labels)[0]),
        "explained_by_dose_within": float(EFFECT**2 * (dose[known] - labels.map(by_group).to_numpy()).var()),
        "same": [f"{v.ref}{v.pos + 1}{v.alt}" for v in variants.iloc[same].itertuples()],
        "same_pos": variants["pos"].iloc[same].tolist(),
    }
    return trait, truth
