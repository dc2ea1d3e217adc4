"""Simulated cohorts: what the model says of them holds, and what is planted is found and told apart."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

import bioterp as bt
from bioterp import cli, simulate
from bioterp.errors import InputError
from bioterp.simulate import demography


@pytest.fixture(scope="module")
def made():
    return simulate.cohort(seed=101)


def test_sizes_shares_and_what_is_planted(made):
    people, sheet, truth = made
    assert people.shape == (600, 2000) and len(sheet) == 600
    assert truth["kind"].value_counts().to_dict() == dict(zip(simulate.KINDS, (6, 200, 100, 840, 854), strict=True))
    assert (truth["effect"] != 0).sum() == 6 and (truth["effect"] ** 2).sum() == pytest.approx(0.5)
    shift = sheet.groupby("ancestry")["outcome"].mean()
    assert shift["AFR"] > shift["EUR"] and sheet["ancestry"].value_counts().tolist() == [200, 200, 200]
    crossed = pd.crosstab(sheet["ancestry"], sheet["site"], normalize="index")
    assert crossed.to_numpy().max(1).min() > 0.45


def test_causal_variants_explain_h2_within_ancestries():
    """Over many cohorts: least squares of the outcome on the six features, within each ancestry."""
    shares = []
    for seed in range(8):
        people, sheet, truth = simulate.cohort(simulate.Plan(people=900, features=(6, 2, 3, 4, 5), seen=40), seed=seed)
        x = people.values[:, (truth["kind"] == "causal").to_numpy()].astype(float)
        for group in ("AFR", "EAS", "EUR"):
            own = (sheet["ancestry"] == group).to_numpy()
            design, y = np.column_stack([np.ones(own.sum()), x[own]]), sheet["outcome"].to_numpy()[own]
            rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
            shares.append(1 - rest.var() / y.var())
    assert np.mean(shares) == pytest.approx(0.5 * simulate.RELIABLE, abs=0.05)


def test_drift_is_the_f_st_it_is_named_for():
    """Hudson's estimator on the frequencies of many variants."""
    rng = np.random.default_rng(7)
    p = simulate._variants(rng, np.arange(33) % 3, 6_001, least=0.0)[1]
    for one, other, wanted in ((0, 2, 0.139), (0, 1, 0.161), (1, 2, 0.106)):
        between = ((p[one] - p[other]) ** 2).mean()
        total = (p[one] * (1 - p[other]) + p[other] * (1 - p[one])).mean()
        assert between / total == pytest.approx(wanted, abs=0.012)


def test_a_seed_is_a_cohort():
    plan = simulate.Plan(people=45, features=(2, 3, 4, 5, 6), seen=30)
    one, again, other = (simulate.cohort(plan, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(again.people.values, one.people.values) and again.sheet.equals(one.sheet)
    assert not np.array_equal(other.people.values, one.people.values)


def test_what_is_planted_is_found_and_told_apart(made):
    found = bt.associate(made.people, made.sheet, **simulate.declared())
    kind = made.truth["kind"]
    line = found.outcomes.iloc[0]
    assert line["lambda_naive"] > 3 and 0.85 < line["lambda_adjusted"] < 1.2
    assert (found.table["verdict"] == "biomarker")[kind == "causal"].mean() >= 4 / 6
    assert (found.table["verdict"] == "biomarker")[kind.isin(["ancestry", "site"])].mean() <= 0.01
    assert (found.table["flagged"] != "")[kind.isin(["ancestry", "site"])].mean() >= 0.95


def test_a_plan_that_cannot_be():
    with pytest.raises(InputError, match="h2 is a share"):
        simulate.cohort(simulate.Plan(h2=1.5))
    with pytest.raises(InputError, match="30 people or more"):
        simulate.cohort(simulate.Plan(people=7))


def test_the_command_writes_what_python_reads(tmp_path, capsys):
    arguments = ["simulate", "cohort", "--out", str(tmp_path / "made"), "--people", "60", "--binary", "--seed", "4"]
    assert cli.main(arguments) == 0
    people = bt.Field.open(tmp_path / "made" / "people")
    sheet = pd.read_csv(tmp_path / "made" / "people.tsv", sep="\t", index_col="sample")
    same = simulate.cohort(simulate.Plan(people=60, binary=True), seed=4)
    assert np.array_equal(people.values, same.people.values) and set(sheet["outcome"]) == {"case", "control"}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "made" / "truth.tsv", sep="\t"), same.truth)
    table = bt.association(people, sheet, outcome="outcome", covariates=["age"], confounders=["ancestry"])
    assert len(table) == 2000 and table["verdict"].isin(["biomarker", "unresolved", "confounder", "none"]).all()


def test_the_demo_prints_truth_beside_verdicts(tmp_path, capsys):
    assert cli.main(["demo", "cohort", "--out", str(tmp_path / "demo"), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "planted" in said and "biomarker" in said and "off-target" in said and "lambda" in said
    names = {path.name for path in (tmp_path / "demo" / "tables").glob("*.tsv")}
    assert names == {"association.tsv", "effects.tsv", "outcomes.tsv", "qq.tsv", "confounding.tsv"}
    assert cli.main(["demo", "cohort", "genome.fna"]) == 2


def test_trees_out_of_africa_differ_as_continents_do_and_link_what_is_near():
    """Hudson's F_ST between the published 0.11 and 0.19; variants of a locus go together, those of two do not."""
    pytest.importorskip("msprime", reason="the out-of-africa demography needs msprime")
    rng = np.random.default_rng(11)
    ancestry = rng.permutation(np.arange(123) % 3)
    alleles = demography.haplotypes(rng, ancestry, 150, 2, "out-of-africa")
    assert alleles.shape == (123, 150, 2, 2) and set(np.unique(alleles)) == {0, 1}
    share = alleles.mean((0, 3))
    assert np.minimum(share, 1 - share).min() >= 0.05
    p = np.stack([alleles[ancestry == a].mean((0, 3)).ravel() for a in range(3)])
    between = {}
    for one, other in ((0, 1), (0, 2), (1, 2)):
        total = (p[one] * (1 - p[other]) + p[other] * (1 - p[one])).mean()
        between[one, other] = ((p[one] - p[other]) ** 2).mean() / total
    assert 0.06 < between[1, 2] < between[0, 2] < between[0, 1] < 0.25
    europe = alleles[ancestry == 2].transpose(0, 3, 1, 2).reshape(-1, 150, 2)
    varied = europe[:, (europe.std(0) > 0).all(-1)].astype(float)
    near = [np.corrcoef(varied[:, i].T)[0, 1] ** 2 for i in range(varied.shape[1])]
    far = [np.corrcoef(varied[:, i, 0], varied[:, i - 1, 1])[0, 1] ** 2 for i in range(varied.shape[1])]
    assert np.mean(near) > 3 * np.mean(far)


def test_a_cohort_of_trees_and_an_unknown_history(monkeypatch):
    with pytest.raises(InputError, match="there is no demography 'out-of-afrika'; did you mean 'out-of-africa'"):
        simulate.cohort(simulate.Plan(demography="out-of-afrika"))
    plan = simulate.Plan(people=42, features=(2, 3, 4, 5, 6), seen=31, demography="out-of-africa")
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(InputError, match="pip install 'bioterp\\[simulate\\]'"):
        simulate.cohort(plan)
    monkeypatch.undo()
    pytest.importorskip("msprime", reason="the out-of-africa demography needs msprime")
    made = simulate.cohort(plan, seed=3)
    assert made.people.shape == (42, 20) and np.isfinite(made.people.values).all()
    assert np.array_equal(simulate.cohort(plan, seed=3).people.values, made.people.values)
