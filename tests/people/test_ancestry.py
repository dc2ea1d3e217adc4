"""Components of genotypes: an independent SVD's, off the target, and of real people what tells where they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bioterp as bt
from bioterp.errors import InputError
from tests.people.village import write_vcf

PEOPLE = [f"P{i:02d}" for i in range(23)]


def genotypes(seed: int = 2, variants: int = 67):
    """(variants, people) dosages of two populations, NaN missing; no two variants alike."""
    rng = np.random.default_rng(seed)
    far = rng.uniform(0.1, 0.9, (variants, 2))
    p = np.where(np.arange(23) < 11, far[:, :1], far[:, 1:])
    dose = (rng.random((variants, 23)) < p).astype(float) + (rng.random((variants, 23)) < p)
    dose[rng.random(dose.shape) < 0.02] = np.nan
    return dose


def written(path: Path, dose, contig: str = "7", step: int = 2_000_000) -> Path:
    """One variant every 2 Mb, so that nothing is pruned."""
    spelt = {0.0: "0|0", 1.0: "1|0", 2.0: "1/1"}
    lines = [(1 + i * step, "A", "G", ["./." if np.isnan(g) else spelt[g] for g in row]) for i, row in enumerate(dose)]
    return write_vcf(path, contig, None, PEOPLE, lines)


def test_components_are_those_of_a_singular_value_decomposition(tmp_path: Path) -> None:
    dose = genotypes()
    half = written(tmp_path / "a.vcf", dose[:31]), written(tmp_path / "b.vcf", dose[31:], "8")
    pcs = bt.genotype_pcs(half, 5, missing=1.0, maf=0.01)
    p = np.nanmean(dose, 1, keepdims=True) / 2
    z = np.nan_to_num((dose - 2 * p) / np.sqrt(2 * p * (1 - p)))
    _, s, right = np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(pcs.attrs["eigenvalues"], s[:5] ** 2 / 67, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(right[:5].T * pcs.to_numpy(), 0)), 1, atol=1e-5)
    assert pcs.index.tolist() == PEOPLE and list(pcs.columns) == ["PC1", "PC2", "PC3", "PC4", "PC5"]
    assert abs(np.corrcoef(pcs["PC1"], np.arange(23) < 11)[0, 1]) > 0.95
    assert sum(pcs.attrs["variance"]) < 1 and (pcs.to_numpy()[np.abs(pcs.to_numpy()).argmax(0), range(5)] > 0).all()


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    dose = genotypes()
    path = written(tmp_path / "a.vcf", dose)
    extra = [
        f"7\t{400_000_000 + i}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t" + "\t".join(calls)
        for i, (ref, alt, calls) in enumerate([
            ("A", "AT", ["0|1"] * 23), ("A", "C,G", ["1|2"] * 23), ("A", "<DEL>", ["0|1"] * 23),
            ("A", "C", ["0|0"] * 23), ("A", "C", [".|."] * 3 + ["0|1"] * 20),
        ])
    ]  # fmt: skip
    first = "\t".join(["1/1" if g == 2 else "0|1" if g == 1 else "0|0" for g in np.nan_to_num(dose[0])])
    extra += [f"9\t{10 + 5 * i}\t.\tA\tG\t.\t.\t.\tGT\t{first}" for i in range(4)]
    path.write_text(path.read_text() + "\n".join(extra) + "\n")
    used = bt.genotype_pcs(path, 3, missing=0.1).attrs["variants"]
    assert used["not a SNV of two alleles"] == 3 and used["too rare"] >= 1
    assert used["in linkage with another"] == 3 and used["missing too often"] >= 1
    assert bt.genotype_pcs(path, 3, missing=0.1, exclude=["chr9"]).attrs["variants"]["on excluded contigs"] == 4


def test_the_target_and_what_cannot_be(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vcf", genotypes(), "chr7")
    for target in ("7", ["3", "chr7"]):
        with pytest.raises(InputError, match="records on 'chr7', which is what is studied"):
            bt.genotype_pcs(path, target=target)
    with pytest.raises(InputError, match="2 people are in all 1 VCFs and among the 2 asked for"):
        bt.genotype_pcs(path, samples=["P01", "P02"])
    with pytest.raises(InputError, match="too few for 22 components"):
        bt.genotype_pcs(path, 22, maf=0.45)
    with pytest.raises(InputError, match=r"below the number of people \(23\)"):
        bt.genotype_pcs(path, 23)


@pytest.mark.parametrize("header", ["", "#FID IID PC1 PC2 PC3\n", "#IID\tPC1\tPC2\tPC3\n", "FID IID V1 V2 V3\n"])
def test_components_of_other_tools(tmp_path: Path, header: str) -> None:
    lines = [("F1", "A", "0.1", "-0.2", "0.3"), ("F2", "B", "0.4", "NA", "1e-3")]
    if header.startswith("#IID"):
        lines = [line[1:] for line in lines]
    path = tmp_path / "x.eigenvec"
    path.write_text(header + "".join("\t".join(line) + "\n" for line in lines))
    found = bt.read_pcs(path, 2)
    np.testing.assert_array_equal(found.to_numpy(), [[0.1, -0.2], [0.4, np.nan]])
    assert found.index.tolist() == ["A", "B"] and found.shape[1] == 2
    with pytest.raises(InputError, match="holds 3 components, not 4"):
        bt.read_pcs(path, 4)


@pytest.mark.needs_shared
@pytest.mark.slow
def test_components_of_real_people_tell_their_super_population(genomics: Path) -> None:
    """1,126 people of 1000 Genomes phase 3, chr1–18: five nearest neighbours on ten components, leave-one-out."""
    files = sorted((genomics / "variation" / "1kg_phase3_subset").glob("*.vcf.gz"))
    pcs = bt.genotype_pcs(files, 10, target=["MT"])
    panel = pd.read_csv(genomics / "variation" / "integrated_call_samples_v3.20130502.ALL.panel", sep="\t", index_col=0)
    truth = panel["super_pop"].reindex(pcs.index).to_numpy()
    x = pcs.to_numpy()
    squares = (x**2).sum(1)
    apart = squares[:, None] + squares - 2 * x @ x.T
    np.fill_diagonal(apart, np.inf)
    near = truth[np.argsort(apart, 1)[:, :5]]
    guess = np.array([max(sorted(set(row)), key=list(row).count) for row in near])
    assert len(x) == 1_126 and (guess == truth).mean() >= 0.97
