"""Facts of acquisition with planted followers, against scipy feature by feature, and real regimes of intensity."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
from scans import rows_of, same_grids
from worlds import genome

from bioterp.analyses.candidates import candidates
from bioterp.analyses.regimes import regimes
from bioterp.errors import InputError
from bioterp.field import Field

N, CELLS, FEATURES = 40, 6, 23


def cohort(subjects: list[str] | None = None, **facts) -> Field:
    """Feature 0 follows the scanner, feature 1 the thickness, 2 is dead, the others follow nothing."""
    rng = np.random.default_rng(4)
    rows = rows_of(same_grids(N, (1, 2, 3)), subjects, **facts)
    codes = rng.gamma(2, 1, (N, CELLS, FEATURES))
    codes[:, :, 0] += 3 * (np.arange(N) % 2)[:, None]
    codes[:, :, 1] += np.linspace(0, 6, N)[:, None]
    codes[:, :, 2] = 0
    return Field(rows, codes.reshape(-1, FEATURES).astype(np.float32), kind="code", about={"dictionary": "toy"})


SCANNER = np.where(np.arange(N) % 2, "Verio", "Skyra")
THICKNESS = np.linspace(1, 5, N)


def test_planted_followers_are_found_and_numbers_are_those_of_scipy():
    codes = cohort(scanner=SCANNER, slice_thickness=THICKNESS)
    table = candidates(codes).set_index("candidate")
    means = codes.values.reshape(N, CELLS, FEATURES).mean(1)
    live = [f for f in range(FEATURES) if f != 2]
    p = [scipy.stats.kruskal(*(means[name == SCANNER, f] for name in ("Skyra", "Verio"))).pvalue for f in live]
    found = table.loc["scanner"]
    assert found["n_associated"] == (scipy.stats.false_discovery_control(p) <= 0.05).sum() == 1
    assert (found["kind"], found["n_scans"], found["n_levels"], found["n_features"]) == ("categorical", N, 2, 22)
    assert found["levels"] in ("Verio: 20; Skyra: 20", "Skyra: 20; Verio: 20") and found["top_feature"] == 0
    h = scipy.stats.kruskal(*(means[name == SCANNER, 0] for name in ("Skyra", "Verio"))).statistic
    assert found["top_r2"] == pytest.approx((h - 1) / (N - 2))  # epsilon squared
    assert abs(found["median_r2"]) < 0.05
    numbers = table.loc["slice_thickness"]
    rho = scipy.stats.spearmanr(THICKNESS, means[:, 1]).statistic
    assert numbers["kind"] == "numeric" and numbers["top_feature"] == 1
    assert numbers["top_r2"] == pytest.approx(1 - (1 - rho**2) * (N - 1) / (N - 2))
    p = [scipy.stats.spearmanr(THICKNESS, means[:, f]).pvalue for f in live]
    assert numbers["n_associated"] == (scipy.stats.false_discovery_control(p) <= 0.05).sum()
    assert numbers["levels"] == "1 to 5, median 3"


def test_sparse_codes_give_the_same_table():
    codes = cohort(scanner=SCANNER, slice_thickness=THICKNESS)
    sparse = Field(codes.rows, scipy.sparse.csr_matrix(codes.values), kind="code", about=codes.about)
    pd.testing.assert_frame_equal(candidates(codes), candidates(sparse))


def test_what_tells_nothing_apart_is_a_row_that_says_so():
    names = [f"m{i}" for i in range(N)]
    small = ["A"] * 30 + ["B"] * 6 + ["C", "C", "D", "D"]
    table = candidates(
        cohort(manufacturer="one", kernel=None, sequence=names, scanner=small, field_strength=[1.5] * 38 + [3.0] * 2)
    ).set_index("candidate")
    note = table["note"]
    assert note["manufacturer"] == "not tested: one level" and table.loc["manufacturer", "levels"] == "one: 40"
    assert note["kernel"] == "not known of any scan" and table.loc["kernel", "n_scans"] == 0
    assert note["sequence"] == "not tested: every scan has a level of its own"
    assert note["field_strength"].startswith("not tested: fewer than two levels of 5 subjects")
    assert note["scanner"] == "4 scans of small levels are left out" and table.loc["scanner", "n_features"] == 22
    assert table.loc["scanner", "levels"] == "A: 30; B: 6; other: 4"
    assert table.loc["field_strength", "kind"] == "categorical"
    assert (table.loc[["manufacturer", "kernel", "sequence"], "top_feature"] == -1).all()


def test_small_levels_are_pooled_and_unknown_scans_left_out():
    levels = ["A"] * 20 + ["B"] * 4 + ["C"] * 4 + ["D"] * 2 + [None] * 10
    row = candidates(cohort(scanner=levels)).iloc[0]
    assert row["levels"] == "A: 20; other: 10" and row["n_scans"] == 30 and row["n_levels"] == 4
    assert row["note"] == "3 levels of fewer than 5 subjects are pooled; not known of 10 scans"


def test_scans_of_one_subject_count_once_for_each_level():
    subjects = [f"s{i // 4}" for i in range(N)]  # four scans each, two on each scanner
    codes = cohort(subjects, scanner=SCANNER)
    means = codes.values.reshape(N, CELLS, FEATURES).mean(1)[:, 0]
    each = pd.Series(means).groupby([np.array(subjects), SCANNER]).mean()
    h = scipy.stats.kruskal(each.xs("Skyra", level=1), each.xs("Verio", level=1)).statistic
    assert candidates(codes).iloc[0]["top_r2"] == pytest.approx((h - 1) / (20 - 2))


def test_the_geometry_of_the_file_and_further_columns_are_candidates():
    def native(i: int) -> str:
        affine = np.diag([-1.0, 2.0, 3.0 + i % 2, 1.0])[[1, 0, 2, 3]]
        return json.dumps({"shape": [7, 8, 9], "affine": affine.tolist()})

    table = candidates(cohort(native=[native(i) for i in range(N)], site=SCANNER), also=["site"]).set_index("candidate")
    assert {"voxel", "voxel_volume", "anisotropy", "matrix", "field_of_view", "orientation", "site"} == set(table.index)
    assert set(table.loc["voxel", "levels"].split("; ")) == {"1 × 2 × 3: 20", "1 × 2 × 4: 20"}
    assert set(table.loc["anisotropy", "levels"].split("; ")) == {"3: 20", "4: 20"}
    assert table.loc["orientation", "levels"] == "PRS: 40" and table.loc["matrix", "levels"] == "7 × 8 × 9: 40"
    assert table.loc["voxel", "n_associated"] == 1 and table.loc["site", "n_associated"] == 1
    # Those that features follow come first.
    assert list(table["n_associated"]) == sorted(table["n_associated"], reverse=True)


def test_regimes_are_levels_named_by_their_range():
    p99 = np.where(np.arange(N) % 2, 900.0, 200.0) * np.linspace(1, 1.2, N)
    table = candidates(cohort(p50=p99 / 3, p99=p99)).set_index("candidate")
    row = table.loc["intensity_regime"]
    assert row["n_levels"] == 2 and row["top_feature"] == 0 and row["n_associated"] == 1
    assert "p99 200 to" in row["levels"] and table.loc["p99", "kind"] == "numeric"


def test_codes_alike_in_all_scans_and_other_rows():
    codes = cohort(scanner=SCANNER)
    flat = Field(codes.rows, np.ones((len(codes), 2), np.float32), kind="code")
    assert candidates(flat).iloc[0]["n_features"] == 0
    with pytest.raises(InputError, match="no column 'age'"):
        candidates(codes, also=["age"])
    line = genome({"c1": 500})
    with pytest.raises(InputError, match="facts of scans"):
        candidates(Field(line, np.ones((len(line), 2)), kind="code"))


@pytest.mark.parametrize("seed", range(6))
def test_one_group_stays_one_and_planted_groups_come_out(seed):
    rng = np.random.default_rng(seed)
    for one in (rng.lognormal(6, 0.2, 150), rng.gamma(9, 100, 150), rng.uniform(500, 900, 150), np.full(30, 255.0)):
        assert regimes(one).max() == 0
    planted = np.concatenate([rng.normal(100, 4, 40), rng.normal(170, 6, 60), rng.normal(9000, 900, 12)])
    order = rng.permutation(112)
    truth = np.repeat([0, 1, 2], [40, 60, 12])[order]
    assert (regimes(planted[order]) == truth).mean() > 0.98


def test_regimes_of_nothing_and_of_unknown():
    assert regimes(np.array([])).tolist() == []
    assert regimes(np.array([5.0, np.nan, 500.0])).tolist() == [0, -1, 1]


@pytest.mark.needs_shared
def test_the_regimes_of_the_hippocampus_set_come_out():
    """Bytes, floats to some thousands and floats far above: three ways one public set was stored."""
    from sklearn.metrics import adjusted_rand_score

    from tests.conftest import SHARED

    nibabel = pytest.importorskip("nibabel")
    folder = SHARED / "imaging" / "msd_hippocampus"
    if not folder.is_dir():
        pytest.skip("real imaging data are not here (set BIOTERP_SHARED to the folder that holds data/)")
    cases = pd.read_csv(folder / "cases.tsv", sep="\t")
    read = [np.asarray(nibabel.load(folder / "images" / name).dataobj, np.float32) for name in cases["file"]]
    for share in (50, 99, 100):
        seen = regimes(np.array([np.percentile(one, share) for one in read]))
        assert adjusted_rand_score(cases["regime"], seen) >= 0.95
