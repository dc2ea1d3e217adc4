"""People whose sequences are planted: a VCF on a reference in which variants change motifs, a sheet, and what is what.

The target contig has windows of 200 bases with a motif in the middle of each. Every window has three variants: one that
breaks the motif, two on either side of it. Of the first kind some cause the outcome, some differ most between
ancestries and cause nothing, and the rest are ordinary. Environment, sites, age and sex are those of
`bioterp.simulate`. Variants off the target, for principal components, are in a VCF of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.demography import haplotypes
from bioterp.simulate import ANCESTRIES, ENVIRONMENT, RECRUITED, SITES

WINDOW, WINDOWS, MIDDLE = 200, 80, 95
CAUSAL, TAGGING = 5, 20
BESIDE = (35, 160)  # bases of the other two variants in a window: out of reach of its motif
ELSEWHERE = 1_500


@dataclass
class Planted:
    """Files; sheet indexed by sample; dosage (people, WINDOWS, 3) of alternative alleles, the motif's first; kind of
    each window: causal, tagging or ordinary; motifs: consensus words."""

    reference: Path
    vcf: Path
    elsewhere: Path
    windows: Path
    sheet: pd.DataFrame
    dosage: np.ndarray
    kind: np.ndarray
    motifs: list[str]


def make(folder: Path, seed: int, people: int, h2: float, demography: str) -> Planted:
    """Everything in a folder. People carry variants by drift alone, or of trees of an expansion out of Africa."""
    rng = np.random.default_rng([seed, 77])
    ancestry = rng.permutation(np.arange(people) % 3)
    carried = haplotypes(rng, ancestry, WINDOWS, 3, demography)
    elsewhere = haplotypes(rng, ancestry, ELSEWHERE, 1, demography)
    dosage = carried.sum(-1)
    shares = np.stack([dosage[ancestry == a, :, 0].mean(0) / 2 for a in range(3)])
    apart = np.ptp(shares, axis=0)
    common = np.flatnonzero((shares.mean(0) > 0.2) & (shares.mean(0) < 0.8))
    causal = rng.choice(common, CAUSAL, replace=False)
    rest = np.array([i for i in np.argsort(-apart) if i not in set(causal.tolist())])
    kind = np.full(WINDOWS, "ordinary", object)
    kind[causal], kind[rest[:TAGGING]] = "causal", "tagging"
    sheet = _sheet(rng, ancestry, dosage[:, causal, 0], h2)
    letters = rng.integers(0, 4, WINDOW * WINDOWS)
    words = ["".join("ACGT"[i] for i in rng.integers(0, 4, size)) for size in (8, 9, 10, 11, 12, 12)]
    records = []
    for w in range(WINDOWS):
        word, at = words[w % len(words)], w * WINDOW + MIDDLE
        letters[at : at + len(word)] = ["ACGT".index(base) for base in word]
        places = at + int(rng.integers(2, len(word) - 2)), *(w * WINDOW + b for b in BESIDE)
        for v, place in enumerate(places):
            other = int((letters[place] + rng.integers(1, 4)) % 4)
            records.append((place, "ACGT"[letters[place]], "ACGT"[other], carried[:, w, v]))
    off = rng.integers(0, 4, ELSEWHERE * 50)
    far = [(i * 50, "ACGT"[off[i * 50]], "ACGT"[(off[i * 50] + 1) % 4], elsewhere[:, i, 0]) for i in range(ELSEWHERE)]
    folder.mkdir(parents=True, exist_ok=True)
    text = [f">{name}\n{''.join('ACGT'[i] for i in one)}\n" for name, one in (("target", letters), ("elsewhere", off))]
    (folder / "reference.fa").write_text("".join(text))
    _vcf(folder / "target.vcf", "target", len(letters), sorted(records, key=lambda one: one[0]), sheet.index)
    _vcf(folder / "elsewhere.vcf", "elsewhere", len(off), far, sheet.index)
    lines = [f"target\t{w * WINDOW}\t{(w + 1) * WINDOW}\tw{w}" for w in range(WINDOWS)]
    (folder / "windows.bed").write_text("\n".join(lines) + "\n")
    files = [folder / name for name in ("reference.fa", "target.vcf", "elsewhere.vcf", "windows.bed")]
    return Planted(*files, sheet, dosage, kind.astype(str), words)


def _sheet(rng: np.random.Generator, ancestry: np.ndarray, causes: np.ndarray, h2: float) -> pd.DataFrame:
    """Equal shares of h² of the variance within ancestries; environment, age and sex as in `bioterp.simulate`."""
    n = len(ancestry)
    inside = causes - np.stack([causes[ancestry == a].mean(0) for a in range(3)])[ancestry]
    effect = rng.choice([-1.0, 1.0], CAUSAL) * np.sqrt(h2 / CAUSAL) / inside.std(0)
    age, sex = rng.normal(55, 10, n), rng.integers(0, 2, n)
    outcome = causes @ effect + np.sqrt(1 - h2) * rng.normal(size=n) + np.array(ENVIRONMENT)[ancestry]
    outcome += 0.15 * (age - 55) / 10 + 0.1 * sex
    site = [SITES[rng.choice(len(SITES), p=RECRUITED[a])] for a in ancestry]
    sheet = pd.DataFrame({"outcome": outcome, "age": age, "sex": np.array(["f", "m"])[sex], "site": site})
    sheet["ancestry"] = np.array(ANCESTRIES)[ancestry]
    return sheet.set_axis([f"P{i:04d}" for i in range(n)]).rename_axis("sample")


def _vcf(path: Path, contig: str, length: int, records: list[tuple], people: pd.Index) -> None:
    head = ["##fileformat=VCFv4.2", f"##contig=<ID={contig},length={length}>"]
    head += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    head += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *people])]
    for place, ref, alt, alleles in records:
        calls = [f"{a}|{b}" for a, b in alleles.tolist()]
        head.append("\t".join([contig, str(place + 1), ".", ref, alt, ".", "PASS", ".", "GT", *calls]))
    path.write_text("\n".join(head) + "\n")
