"""A small village for tests: a reference, a VCF of a few people, and what each haplotype must read, by plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.conftest import random_dna, write_fasta

Variant = tuple[int, str, str, list[str]]  # 1-based POS, REF, ALT, genotypes


def write_vcf(
    path: Path, contig: str, length: int | None, people: Sequence[str], variants: Sequence[Variant], form: str = "GT"
) -> Path:
    """VCF 4.2, uncompressed, every line as given."""
    size = "" if length is None else f",length={length}"
    lines = ["##fileformat=VCFv4.2", f"##contig=<ID={contig}{size}>"]
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    lines.append('##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">')
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *people]))
    lines += ["\t".join([contig, str(p), ".", ref, alt, ".", "PASS", ".", form, *gts]) for p, ref, alt, gts in variants]
    path.write_text("\n".join(lines) + "\n")
    return path


def consensus(reference: str, variants: Sequence[tuple[int, str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """One haplotype from (POS, REF, ALT) in file order, and the reference interval of each of its letters.

    The reference as a list with one slot per base and one before each; alleles are written into slots letter by letter.
    An allele that touches what an earlier one wrote (or inserts where it inserted, or inside what it took) is left out.
    """
    base: list[str | None] = list(reference)
    before: list[str] = [""] * (len(reference) + 1)
    touched = [False] * len(reference)
    gone: list[tuple[int, int]] = []
    for pos, ref, alt in variants:
        at = pos - 1
        assert reference[at : at + len(ref)] == ref
        while ref and alt and ref[0] == alt[0]:
            ref, alt, at = ref[1:], alt[1:], at + 1
        while ref and alt and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        end = at + len(ref)
        if any(touched[at:end]) or (not ref and (before[at] or any(lo < at < hi for lo, hi in gone))):
            continue
        if any(before[i] for i in range(at + 1, end)):
            continue
        for i in range(at, end):
            base[i] = alt[i - at] if i - at < len(alt) else None
            touched[i] = True
        if len(alt) > len(ref):
            before[end] += alt[len(ref) :]
        gone.append((at, end))
    letters, where = [], []
    for i in range(len(reference) + 1):
        for letter in before[i]:
            letters.append(letter)
            where.append((i, i))
        if i < len(reference) and base[i] is not None:
            letters.append(base[i])
            where.append((i, i + 1))
    return "".join(letters), where


def random_variants(reference: str, people: int, seed: int, count: int, ploidy: int = 2) -> list[Variant]:
    """SNVs, indels, multi-allelic and overlapping records with phased genotypes, sorted by place."""
    rng = np.random.default_rng(seed)
    made: list[Variant] = []
    for pos in sorted(rng.integers(2, len(reference) - 12, count)):
        kind = rng.choice(["snv", "ins", "del", "mnv", "multi", "complex"])
        at = int(pos) - 1
        one = reference[at]
        other = [b for b in "ACGT" if b != one]
        long = int(rng.integers(2, 9))
        insert = random_dna(long, int(rng.integers(1 << 30)))
        ref, alts = {
            "snv": (one, [other[0]]),
            "ins": (one, [one + insert]),
            "del": (reference[at : at + long], [one]),
            "mnv": (reference[at : at + 3], [other[1] + reference[at + 1] + other[2]]),
            "multi": (reference[at : at + long], [one, other[2] + reference[at + 1 : at + long], one + insert]),
            "complex": (reference[at : at + 4], [insert]),
        }[str(kind)]
        alts = [alt for alt in alts if alt != ref] or [ref + "A"]
        calls = [
            "|".join(str(rng.choice(len(alts) + 1, p=[0.6] + [0.4 / len(alts)] * len(alts))) for _ in range(ploidy))
            for _ in range(people)
        ]
        made.append((int(pos), ref, ",".join(alts), calls))
    return made


def haplotype(variants: Sequence[Variant], person: int, slot: int) -> list[tuple[int, str, str]]:
    """The alleles one haplotype has, in file order."""
    found = []
    for pos, ref, alt, calls in variants:
        allele = int(calls[person].split("|")[slot])
        if allele:
            found.append((pos, ref, alt.split(",")[allele - 1]))
    return found


def village(folder: Path, seed: int = 5, length: int = 1_103, people: int = 7, count: int = 60):
    """(reference letters, FASTA, people's names, variants, VCF)."""
    letters = random_dna(length, seed)
    fasta = write_fasta(folder / "ref.fa", c1=letters)
    names = [f"P{i:02d}" for i in range(people)]
    variants = random_variants(letters, people, seed, count)
    return letters, fasta, names, variants, write_vcf(folder / "people.vcf", "c1", length, names, variants)
