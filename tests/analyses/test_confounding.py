"""What confounds features: equal to statsmodels and to refits, flags, and candidates that tell nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm

import bioterp as bt
from bioterp.analyses.cohort import deciding
from bioterp.errors import InputError
from tests.analyses.people import field_of, world


def _levels(values: pd.Series) -> np.ndarray:
    return sm.add_constant(pd.get_dummies(values, drop_first=True).to_numpy(float))


def test_shares_p_and_held_out_shares_are_those_of_refits():
    people, sheet = world(n=103, m=5)
    found = bt.confounding(people, sheet, candidates=["site", "age"], folds=4, seed=2)
    order, number = np.random.default_rng(2).permutation(103), np.empty(103, int)
    number[order] = np.arange(103) % 4
    for name, design in (("site", _levels(sheet["site"])), ("age", sm.add_constant(sheet["age"].to_numpy()))):
        for j in (0, 4):
            x = people.values[:, j].astype(np.float64)
            fit = sm.OLS(x, design).fit()
            line = found[(found["confounder"] == name) & (found["feature"] == j)].iloc[0]
            assert line["r2"] == pytest.approx(fit.rsquared_adj, rel=1e-6)
            assert line["p"] == pytest.approx(fit.f_pvalue, rel=1e-6)
            lost = total = 0.0
            for f in range(4):
                out, held = number != f, number == f
                told = design[held] @ np.linalg.lstsq(design[out], x[out], rcond=None)[0]
                lost += ((x[held] - told) ** 2).sum()
                total += ((x[held] - x[out].mean()) ** 2).sum()
            assert line["r2_held_out"] == pytest.approx(1 - lost / total, rel=1e-6)


def test_attenuation_and_the_conditional_test():
    people, sheet = world(n=203, m=3, seed=6)
    found = bt.confounding(people, sheet, outcome="height", candidates=["ancestry"], covariates=["age"])
    y, given = sheet["height"].to_numpy(), np.column_stack([_levels(sheet["ancestry"]), sheet["age"]])
    for j in range(3):
        x = people.values[:, j].astype(np.float64)
        before = sm.OLS(y, sm.add_constant(np.column_stack([sheet["age"], x]))).fit().params[-1]
        after = sm.OLS(y, np.column_stack([given, x])).fit().params[-1]
        assert found["attenuation"][j] == pytest.approx(1 - after / before, rel=1e-6)
        product = sm.OLS(x, given).fit().resid * sm.OLS(y, given).fit().resid
        t = np.sqrt(203) * product.mean() / product.std()
        assert found["conditional_p"][j] == pytest.approx(2 * scipy.stats.norm.sf(abs(t)), rel=1e-6)
    assert found["attenuation"][1] > 0.6 > found["attenuation"][0]
    assert found["conditional_p"][0] < 1e-6 < found["conditional_p"][1]


def test_the_conditional_test_keeps_its_level_where_the_noise_does_not():
    """Outcome and feature, each of a variance that grows with the ancestry: 5 % of independent pairs pass at 5 %."""
    rng = np.random.default_rng(3)
    n, m = 307, 997
    ancestry = rng.integers(0, 3, n)
    x = (1 + 3 * ancestry[:, None]) * rng.normal(size=(n, m)) + ancestry[:, None]
    sheet = pd.DataFrame({"a": np.array(list("xyz"))[ancestry]}, index=[f"s{i}" for i in range(n)])
    sheet["y"] = (1 + 3 * ancestry) * rng.normal(size=n) + 2 * ancestry
    found = bt.confounding(field_of(x), sheet, outcome="y", candidates=["a"])
    assert (found["conditional_p"] < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    straight = bt.association(field_of(x), sheet, outcome="y", confounders=["a"])["p_adjusted"]
    assert (straight < 0.05).mean() > 0.08  # least squares do not


def test_flags_follow_what_was_planted():
    people, sheet = world(n=401, m=61)
    found = bt.confounding(people, sheet, outcome=["height", "case"])
    flags = found[found["outcome"] == "case"].pivot(index="feature", columns="confounder", values="flag")
    assert set(flags.columns) == {"age", "sex", "ancestry", "site"}
    assert flags["ancestry"][:5].all() and flags.loc[5:].to_numpy().mean() < 0.03


def test_candidates_that_tell_nothing_have_a_row_with_the_reason():
    people, sheet = world(n=47, m=2)
    sheet["scanner"], sheet["batch"], sheet["code"] = "one", np.nan, sheet.index
    found = bt.confounding(people, sheet, outcome="height")
    bare = found[found["feature"] == -1].set_index("confounder")["note"]
    assert "for everybody; it adjusts" in bare["scanner"] and "missing for everybody" in bare["batch"]
    assert "names people" in bare["code"] and not found["flag"].isna().any()
    constant = bt.confounding(field_of(np.ones((47, 3))), sheet, candidates=["site"])
    assert constant["note"].notna().all() and not constant["flag"].any()
    empty = bt.confounding(people, sheet, candidates=[])
    assert len(empty) == 0 and empty.attrs["table"] == "confounding"


def test_a_candidate_that_some_people_lack():
    people, sheet = world(n=71, m=3)
    sheet.loc[["s3", "s7"], "site"] = None
    found = bt.confounding(people, sheet, outcome="height", candidates=["site", "ancestry"], covariates=["age"])
    assert found.groupby("confounder")["n"].first().to_dict() == {"site": 69, "ancestry": 71}
    kept = [i for i in range(71) if i not in (3, 7)]
    alone = bt.confounding(
        field_of(people.values[kept], names=[f"s{i}" for i in kept]), sheet, outcome="height", candidates=["site"],
        covariates=["age"],
    )  # fmt: skip
    own = found[found["confounder"] == "site"].reset_index(drop=True)
    for column in ("r2", "p", "attenuation", "conditional_p"):
        np.testing.assert_allclose(own[column], alone[column], rtol=1e-9)


def test_an_outcome_or_mediator_is_no_candidate():
    people, sheet = world(n=41, m=2)
    with pytest.raises(InputError, match="outcome or mediator and as a candidate"):
        bt.confounding(people, sheet, outcome="height", candidates=["height"])
    assert "sex" not in set(bt.confounding(people, sheet, outcome="height", mediators=["sex"])["confounder"])


@pytest.mark.parametrize(
    ("change", "verdict", "clause"),
    [
        ({}, "biomarker", ""),
        ({"identified": False}, "unresolved", "identifiability"),
        ({"sized": False}, "unresolved", "people per class per group"),
        ({"groups": 1}, "unresolved", "groups with the feature"),
        ({"groups": 1, "grouped": False}, "biomarker", ""),
        ({"same_sign": 0.0}, "unresolved", "same sign"),
        ({"same_sign": np.nan}, "unresolved", "same sign"),
        ({"p_heterogeneity": 0.009}, "unresolved", "heterogeneity"),
        ({"p_heterogeneity": np.nan}, "unresolved", "heterogeneity"),
        ({"transfer": 0.75}, "unresolved", "transfer"),
        ({"transfer": np.nan}, "unresolved", "transfer"),
        ({"gain": 0.0}, "unresolved", "gain"),
        ({"gain": np.nan}, "unresolved", "gain"),
        ({"same_sign": 0.0, "gain": -1.0}, "unresolved", "same sign"),
        ({"q_adjusted": 0.06}, "confounder", "adjusted q"),
        ({"q_adjusted": np.nan}, "confounder", "adjusted q"),
        ({"q_adjusted": 0.06, "flagged": False}, "none", "adjusted q; no confounder flags it"),
        ({"q_adjusted": 0.06, "q": 0.06}, "none", "adjusted q"),
        ({"q_adjusted": np.nan, "q": np.nan}, "none", "not tested"),
        ({"q": 0.9}, "biomarker", ""),
    ],
)
def test_every_clause_of_the_verdict(change, verdict, clause):
    fine = {
        "q": 0.01, "q_adjusted": 0.05, "same_sign": 1.0, "p_heterogeneity": 0.02, "transfer": 1.0, "gain": 1e-9,
        "flagged": True, "groups": 3, "grouped": True, "identified": True, "sized": True,
    }  # fmt: skip
    whole = ("grouped", "identified", "sized")
    given = {name: value if name in whole else np.array([value]) for name, value in {**fine, **change}.items()}
    found = deciding.decide(deciding.Evidence(**given))
    assert (found[0][0], found[1][0]) == (verdict, clause)
