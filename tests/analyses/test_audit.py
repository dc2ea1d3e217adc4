"""The audit on planted people: skill that is only the site, skill that is not, and what is not linear."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import bioterp as bt
from bioterp.errors import InputError

N, M = 407, 61
SITES = np.array(["Guys", "Hammersmith", "IOP"])


def _field(x: object, n: int = N) -> bt.Field:
    names = [f"p{i:03d}" for i in range(n)]
    items = pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})
    return bt.Field(bt.Rows.free(items), x, kind="code")


def _people(cause: float, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Codes with site in a third of them and, with `cause`, a site-free trait in five; cases gather at one site."""
    draw = np.random.default_rng(seed)
    site, trait = draw.integers(0, 3, N), draw.normal(size=N)
    x = draw.normal(size=(N, M))
    x[:, :20] += np.eye(3)[site] @ draw.normal(0, 1.5, (3, 20))
    x[:, 30:35] += trait[:, None]
    case = cause * trait + 2.5 * (site == 1) + draw.logistic(size=N) > 0.7
    sheet = pd.DataFrame({"site": SITES[site], "case": case.astype(int), "age": draw.normal(60, 9, N)})
    return x, sheet.set_index(pd.Index([f"p{i:03d}" for i in range(N)], name="sample"))


def _score(table: pd.DataFrame, **keys: str) -> pd.Series:
    asked = {"probe": "linear", "part": "all", **keys}
    found = table[np.logical_and.reduce([table[k] == v for k, v in asked.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_skill_that_is_only_the_site_goes_with_the_site() -> None:
    x, sheet = _people(cause=0.0)
    table = bt.audit({"codes": _field(x)}, sheet, outcome="case", confounders=["site"], resamples=30)
    plain = _score(table, representation="codes", treatment="none", target="case")
    assert plain["lo"] > 0.55
    assert _score(table, representation="codes", treatment="none", target="site")["score"] > 0.95
    for treatment in ("leace", "combat"):
        assert _score(table, representation="codes", treatment=treatment, target="site")["score"] < 0.56
        assert abs(_score(table, representation="codes", treatment=treatment, target="case")["score"] - 0.5) < 0.07
    assert _score(table, representation="codes", treatment="ablated", target="site")["hi"] < 0.75
    alone = _score(table, representation="confounders", treatment="none", target="case")
    assert alone["score"] >= plain["score"] - 0.03


def test_skill_that_is_not_the_site_stays() -> None:
    x, sheet = _people(cause=2.5)
    table = bt.audit(
        {"codes": _field(scipy.sparse.csr_matrix(x))}, sheet, outcome="case", confounders=["site"], groups="site",
        covariates=["age"], resamples=30,
    )  # fmt: skip
    kept = _score(table, representation="codes", treatment="leace", target="case")
    assert kept["lo"] > 0.65
    assert _score(table, representation="codes + confounders", treatment="none", target="case")["score"] > kept["lo"]
    unseen = table[table["part"].str.startswith("unseen") & (table["representation"] == "codes")]
    assert len(unseen) and (unseen.loc[unseen["treatment"] == "leace", "score"] > 0.65).all()
    assert set(table.loc[table["representation"] == "covariates", "target"]) == {"case"}
    assert table["score"].notna().all()


def test_what_is_not_linear_is_found_by_the_kernel() -> None:
    draw = np.random.default_rng(4)
    site = draw.integers(0, 2, N)
    x = draw.normal(size=(N, 11)) * np.where(site, 2.5, 1)[:, None]
    sheet = pd.DataFrame({"scanner": np.array(["A", "B"])[site], "score": draw.normal(size=N)})
    sheet.index = pd.Index([f"p{i:03d}" for i in range(N)])
    table = bt.audit({"codes": _field(x)}, sheet, outcome="score", confounders=["scanner"], resamples=40)
    erased = {"representation": "codes", "treatment": "leace", "target": "scanner"}
    assert abs(_score(table, **erased)["score"] - 0.5) < 0.08
    assert _score(table, **erased, probe="nonlinear")["score"] > 0.85
    outcome = _score(table, representation="codes", treatment="none", target="score")
    assert outcome["metric"] == "R2" and outcome["hi"] < 0.1 and outcome["chance"] == 0


@pytest.mark.slow
def test_a_probe_that_knows_nothing_scores_one_half() -> None:
    """Over worlds: pooled over folds such probes fall below it."""
    told = []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        x = draw.normal(size=(101, 7))
        sheet = pd.DataFrame({"case": draw.integers(0, 2, 101), "sex": draw.choice(["f", "m"], 101)})
        sheet.index = pd.Index([f"p{i:03d}" for i in range(101)])
        table = bt.audit({"codes": _field(x, 101)}, sheet, outcome="case", confounders=["sex"], resamples=2)
        told.append(_score(table, representation="codes", treatment="none", target="case")["score"])
    assert abs(np.mean(told) - 0.5) < 3 * np.std(told) / np.sqrt(12) + 0.01


def test_unknown_confounders_leave_people_out_and_few_cases_are_said() -> None:
    x, sheet = _people(cause=1.0)
    sheet["site"] = sheet["site"].where(np.arange(N) >= 31, None)
    rare = sheet.assign(case=(np.arange(N) < 36).astype(int))
    table = bt.audit({"codes": _field(x)}, rare, outcome="case", confounders=["site"], resamples=5)
    assert table.attrs["left_out"] == 31
    line = _score(table, representation="codes", treatment="none", target="case")
    assert np.isnan(line["score"]) and "5 people in the smaller class" in line["note"]


def test_users_errors() -> None:
    x, sheet = _people(1.0)
    field = _field(x)
    with pytest.raises(InputError, match=r"no column 'stie'.*site"):
        bt.audit({"codes": field}, sheet, outcome="case", confounders=["stie"])
    with pytest.raises(InputError, match="407 people are not in the sheet: p000"):
        bt.audit({"codes": field}, sheet.set_index(sheet.index + "x"), outcome="case", confounders=["site"])
    with pytest.raises(InputError, match="twice"):
        bt.audit({"codes": field}, pd.concat([sheet, sheet]), outcome="case", confounders=["site"])
    with pytest.raises(InputError, match="one value"):
        bt.audit({"codes": field}, sheet.assign(site="x"), outcome="case", confounders=["site"])
    with pytest.raises(InputError, match="holds numbers"):
        bt.audit({"codes": field}, sheet, outcome="case", confounders=["age"], batch="age")
