"""The screen against every shift counted one by one, and against planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from worlds import World, genome, genomic_order, labels_on, of, persistent

from bioterp.analyses import screen as module
from bioterp.analyses import spectra as kernel
from bioterp.analyses.screen import screen
from bioterp.analyses.shifts import Ring
from bioterp.analyses.spectra import Spectra
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import Intervals


def ring_of(size: int, strands: int) -> Ring:
    return Ring(size, np.zeros(0, np.int32), np.zeros(0, np.int8), strands, np.array([0, size]))


@pytest.mark.parametrize("long", [1 << 20, 0])  # 0: every line is laid out as a sheet
@pytest.mark.parametrize(("size", "strands"), [(97, 1), (120, 1), (121, 1), (97, 2), (126, 2), (105, 2)])
def test_variances_are_those_of_all_shifts(size, strands, long, monkeypatch):
    monkeypatch.setattr(kernel, "WIDTH", 13)
    monkeypatch.setattr(kernel, "LONG", long)
    rng = np.random.default_rng(size + strands)
    features = rng.random((5, strands, size)) < np.array([0.02, 0.1, 0.5, 0.9, 1.0])[:, None, None]
    terms = [np.repeat(rng.random((strands, size)) < share, 1, 1) for share in (0.05, 0.3, 0.97, 0.0)]
    terms.append(np.roll(features[2], 7, axis=1))  # the same structure, at another place
    found = Spectra(ring_of(size, strands), terms).variances(features)
    for f, feature in enumerate(features):
        for t, term in enumerate(terms):
            counts = [(np.roll(feature, s, axis=1) & term).sum() for s in range(size)]
            assert found[f, t] == pytest.approx(np.var(counts), rel=1e-4, abs=1e-5)


def planted(strands: str = "+-") -> World:
    """Feature 3 follows term 1; feature 5 is dead, feature 6 fires everywhere; term 4 has no cell in test."""
    rng = np.random.default_rng(12)
    rows = genome(strands=strands)
    labels = labels_on(rng, rows)
    dense = persistent(rng, len(rows), 11)
    positive, _ = labels.mask(1)
    dense[:, 3] = np.where(positive & (rng.random(len(rows)) < 0.7), 2 + rng.random(len(rows)), 0)
    dense[:, 5], dense[:, 6] = 0, 1.5
    where = np.repeat(rows.items["split"].to_numpy(), np.diff(rows.offsets))
    train = np.flatnonzero(where == "train")[:5]
    term, instance = np.append(labels.term, 4), np.append(labels.instance, 1)
    start, stop = np.append(labels.start, train[0]), np.append(labels.stop, train[0] + 3)
    return of(rows, dense, Intervals.of(term, instance, start, stop, len(rows), 5))


@pytest.mark.parametrize("strands", ["+", "+-"])
def test_z_of_every_pair_is_that_of_all_shifts_of_the_test_cells(strands, monkeypatch):
    monkeypatch.setattr(module, "ROOM", 2_000)  # few terms at a time
    here = planted(strands)
    found = screen(here.codes, here.truth, per_term=None)
    assert len(found) == 11 * 5
    test = here.split() == "test"
    lines = genomic_order(here.rows, test)
    size = int(found["n_shifts"].iloc[0])
    for row in found[found["z"].notna()].itertuples():
        positive, _, _ = here.masks(int(row.term[-1]))
        active = here.dense[:, row.feature] > row.threshold
        ours, theirs = np.zeros((2, len(lines), size), bool)
        for s, own in enumerate(lines):
            ours[s, : len(own)], theirs[s, : len(own)] = active[own], positive[own]
        counts = np.array([(np.roll(ours, shift, axis=1) & theirs).sum() for shift in range(size)])
        assert (row.overlap, row.n_active, row.n_cells) == (counts[0], ours.sum(), theirs.sum())
        assert row.overlap_null == pytest.approx(counts.mean())
        assert row.overlap_sd == pytest.approx(counts.std(), rel=1e-4)
        assert row.z == pytest.approx((counts[0] - counts.mean()) / counts.std(), rel=1e-3, abs=1e-4)


def test_the_planted_pair_leads_and_the_rest_say_what_they_are():
    here = planted()
    found = screen(here.codes, here.truth, per_term=None)
    assert (found["feature"][0], found["term"][0]) == (3, "term1") and found["q_normal"][0] < 1e-6
    assert not (found["q_normal"][1:] < 1e-6).any()
    told = found["p_normal"].notna()
    assert found["n_pairs"].unique().tolist() == [told.sum()]
    assert found["q_normal"][told].to_numpy() == pytest.approx(
        multipletests(found["p_normal"][told], method="fdr_bh")[1]
    )
    notes = found.set_index(["feature", "term"])["note"]
    assert notes[5, "term0"] == "never above the threshold on test"
    assert notes[2, "term4"] == "no cell of the term in test"
    assert not told[(found["feature"] == 5) | (found["term"] == "term4")].any()
    first = screen(here.codes, here.truth, per_term=2)
    assert first.groupby("term").size().tolist() == [2] * 5
    for term, own in first.groupby("term"):
        every = found[found["term"] == term]["z"].dropna().nlargest(2)
        assert own["z"].dropna().tolist() == every.tolist()


def test_labels_that_are_numbers_are_refused():
    here = planted()
    with pytest.raises(InputError, match="these labels are numbers"):
        screen(here.codes, Field(here.rows, here.dense[:, :2], kind="label"))
