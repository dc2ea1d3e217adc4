"""`atlas`: the features of a dictionary as an AnnData that scanpy draws without glue."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.analyses.blocks import as_csr
from bioterp.analyses.directions import unit
from bioterp.analyses.fidelity import Coder
from bioterp.analyses.layers import scored
from bioterp.analyses.sampling import some_items
from bioterp.arrays import Array
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.progress import say
from bioterp.store import provenance, writing_file

ROWS = 1 << 18  # rows in which co-firing is counted: whole items, drawn by a fixed seed
NEIGHBOURS = 15
FEWEST = 5  # live features of which there is a picture
TILE = 1_024  # features whose co-firing with all others is held at a time
NO_TERM, UNKNOWN = "no term", "unknown"
TOLD = {
    "X": "F1 above chance on held-out blocks of feature × term; 0 where the pair was not chosen to be scored",
    "q": "layer: its q, 1 where the pair was not chosen",
    "term": "obs: best_term where it is beyond chance (q ≤ 0.05, F1 above its null); 'unknown': see `unknown`",
    "neighbors": "graph on the cosine of decoder rows, which X_umap and the communities are made of",
    "cofiring": "graph on the Jaccard index of active cells, of rows drawn by a fixed seed",
}


def atlas(
    features: pd.DataFrame, detection: pd.DataFrame, coder: Coder, codes: Field | None = None, *, seed: int = 0
) -> Any:
    """An AnnData of the features of one dictionary that fire: `scanpy.pl.umap(made, color=['term', 'tRNA'])`.

    features, detection: tables of this dictionary (one layer, one seed); coder: the dictionary; codes: its codes, for
    the graph on co-firing, which is left out without them.

    obs: the table of features, `term` and communities (`leiden` where igraph is installed, else `louvain`); X: feature
    × term, F1 above chance, layers['q']; obsm: X_decoder, X_umap; obsp and uns: the graphs `neighbors` (decoder
    direction) and `cofiring`, each as scanpy's neighbors_key wants it. uns['bioterp'] says what is what. The same input
    and seed give the same atlas. Raises InputError for tables of several dictionaries or fewer than 5 live features.
    """
    import anndata
    import scanpy

    _check(features, coder, codes)
    obs = _obs(features)
    number = obs["feature"].to_numpy(np.int64)
    x, q, terms = _terms(detection, number)
    made = anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(terms, name="term")))
    made.layers["q"] = q
    made.obsm["X_decoder"] = unit(coder.decoder)[number].astype(np.float32)
    many = min(NEIGHBOURS, len(obs) - 1)
    scanpy.pp.neighbors(made, n_neighbors=many, use_rep="X_decoder", metric="cosine", random_state=seed)
    if codes is not None:
        _cofiring(made, codes, number, many)
    _communities(made, seed)
    scanpy.tl.umap(made, random_state=seed)
    made.uns["bioterp"] = TOLD | {"made_by": json.dumps(provenance())}
    return made


def write_atlas(made: Any, file: str | Path) -> Path:
    """Write an atlas to an .h5ad file, whole or not at all."""
    path = Path(file)
    with writing_file(path) as beside:
        made.write_h5ad(beside)
    return path


def _check(features: pd.DataFrame, coder: Coder, codes: Field | None) -> None:
    if features["feature"].duplicated().any():
        raise InputError("these features are of several dictionaries; an atlas is of one: keep one layer and seed")
    m = len(coder.decoder)
    if len(features) and features["feature"].max() >= m:
        raise AlignmentError(f"the table names feature {features['feature'].max()}; the dictionary has {m}")
    if codes is not None and codes.shape[1] != m:
        raise AlignmentError(f"the codes have {codes.shape[1]} features and the dictionary {m}; give its own")
    alive = int((~features["dead"].astype(bool)).sum())
    if alive < FEWEST:
        raise InputError(f"{alive} features fire, and an atlas needs {FEWEST}")


def _obs(features: pd.DataFrame) -> pd.DataFrame:
    """Live features; text is never null, for no file format has a null text that all readers know."""
    obs = features[~features["dead"].astype(bool)].sort_values("feature").reset_index(drop=True)
    found = (obs["n_terms"] > 0) & (obs["best_q"] <= 0.05) & (obs["best_f1"] > obs["best_f1_null"])
    term = obs["best_term"].where(found, NO_TERM)
    obs["term"] = term.where(~obs["unknown"].astype(bool), UNKNOWN)
    for name in obs.columns:
        if obs[name].dtype == object:
            obs[name] = obs[name].fillna("").astype(str)
    for name in ("dictionary", "representation", "layer", "best_term", "strand", "term"):
        obs[name] = obs[name].astype("category")
    obs.index = pd.Index(obs["feature"].astype(str).to_numpy())
    return obs


def _terms(detection: pd.DataFrame, number: Array) -> tuple[Array, Array, list[str]]:
    """(n, terms) F1 above chance, its q, and the terms, of the features `number` (n,) in rising order."""
    known = scored(detection)
    known = known[known["feature"].isin(number)]
    terms = sorted(set(detection["term"].dropna().astype(str)))
    x, q = np.zeros((len(number), len(terms)), np.float32), np.ones((len(number), len(terms)), np.float32)
    row = np.searchsorted(number, known["feature"].to_numpy(np.int64))
    column = known["term"].map({term: at for at, term in enumerate(terms)}).to_numpy(np.int64)
    x[row, column] = (known["f1"] - known["f1_null"]).fillna(0)
    q[row, column] = known["q"].fillna(1)
    return x, q, terms


def _cofiring(made: Any, codes: Field, number: Array, many: int) -> None:
    """The graph on co-firing, in the form of scanpy's: distance 1 − Jaccard to the nearest, connectivity Jaccard."""
    part = codes.take(some_items(codes.rows, None, ROWS))
    blocks = []
    for lo, _, block in part.batches():
        indptr, indices, _ = as_csr(block, lo)
        ones = np.ones(len(indices), np.float32)
        blocks.append(scipy.sparse.csr_matrix((ones, indices, indptr), (len(indptr) - 1, codes.shape[1]))[:, number])
    fired = scipy.sparse.vstack(blocks, format="csr")
    count = np.asarray(fired.sum(0)).ravel()
    turned = fired.T.tocsr()
    rows, columns, values = [], [], []
    for lo in range(0, len(number), TILE):
        both = (turned[lo : lo + TILE] @ fired).tocoo()
        own = both.row + lo
        share = both.data / (count[own] + count[both.col] - both.data)
        apart = own != both.col
        own, other, share = own[apart], both.col[apart], share[apart]
        order = np.lexsort((other, -share, own))
        own, other, share = own[order], other[order], share[order]
        place = np.arange(len(own)) - np.searchsorted(own, own)  # within its feature
        near = place < many
        rows.append(own[near])
        columns.append(other[near])
        values.append(share[near])
    at, value = (np.concatenate(rows), np.concatenate(columns)), np.concatenate(values)
    shape = (len(number), len(number))
    near = scipy.sparse.csr_matrix((value, at), shape)
    # A distance of 0 would be no entry of a sparse matrix: features that always fire together are 1e-6 apart.
    made.obsp["cofiring_distances"] = scipy.sparse.csr_matrix((np.maximum(1 - value, 1e-6), at), shape)
    made.obsp["cofiring_connectivities"] = near.maximum(near.T).tocsr()
    told = {"n_neighbors": many, "method": "jaccard", "metric": "jaccard", "n_rows": fired.shape[0]}
    names = {f"{name}_key": f"cofiring_{name}" for name in ("connectivities", "distances")}
    made.uns["cofiring"] = {**names, "params": told}


def _communities(made: Any, seed: int) -> None:
    """obs['leiden'] by igraph where it is installed (GPL, so not by default), else obs['louvain'] by networkx."""
    import scanpy

    if importlib.util.find_spec("igraph") is not None:
        scanpy.tl.leiden(made, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
        return
    import networkx

    say("communities by Louvain: Leiden needs igraph (pip install 'bioterp[atlas]'; GPL)")
    graph = networkx.from_scipy_sparse_array(made.obsp["connectivities"])
    found = networkx.community.louvain_communities(graph, weight="weight", seed=seed)
    label = np.zeros(made.n_obs, np.int64)
    for k, members in enumerate(sorted(found, key=lambda one: (-len(one), min(one)))):
        label[list(members)] = k
    names = [str(k) for k in range(len(found))]
    made.obs["louvain"] = pd.Categorical.from_codes(label, categories=names)
