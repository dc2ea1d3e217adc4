"""What the report and the screen say of signals that features follow."""

from __future__ import annotations

import numpy as np
import pytest

from bioterp import summary
from bioterp.report import report
from bioterp.report.signals import best_per_signal, in_words
from bioterp.tables import NO_FEATURE
from tests.test_report import EVIL
from tests.test_report_known import filled, text_of

OF = {"dictionary": "d", "seed": 4, "representation": "dictionary", "layer": "2", "split": "test", "n": 31_007}


def line(term, feature, select, r, **more):
    told = {"term": term, "feature": feature, "pearson_select": select, "pearson": r, "pearson_null": 0.01, "note": ""}
    return (
        OF | told | {"pearson_lo": r - 0.07, "pearson_hi": r + 0.05, "spearman": r / 2, "p": 0.001, "q": 0.003} | more
    )


@pytest.fixture(scope="module")
def correlation():
    nothing = dict.fromkeys(("pearson_select", "pearson", "pearson_lo", "pearson_hi", "spearman", "p", "q"), np.nan)
    return filled(
        "correlation",
        [
            line("gc", 11, 0.30, 0.83),  # better on test, but not where features are chosen
            line("gc", 12, -0.62, -0.57),
            line("gc", 13, 0.95, 0.91, seed=1),  # of another seed
            line("gc", 5, 0.41, 0.37, representation="pca"),
            line(EVIL, 3, 0.08, 0.06, q=0.21, layer="4"),
            line("flat", NO_FEATURE, np.nan, np.nan) | nothing | {"note": "the signal is constant"},
        ],
    )


def test_the_feature_is_the_one_of_the_first_seed_that_was_best_where_features_are_chosen(correlation):
    best = best_per_signal(correlation).set_index(["term", "representation"])
    assert len(best) == 4 and best.loc[("gc", "dictionary"), "feature"] == 12
    assert best.loc[("gc", "pca"), "feature"] == 5 and best.loc[("flat", "dictionary"), "feature"] == NO_FEATURE


def test_signals_beyond_chance_are_counted_in_words(correlation):
    mine = best_per_signal(correlation[correlation["representation"] == "dictionary"])
    assert in_words(mine) == (
        "Of 3 signals, 1 is followed by a feature beyond chance (q ≤ 0.05): gc (feature 12, r −0.57)."
    )
    assert in_words(mine[mine["term"] == "flat"]) == "Of 1 signal, none was tested against chance."
    assert in_words(mine[mine["term"] == EVIL]).endswith("none are followed by a feature beyond chance (q ≤ 0.05).")


def test_the_report_shows_signals_beside_baselines_and_says_why_one_has_none(correlation, tmp_path):
    page = report(tmp_path, tables={"correlation": correlation}).read_text()
    text = text_of(page)
    assert "gc 2 12 −0.57 −0.64, −0.52 0.01" in text and "31,007 0.37" in text
    assert "flat 2 –" in text and "the signal is constant" in text
    assert EVIL not in page and "0.83" not in text
    assert "Signals" not in report(tmp_path / "none", tables={}).read_text()


def test_the_screen_shows_signals(correlation, capsys):
    summary.print_correlation(correlation)
    told = capsys.readouterr().out
    assert "−0.57" in told and "−0.64 to −0.52" in told and "0.37" in told and "0.83" not in told
    summary.print_correlation(correlation.iloc[:0])
    assert capsys.readouterr().out == ""
