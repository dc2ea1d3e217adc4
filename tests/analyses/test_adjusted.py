"""Planted truth and independent sums: what only follows phase or GC collapses when that is held fixed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
from statsmodels.stats.contingency_tables import StratifiedTable
from worlds import genome

from bioterp.analyses.adjusted import adjusted
from bioterp.analyses.adjusting import associate, informative
from bioterp.analyses.detection import detection
from bioterp.analyses.strata import Layout, cuts_of, levels_of
from bioterp.analyses.within import auroc, auroc_within, match
from bioterp.background import covariates
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.sequence import Sequences
from bioterp.values import Intervals
from tests.conftest import write_fasta

CONTIGS = {"c1": 21_000, "c2": 9_400}
TERMS = ["site", "CDS", "CDS.phase0", "CDS.phase1", "CDS.phase2", "patch"]
PHASED, GC_LIKE, MOTIF, NOISE = 0, 1, 2, 3


class Planted:
    """A genome of both strands whose GC drifts, with coding runs, sites on third codon positions, and GC-rich patches.

    Feature 0 fires on third codon positions at random: it "knows" sites only through phase. Feature 1 fires more the
    more GC there is: it knows patches only through GC. Feature 2 fires on four of five sites and patches themselves.
    """

    def __init__(self, folder, seed=0, sites=0.1):
        rng = np.random.default_rng(seed)
        letters = {}
        for name, size in CONTIGS.items():
            wave = 0.5 + 0.3 * np.sin(np.arange(size) / 170 + rng.uniform(0, 6))
            strong = rng.random(size) < wave
            letters[name] = "".join(np.where(strong, rng.choice(["G", "C"], size), rng.choice(["A", "T"], size)))
        self.sequences = Sequences(write_fasta(folder / "planted.fa", **letters))
        self.rows = genome(CONTIGS, block=500, window=211)
        item, start, _ = self.rows.cells()
        space = np.array([s.name for s in self.rows.spaces])[self.rows.space_code[item]]
        minus = self.rows.affines[item, 0, 0] < 0
        n = len(item)
        gene = ((start // 300) % 3 < 2) & (minus == ((start // 900) % 2 == 1))  # coding on one strand at a time
        phase = np.where(gene, np.where(minus, 2 - start % 3, start % 3), -1)
        gc = np.zeros(n)
        for name, text in letters.items():
            own = space == name
            strong = np.cumsum(np.append(0, [letter in "GC" for letter in text]))
            lo, hi = np.maximum(start[own] - 64, 0), np.minimum(start[own] + 65, len(text))
            gc[own] = (strong[hi] - strong[lo]) / (hi - lo)
        self.phase, self.gc = phase, gc
        site = (phase == 2) & (rng.random(n) < sites)
        patch = rng.random(n) < np.clip(gc - 0.3, 0, 1) ** 2
        masks = [site, gene, phase == 0, phase == 1, phase == 2, patch]
        codes = np.zeros((n, 4), np.float32)
        level = rng.gamma(2, 1, (n, 4)).astype(np.float32)
        codes[:, PHASED] = level[:, 0] * ((phase == 2) & (rng.random(n) < 0.4))
        codes[:, GC_LIKE] = level[:, 1] * (rng.random(n) < np.clip(gc - 0.3, 0, 1) ** 2)
        codes[:, MOTIF] = level[:, 2] * (((site | patch) & (rng.random(n) < 0.8)) | (rng.random(n) < 0.01))
        codes[:, NOISE] = level[:, 3] * (rng.random(n) < 0.1)
        self.dense, self.masks = codes, masks
        runs = [(t, i + 1, r, r + 1) for t, mask in enumerate(masks) for i, r in enumerate(np.flatnonzero(mask))]
        labels = Intervals.of(*zip(*runs, strict=True), n, len(TERMS))
        about = {"dictionary": "toy", "seed": 3, "layer": "2", "representation": "dictionary"}
        self.codes = Field(self.rows, scipy.sparse.csr_matrix(codes), kind="code", about=about)
        self.truth = Field(self.rows, labels, TERMS, kind="label")

    def covariates(self, names=None):
        return covariates(self.rows, names, source=self.sequences, truth=self.truth)

    def pairs(self, *pairs):
        """A detection table of these (feature, term) pairs at threshold 0.5, as if they had been chosen."""
        lines = [{"feature": f, "term": t, "threshold": 0.5, "f1": 0.5, "split": "test"} for f, t in pairs]
        return pd.DataFrame(lines).assign(note="")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return Planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def table(here):
    pairs = [(f, t) for f in (PHASED, GC_LIKE, MOTIF, NOISE) for t in ("site", "patch")]
    pairs += [(MOTIF, "CDS"), (PHASED, "CDS.phase2")]
    return adjusted(here.codes, here.truth, here.covariates(), here.pairs(*pairs))


def line(table, feature, term, names=None):
    own = table[(table["feature"] == feature) & (table["term"] == term)]
    own = own[own["main"]] if names is None else own[own["covariates"] == names]
    assert len(own) == 1
    return own.iloc[0]


def test_a_feature_that_follows_codon_position_collapses(here, table):
    """Crude, it looks like a feature of sites (which lie on third positions); within phase nothing is left."""
    one = line(table, PHASED, "site")
    assert one["covariates"] == "gc + phase" and one["crude_lo"] > 2 and one["auroc_crude"] > 0.65
    assert one["verdict"] == "explained" and one["lo"] < 0 < one["hi"] < one["log2_odds_crude"]
    assert abs(one["auroc"] - 0.5) < 0.03 and abs(one["auroc_matched"] - 0.5) < 0.05 and one["attenuation"] > 0.8
    assert line(table, PHASED, "site", "phase")["verdict"] == "explained"
    assert line(table, PHASED, "site", "gc")["verdict"] == "holds"  # GC alone does not explain it
    assert one["covariates_auroc"] > 0.85 > one["auroc_crude"]  # the covariate alone beats the feature, and is shown


def test_collapse_is_no_matter_of_the_seed(tmp_path):
    """Four genomes, two decoys each: an interval of 95 % leaves out 0 now and then, not as a rule."""
    verdicts, left, crude = [], [], []
    for seed in range(1, 5):
        world = Planted(tmp_path, seed)
        made = adjusted(world.codes, world.truth, world.covariates(), world.pairs((PHASED, "site"), (GC_LIKE, "patch")))
        main = made[made["main"]]
        verdicts += main["verdict"].tolist()
        left, crude = [*left, *main["log2_odds"]], [*crude, *main["log2_odds_crude"]]
    assert verdicts.count("explained") >= 6 and min(crude) > 1
    assert abs(np.mean(left)) < 3 * np.std(left) / np.sqrt(len(left)) and abs(np.mean(left)) < 0.2


def test_a_gc_decoy_collapses_and_a_real_feature_survives(here, table):
    decoy, real = line(table, GC_LIKE, "patch"), line(table, MOTIF, "patch")
    assert decoy["crude_lo"] > 0.3 and decoy["verdict"] == "explained" and abs(decoy["auroc"] - 0.5) < 0.03
    assert line(table, GC_LIKE, "patch", "gc")["verdict"] == "explained"
    assert line(table, GC_LIKE, "patch", "phase")["verdict"] == "holds"
    assert real["verdict"] == "holds" and real["lo"] > 3 and real["auroc"] > 0.8 and real["q"] < 1e-6
    assert line(table, MOTIF, "site")["verdict"] == "holds" and line(table, MOTIF, "site")["attenuation"] < 0.4
    assert line(table, NOISE, "patch")["verdict"] == "open" and line(table, NOISE, "site")["verdict"] == "open"


def test_a_covariate_that_tells_the_term_is_left_out_or_said(here, table):
    """Codon phase tells CDS and its phases: adjusting for it would compare nothing."""
    main, alone = line(table, MOTIF, "CDS"), line(table, MOTIF, "CDS", "phase")
    assert main["covariates"] == "gc" and "phase left out" in main["note"] and main["informative"] > 0.9
    assert alone["verdict"] == "determined" and alone["informative"] == 0 and np.isnan(alone["log2_odds"])
    assert alone["covariates_auroc"] == 1 and "tells the term" in alone["note"]
    only = adjusted(here.codes, here.truth, here.covariates(["phase"]), here.pairs((PHASED, "CDS.phase2")))
    assert only["verdict"].tolist() == ["determined"] and only["main"].all()


def slow(here, feature, term, names, edge=0.5):
    """Tables (2, 2, K) of test cells by stratum, as pandas counts them; quantiles are of the train rows."""
    values = here.covariates(names).read()
    split = np.repeat(here.rows.items["split"].to_numpy(), np.diff(here.rows.offsets))
    block = np.repeat(here.rows.items["block"].to_numpy(), np.diff(here.rows.offsets))
    frame = pd.DataFrame({"a": here.dense[:, feature] > edge, "y": here.masks[TERMS.index(term)], "block": block})
    for c, name in enumerate(names):
        frame[name] = values[:, c]
        if name.startswith("gc"):
            ends = np.unique(np.quantile(values[split == "train", c], np.arange(1, 20) / 20, method="lower"))
            frame[name] = (values[:, c][:, None] >= ends).sum(1)
    return frame[split == "test"].assign(
        code=here.dense[split == "test", feature], s=lambda f: f.groupby(names).ngroup()
    )


def tables_of(frame):
    grid = frame.groupby(["s", "a", "y"]).size().unstack(["a", "y"], fill_value=0)
    return np.array([[grid.get((a, y), 0 * grid.iloc[:, 0]) for y in (True, False)] for a in (True, False)], float)


@pytest.mark.parametrize(("feature", "term", "names"), [(MOTIF, "site", ["gc", "phase"]), (GC_LIKE, "patch", ["gc"])])
def test_odds_ratio_is_that_of_statsmodels_and_the_score_that_of_plain_sums(here, table, feature, term, names):
    frame = slow(here, feature, term, names)
    grids = tables_of(frame)
    one = line(table, feature, term, " + ".join(names))
    assert one["n_strata"] == grids.shape[2] > 10
    assert one["log2_odds"] == pytest.approx(StratifiedTable(grids).logodds_pooled / np.log(2), abs=1e-9)
    crude = StratifiedTable(grids.sum(2)[:, :, None]).logodds_pooled / np.log(2)
    assert one["log2_odds_crude"] == pytest.approx(crude, abs=1e-9)
    expected = sum(g[0].sum() * g[:, 0].sum() / g.sum() for g in np.moveaxis(grids, 2, 0))
    below = grids[0].sum() + grids[:, 0].sum()
    assert one["f1_chance"] == pytest.approx(2 * expected / below, abs=1e-12)
    assert one["f1_above"] == pytest.approx(2 * (grids[0, 0].sum() - expected) / below, abs=1e-12)
    left = []
    for b in frame["block"].unique():  # the jackknife, one block after the other
        rest = tables_of(frame[frame["block"] != b])
        left.append(StratifiedTable(rest).logodds_pooled / np.log(2))
    se = np.std(left) * np.sqrt(len(left) - 1)
    assert one["se"] == pytest.approx(se, rel=1e-9) and one["n_blocks"] == len(left)
    assert one["hi"] - one["lo"] == pytest.approx(2 * se * scipy.stats.t.ppf(0.975, len(left) - 1), rel=1e-9)
    assert one["p"] == pytest.approx(2 * scipy.stats.t.sf(abs(one["z"]), len(left) - 1), rel=1e-9)


def test_areas_are_those_of_all_pairs(here, table):
    """Every pair of a positive and a negative of one stratum, in a loop over strata; Mann–Whitney without them."""
    frame = slow(here, MOTIF, "site", ["gc", "phase"])
    one = line(table, MOTIF, "site")
    wins = pairs = 0.0
    for _, own in frame.groupby("s"):
        yes, no = own.loc[own["y"], "code"].to_numpy(), own.loc[~own["y"], "code"].to_numpy()
        wins += (yes[:, None] > no).sum() + 0.5 * (yes[:, None] == no).sum()
        pairs += len(yes) * len(no)
    assert one["auroc"] == pytest.approx(wins / pairs, abs=1e-12)
    yes, no = frame.loc[frame["y"], "code"].astype(float), frame.loc[~frame["y"], "code"].astype(float)
    u = scipy.stats.mannwhitneyu(yes, no).statistic / (len(yes) * len(no))
    assert one["auroc_crude"] == pytest.approx(u, abs=1e-12)


def test_what_the_covariates_say_alone_is_learnt_on_train(here, table):
    """Rates of train strata, with one row of the overall share added, ranked on test by scikit-learn."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    values = here.covariates(["phase"]).read()[:, 0].astype(int)
    split = np.repeat(here.rows.items["split"].to_numpy(), np.diff(here.rows.offsets))
    y = here.masks[TERMS.index("site")]
    train, test, share = split == "train", split == "test", y[split == "train"].mean()
    rate = {v: (y[train & (values == v)].sum() + share) / ((train & (values == v)).sum() + 1) for v in set(values)}
    score = np.array([rate[v] for v in values[test]])
    one = line(table, NOISE, "site", "phase")
    assert one["covariates_auroc"] == pytest.approx(roc_auc_score(y[test], score), abs=1e-9)
    assert one["covariates_ap"] == pytest.approx(average_precision_score(y[test], score), abs=1e-9)


def test_matched_negatives_are_of_the_same_group_and_used_evenly():
    rng = np.random.default_rng(4)
    group = rng.integers(-1, 7, 5003)
    positive, known = rng.random(5003) < np.where(group == 3, 0.9, 0.1), rng.random(5003) < 0.95
    positive[group == 5] = True  # no negative to be had
    near, far = match(group, positive, known, seed=1)
    assert (group[near] == group[far]).all() and positive[near].all() and not positive[far].any()
    assert known[near].all() and known[far].all() and (group[near] >= 0).all() and not (group[near] == 5).any()
    assert len(near) == (positive & known & (group >= 0) & (group != 5)).sum()
    for g in set(group[near]):
        times = np.bincount(far[group[near] == g])
        times = times[times > 0]
        assert times.max() - times.min() <= 1 or len(times) == (group[near] == g).sum()
    again, fewer = match(group, positive, known, seed=1, most=57)
    assert len(again) == len(fewer) == 57 and (group[again] == group[fewer]).all()
    assert len(match(group, np.zeros(5003, bool), known, seed=0)[0]) == 0


def test_matched_sets_agree_with_pairs_within_strata():
    """Against many draws, the area of a matched set is that of pairs when codes depend on the stratum alone."""
    rng = np.random.default_rng(9)
    stratum = rng.integers(0, 5, 40_000)
    positive = rng.random(40_000) < 0.02 + 0.1 * (stratum == 4)
    code = (rng.gamma(2, 1, 40_000) * (rng.random(40_000) < 0.1 + 0.2 * stratum / 4)).astype(np.float32)
    near, far = match(stratum, positive, np.ones(40_000, bool), seed=0)
    assert abs(auroc(code[near], code[far]) - 0.5) < 0.02 < auroc(code[positive], code[~positive]) - 0.5
    row = np.flatnonzero(code)
    row = row[np.argsort(-code[row])]
    held = np.stack([np.bincount(stratum[positive], minlength=5), np.bincount(stratum[~positive], minlength=5)])
    inside = auroc_within(row, code[row], stratum, positive, np.ones(40_000, bool), held)
    assert abs(inside - 0.5) < 0.02


def test_the_whole_road_from_detection(here):
    found = detection(here.codes, here.truth)
    made = adjusted(here.codes, here.truth, here.covariates(), found)
    on_test = found[(found["split"] == "test") & found["f1"].notna()]
    main = made[made["main"] & (made["feature"] >= 0)]
    assert len(main) == len(on_test) and (main["n_tests"] == main["p"].notna().sum()).all()
    q = scipy.stats.false_discovery_control(main["p"].dropna(), method="bh")
    np.testing.assert_allclose(main.loc[main["p"].notna(), "q"], q)
    again = adjusted(here.codes, here.truth, here.covariates(), found)
    pd.testing.assert_frame_equal(made, again)


def test_unknown_covariates_and_labels_are_left_out_of_both_sides(here):
    """Cells whose covariate is NaN count for nothing, crude or adjusted."""
    values = here.covariates(["gc"]).read().copy()
    rng = np.random.default_rng(1)
    hidden = rng.random(len(values)) < 0.3
    values[hidden] = np.nan
    columns = here.covariates(["gc"]).columns
    made = adjusted(here.codes, here.truth, Field(here.rows, values, columns, "label"), here.pairs((MOTIF, "site")))
    split = np.repeat(here.rows.items["split"].to_numpy(), np.diff(here.rows.offsets))
    keep = (split == "test") & ~hidden
    active, y = here.dense[keep, MOTIF] > 0.5, here.masks[0][keep]
    grid = np.array([[(active & y).sum(), (active & ~y).sum()], [(~active & y).sum(), (~active & ~y).sum()]], float)
    assert made["log2_odds_crude"][0] == pytest.approx(np.log2(grid[0, 0] * grid[1, 1] / grid[0, 1] / grid[1, 0]))
    assert made["n_cells"][0] == y.sum()


def test_degenerate_pairs_have_a_row_that_says_why(here):
    dense = here.dense.copy()
    dense[:, PHASED] = 0  # dead
    dense[:, GC_LIKE] = np.where(here.masks[0], 2.0, 0.0)  # the term itself: no false positive, no finite ratio
    codes = Field(here.rows, scipy.sparse.csr_matrix(dense), kind="code", about=here.codes.about)
    pairs = here.pairs((PHASED, "site"), (GC_LIKE, "site"))
    crossed = pd.DataFrame([{"feature": 2, "term": "patch", "threshold": 1.0, "f1": 0.2, "split": "cross-fitted"}])
    made = adjusted(codes, here.truth, here.covariates(["gc"]), pd.concat([pairs, crossed.assign(note="")]))
    dead, perfect, folds = (made.iloc[i] for i in range(3))
    assert dead["verdict"] == "none" and "never above" in dead["note"] and np.isnan(dead["p"])
    assert perfect["verdict"] == "holds" and "no finite odds" in perfect["note"] and np.isnan(perfect["log2_odds"])
    assert perfect["f1_above"] > 0.9 and perfect["auroc"] == 1
    assert folds["verdict"] == "none" and "cross-fitted" in folds["note"] and folds["feature"] == -1
    constant = Field(here.rows, np.full((len(here.rows), 1), 7.0, np.float32), here.covariates(["gc"]).columns, "label")
    flat = adjusted(here.codes, here.truth, constant, here.pairs((MOTIF, "site"))).iloc[0]
    assert flat["n_strata"] == 1 and flat["log2_odds"] == flat["log2_odds_crude"] and flat["covariates_auroc"] == 0.5
    lost = Field(here.rows, np.full((len(here.rows), 1), np.nan, np.float32), constant.columns, "label")
    gone = adjusted(here.codes, here.truth, lost, here.pairs((MOTIF, "site"))).iloc[0]
    assert gone["verdict"] == "none" and gone["n_cells"] == 0 and gone["note"]
    assert len(adjusted(here.codes, here.truth, constant, here.pairs((MOTIF, "site")).iloc[:0])) == 0


def test_what_does_not_belong_together_is_refused(here, tmp_path):
    other = Planted(tmp_path, seed=1)
    other.rows.items["block"] = "x" + other.rows.items["block"]
    with pytest.raises(AlignmentError, match="not on the same rows"):
        adjusted(here.codes, here.truth, other.covariates(["gc"]), here.pairs((MOTIF, "site")))
    with pytest.raises(InputError, match="'gene' that the labels lack"):
        adjusted(here.codes, here.truth, here.covariates(["gc"]), here.pairs((MOTIF, "gene")))
    with pytest.raises(InputError, match="names feature 88"):
        adjusted(here.codes, here.truth, here.covariates(["gc"]), here.pairs((88, "site")))


def test_quantiles_keep_ties_together_and_classes_are_themselves():
    values = np.array([3.0, 1, 1, 1, 1, 2, 9, np.nan, 4], np.float32)
    cuts = cuts_of(values, 4)
    level = levels_of(values, cuts)
    assert level[7] == 65_535 and len(set(level[[1, 2, 3, 4]])) == 1
    order = np.argsort(values[:7])
    assert (np.diff(level[:7][order].astype(int)) >= 0).all() and len(set(level.tolist())) > 2
    assert levels_of(np.array([5.0, np.nan, 0]), None).tolist() == [5, 65_535, 0]
    assert len(cuts_of(np.full(5, 2.0, np.float32), 7)) == 0 and len(cuts_of(np.full(5, np.nan), 7)) == 0


def test_one_stratum_is_the_plain_table_and_informative_counts_positives():
    rng = np.random.default_rng(0)
    block, y, a = rng.integers(0, 9, 4001), rng.random(4001) < 0.2, rng.random(4001) < 0.3
    layout = Layout.of(np.zeros(4001, np.int64), block)
    every = np.ones(4001, bool)
    made = associate(layout, layout.count(a & y), layout.count(a), layout.count(y), layout.count(every))
    odds = scipy.stats.contingency.odds_ratio(
        [[(a & y).sum(), (a & ~y).sum()], [(~a & y).sum(), (~a & ~y).sum()]], kind="sample"
    )
    assert made.log2_odds == pytest.approx(np.log2(odds.statistic), abs=1e-12)
    pure = np.where(y, rng.integers(0, 3, 4001), rng.integers(2, 5, 4001))  # strata 0 and 1 hold positives only
    layout = Layout.of(pure.astype(np.int64), block)
    assert informative(layout, layout.count(y), layout.count(every)) == pytest.approx((pure[y] == 2).mean())
