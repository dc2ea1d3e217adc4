"""Associations of people: equal to statsmodels and scipy, planted truth, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats
import statsmodels.api as sm
from statsmodels.stats.meta_analysis import combine_effects

import bioterp as bt
from bioterp import tables
from bioterp.analyses.cohort import chance, logits, pooling
from bioterp.errors import AlignmentError, InputError
from tests.analyses.people import field_of, world

MODEL = {"covariates": ["age", "sex"], "confounders": ["ancestry", "site"], "groups": "ancestry"}


def _columns(sheet: pd.DataFrame, names: list[str]) -> np.ndarray:
    return sm.add_constant(pd.get_dummies(sheet[names], drop_first=True).to_numpy(float))


@pytest.fixture(scope="module")
def cohort():
    people, sheet = world()
    return people, sheet, bt.associate(people, sheet, outcome=["height", "case"], **MODEL)


def test_least_squares_are_those_of_statsmodels(cohort):
    people, sheet, found = cohort
    table = found.table[found.table["outcome"] == "height"]
    x = people.values.astype(np.float64)
    for names, columns in (
        (["age", "sex"], ("beta", "se", "p")),
        (["age", "sex", "ancestry", "site"], ("beta_adjusted", "se_adjusted", "p_adjusted")),
    ):
        design = _columns(sheet, names)
        for j in (0, 3, 16):
            fit = sm.OLS(sheet["height"].to_numpy(), np.column_stack([design, x[:, j]])).fit()
            theirs = fit.params[-1], fit.bse[-1], fit.pvalues[-1]
            np.testing.assert_allclose(table.iloc[j][list(columns)].astype(float), theirs, rtol=1e-6)
            if "beta_adjusted" in columns:
                np.testing.assert_allclose(table.iloc[j][["lo", "hi"]].astype(float), fit.conf_int()[-1], rtol=1e-6)


def test_logistic_effects_are_exact_and_p_is_the_score_tests(cohort):
    people, sheet, found = cohort
    table = found.table[found.table["outcome"] == "case"].reset_index(drop=True)
    y, design = (sheet["case"] == "control").to_numpy(float), _columns(sheet, ["age", "sex", "ancestry", "site"])
    y = 1 - y  # 'control' < 'case' in meaning, not in the alphabet
    null = sm.GLM(y, design, family=sm.families.Binomial()).fit(tol=1e-12)
    for j in (0, 2, 11):
        x = people.values[:, j].astype(np.float64)
        # statsmodels' own score test uses the expected information, as Rao's does
        p = null.score_test(exog_extra=x[:, None])[1]
        assert table["p_adjusted"][j] == pytest.approx(float(np.squeeze(p)), rel=1e-6)
        fit = sm.Logit(y, np.column_stack([design, x])).fit(disp=0, tol=1e-12)
        ours = table.loc[j, ["beta_adjusted", "se_adjusted", "lo", "hi"]].astype(float)
        np.testing.assert_allclose(ours, [fit.params[-1], fit.bse[-1], *fit.conf_int()[-1]], rtol=1e-6)
    assert set(table["effect"]) == {"logistic"}


def test_groups_and_their_means_are_statsmodels(cohort):
    people, sheet, found = cohort
    effects = found.effects[(found.effects["outcome"] == "height") & (found.effects["feature"] == 1)]
    beta, se = [], []
    for group in ("AFR", "EAS", "EUR"):
        own = (sheet["ancestry"] == group).to_numpy()
        design = np.column_stack([_columns(sheet[own], ["age", "sex", "site"]), people.values[own, 1]])
        fit = sm.OLS(sheet["height"].to_numpy()[own], design).fit()
        line = effects[effects["group"] == group].iloc[0]
        np.testing.assert_allclose(
            [line["beta"], line["se"], line["p"]], [fit.params[-1], fit.bse[-1], fit.pvalues[-1]]
        )
        assert line["n"] == own.sum()
        beta.append(fit.params[-1])
        se.append(fit.bse[-1])
    theirs = combine_effects(np.array(beta), np.array(se) ** 2, method_re="chi2")
    row = found.table[found.table["outcome"] == "height"].iloc[1]
    assert row["beta_fixed"] == pytest.approx(theirs.mean_effect_fe)
    assert row["se_fixed"] == pytest.approx(theirs.sd_eff_w_fe)
    assert row["q_heterogeneity"] == pytest.approx(theirs.q)
    assert row["tau2"] == pytest.approx(max(theirs.tau2, 0), abs=1e-12)
    assert row["beta_random"] == pytest.approx(theirs.mean_effect_re if theirs.tau2 > 0 else theirs.mean_effect_fe)
    assert row["p_heterogeneity"] == pytest.approx(scipy.stats.chi2.sf(theirs.q, 2))


def test_random_effects_where_groups_differ():
    beta, se = np.array([[0.9], [-0.4], [0.3], [1.6]]), np.array([[0.2], [0.25], [0.15], [0.4]])
    theirs = combine_effects(beta[:, 0], se[:, 0] ** 2, method_re="chi2")
    ours = pooling.pool(beta, se)
    assert theirs.tau2 > 0.1
    ends = [ours.tau2[0], ours.random[0], ours.se_random[0], ours.q[0]]
    np.testing.assert_allclose(ends, [theirs.tau2, theirs.mean_effect_re, theirs.sd_eff_w_re, theirs.q])


def test_gain_is_the_held_out_error_that_falls():
    """Folds refitted one by one with a solver of least squares."""
    people, sheet = world(n=97, m=3)
    y, x = sheet["height"].to_numpy(), people.values.astype(np.float64)
    row = bt.association(people, sheet, outcome="height", **MODEL, folds=4, seed=5)
    design = _columns(sheet, ["age", "sex", "ancestry", "site"])
    order = np.random.default_rng(5).permutation(97)
    number = np.empty(97, int)
    number[order] = np.arange(97) % 4
    for j in range(3):
        fallen = total = 0.0
        for f in range(4):
            fit, held = number != f, number == f
            errors = []
            for columns in (design, np.column_stack([design, x[:, j]])):
                coefficients = np.linalg.lstsq(columns[fit], y[fit], rcond=None)[0]
                errors.append(((y[held] - columns[held] @ coefficients) ** 2).sum())
            fallen += errors[0] - errors[1]
            total += ((y[held] - y[fit].mean()) ** 2).sum()
        assert row["gain"][j] == pytest.approx(fallen / total, rel=1e-6)


def test_gain_of_classes_is_close_to_the_log_likelihood_held_out():
    people, sheet = world(n=409, m=2, seed=4)
    y, x = (sheet["case"] == "case").to_numpy(float), people.values.astype(np.float64)
    ours = bt.association(people, sheet, outcome="case", covariates=["age"], confounders=["ancestry"], folds=3)
    design = _columns(sheet, ["age", "ancestry"])
    number = np.empty(409, int)
    number[np.random.default_rng(0).permutation(409)] = np.arange(409) % 3
    for j in range(2):
        losses = np.zeros(3)
        for f in range(3):
            fit, held = number != f, number == f
            for at, columns in enumerate((design, np.column_stack([design, x[:, j]]), np.ones((409, 1)))):
                p = sm.Logit(y[fit], columns[fit]).fit(disp=0).predict(columns[held])
                losses[at] -= np.log(np.where(y[held] > 0, p, 1 - p)).sum()
        assert ours["gain"][j] == pytest.approx((losses[0] - losses[1]) / losses[2], abs=0.025)
    assert ours["gain"][0] > 0.05


def test_permutations_are_those_of_freedman_and_lane():
    people, sheet = world(n=61, m=4, seed=2)
    table = bt.association(people, sheet, outcome="height", **MODEL, permutations=199, strata="site", seed=7)
    y, x = sheet["height"].to_numpy(), people.values.astype(np.float64)
    design = _columns(sheet, ["age", "sex", "ancestry", "site"])
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    rng, strata = np.random.default_rng(7), pd.factorize(sheet["site"])[0]
    drawn = np.zeros((61, 199))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        for k in range(199):
            drawn[own, k] = (y - fitted)[rng.permutation(own)]
    t = np.zeros((200, 4))
    for k in range(200):
        outcome = y if k == 199 else fitted + drawn[:, k]
        for j in range(4):
            t[k, j] = abs(sm.OLS(outcome, np.column_stack([design, x[:, j]])).fit().tvalues[-1])
    np.testing.assert_allclose(table["p_permuted"], (t >= t[-1] - 1e-9).sum(0) / 200)
    largest = t.max(1)
    largest[-1] = np.inf  # the identity counts, whatever its feature
    np.testing.assert_allclose(table["p_max"], [(largest >= t[-1, j] - 1e-9).mean() for j in range(4)])


def test_firth_where_classes_are_separated():
    rng = np.random.default_rng(1)
    x = np.sort(rng.normal(size=31))
    y, covariates = (x > x[18]).astype(float), np.column_stack([np.ones(31), rng.normal(size=31)])
    found = logits.exact(covariates, x, y)
    design = np.column_stack([covariates, x])

    def lost(beta, held=None):
        beta = beta if held is None else np.r_[beta, held]
        p = 1 / (1 + np.exp(-design @ beta))
        half = np.linalg.slogdet((design * (p * (1 - p))[:, None]).T @ design)[1] / 2
        return np.logaddexp(0, (1 - 2 * y) * (design @ beta)).sum() - half

    exact = {"method": "Nelder-Mead", "options": {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9000, "maxfev": 9000}}
    best = scipy.optimize.minimize(lost, np.zeros(3), **exact)
    none = scipy.optimize.minimize(lost, np.zeros(2), args=(0.0,), **exact)
    assert found.how == "firth" and found.beta == pytest.approx(best.x[-1], rel=1e-5)
    assert found.p == pytest.approx(scipy.stats.chi2.sf(2 * (none.fun - best.fun), 1), rel=1e-5)
    for end in (found.lo, found.hi):
        # far out the penalised likelihood has several maxima: the one that goes on from the best is followed
        at = scipy.optimize.minimize(lost, best.x[:2] * end / best.x[2], args=(end,), **exact)
        assert 2 * (at.fun - best.fun) == pytest.approx(scipy.stats.chi2.ppf(0.95, 1), rel=1e-4)
    assert found.lo < found.beta < found.hi < np.inf


def test_inflation_normal_scores_and_corrections():
    p = np.random.default_rng(0).uniform(size=4001)
    assert chance.lambda_gc(p) == pytest.approx(1, abs=0.08)
    assert chance.lambda_gc(2 * scipy.stats.norm.sf(np.abs(2 * scipy.stats.norm.isf(p / 2)))) == pytest.approx(
        4 * chance.lambda_gc(p)
    )
    y = np.array([3.0, np.nan, -1.0, 7.5, 3.0])
    scores = chance.normal_scores(y)
    assert np.isnan(scores[1]) and scores[0] == scores[4] == pytest.approx(0) and scores[3] == -scores[2]
    points = chance.quantiles(p)
    assert (
        len(points) <= 200
        and (points[:, 1] >= points[:, 2]).mean() > 0.9
        and (points[:, 3] >= points[:, 1]).mean() > 0.9
    )
    with_gap = np.r_[p[:5], np.nan]
    assert np.isnan(chance.corrected(with_gap, "bh")[-1]) and chance.corrected(with_gap, "by")[0] >= p[0]


def test_called_features_that_go_together_are_one_set():
    """Three causes, read by 5, 3 and 1 features; all of them follow the confounder too, which joins no sets."""
    rng = np.random.default_rng(41)
    n, of = 307, np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])
    cause, age = rng.normal(size=(307, 3)), rng.normal(size=307)
    values = np.column_stack([cause[:, of] + 0.3 * rng.normal(size=(n, 9)), rng.normal(size=(n, 13))])
    values += 4 * age[:, None]
    sheet = pd.DataFrame({"y": cause.sum(1) + rng.normal(size=n) + age, "age": age}, index=[f"s{i}" for i in range(n)])
    found = bt.associate(field_of(values), sheet, outcome="y", confounders=["age"])
    table, line = found.table.sort_values("feature"), found.outcomes.iloc[0]
    called = (table["q_adjusted"] <= 0.05).to_numpy()
    own = table["set"].to_numpy()
    assert called[:9].all() and ((own >= 0) == called).all()
    for k in range(3):
        mine = np.flatnonzero(of == k)
        assert own[mine].tolist() == [mine[table["p_adjusted"].to_numpy()[mine].argmin()]] * len(mine)
    assert line["n_called"] == called.sum() and line["n_sets"] == 3 + called[9:].sum()


def test_a_lambda_that_stays_high_is_told():
    """Features that read one cause go with the outcome together; independent ones, and few of them, do not."""
    rng = np.random.default_rng(40)
    n, cause = 173, rng.normal(size=173)
    sheet = pd.DataFrame({"y": 0.7 * cause + rng.normal(size=n), "age": rng.normal(size=n)})
    sheet.index = [f"s{i}" for i in range(n)]
    block = 0.7 * cause[:, None] + rng.normal(size=(n, 61))
    for values, told in ((block, True), (block[:, :20], False), (rng.normal(size=(n, 61)), False)):
        found = bt.associate(field_of(values), sheet, outcome="y", confounders=["age"])
        line = found.outcomes.iloc[0]
        assert isinstance(line["note"], str) == told and (line["lambda_adjusted"] > 1.5 or not told)
        warned = [one for one in found.table.attrs["warnings"] if one.startswith("y: lambda stays")]
        assert len(warned) == told
        assert not told or "the block and not the feature" in line["note"]


def test_outcomes_alone_or_together_and_rows_in_any_order(cohort):
    people, sheet, found = cohort
    alone = bt.association(people, sheet.sample(frac=1, random_state=1), outcome="case", **MODEL)
    both = found.table[found.table["outcome"] == "case"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, both, rtol=1e-8)


def test_verdicts_of_a_planted_world():
    people, sheet = world(n=601, m=23, seed=9)
    found = bt.associate(people, sheet, outcome="height", **MODEL)
    verdict = found.table["verdict"]
    assert verdict[0] == "biomarker" and found.table["failed_clause"][0] == ""
    assert "ancestry" in found.table["flagged"][0]
    assert (verdict[1:5] == "confounder").all() and (found.table["failed_clause"][1:5] == "adjusted q").all()
    assert (verdict[5:] == "none").sum() >= 17
    line = found.outcomes.iloc[0]
    assert line["identified"] and line["sized"] and line["n_evaluable"] == 3
    assert tables.conform("association", found.table).equals(found.table)


def test_an_outcome_that_is_the_confounder_is_unresolved():
    people, sheet = world(n=151)
    sheet["height"] = sheet["ancestry"].map({"AFR": 0.0, "EAS": 3.0, "EUR": 7.0}) + 0.1 * sheet["height"]
    found = bt.associate(people, sheet, outcome="height", **MODEL)
    assert found.outcomes["explained"][0] > 0.8
    assert set(found.table["verdict"]) == {"unresolved"} and set(found.table["failed_clause"]) == {"identifiability"}


# ---------------------------------------------------------------------- what cannot be told


def _sane(table: pd.DataFrame) -> None:
    assert set(table["verdict"]) <= {"biomarker", "unresolved", "confounder", "none"}
    assert table["failed_clause"].notna().all()
    assert (table["note"].notna() | table["p_adjusted"].notna()).all()


def test_singular_covariates_adjust_once():
    people, sheet = world(n=83)
    sheet["years"], sheet["months"] = sheet["age"], 12 * sheet["age"]
    more = {**MODEL, "covariates": ["age", "sex", "years", "months"]}
    pd.testing.assert_frame_equal(
        bt.association(people, sheet, outcome="height", **more),
        bt.association(people, sheet, outcome="height", **MODEL),
        rtol=1e-7,
    )


def test_a_group_of_one_is_told_and_does_not_count():
    people, sheet = world(n=131)
    sheet.loc["s5", "ancestry"] = "SAS"
    found = bt.associate(people, sheet, outcome=["height", "case"], covariates=["age"], groups="ancestry")
    alone = found.effects[found.effects["group"] == "SAS"]
    assert (alone["n"] == 1).all() and alone["beta"].isna().all() and alone["note"].notna().all()
    assert found.table["n_groups"].max() == 3 and (found.outcomes["n_groups"] == 4).all()
    _sane(found.table)


def test_too_few_people_per_class_and_group_are_unresolved():
    people, sheet = world(n=131)
    sheet["case"] = np.where((sheet["ancestry"] == "EUR") & (sheet["case"] == "case"), "case", "control")
    found = bt.associate(people, sheet, outcome="case", covariates=["age"], groups="ancestry")
    assert set(found.table["verdict"]) == {"unresolved"}
    assert set(found.table["failed_clause"]) == {"people per class per group"}


@pytest.mark.parametrize("value", [2.5, "control", np.nan])
def test_an_outcome_that_is_constant_or_missing(value):
    people, sheet = world(n=61)
    sheet["flat"] = value
    found = bt.associate(people, sheet, outcome=["flat", "height"], **MODEL)
    flat = found.table[found.table["outcome"] == "flat"]
    assert set(flat["verdict"]) == {"unresolved"} and flat["note"].str.startswith("not tested").all()
    assert found.outcomes["note"].notna().tolist() == [True, False]
    _sane(found.table)


def test_perfect_separation_by_feature_and_by_confounder():
    people, sheet = world(n=89, m=5)
    x = people.values.copy()
    sheet["case"] = np.where(x[:, 3] > 0.4, "case", "control")
    found = bt.associate(people, sheet, outcome="case", covariates=["age"], groups="sex")
    row = found.table.iloc[3]
    assert row["effect"] == "firth" and 0 < row["lo"] < row["beta_adjusted"] < row["hi"]
    _sane(found.table)
    sheet["case"] = np.where(sheet["site"] == "Oslo", "case", "control")
    told = bt.associate(people, sheet, outcome="case", confounders=["site"])
    assert set(told.table["failed_clause"]) == {"identifiability"} and told.outcomes["explained"][0] == pytest.approx(1)


def test_features_that_are_constant_missing_or_the_confounder_itself():
    people, sheet = world(n=113, m=7)
    x = people.values.copy()
    x[:, 2] = 0.1
    x[:, 4] = np.nan
    x[7, 5] = np.inf
    x[:, 6] = (sheet["ancestry"] == "EUR").to_numpy()
    found = bt.associate(field_of(x), sheet, outcome=["height", "case"], **MODEL)
    table = found.table.iloc[:7]
    assert table["note"].notna().tolist() == [False, False, True, False, True, True, True]
    assert (
        "the same for everybody" in table["note"][2]
        and "113 people" in table["note"][4]
        and "1 people" in table["note"][5]
    )
    assert table["verdict"][6] == "confounder" and np.isnan(table["p_adjusted"][6]) and table["p"][6] < 1e-4
    _sane(found.table)
    clean = bt.association(field_of(x[:, [0, 1, 3]]), sheet, outcome="height", **MODEL)
    assert clean["p_adjusted"].tolist() == pytest.approx(table["p_adjusted"][[0, 1, 3]].tolist())


def test_missing_people_are_left_out_and_counted():
    people, sheet = world(n=107, m=3)
    sheet.loc["s4", "age"] = np.nan
    sheet.loc["s9", "height"] = np.nan
    sheet = sheet.drop(index=["s11", "s12"])
    sheet.loc["stranger"] = sheet.loc["s20"]
    found = bt.associate(people, sheet, outcome=["height", "case"], **MODEL)
    assert found.outcomes["n"].tolist() == [103, 104]
    told = "; ".join(found.table.attrs["warnings"])
    assert "2 people with features are not in" in told and "1 people of the sample sheet" in told and "'age'" in told
    kept = [i for i in range(107) if i not in (4, 9, 11, 12)]
    alone = bt.association(
        field_of(people.values[kept], names=[f"s{i}" for i in kept]), sheet, outcome="height", **MODEL
    )
    assert found.table["p_adjusted"][:3].tolist() == pytest.approx(alone["p_adjusted"].tolist(), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"outcome": "hight"}, InputError, "did you mean 'height'"),
        (lambda s: {"mediators": ["age"]}, InputError, "mediator, which is never adjusted for"),
        (lambda s: {"confounders": ["height"]}, InputError, "one of them only"),
        (lambda s: {"outcome": "site", "confounders": []}, InputError, "4 values that are no numbers"),
        (lambda s: s.__setitem__("sex", "f"), InputError, "is 'f' for everybody"),
        (lambda s: s.__setitem__("sex", np.nan), InputError, "'sex' is missing for everybody"),
        (lambda s: s.__setitem__("sex", s.index), InputError, "it names people"),
        (lambda s: s.rename(index=lambda one: "x" + one, inplace=True), AlignmentError, "knows none of the 41 people"),
        (lambda s: s.rename(index={"s1": "s2"}, inplace=True), InputError, "two lines for 's2'"),
        (lambda s: {"outcome": []}, InputError, "no outcome"),
        (lambda s: {"folds": 1}, InputError, "two folds"),
    ],
)
def test_a_sentence_for_what_cannot_serve(change, error, message):
    people, sheet = world(n=41, m=2)
    options = {"outcome": "height", **MODEL, **(change(sheet) or {})}
    with pytest.raises(error, match=message):
        bt.associate(people, sheet, **options)


def test_rows_that_are_not_people():
    people, sheet = world(n=41, m=2)
    twice = field_of(people.values, names=["s0", "s0", *(f"s{i}" for i in range(2, 41))])
    with pytest.raises(AlignmentError, match="'s0' has more than one row"):
        bt.associate(twice, sheet, outcome="height")
