"""The cohort block of a run file, from codes on cells to people with outcomes and components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bioterp as bt
from bioterp.cohorts import cohort_of, people_of
from bioterp.config import parse
from bioterp.errors import InputError
from tests.people.test_ancestry import genotypes
from tests.people.test_pooling import cohort
from tests.people.village import write_vcf


def block(folder: Path, **changes):
    names = [f"P{i:02d}" for i in range(5)]
    dose = np.nan_to_num(genotypes(variants=31)[:, 9:14])
    spelt = {0.0: "0|0", 1.0: "0|1", 2.0: "1|1"}
    lines = [(1 + i * 2_000_000, "A", "C", [spelt[g] for g in row]) for i, row in enumerate(dose)]
    write_vcf(folder / "off.vcf", changes.pop("contig", "c2"), None, names, lines)
    sheet = "".join(f"{n}\t{i % 2}\t{40 + i}\n" for i, n in enumerate([*names[1:], "X"]))
    (folder / "people.tsv").write_text("sample\tcase\tage\n" + sheet)
    given = {"samples": "people.tsv", "outcome": "case", "covariates": ["age"], "pcs": {"vcf": "off.vcf", "n": 2}}
    tree = {
        "out": "o", "model": "bioterp/dna-small", "layers": [2], "cohort": {**given, **changes},
        "source": {"kind": "haplotypes", "vcf": "people.vcf", "reference": "ref.fa"},
    }  # fmt: skip
    return parse(tree, folder).cohort


def test_codes_become_people_with_outcomes_and_components(tmp_path: Path) -> None:
    source, codes, _ = cohort(tmp_path)
    said = block(tmp_path, pool="max")
    people = people_of(said, source, codes)
    np.testing.assert_array_equal(people.values, bt.pool(codes, source, "max").values)
    found = cohort_of(said, source, people)
    assert found.sheet.index.tolist() == ["P01", "P02", "P03", "P04"] and found.rows.tolist() == [1, 2, 3, 4]
    assert found.covariates == ("age", "PC1", "PC2") and found.outcome().tolist() == [0, 1, 0, 1]
    assert found.unmatched["sample"].tolist() == ["P00", "X"]
    lone = people.take(found.rows)
    assert lone.shape == (4, 13) and lone.rows.items["item"].tolist() == found.sheet.index.tolist()


def test_components_of_the_target_are_refused(tmp_path: Path) -> None:
    source, codes, _ = cohort(tmp_path)
    said = block(tmp_path, contig="chr_c1")
    with pytest.raises(InputError, match="which is what is studied"):
        cohort_of(said, source, people_of(said, source, codes))
