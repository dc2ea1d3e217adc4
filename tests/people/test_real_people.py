"""1,074 people's mtDNA (1000 Genomes phase 1 on rCRS): spelt as a plain consensus spells it, from few windows."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import bioterp as bt
from bioterp.errors import InputError
from tests.people.test_haplotypes import read_back
from tests.people.village import consensus


@pytest.fixture(scope="module")
def mito(genomics: Path) -> Path:
    return genomics / "mito"


def plain(mito: Path) -> tuple[str, list[str], list[tuple[int, str, str, list[str]]]]:
    """rCRS, the people's ids, and the VCF's records, read with nothing but Python."""
    with gzip.open(mito / "NC_012920.1.fa.gz", "rt") as file:
        letters = "".join(line.strip() for line in file if line[0] != ">")
    names, records = [], []
    with gzip.open(mito / "1000G_phase1_chrMT_1074samples.vcf.gz", "rt") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if line.startswith("#CHROM"):
                names = fields[9:]
            elif line[0] != "#":
                records.append((int(fields[1]), fields[3], fields[4], fields[9:]))
    return letters, names, records


@pytest.mark.needs_shared
@pytest.mark.slow
def test_everybody_is_read_from_a_tenth_of_the_windows(mito: Path) -> None:
    vcf, fasta = mito / "1000G_phase1_chrMT_1074samples.vcf.gz", mito / "NC_012920.1.fa.gz"
    source = bt.Haplotypes(vcf, fasta, window=512, halo=0, strands="+", circular=True, unphased="first")
    assert len(source.people) == 1_074 and source.counts["records"] == 2_834 and source.counts["missing"] == 249
    assert source.counts["ref_mismatches"] == 0 and source.counts["distinct_windows"] < 0.15 * source.counts["windows"]
    weight = np.bincount(source.carriers.sample, source.carriers.weight)
    np.testing.assert_allclose(weight, len(source.windows))
    letters, names, records = plain(mito)
    some = range(0, 1_074, 97)
    sizes = {"window": 512, "halo": 0, "strands": "+", "circular": True}
    with pytest.raises(InputError, match="genotypes of two alleles where a person has one haplotype"):
        bt.Haplotypes(vcf, fasta, samples=[names[at] for at in some], **sizes)
    few = bt.Haplotypes(vcf, fasta, samples=[names[at] for at in some], unphased="first", **sizes)
    found = read_back(few)
    assert len(found) == len(some)  # one haplotype each
    for at in some:
        own = []
        for pos, ref, alt, calls in records:
            allele = calls[at].split("/")[0]
            if allele not in ("0", "."):
                own.append((pos, ref, alt.split(",")[int(allele) - 1]))
        spelt, where = consensus(letters, own)
        inside = [i for i, (lo, hi) in enumerate(where) if lo + hi < 2 * len(letters)]
        assert found[names[at], 0][0] == "".join(spelt[i] for i in inside)
        assert found[names[at], 0][1] == [where[i] for i in inside]
