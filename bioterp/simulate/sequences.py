"""People whose sequences are planted: a VCF on a reference in which variants change motifs, a sheet, and what is what.

The target contig has windows of 200 bases with a motif in the middle of each. Every window has three variants: one that
breaks the motif, two out of its reach. Of the first kind some cause the outcome, some differ most between ancestries
and cause nothing, and the rest are ordinary. Environment, sites, age and sex are those of the cohort of drawn features.
Variants off the target, for principal components, are in a VCF of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.simulate import ANCESTRIES, ENVIRONMENT, RECRUITED, SITES, Plan, checked, classes
from bioterp.simulate.demography import haplotypes
from bioterp.store import writing_file

WINDOW, WINDOWS, MIDDLE = 200, 80, 95
CAUSAL, TAGGING = 5, 20
BESIDE = (35, 160)  # bases of the other two variants in a window
SIZES = (8, 9, 10, 11, 12, 12)  # of the motifs
ELSEWHERE, APART = 1_500, 50  # variants off the target, and bases from one to the next

RUN = """\
# People with planted variants. Edit it and start it with `bioterp run run.yaml`; truth.tsv tells what was planted.
out: results
source:     {kind: haplotypes, vcf: target.vcf, reference: reference.fa, contigs: [target], window: 200, halo: [128, 0],
             strands: +, blocks: 200}
model:      {name: bioterp/dna-small}
layers:     [3]
dictionary: {kind: topk, width: 512, k: 16, tokens: 300k}
analyses:   [fidelity]
baselines:  []
cohort:
  samples: people.tsv
  outcome: outcome
  covariates: [age, sex]
  confounders: [ancestry, site]
  groups: ancestry
  pcs: {vcf: elsewhere.vcf, n: 5}
  regions: windows.bed
exports: [tsv]
"""


@dataclass
class Planted:
    """Files; sheet indexed by sample; truth: a line per window; dosage (people, WINDOWS, 3) of alternative alleles,
    the motif's first; kind of each window: causal, tagging or ordinary; motifs: consensus words."""

    reference: Path
    vcf: Path
    elsewhere: Path
    windows: Path
    sheet: pd.DataFrame
    truth: pd.DataFrame
    dosage: Array
    kind: Array
    motifs: list[str]


def sequences(out: str | Path, plan: Plan | None = None, *, seed: int = 0) -> Planted:
    """Everything in a folder: reference.fa, target.vcf, elsewhere.vcf, windows.bed, people.tsv, truth.tsv, run.yaml.

    plan: people, h2, demography and binary are used. Raises InputError as `cohort` does.
    """
    plan = checked(plan or Plan(people=450, h2=0.4))
    rng, out = np.random.default_rng([seed, 77]), Path(out)
    ancestry = rng.permutation(np.arange(plan.people) % 3)
    carried = haplotypes(rng, ancestry, WINDOWS, 3, plan.demography)
    elsewhere = haplotypes(rng, ancestry, ELSEWHERE, 1, plan.demography)
    dosage = carried.sum(-1)
    shares = np.stack([dosage[ancestry == a, :, 0].mean(0) / 2 for a in range(3)])
    common = np.flatnonzero((shares.mean(0) > 0.2) & (shares.mean(0) < 0.8))
    causal = rng.choice(common, CAUSAL, replace=False)
    rest = [i for i in np.argsort(-np.ptp(shares, axis=0)).tolist() if i not in set(causal.tolist())]
    kind = np.full(WINDOWS, "ordinary", object)
    kind[causal], kind[rest[:TAGGING]] = "causal", "tagging"
    sheet, effect = _sheet(rng, ancestry, dosage[:, causal, 0], plan)
    letters = rng.integers(0, 4, WINDOW * WINDOWS)
    words = ["".join("ACGT"[i] for i in rng.integers(0, 4, size)) for size in SIZES]
    records: list[tuple[int, str, str, Array]] = []
    for w in range(WINDOWS):
        word, at = words[w % len(words)], w * WINDOW + MIDDLE
        letters[at : at + len(word)] = ["ACGT".index(base) for base in word]
        places = at + int(rng.integers(2, len(word) - 2)), *(w * WINDOW + b for b in BESIDE)
        for v, place in enumerate(places):
            other = int((letters[place] + rng.integers(1, 4)) % 4)
            records.append((place, "ACGT"[letters[place]], "ACGT"[other], carried[:, w, v]))
    off = rng.integers(0, 4, ELSEWHERE * APART)
    far = [
        (i * APART, "ACGT"[off[i * APART]], "ACGT"[(off[i * APART] + 1) % 4], elsewhere[:, i, 0])
        for i in range(ELSEWHERE)
    ]
    truth = pd.DataFrame(
        [(f"w{w}", kind[w], words[w % len(words)], *records[3 * w][:3], 0.0) for w in range(WINDOWS)],
        columns=["region", "kind", "motif", "position", "ref", "alt", "effect"],
    )
    truth.loc[causal, "effect"] = effect
    out.mkdir(parents=True, exist_ok=True)
    both = (("target", letters), ("elsewhere", off))
    names = [f"target\t{w * WINDOW}\t{(w + 1) * WINDOW}\tw{w}\n" for w in range(WINDOWS)]
    texts = {
        "reference.fa": "".join(f">{name}\n{''.join('ACGT'[i] for i in one)}\n" for name, one in both),
        "target.vcf": _vcf("target", len(letters), sorted(records, key=lambda one: one[0]), sheet.index),
        "elsewhere.vcf": _vcf("elsewhere", len(off), far, sheet.index),
        "windows.bed": "".join(names),
        "people.tsv": sheet.reset_index().to_csv(sep="\t", index=False),
        "truth.tsv": truth.to_csv(sep="\t", index=False),
        "run.yaml": RUN,
    }
    for name, text in texts.items():
        with writing_file(out / name) as beside:
            beside.write_text(text, encoding="utf-8")
    reference, vcf, far_vcf, windows = (out / name for name in list(texts)[:4])
    return Planted(reference, vcf, far_vcf, windows, sheet, truth, dosage, kind.astype(str), words)


def _sheet(rng: np.random.Generator, ancestry: Array, causes: Array, plan: Plan) -> tuple[pd.DataFrame, Array]:
    """Equal shares of h² of the variance within ancestries; environment, age and sex as those of drawn features."""
    n = len(ancestry)
    inside = causes - np.stack([causes[ancestry == a].mean(0) for a in range(3)])[ancestry]
    effect = rng.choice([-1.0, 1.0], CAUSAL) * np.sqrt(plan.h2 / CAUSAL) / inside.std(0)
    age, sex = rng.normal(55, 10, n), rng.integers(0, 2, n)
    outcome = causes @ effect + np.sqrt(1 - plan.h2) * rng.normal(size=n) + np.array(ENVIRONMENT)[ancestry]
    outcome += 0.15 * (age - 55) / 10 + 0.1 * sex
    site = [SITES[rng.choice(len(SITES), p=RECRUITED[a])] for a in ancestry]
    sheet = pd.DataFrame({"outcome": classes(outcome) if plan.binary else outcome, "age": age})
    sheet["sex"], sheet["site"], sheet["ancestry"] = np.array(["f", "m"])[sex], site, np.array(ANCESTRIES)[ancestry]
    return sheet.set_axis([f"P{i:04d}" for i in range(n)]).rename_axis("sample"), effect


def _vcf(contig: str, length: int, records: Sequence[tuple[int, str, str, Array]], people: pd.Index) -> str:
    lines = ["##fileformat=VCFv4.2", f"##contig=<ID={contig},length={length}>"]
    lines += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    lines += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *people])]
    for place, ref, alt, alleles in records:
        calls = [f"{a}|{b}" for a, b in alleles.tolist()]
        lines.append("\t".join([contig, str(place + 1), ".", ref, alt, ".", "PASS", ".", "GT", *calls]))
    return "\n".join(lines) + "\n"
