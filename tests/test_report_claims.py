"""What the report says of headline claims, and of matches that could not be adjusted."""

from __future__ import annotations

import numpy as np
import pytest

from bioterp.report import report
from bioterp.report.claims import in_words, of_best
from tests.test_report import EVIL
from tests.test_report_known import OF, filled, made, text_of


def line(term, feature, q_local, **more):
    told = {"term": term, "feature": feature, "f1": 0.61, "f1_lo": 0.52, "f1_hi": 0.7, "above": 0.43, "above_lo": 0.31}
    told |= {"above_hi": 0.54, "precision": 0.77, "recall": 0.51, "f1_local": 0.29, "p_local": 0.004, "n_draws": 10_000}
    return OF | told | {"q_local": q_local, "split": "test"} | more


@pytest.fixture(scope="module")
def headline():
    lines = [line("tRNA", 3, 0.02), line(EVIL, 5, 0.4, f1_lo=np.nan, f1_hi=np.nan), line("tRNA", 9, 0.9, seed=1)]
    return filled("headline", lines)


def test_claims_stand_in_the_order_of_the_matches_and_say_what_regions_could_explain(headline, tmp_path):
    page = report(tmp_path, tables=made() | {"headline": headline}).read_text()
    text = text_of(page)
    assert "tRNA 3 0.61 0.52–0.70 0.43 0.31–0.54 0.77 0.51 0.29 0.004 0.02" in text and EVIL not in page
    assert "Within blocks 1 of 2 matches are closer than chance (q ≤ 0.05). For &lt;script" in text


def test_claims_that_were_not_turned_within_blocks_have_no_such_columns(headline, tmp_path):
    bare = headline.assign(f1_local=np.nan, p_local=np.nan, q_local=np.nan)
    text = text_of(report(tmp_path, tables=made() | {"headline": bare}).read_text())
    assert "0.61 0.52–0.70" in text and "p in blocks" not in text and "Within blocks" not in text
    assert in_words(bare) == "" and not len(of_best(None, bare)) and not len(of_best(headline.iloc[:0], bare))


def test_matches_that_could_not_be_adjusted_are_said_with_the_reason(tmp_path):
    none = {"term": "tRNA", "feature": -1, "main": True, "verdict": "none", "note": "cross-fitted: no one feature"}
    tables = made() | {"adjusted": filled("adjusted", [OF | none])}
    assert "could be adjusted: cross-fitted: no one feature." in text_of(report(tmp_path, tables=tables).read_text())
    assert "could be adjusted" not in report(tmp_path / "other", tables=made()).read_text()
