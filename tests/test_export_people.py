"""People in the files of PLINK, REGENIE, BIDS and scanpy: read back by other readers."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import bioterp as bt
from bioterp.errors import InputError

N, M = 41, 7


def _people(family: bool = False, names: list[str] | None = None) -> tuple[bt.Field, pd.DataFrame]:
    draw = np.random.default_rng(0)
    x = draw.gamma(2, 1, (N, M)) * (draw.random((N, M)) < 0.6)
    x[:, 3] = 0.25
    who = names or [f"HG{i:05d}" for i in range(N)]
    block = [f"fam{i // 2}" for i in range(N)] if family else who
    items = pd.DataFrame({"item": who, "sample": who, "block": block, "split": "train"})
    field = bt.Field(
        bt.Rows.free(items), scipy.sparse.csr_matrix(x.astype(np.float32)), kind="code", about={"pooled": ["mean"]}
    )
    sheet = pd.DataFrame({"ancestry": draw.choice(["AFR", "East Asian"], N), "age": draw.normal(50, 5, N)}, index=who)
    sheet.loc[who[4], "age"] = np.nan
    return field, sheet.iloc[::-1]  # another order than the people's


def test_phenotypes_are_what_plink_and_regenie_read(tmp_path: Path) -> None:
    people, sheet = _people(family=True)
    pheno, covar = bt.export(people, out=tmp_path, format="phenotypes", sheet=sheet)
    header = pheno.read_text().splitlines()[0].split("\t")
    assert header[:2] == ["FID", "IID"] and "feature_3" not in header and len(header) == 2 + M - 1
    read = pd.read_csv(pheno, sep=r"\s+")
    np.testing.assert_allclose(read["feature_5"], people.values.toarray()[:, 5], rtol=1e-7)
    assert read["FID"].iloc[:3].tolist() == ["fam0", "fam0", "fam1"] and read["FID"].iloc[-1] == read["IID"].iloc[-1]
    lines = [line.split() for line in covar.read_text().splitlines()]
    assert {len(line) for line in lines} == {4}  # blanks in a name would make more columns
    table = pd.DataFrame(lines[1:], columns=lines[0]).set_index("IID")
    assert table.loc["HG00004", "age"] == "NA"
    assert float(table.loc["HG00007", "age"]) == pytest.approx(sheet.loc["HG00007", "age"])
    assert set(table["ancestry"]) == {"AFR", "East_Asian"}


def test_bids_phenotypes(tmp_path: Path) -> None:
    people, _ = _people()
    tsv, sidecar = bt.export(people, [1, 5], out=tmp_path, format="bids")
    read, told = pd.read_csv(tsv, sep="\t"), json.loads(sidecar.read_text())
    assert read.columns.tolist() == ["participant_id", "feature_1", "feature_5"] == ["participant_id", *list(told)[1:]]
    assert read["participant_id"].iloc[0] == "sub-HG00000"
    same, _ = _people(names=[f"a-{i}" if i else "a1" for i in range(N)])
    with pytest.raises(InputError, match="same BIDS label"):
        bt.export(same, out=tmp_path, format="bids")


def test_scanpy_ranks_features_between_groups(tmp_path: Path) -> None:
    import scanpy as sc

    people, sheet = _people()
    x = people.values.toarray()
    ancestry = sheet.loc[people.rows.items["item"], "ancestry"].to_numpy()
    x[:, 2] += 3 * (ancestry == "AFR")
    planted = bt.Field(people.rows, x, kind="code")
    (file,) = bt.export(planted, out=tmp_path, format="h5ad", sheet=sheet)
    data = anndata.read_h5ad(file)
    np.testing.assert_allclose(data.X.toarray(), x, rtol=1e-6)
    assert (data.obs["ancestry"].astype(str).to_numpy() == ancestry).all()
    sc.tl.rank_genes_groups(data, "ancestry", method="wilcoxon")
    assert data.uns["rank_genes_groups"]["names"]["AFR"][0] == "feature_2"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    people, sheet = _people()
    with pytest.raises(InputError, match="no lattice"):
        bt.export(people, out=tmp_path, format="bigwig")
    with pytest.raises(InputError, match="1 of 41 people are not in the sheet"):
        bt.export(people, out=tmp_path, format="phenotypes", sheet=sheet.iloc[1:])
    blank, _ = _people(names=[f"p {i}" for i in range(N)])
    with pytest.raises(InputError, match="without blanks"):
        bt.export(blank, out=tmp_path, format="phenotypes")
    constant = bt.Field(people.rows, np.ones((N, 3), np.float32), kind="code")
    with pytest.raises(InputError, match="no feature differs"):
        bt.export(constant, out=tmp_path, format="phenotypes")
    assert not list(tmp_path.iterdir())
