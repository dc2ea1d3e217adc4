"""Folds and who lives in them, what cannot be cross-fitted, and counts by block."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rare import FOLDS, fold_of_items, fold_of_rows, rare, rare_world, slow
from worlds import World, genome, labels_on, of, persistent, world

from bioterp.analyses import crossfit, parts
from bioterp.analyses.alignment import changes, sides_of
from bioterp.analyses.detection import detect, detection
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.values import UNKNOWN, Intervals


@pytest.fixture(scope="module")
def here() -> World:
    return rare_world()


@pytest.fixture(scope="module")
def found(here):
    return detect(here.codes, here.truth, per_term=3, min_test=15)


# Folds, and who lives where.


def test_folds_are_even_and_hang_on_names_alone(here):
    items = here.rows.items
    fold = fold_of_items(here.rows)
    assert ((fold == FOLDS - 1) == (items["split"] == "test")).all()
    sizes = items.assign(fold=fold)[fold < FOLDS - 1].groupby("fold")["block"].nunique()
    assert len(sizes) == FOLDS - 1 and sizes.max() - sizes.min() <= 1
    assert (items.assign(fold=fold).groupby("block")["fold"].nunique() == 1).all()
    turned = crossfit.folds_of(items["block"].tolist()[::-1], sides_of(here.rows)[::-1], FOLDS)
    assert np.array_equal(turned[::-1], fold)
    assert crossfit.folds_of(["a", "b", "c"], np.array([0, 1, -1]), 3).tolist() == [0, 2, -1]


def test_instances_are_counted_where_they_have_rows(here):
    fold = fold_of_rows(here)
    edges = changes(here.rows.offsets, fold_of_items(here.rows))
    counted = crossfit.instances_in(here.labels, *edges, FOLDS)
    for t in range(4):
        _, _, instances = here.masks(t)
        assert counted[:, t].tolist() == [sum((r & (fold == k)).any() for r in instances.values()) for k in range(5)]


def test_an_instance_in_two_folds_stays_in_one_of_them(here):
    fold = fold_of_rows(here)
    edges = changes(here.rows.offsets, fold_of_items(here.rows))
    moved = crossfit.at_home(here.labels, np.array([1, 2]), *edges)
    assert crossfit.at_home(here.labels, np.array([0, 1]), *edges) is here.labels
    own = moved.runs(2)
    lo, hi = own.start[own.instance == 91], own.stop[own.instance == 91]
    assert hi - lo == [7] and len(np.unique(fold[lo[0] : hi[0]])) == 1
    assert [hi[0], hi[0] + 2] in np.stack([own.start, own.stop], 1)[own.instance == UNKNOWN].tolist()
    for t in (0, 1, 3):
        for before, after in zip(here.labels.mask(t), moved.mask(t), strict=True):
            assert np.array_equal(before, after)


# What cannot be cross-fitted says so.


def notes(table, term):
    return table[table["term"] == term]["note"].tolist()


def test_terms_too_rare_even_for_all_folds_say_so():
    here = world(3)
    labels = here.labels
    block = here.blocks()
    inside = np.flatnonzero(block == block[0])[:60:10]
    real = labels.term > 1
    extra = [
        np.r_[np.zeros(3), np.ones(6)],
        np.r_[1:4, 1:7],
        np.r_[5, 1500, 2500, inside],
        np.r_[9, 1505, 2509, inside + 4],
    ]
    old = (labels.term, labels.instance, labels.start, labels.stop)
    columns = [np.r_[column[real], new] for column, new in zip(old, extra, strict=True)]
    here = of(here.rows, here.dense, Intervals.of(*columns, labels.rows, labels.columns))
    table, blocks = detect(here.codes, here.truth)
    assert notes(table, "term0") == ["not scored: 3 instances in all, at least 4 needed"]
    assert notes(table, "term1") == ["not scored: all 6 instances lie in one fold"]
    assert not set(blocks["term"]) & {"term0", "term1"}
    assert np.isnan(table[table["term"] == "term1"]["f1"].iloc[0])


def test_a_rare_term_no_feature_is_above_chance_for(here):
    silent = of(here.rows, np.zeros_like(here.dense), here.labels)
    table, blocks = detect(silent.codes, silent.truth, min_test=15)
    assert notes(table, "term1") == ["no feature is above chance on the other folds, for any of 5 folds"]
    assert len(blocks) == 0 and rare(table)["f1"].isna().all()


def test_a_fold_without_a_choice_counts_its_cells_as_missed():
    """Instances in two folds, and a feature that fires in one: the other has nothing to choose it by, or to find."""
    rows = genome()
    fold = np.repeat(fold_of_items(rows), np.diff(rows.offsets))
    where = [np.flatnonzero(fold == k) for k in (0, 2)]
    starts = np.array([w[i] for w in where for i in (3, 40, 75)])
    labels = Intervals.of(np.zeros(6), np.arange(6) + 1, starts, starts + 4, len(rows), 1)
    dense = np.zeros((len(rows), 3), np.float32)
    for a in starts[:3]:
        dense[a : a + 4, 1] = 1
    here = of(rows, dense, labels)
    (row,) = rare(detection(here.codes, here.truth)).to_dict("records")
    assert "chosen per fold: none, 1, 1, 1, 1" in row["note"]
    assert (row["f1"], row["n_cells"], row["n_instances"], row["p"]) == (0, 24, 6, 1)


def test_the_number_of_test_instances_decides(here):
    test = fold_of_rows(here) == FOLDS - 1
    _, _, instances = here.masks(1)
    held = sum((rows & test).any() for rows in instances.values())
    for least, split in ((held, "test"), (held + 1, "cross-fitted")):
        table = detection(here.codes, here.truth, min_test=least)
        assert set(table[table["term"] == "term1"]["split"]) == {split}
    table = detection(here.codes, here.truth, min_test=held + 1, folds=None)
    assert set(table["split"]) == {"test"}
    assert table.attrs["options"]["folds"] == 0


def test_few_blocks_make_few_folds():
    rows = genome({"c1": 500})
    rng = np.random.default_rng(0)
    few = of(rows, persistent(rng, len(rows), 5), labels_on(rng, rows, 2, 40))
    told = detection(few.codes, few.truth, folds=9)
    assert rare(told)["note"].str.startswith("cross-fitted over 5 folds").all()
    with pytest.raises(InputError, match="folds must be 2 or more"):
        detection(few.codes, few.truth, folds=-1)


def test_without_a_ring_there_is_no_p(here, found):
    plain = rare(detection(here.codes, here.truth, min_test=15, null=None)).set_index("term")
    exact = rare(found.table).set_index("term")
    assert plain["p"].isna().all() and (plain["n_shifts"] == 0).all()
    assert np.allclose(plain["f1"], exact.loc[plain.index, "f1"])
    assert np.allclose(plain["f1_null"], exact.loc[plain.index, "f1_null"], atol=0.01)


def test_the_size_of_a_gather_and_its_source_do_not_change_it(here, found, monkeypatch):
    monkeypatch.setattr(parts, "ENTRIES", 60)
    codes = Field(here.rows, here.dense, kind="code", about=here.codes.about)
    again = detect(codes, here.truth, per_term=3, min_test=15, threads=1)
    for mine, other in zip(found, again, strict=True):
        pd.testing.assert_frame_equal(mine, other)
    pd.testing.assert_frame_equal(found.table, detection(here.codes, here.truth, per_term=3, min_test=15))


# Counts by block.


def test_blocks_add_up_to_the_best_row_of_each_term(here, found):
    table = found.table[found.table["f1"].notna()]
    order = (table["f1_select"] - table["f1_select_null"]).sort_values(ascending=False, kind="stable").index
    best = table.loc[order].drop_duplicates("term").set_index("term")
    assert sorted(best.index) == sorted(found.blocks["term"].unique())
    for (term, feature, split), lines in found.blocks.groupby(["term", "feature", "split"]):
        row = best.loc[term]
        assert (row["feature"], row["split"]) == (feature, split)
        tp, fp, positives, known = lines[["tp", "fp", "positives", "known"]].sum()
        assert (row["precision"], row["recall"]) == pytest.approx((tp / (tp + fp), tp / positives))
        assert (row["n_cells"], row["prevalence"]) == (positives, pytest.approx(positives / known))
        part = np.isin(here.split(), ["test"]) if split == "test" else np.ones(len(here.rows), bool)
        assert sorted(lines["block"]) == sorted(set(here.blocks()[part & (lines["known"].sum() > 0)]))
        assert (lines["known"] > 0).all()


def test_blocks_are_those_of_plain_masks(here, found):
    predicted, positive, known = slow(here, 2)["masks"]
    blocks = here.blocks()
    lines = found.blocks[found.blocks["term"] == "term2"].set_index("block")
    for name, line in lines.iterrows():
        own = known & (blocks == name)
        wanted = (own & predicted & positive).sum(), (own & predicted & ~positive).sum(), (own & positive).sum()
        assert (line["tp"], line["fp"], line["positives"], line["known"]) == (*wanted, own.sum())
    assert (found.blocks[["dictionary", "seed", "representation", "layer"]] == ["toy", 3, "sae", "2"]).all(axis=None)
