"""Markers on planted people; Firth against its paper's theorem; the file that carries a marker."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

import bioterp as bt
from bioterp.analyses.cohort.logits import firth
from bioterp.analyses.marker import judged
from bioterp.analyses.selecting import stable
from bioterp.errors import InputError, StoreError

N, M = 371, 97


def _people(seed: int = 0, n: int = N, strength: float = 1.2) -> tuple[bt.Field, pd.DataFrame]:
    draw = np.random.default_rng(seed)
    x = draw.gamma(2, 1, (n, M))
    age, sex = draw.normal(60, 8, n), draw.choice(["f", "m"], n)
    z = strength * (x[:, 11] - x[:, 42]) + 0.05 * (age - 60) + 0.5 * (sex == "m")
    case = z + draw.logistic(size=n) > 0
    names = [f"s{i}" for i in range(n)]
    items = pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})
    about = {"dictionary": "topk", "layer": "4", "seed": 0, "pooled": ["mean"]}
    sheet = pd.DataFrame({"case": np.where(case, "yes", "no"), "age": age, "sex": sex}, index=names)
    return bt.Field(bt.Rows.free(items), x.astype(np.float32), kind="code", about=about), sheet


def test_the_planted_features_are_the_formula_and_it_holds_elsewhere(tmp_path: object) -> None:
    codes, sheet = _people()
    made, table = bt.marker(codes, sheet, outcome="case", covariates=["age", "sex"], activations=codes, pairs=10)
    assert set(made.features) == {11, 42}
    weights = dict(zip(made.features, made.weights, strict=True))
    assert weights[11] == pytest.approx(1.2, abs=0.4) and weights[42] == pytest.approx(-1.2, abs=0.4)
    by = table.set_index("model")
    assert list(by.index) == ["marker", "covariates", "all features", "activations"]
    assert by.loc["covariates", "difference_lo"] > 0.1 and by.loc["marker", "auroc"] > 0.8
    assert abs(by.loc["marker", "calibration_slope"] - 1) < 0.35
    path = made.save(tmp_path / "m.json")  # type: ignore[operator]
    other, theirs = _people(seed=1, n=503)
    p = bt.Marker.load(path)(other, theirs)
    z = np.log(p / (1 - p)).to_numpy()
    by_hand = (
        made.intercept + made.covariate_weights[0] * theirs["age"] + made.covariate_weights[1] * (theirs["sex"] == "m")
    )
    by_hand = by_hand + other.values[:, made.features].astype(float) @ np.array(made.weights)
    np.testing.assert_allclose(z, np.clip(by_hand, -30, 30), rtol=1e-6, atol=1e-8)
    held = judged(made, p.to_numpy(), (theirs["case"] == "yes").to_numpy(float))
    assert held["auroc_lo"] > 0.75 and abs(held["calibration_intercept"]) < 0.6
    assert "code[11]" in made.formula and "sex=m" in made.formula


def test_without_truth_nothing_is_found_and_no_skill_is_claimed() -> None:
    taken, scores = 0, []
    for seed in range(5):
        codes, sheet = _people(seed + 10, strength=0.0)
        shuffled = sheet.assign(case=np.random.default_rng(seed).permutation(sheet["case"]))
        made, table = bt.marker(codes, shuffled, outcome="case", pairs=8)
        taken += len(made.features)
        scores.append(table["auroc"].iloc[0])
    assert taken <= 5  # one a world is what the bound allows
    assert np.mean(scores) < 0.56


def test_firth_is_the_maximum_of_the_penalised_likelihood() -> None:
    draw = np.random.default_rng(2)
    x = np.concatenate([np.ones((43, 1)), draw.normal(size=(43, 3))], 1)
    y = (x[:, 1] + draw.logistic(size=43) > 0).astype(float)

    def worth(beta: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-x @ beta))
        info = (x * (p * (1 - p))[:, None]).T @ x
        return -float((y * np.log(p) + (1 - y) * np.log(1 - p)).sum() + 0.5 * np.linalg.slogdet(info)[1])

    best = scipy.optimize.minimize(worth, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(firth(x, y), best, atol=1e-5)


def test_firth_of_a_two_by_two_table_adds_one_half_and_stays_finite() -> None:
    """Of a saturated table Firth is the log odds of counts + ½ (Haldane 1956), empty cells and all."""
    x = np.repeat([[1.0, 0.0], [1.0, 1.0]], [17, 11], axis=0)
    y = np.concatenate([np.arange(17) < 5, np.zeros(11)]).astype(float)
    fit = firth(x, y)
    doubled = firth(np.concatenate([x, x[:, 1:]], 1), y)  # a column twice: the same fit, shared
    expected = np.log(0.5 / 11.5) - np.log(5.5 / 12.5)
    assert fit[1] == pytest.approx(expected, abs=1e-5)
    assert doubled[1:].tolist() == pytest.approx([expected / 2] * 2, abs=1e-5)


def test_few_features_are_stable_by_chance() -> None:
    taken = []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        found = stable(draw.normal(size=(203, 151)), draw.normal(size=203), np.ones((203, 1)), np.arange(203), 10, seed)
        taken.append(len(found.chosen(99)))
    assert np.mean(taken) <= 1  # the bound of Shah & Samworth at this q


def test_what_a_user_may_get_wrong(tmp_path: object) -> None:
    codes, sheet = _people()
    with pytest.raises(InputError, match="two classes"):
        bt.marker(codes, sheet, outcome="age")
    with pytest.raises(InputError, match="3 people in the smaller class"):
        bt.marker(codes, sheet.assign(case=np.where(np.arange(N) < 3, "yes", "no")), outcome="case")
    made, _ = bt.marker(codes, sheet, outcome="case", covariates=["sex"], pairs=2)
    other, theirs = _people(1)
    other.about["seed"] = 3
    with pytest.raises(InputError, match="seed differ"):
        made(other, theirs)
    with pytest.raises(InputError, match="no such column"):
        made(codes, sheet.drop(columns="sex"))
    bad = tmp_path / "bad.json"  # type: ignore[operator]
    bad.write_text(json.dumps({"marker": 1, "outcome": "x"}))
    with pytest.raises(StoreError, match="no marker"):
        bt.Marker.load(bad)
