"""Scores where features are chosen beside scores where they are reported; F1 on the scale from chance to perfect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bioterp.analyses.detection import detection
from bioterp.report import report
from bioterp.report.best import best_per_term
from bioterp.report.optimism import optimism
from tests.analyses.worlds import of, world
from tests.studies import study


def test_a_choice_among_noise_is_optimistic_and_the_report_says_by_how_much(tmp_path):
    """Codes that know nothing: the best of many features looks better where it was chosen, never on test."""
    gaps = []
    for seed in range(3):
        here = world(seed, features=61)
        found = detection(here.codes, here.truth, folds=None)
        told = optimism(best_per_term(found))
        assert told.terms == 4
        gaps.append(told.above_select - told.above)
    assert min(gaps) > 0
    page = report(tmp_path, tables={"detection": found}).read_text()
    assert told.in_words("blocks") in page.replace("&#x27;", "'")


def test_means_are_those_of_the_terms_and_cross_fitted_ones_are_left_out():
    detection, _ = study()
    mine = best_per_term(detection)
    mine = mine[mine["representation"] == "dictionary"]
    told = optimism(mine)
    values = [
        (line.f1_select, line.f1, line.f1_select - line.f1_select_null, line.f1 - line.f1_null)
        for line in mine.itertuples()
        if line.split == "test"
    ]
    assert 0 < told.terms == len(values) < len(mine)
    expected = [sum(one) / len(values) for one in zip(*values, strict=True)]
    assert [told.f1_select, told.f1, told.above_select, told.above] == pytest.approx(expected, abs=1e-12)
    assert told.gap == pytest.approx(expected[0] - expected[1])
    assert optimism(mine[mine["split"] != "test"]) is None and optimism(pd.DataFrame({"f1": [0.5]})) is None


def test_normalised_f1_is_zero_at_chance_and_one_when_perfect():
    """A feature that fires nearly everywhere is near chance whatever it covers; the label itself is perfect."""
    here = world(5)
    dense, rng = here.dense.copy(), np.random.default_rng(2)
    dense[:, 0] = rng.integers(1, 4, len(dense)) * (rng.random(len(dense)) > 0.004)
    dense[:, 1] = np.where(here.masks(2)[0], 2.0, 0.0)
    twin = of(here.rows, dense, here.labels)
    found = detection(twin.codes, twin.truth, folds=None).set_index(["feature", "term"])
    perfect = found.loc[(1, "term2")]
    assert perfect["f1"] == 1 and perfect["f1_normalised"] == pytest.approx(1)
    everywhere = found.loc[[0]]
    assert (everywhere["f1"] > 0.1).all() and (everywhere["f1_normalised"].abs() < 0.03).all()
    assert found["f1_normalised"].isna().equals(found["f1"].isna())
    half = found[found["f1"].notna()]  # what is left to gain above chance, and how much of it was gained
    left, gained = 1 - half["f1_null"], half["f1"] - half["f1_null"]
    np.testing.assert_allclose(half["f1_normalised"] * left, gained, atol=1e-12)
