"""The atlas of features: scanpy draws it, its graphs are those of brute force, and a file holds it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import bioterp as bt
from bioterp import tables
from bioterp.atlas import atlas, write_atlas
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.rows import Rows

pytestmark = pytest.mark.slow  # umap compiles itself anew in every process
M, GROUPS, CHANNELS = 37, 3, 11


@pytest.fixture(scope="module")
def planted():
    """Three groups of directions; features of a group fire together; feature 36 is dead; group 0 finds 'tRNA'."""
    rng = np.random.default_rng(6)
    group = np.arange(M) % GROUPS
    decoder = (4 * np.eye(CHANNELS)[group] + rng.standard_normal((M, CHANNELS))).astype(np.float32)
    chosen = rng.integers(0, GROUPS, 700)
    codes = (rng.random((700, M)) < 0.5) * (group[None] == chosen[:, None]) * rng.uniform(1, 2, (700, M))
    codes[:, 36] = 0
    rows = Rows.free(pd.DataFrame({"item": range(700), "sample": "s", "block": "b", "split": "train"}))
    about = {"dictionary": "d", "seed": 0, "representation": "dictionary", "layer": "1"}
    field = Field(rows, scipy.sparse.csr_matrix(codes.astype(np.float32)), kind="code", about=about)
    detection = pd.DataFrame(
        [
            about | {"feature": f, "term": term, "f1": 0.8 if f % 3 == k else 0.2, "f1_null": 0.2, "split": "test",
                     "q": 0.001 if f % 3 == k else 0.7, "f1_select": 0.8 if f % 3 == k else 0.3, "f1_select_null": 0.2,
                     "n_instances": 30}
            for k, term in enumerate(("tRNA", "rRNA"))
            for f in range(36)
            if k == 0 or f % 3 == 1
        ]
    )  # fmt: skip
    for column in tables.columns("detection"):
        if column.name not in detection:
            detection[column.name] = np.nan if column.dtype == "float64" else 0
    detection = tables.conform("detection", detection)
    found = bt.described(bt.features(field, detection), detection, cells=700)
    coder = SimpleNamespace(decoder=decoder, about={}, k=None, id="d")
    return SimpleNamespace(found=found, detection=detection, coder=coder, codes=field, dense=codes, group=group)


@pytest.fixture(scope="module")
def made(planted):
    return atlas(planted.found, planted.detection, planted.coder, planted.codes)


def test_what_it_holds(made, planted):
    assert made.n_obs == 36 and made.obs_names.tolist() == [str(f) for f in range(36)]  # the dead one is left out
    assert made.var_names.tolist() == ["rRNA", "tRNA"]
    term = np.array(["tRNA", "rRNA", "no term"], object)[planted.group[:36]]
    assert made.obs["term"].tolist() == term.tolist()
    assert np.allclose(made[:, "tRNA"].X.ravel(), np.where(planted.group[:36] == 0, 0.6, 0))
    assert made.layers["q"][2, 0] == 1 and made.layers["q"][0, 1] == np.float32(0.001)  # 2 was not scored for rRNA
    assert np.allclose(np.linalg.norm(made.obsm["X_decoder"], axis=1), 1)
    for name in ("best_f1", "best_q", "density", "stability", "cluster", "says"):
        assert name in made.obs


def test_communities_are_the_planted_groups(made, planted):
    name = "leiden" if "leiden" in made.obs else "louvain"
    assert (pd.crosstab(made.obs[name], planted.group[:36]) > 0).sum().tolist() == [1, 1, 1]
    near = made.obsm["X_umap"]
    inner = [np.linalg.norm(near[planted.group[:36] == g] - near[planted.group[:36] == g].mean(0), axis=1).max()
             for g in range(3)]  # fmt: skip
    middle = np.array([near[planted.group[:36] == g].mean(0) for g in range(3)])
    apart = min(np.linalg.norm(middle[a] - middle[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert apart > max(inner)


def test_co_firing_by_brute_force(made, planted):
    on = planted.dense > 0
    for f in (0, 17, 35):
        share = np.array([(on[:, f] & on[:, g]).sum() / (on[:, f] | on[:, g]).sum() for g in range(36)])
        share[f] = 0
        line = made.obsp["cofiring_distances"][f].toarray().ravel()
        best = np.sort(share)[::-1]
        assert (line > 0).sum() == min(15, (share > 0).sum())
        np.testing.assert_allclose(np.sort(1 - line[line > 0])[::-1], best[: (line > 0).sum()], atol=1e-6)
        both = made.obsp["cofiring_connectivities"][f].toarray().ravel()
        np.testing.assert_allclose(both[line > 0], share[line > 0], atol=1e-6)


def test_scanpy_draws_it_and_goes_on_with_it(made, tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    import scanpy as sc

    file = write_atlas(made, tmp_path / "atlas.h5ad")
    read = sc.read_h5ad(file)
    figure = sc.pl.umap(read, color=["term", "tRNA", "best_f1"], show=False, return_fig=True)
    figure.savefig(tmp_path / "umap.png")
    assert (tmp_path / "umap.png").stat().st_size > 5_000
    sc.tl.umap(read, neighbors_key="cofiring", random_state=1)  # the second graph serves as scanpy's own do
    assert np.isfinite(read.obsm["X_umap"]).all()


def test_the_same_twice(made, planted):
    again = atlas(planted.found, planted.detection, planted.coder, planted.codes)
    assert np.array_equal(made.obsm["X_umap"], again.obsm["X_umap"])
    assert (made.obsp["connectivities"] != again.obsp["connectivities"]).nnz == 0


def test_what_is_refused(planted):
    both = pd.concat([planted.found, planted.found.assign(seed=1)])
    with pytest.raises(InputError, match="several dictionaries"):
        atlas(both, planted.detection, planted.coder)
    with pytest.raises(InputError, match="4 features fire"):
        atlas(planted.found.head(4), planted.detection, planted.coder)
    assert "cofiring" not in atlas(planted.found, planted.detection, planted.coder).uns
