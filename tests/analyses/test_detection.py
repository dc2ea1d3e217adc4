"""Detection against dense brute force, planted truth, and every degenerate label."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
from sklearn.metrics import f1_score, precision_score, recall_score
from statsmodels.stats.multitest import multipletests
from worlds import World, f1, genome, genomic_order, labels_on, of, persistent, world

from bioterp.analyses.alignment import count_codes
from bioterp.analyses.detection import detection
from bioterp.analyses.parts import Part, active_rows
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import Intervals

on_test = partial(detection, folds=None)  # worlds are small: many of their terms would be cross-fitted


def planted(seed: int = 1, keep: float = 0.8) -> World:
    """Feature 3 is term 1 with noise; the rest know nothing."""
    rng = np.random.default_rng(seed)
    rows = genome()
    labels = labels_on(rng, rows)
    dense = persistent(rng, len(rows), 8)
    positive, _ = labels.mask(1)
    dense[:, 3] = (rng.random(len(rows)) < 0.02) * 0.5
    inside = np.flatnonzero(positive & (rng.random(len(rows)) < keep))
    dense[inside, 3] = 2 + rng.random(len(inside))
    return of(rows, dense, labels)


@pytest.fixture(scope="module")
def here() -> World:
    return planted()


@pytest.fixture(scope="module")
def found(here):
    return on_test(here.codes, here.truth, per_term=3)


def scored(found):
    return found[found["f1"].notna()]


def test_numbers_of_every_row_are_those_of_sklearn(here, found):
    test = here.split() == "test"
    for row in scored(found).itertuples():
        positive, known, instances = here.masks(int(row.term[-1]))
        keep = known & test
        active = here.dense[:, row.feature] > row.threshold
        assert row.precision == pytest.approx(precision_score(positive[keep], active[keep]))
        assert row.recall == pytest.approx(recall_score(positive[keep], active[keep]))
        assert row.f1 == pytest.approx(f1_score(positive[keep], active[keep]))
        assert (row.n_cells, row.prevalence) == (positive[keep].sum(), pytest.approx(positive[keep].mean()))
        inside = [rows & test for rows in instances.values() if (rows & test).any()]
        recall = np.mean([active[rows].any() for rows in inside])
        assert row.n_instances == len(inside)
        assert row.instance_recall == pytest.approx(recall)
        both = row.precision + recall
        assert row.instance_f1 == pytest.approx(2 * row.precision * recall / both if both else 0.0)


def test_contrast_is_that_of_the_test_cells_but_for_the_bins(here, found):
    test = here.split() == "test"
    for row in scored(found).itertuples():
        positive, known, _ = here.masks(int(row.term[-1]))
        code = here.dense[:, row.feature]
        exact = code[positive & test].mean() - code[known & test & ~positive].mean()
        assert row.contrast == pytest.approx(exact, abs=0.02)
        assert 0 <= row.mutual_information < 1
    best = scored(found).sort_values("mutual_information").iloc[-1]
    assert (best["feature"], best["term"]) == (3, "term1")


def test_thresholds_and_pairs_are_chosen_on_train_and_valid(here, found):
    _, edges = count_codes(here.codes, here.labels)
    select, m = here.split() != "test", here.dense.shape[1]
    best = np.full((here.labels.columns, m), -np.inf)
    thresholds = {}
    for t in range(here.labels.columns):
        positive, known, _ = here.masks(t)
        keep = select & known
        for f in range(m):
            candidates = edges[f][np.isfinite(edges[f])]
            active = [here.dense[keep, f] > e for e in candidates]
            scores = [f1(a, positive[keep]) for a in active]
            share, all_positive = positive[keep].mean(), positive[keep].sum()
            above = [s - 2 * a.sum() * share / (a.sum() + all_positive) for s, a in zip(scores, active, strict=True)]
            at = int(np.argmax(above))
            best[t, f] = above[at] if scores[at] > 0 else -np.inf
            thresholds[f, f"term{t}"] = candidates[at], scores[at]
    wanted = {(int(f), f"term{t}") for t in range(len(best)) for f in np.argsort(-best[t])[:3] if best[t, f] > 0}
    wanted |= {(f, f"term{best[:, f].argmax()}") for f in range(m) if best[:, f].max() > 0}
    rows = scored(found)
    assert set(zip(rows["feature"], rows["term"], strict=True)) == wanted
    for row in rows.itertuples():
        assert (row.threshold, row.f1_select) == pytest.approx(thresholds[row.feature, row.term])


def test_p_is_the_share_of_rolls_at_least_as_good(here, found):
    lines = genomic_order(here.rows, here.split() == "test")
    for row in scored(found).itertuples():
        positive, known, _ = here.masks(int(row.term[-1]))
        active = here.dense[:, row.feature] > row.threshold
        scores = []
        for s in range(len(lines[0])):
            rolled = [np.roll(active[line], s) & known[line] for line in lines]
            scores.append(f1(np.concatenate(rolled), np.concatenate([positive[line] for line in lines])))
        assert row.n_shifts == len(scores)
        assert row.p == (np.array(scores) >= scores[0] - 1e-12).mean()
        assert row.f1_null == pytest.approx(np.mean(scores), abs=1e-12)


def test_intervals_are_those_of_explicit_deletion(here, found):
    test, blocks = here.split() == "test", here.blocks()
    for row in scored(found).itertuples():
        positive, known, _ = here.masks(int(row.term[-1]))
        active, keep = here.dense[:, row.feature] > row.threshold, known & test
        names = np.unique(blocks[keep & (active | positive)])
        left = np.array([f1(active[keep & (blocks != b)], positive[keep & (blocks != b)]) for b in names])
        se = np.std(left, ddof=0) * np.sqrt(len(left) - 1)
        reach = scipy.stats.t.ppf(0.975, len(left) - 1) * se
        assert row.n_blocks == len(names)
        assert (row.f1_lo, row.f1_hi) == pytest.approx((max(row.f1 - reach, 0), min(row.f1 + reach, 1)))


def test_q_values_are_those_of_statsmodels_over_the_selected_pairs(found):
    rows = scored(found)
    assert (rows["n_tests"] == len(rows)).all() and found.attrs["n_tests"] == len(rows)
    assert rows["q"].to_numpy() == pytest.approx(multipletests(rows["p"], method="fdr_bh")[1])
    assert rows["q_by"].to_numpy() == pytest.approx(multipletests(rows["p"], method="fdr_by")[1])


def test_the_planted_feature_comes_first(found):
    first = found[found["term"] == "term1"].iloc[0]
    assert first["feature"] == 3
    assert first["p"] <= 2 / first["n_shifts"] and first["q"] < 0.05
    assert first["f1_lo"] < first["f1"] < first["f1_hi"]
    assert first["instance_recall"] > 0.8 > first["instance_recall_null"]


def test_the_table_says_what_was_tested(found):
    assert (found[["dictionary", "seed", "representation", "layer", "split"]] == ["toy", 3, "sae", "2", "test"]).all(
        axis=None
    )


def test_the_size_of_a_gather_and_its_source_do_not_change_the_table(here, found, monkeypatch):
    from bioterp.analyses import parts

    monkeypatch.setattr(parts, "ENTRIES", 100)
    codes = Field(here.rows, here.dense, kind="code", about=here.codes.about)
    again = on_test(codes, here.truth, per_term=3, threads=1)
    for name in found.columns:
        assert found[name].equals(again[name]), name


@pytest.mark.parametrize("objective", ["f1", "excess"])
def test_a_feature_that_fires_everywhere_is_never_chosen_over_a_real_one(here, objective):
    dense = here.dense.copy()
    dense[:, 0] = 1 + np.random.default_rng(0).random(len(dense))
    everywhere = of(here.rows, dense, here.labels)
    found = on_test(everywhere.codes, everywhere.truth, per_term=1, objective=objective)
    assert found[found["term"] == "term1"].iloc[0]["feature"] == 3


def test_independent_pairs_pass_at_the_nominal_rate():
    rng = np.random.default_rng(3)
    rows = genome({"c1": 2300})
    here = of(rows, persistent(rng, len(rows), 260, 0.1, 0.7), labels_on(rng, rows, 5, 60))
    found = scored(on_test(here.codes, here.truth, per_term=5))
    assert len(found) > 200
    error = np.sqrt(0.05 * 0.95 / len(found))
    assert (found["p"] <= 0.05).mean() < 0.05 + 3 * error  # pairs share terms, so a little room
    assert (found["p"] <= 0.05).mean() > 0.05 - 3 * error
    assert found["q"].min() > 0.05


def test_without_a_null_there_is_no_p(here, found):
    plain = on_test(here.codes, here.truth, per_term=3, null=None)
    assert plain[["z", "p", "q"]].isna().all(axis=None)
    both = scored(found).merge(scored(plain), on=["feature", "term"], suffixes=("", "_plain"))
    term0 = both[both["term"] == "term0"]  # it has no unknown rows: close to the exact mean on two strands
    assert len(term0) and np.allclose(term0["f1_null"], term0["f1_null_plain"], atol=0.01)


# What cannot be scored is a row that says so.


def only(labels: Intervals, keep: np.ndarray, extra: tuple = ()) -> Intervals:
    parts = [getattr(labels, name)[keep] for name in ("term", "instance", "start", "stop")]
    if extra:
        parts = [np.append(part, new) for part, new in zip(parts, extra, strict=True)]
    return Intervals.of(*parts, labels.rows, labels.columns, labels.instances)


def notes(found, term):
    return found[found["term"] == term]["note"].tolist()


def test_terms_without_instances_are_rows_with_a_note(here):
    in_test = (here.split() == "test")[here.labels.start]
    labels = only(here.labels, (here.labels.term != 0) & ~((here.labels.term == 2) & in_test))
    found = on_test(here.codes, of(here.rows, here.dense, labels).truth)
    assert notes(found, "term0") == [
        "not scored: 0 instances in train and valid, at least 2 needed; 0 instances in test, at least 2 needed"
    ]
    assert notes(found, "term2") == ["not scored: 0 instances in test, at least 2 needed"]
    empty = found[found["term"] == "term0"].iloc[0]
    assert empty["feature"] == -1 and np.isnan(empty["f1"])


def test_labels_without_a_single_run_give_rows_with_notes(here):
    found = on_test(here.codes, of(here.rows, here.dense, only(here.labels, here.labels.term < 0)).truth)
    assert found["f1"].isna().all() and (found["note"] != "").all()
    assert {f"term{t}" for t in range(4)} <= set(found["term"])


def test_all_positive_labels_do_not_find_anything(here):
    items = np.arange(len(here.rows.items))
    ends = here.rows.offsets
    labels = Intervals.of(np.zeros(len(items)), items + 1, ends[:-1], ends[1:], len(here.rows), 1)
    found = on_test(here.codes, of(here.rows, here.dense, labels).truth)
    assert notes(found, "term0") == ["no feature is above chance on train and valid"]


def test_dead_and_constant_features_are_rows_with_a_note(here):
    dense = here.dense.copy()
    dense[:, 1], dense[:, 2] = 0, 4.0
    found = on_test(of(here.rows, dense, here.labels).codes, here.truth)
    about = found[found["feature"] >= 0].set_index("feature")["note"]
    assert about[1] == "dead: never active on train and valid"
    assert about[2] == "constant: active in every cell at one value"


def test_a_feature_silent_on_test_is_a_row_with_a_note(here):
    dense = here.dense.copy()
    dense[here.split() == "test", 3] = 0
    row = on_test(of(here.rows, dense, here.labels).codes, here.truth, per_term=1).iloc[0:].query("feature == 3")
    assert row["f1"].tolist() == [0.0] and row["p"].tolist() == [1.0]
    assert "never above the threshold on test" in row["note"].iloc[0]


def test_volumes_of_few_subjects_are_scored_without_a_p():
    rng = np.random.default_rng(5)
    splits = ("train", "test", "valid", "test", "train", "test", "test")
    items = pd.DataFrame({"item": [f"scan{i}" for i in range(7)], "split": splits})
    items["sample"] = items["block"] = items["item"]
    rows = Rows.from_grids(items, [Grid(Space(f"sub-{i}", "mm"), (3, 4, 5), np.eye(4)) for i in range(7)])
    start = rows.offsets[:-1]
    labels = Intervals.of(
        np.zeros(14), np.arange(14) + 1, [*start, *start + 30], [*start + 8, *start + 37], len(rows), 1
    )
    dense = persistent(rng, len(rows), 3)
    dense[:, 1] = labels.mask(0)[0]
    found = on_test(of(rows, dense, labels).codes, of(rows, dense, labels).truth, per_term=1)
    best = found.iloc[0]
    assert (best["feature"], best["f1"], best["n_blocks"], best["n_instances"]) == (1, 1.0, 4, 8)
    assert np.isnan(best["p"]) and "no p: 4 subjects in test, at least 5 needed" in best["note"]
    shifted = on_test(of(rows, dense, labels).codes, of(rows, dense, labels).truth, per_term=1, null="shift")
    assert shifted["p"].isna().all() and shifted["note"].str.contains("needs one-dimensional rows").all()


def test_too_few_blocks_leave_the_interval_null_with_the_reason(here):
    rows = genome({"c1": 500})
    rng = np.random.default_rng(0)
    few = of(rows, persistent(rng, len(rows), 5), labels_on(rng, rows, 2, 40))
    found = scored(on_test(few.codes, few.truth))
    assert len(found) and found[["f1_lo", "f1_hi"]].isna().all(axis=None)
    assert found["note"].str.contains("no interval: 1 blocks, at least 4 needed").all()


@pytest.mark.parametrize(("value", "said"), [(np.nan, "holds nan"), (np.inf, "holds inf"), (-1, "holds -1.0")])
@pytest.mark.parametrize("sparse", [True, False])
def test_a_bad_code_is_named_by_item_cell_and_column(here, value, said, sparse):
    dense = here.dense.copy()
    dense[here.rows.offsets[4] + 5, 2] = value
    values = scipy.sparse.csr_matrix(dense) if sparse else dense
    with pytest.raises(InputError, match=said) as told:
        on_test(Field(here.rows, values, kind="code"), here.truth)
    assert here.rows.items["item"][4] in str(told.value) and "cell 5" in str(told.value)
    assert "column '2'" in str(told.value)


def test_a_missing_split_is_refused_with_the_remedy(here):
    for keep, said in ((["train", "valid"], "no rows in test"), (["test"], "no rows in train or valid")):
        items = np.flatnonzero(here.rows.items["split"].isin(keep))
        codes = here.codes.take(items)
        labels = Intervals.of([0], [1], [0], [5], len(codes), 1)
        with pytest.raises(InputError, match=said):
            on_test(codes, Field(codes.rows, labels, ["a"], kind="label"))


def test_numbers_as_labels_other_rows_and_unknown_options_are_refused(here):
    with pytest.raises(InputError, match="needs intervals"):
        on_test(here.codes, Field(here.rows, here.dense, kind="label"))
    with pytest.raises(AlignmentError, match="not on the same rows"):
        on_test(here.codes, world(rows=genome({"c1": 500})).truth)
    with pytest.raises(InputError, match="objective is 'f1' or 'excess'; got 'f2'"):
        on_test(here.codes, here.truth, objective="f2")
    with pytest.raises(InputError, match="'permutation' or None; got 'fisher'"):
        on_test(here.codes, here.truth, null="fisher")
    with pytest.raises(InputError, match="folds must be 2 or more, or None for no cross-fitting; got 1"):
        detection(here.codes, here.truth, folds=1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_codes_that_depend_on_the_rows_they_are_read_with_are_gathered_whole(seed: int) -> None:
    """Codes computed when read round otherwise in short reads; thresholds are codes: rows flip over them."""
    rng = np.random.default_rng(seed)
    truth = rng.random((500, 7)).astype(np.float32)

    def read(lo: int, hi: int):
        return truth[lo:hi] if hi - lo > 3 else truth[lo:hi] + np.float32(0.4)

    part = Part(np.array([[3, 5], [10, 400], [401, 403]]), np.array([0, 1, 2]))
    feature, least = np.array([1, 4, 6]), np.array([0.5, 0.7, 0.9], np.float32)
    seen = np.concatenate([read(3, 5), read(10, 400), read(401, 403)])
    wrong = (truth[:, feature] > least).sum(0) - 30  # as counted in other batches: too few
    (found,) = active_rows(read, part, 7, feature, least, wrong)
    for f, limit in zip(feature, least, strict=True):
        rows, codes = found[int(f)]
        np.testing.assert_array_equal(rows, np.flatnonzero(seen[:, f] > limit))
        np.testing.assert_array_equal(codes, seen[rows, f])
