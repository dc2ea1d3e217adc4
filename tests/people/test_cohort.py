"""A sample sheet as a cohort: roles, types, what is missing, and one sentence for what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bioterp as bt
from bioterp.config import parse
from bioterp.errors import InputError

SHEET = """sample\tcase\tbmi\tage\tsex\tsite\tapoe\tancestry\tbad
A\t1\t21.5\t50\tfemale\t3\t0.1\tEUR\tx
B\t2\t30\tNA\tmale\t1\t0.2\tAFR\ty
C\t1\t\t71\tfemale\t3\t0.3\tEUR\tz
E\tn/a\t25\t44\t.\t2\t0.4\tEAS\tx
Z\t2\t22\t33\tmale\t1\t0.5\tEUR\ty
"""
PEOPLE = ["C", "D", "A", "E", "B"]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "people.tsv"
    path.write_text(SHEET)
    return path


def read(sheet, **changes):
    given = {
        "outcome": ["case", "bmi"], "covariates": ["age", "sex"], "confounders": ["site", "ancestry"],
        "groups": "ancestry", "mediators": ["apoe"], "categorical": ["site"],
    }  # fmt: skip
    return bt.read_cohort(PEOPLE, sheet, **{**given, **changes})


def test_people_of_both_in_the_order_of_the_rows(sheet: Path) -> None:
    cohort = read(sheet)
    assert cohort.rows.tolist() == [0, 2, 3, 4] and cohort.sheet.index.tolist() == ["C", "A", "E", "B"]
    assert cohort.unmatched.to_numpy().tolist() == [["D", "not in people.tsv"], ["Z", "only in people.tsv"]]
    assert len(cohort) == 4


def test_types_levels_and_missing_values(sheet: Path) -> None:
    cohort = read(sheet)
    assert cohort.kinds == {
        "case": "binary", "bmi": "continuous", "age": "continuous", "sex": "categorical", "site": "categorical",
        "ancestry": "categorical", "apoe": "continuous",
    }  # fmt: skip
    assert cohort.levels["case"] == ("1", "2") and cohort.levels["site"] == ("1", "2", "3")
    np.testing.assert_array_equal(cohort.outcome(), [0, 0, np.nan, 1])
    np.testing.assert_array_equal(cohort.outcome("bmi"), [np.nan, 21.5, 25, 30])
    told = set(map(tuple, cohort.missing.to_numpy()))
    assert told == {("E", "case"), ("C", "bmi"), ("B", "age"), ("E", "sex")}
    assert cohort.complete(["case", "age"]).tolist() == [True, True, False, False]


def test_the_design_leaves_out_first_levels_and_mediators(sheet: Path) -> None:
    design = read(sheet).design()
    assert list(design.columns) == ["age", "sex=male", "site=2", "site=3", "ancestry=EAS", "ancestry=EUR"]
    np.testing.assert_array_equal(design["sex=male"], [0, 0, np.nan, 1])
    np.testing.assert_array_equal(design["ancestry=EUR"], [1, 1, 0, 0])
    assert list(read(sheet).design(["age"]).columns) == ["age"]


def test_components_join_the_covariates(sheet: Path) -> None:
    pcs = pd.DataFrame({"PC1": [0.5, -0.5], "PC2": [0.1, 0.2]}, index=["A", "B"])
    cohort = read(sheet, pcs=pcs)
    assert cohort.covariates == ("age", "sex", "PC1", "PC2")
    np.testing.assert_array_equal(cohort.sheet["PC1"], [np.nan, 0.5, np.nan, -0.5])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outcome": "cas"}, "no column 'cas' .outcome.; did you mean 'case'"),
        ({"outcome": "bad"}, "outcome 'bad' has 3 categories"),
        ({"covariates": ["apoe"]}, "'apoe' is named as mediators and among the covariates"),
        ({"outcome": "age"}, "'age' is named as outcome and among the covariates"),
        ({"key": "id"}, "no column 'id'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(sheet: Path, changes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(sheet, **changes)


def test_ids_that_come_twice_or_are_nowhere(sheet: Path) -> None:
    sheet.write_text(SHEET + "A\t1\t1\t1\tmale\t1\t1\tEUR\tx\n")
    with pytest.raises(InputError, match="an id more than once"):
        read(sheet)
    sheet.write_text(SHEET)
    with pytest.raises(InputError, match="no person in common: names such as 'A', 'A', 'A' against 'a'"):
        bt.read_cohort(["q"], sheet, outcome="case")
    with pytest.raises(InputError, match="the rows has an id more than once"):
        bt.read_cohort(["A", "A"], sheet, outcome="case")
    sheet.write_text(SHEET.replace("21.5", "").replace("30", "").replace("25", ""))
    with pytest.raises(InputError, match="nobody among the 4 people has a value in the column 'bmi'"):
        read(sheet)


def test_a_run_file_knows_people_and_cohorts(sheet: Path) -> None:
    tree = {
        "out": "o", "model": "bioterp/dna-small", "layers": [2],
        "source": {"kind": "haplotypes", "vcf": ["a.vcf", "b.vcf"], "reference": "r.fa", "unphased": "mask"},
        "cohort": {"samples": "people.tsv", "outcome": "case", "confounders": ["site"]},
    }  # fmt: skip
    tree["cohort"]["pcs"] = {"vcf": "chr1.vcf", "n": 5}
    run = parse(tree, sheet.parent)
    assert run.source.vcf == [sheet.parent / "a.vcf", sheet.parent / "b.vcf"] and run.source.unphased == "mask"
    assert run.cohort.samples == sheet and run.cohort.pcs.n == 5 and run.cohort.pcs.vcf == sheet.parent / "chr1.vcf"
    for change, said in (
        ({"pcs": {"n": 5}}, "pcs needs vcf"), ({"pool": "men"}, "cohort.pool: 'men' is not known"),
        ({"outcom": "x"}, "unknown key 'outcom' in cohort"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            parse({**tree, "cohort": {**tree["cohort"], **change}}, sheet.parent)
