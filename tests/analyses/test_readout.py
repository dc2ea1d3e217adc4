"""A model's own outputs: exact areas against sklearn, intervals against explicit deletion."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, roc_auc_score
from worlds import genome, world

from bioterp.analyses.readout import readout
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import Intervals


@pytest.fixture(scope="module")
def here():
    return world(6, rows=genome({"c1": 1300}))


@pytest.fixture(scope="module")
def outputs(here):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(len(here.rows), 3)).astype(np.float32)
    values[:, 1] = np.round(values[:, 1])  # ties
    values[:, 2] += 3 * here.labels.mask(1)[0]  # knows term 1
    return Field(here.rows, values, ["neither", "acceptor", "donor"], about={"layer": "output"})


def test_areas_and_intervals(here, outputs):
    table = readout(outputs, here.truth)
    assert len(table) == 3 * 4
    blocks = here.blocks()
    for row in table.itertuples():
        positive, known, _ = here.masks(int(row.term[-1]))
        values = outputs.values[:, ["neither", "acceptor", "donor"].index(row.output)]
        truth = positive[known]
        assert (row.n, row.n_cells, row.prevalence) == (known.sum(), truth.sum(), pytest.approx(truth.mean()))
        assert row.split == "all" and row.layer == "output"
        assert row.ap == pytest.approx(average_precision_score(truth, values[known]), abs=1e-12)
        assert row.auroc == pytest.approx(roc_auc_score(truth, values[known]), abs=1e-12)
        names = np.unique(blocks[known])
        for value, lo, hi, score in (
            (row.ap, row.ap_lo, row.ap_hi, average_precision_score),
            (row.auroc, row.auroc_lo, row.auroc_hi, roc_auc_score),
        ):
            left = [score(positive[known & (blocks != b)], values[known & (blocks != b)]) for b in names]
            reach = scipy.stats.t.ppf(0.975, len(names) - 1) * np.std(left) * np.sqrt(len(names) - 1)
            assert (lo, hi) == pytest.approx((max(value - reach, 0), min(value + reach, 1)), abs=1e-10)
    best = table.loc[table["ap"].idxmax()]
    assert (best["output"], best["term"]) == ("donor", "term1")


def test_labels_of_one_kind_are_rows_with_a_note(here, outputs):
    n = len(here.rows)
    labels = Intervals.of([0, 2], [1, -1], [0, 0], [n, n], n, 3)
    table = readout(outputs, Field(here.rows, labels, ["all", "none", "unknown"], kind="label"))
    said = dict(zip(table["term"], table["note"], strict=True))
    assert said == {"all": "every cell is positive", "none": "no known cell is positive", "unknown": "no cell is known"}
    assert table["ap"].isna().all()


def test_a_value_that_is_no_number_is_named(here, outputs):
    values = outputs.values.copy()
    values[here.rows.offsets[3] + 2, 1] = np.nan
    with pytest.raises(InputError, match="output 'acceptor' holds nan at item") as told:
        readout(Field(here.rows, values, ["neither", "acceptor", "donor"]), here.truth)
    assert here.rows.items["item"][3] in str(told.value) and "cell 2" in str(told.value)
