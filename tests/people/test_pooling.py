"""Cells to people: equal to plain loops over dense numbers, for every way, region and carrier."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import bioterp as bt
from bioterp import pooling
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.values import Intervals
from tests.people.village import village

WAYS = ["mean", "max", "top", "fraction"]
SHARE = 0.07


def cohort(folder: Path, features: int = 13, sparse: bool = True):
    """A village's windows with made-up codes: (source, codes, dense values)."""
    _, fasta, _, _, vcf = village(folder, people=5, length=401, count=19)
    source = bt.Haplotypes(vcf, fasta, window=83, halo=[17, 3], blocks=200, strands="both")
    records, grids = [], []
    for item, _, grid in source:
        middle = grid.centers[:, 0]
        keep = np.flatnonzero((middle >= item.core[0][0]) & (middle < item.core[1][0]))
        records.append(item.record)
        grids.append(grid.take(keep))
    rows = Rows.from_grids(pd.DataFrame(records), grids)
    rng = np.random.default_rng(8)
    dense = np.where(rng.random((len(rows), features)) < 0.2, rng.exponential(2, (len(rows), features)), 0)
    if not sparse:
        dense = rng.normal(size=dense.shape)
    dense = dense.astype(np.float32)
    return source, Field(rows, scipy.sparse.csr_matrix(dense) if sparse else dense, kind="code"), dense


def by_hand(source, rows: Rows, dense, way: str, spans, haplotypes: str = "mean"):
    """(people, spans, features): loops over people, haplotypes, windows, cells."""
    table = source.carriers.table()
    place = {name: i for i, name in enumerate(rows.items["item"])}
    out = np.full((len(source.people), len(spans), dense.shape[1]), np.nan)
    for p, person in enumerate(source.people["item"]):
        for r, (lo, hi) in enumerate(spans):
            total, whole, peak = np.zeros(dense.shape[1]), 0.0, np.full(dense.shape[1], -np.inf)
            for line in table[table["sample"] == person].itertuples():
                i = place[line.item]
                bounds = rows.grid(i).bounds
                values = dense[rows.offsets[i] : rows.offsets[i + 1]].astype(np.float64)
                size = np.array([
                    float(lo <= a < hi) if a == b else max(0, min(b, hi) - max(a, lo)) for a, b in bounds.tolist()
                ])  # fmt: skip
                use = size > 0
                if not use.any():
                    continue
                size, values = size[use], values[use]
                times = 1.0 if haplotypes == "sum" else line.weight
                k = max(1, math.ceil(SHARE * len(size)))
                own = {
                    "mean": size @ values, "fraction": size @ (values > 0), "max": values.max(0),
                    "top": np.sort(values, 0)[-k:].mean(0) * size.sum(),
                }[way]  # fmt: skip
                peak = np.maximum(peak, values.max(0))
                total = total + times * own
                whole += line.weight * size.sum()
            if whole:
                out[p, r] = peak if way == "max" else total / whole
    return out


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_pooling_a_stream_is_pooling_by_hand(tmp_path: Path, monkeypatch, way: str, sparse: bool) -> None:
    monkeypatch.setattr(pooling, "CELLS", 190)  # two windows at a time
    source, codes, dense = cohort(tmp_path, sparse=sparse)
    people = bt.pool(codes, source, way, top=SHARE)
    wanted = by_hand(source, codes.rows, dense, way, [(0, 401)])[:, 0]
    np.testing.assert_allclose(people.values, wanted, rtol=1e-5, atol=1e-7)
    assert people.rows.ndim == 0 and people.rows.items["item"].tolist() == source.people["item"].tolist()
    assert people.columns["name"].tolist() == [str(i) for i in range(13)] and people.kind == "code"


def test_regions_ways_and_features_are_columns(tmp_path: Path) -> None:
    source, codes, dense = cohort(tmp_path)
    spans = [(30, 121), (119, 300), (77, 78)]
    bed = tmp_path / "r.bed"
    bed.write_text("".join(f"c1\t{lo}\t{hi}\tR{lo}\n" for lo, hi in spans) + "c1\t900\t950\tgone\n")
    people = bt.pool(codes, source, WAYS, bed, top=SHARE)
    assert people.shape == (5, 4 * 4 * 13)
    for way in WAYS:
        wanted = by_hand(source, codes.rows, dense, way, [*spans, (900, 950)])
        for r, name in enumerate(["R30", "R119", "R77", "gone"]):
            at = (people.columns["pool"] == way) & (people.columns["region"] == name)
            np.testing.assert_allclose(people.values[:, at], wanted[:, r], rtol=1e-5, atol=1e-7)
            assert people.columns.loc[at, "feature"].tolist() == list(range(13))
    assert np.isnan(people.values[:, people.columns["region"] == "gone"]).all()
    assert people.columns["name"].is_unique and "3.top@R30" in people.columns["name"].tolist()


def test_a_label_is_a_region(tmp_path: Path) -> None:
    source, codes, dense = cohort(tmp_path)
    rng = np.random.default_rng(3)
    lo = np.sort(rng.integers(0, len(codes) - 40, 23))
    labels = Field(
        codes.rows, Intervals.of(np.zeros(23), np.arange(1, 24), lo, lo + 11, len(codes), 1), ["gene"], "label"
    )
    inside = np.zeros(len(codes), bool)
    for a in lo:
        inside[a : a + 11] = True
    people = bt.pool(codes, source, "mean", labels)
    size = np.concatenate([np.maximum(np.diff(grid.bounds).ravel(), 1) for grid in codes.rows.grids()]) * inside
    item = codes.rows.item_of_rows()
    sums = np.stack([np.bincount(item, size * dense[:, f], len(codes.rows.items)) for f in range(13)], 1)
    weight = np.zeros((5, len(codes.rows.items)))
    for line in source.carriers.table().itertuples():
        at = (codes.rows.items["item"] == line.item).to_numpy()
        weight[source.people["item"].tolist().index(line.sample), at] += line.weight
    wanted = (weight @ sums) / (weight @ np.bincount(item, size, len(codes.rows.items)))[:, None]
    np.testing.assert_allclose(people.values, wanted, rtol=1e-5)


def test_a_dose_is_the_sum_of_both_haplotypes(tmp_path: Path) -> None:
    source, codes, dense = cohort(tmp_path)
    wanted = by_hand(source, codes.rows, dense, "mean", [(0, 401)], "sum")[:, 0]
    np.testing.assert_allclose(bt.pool(codes, source, haplotypes="sum").values, wanted, rtol=1e-5)
    np.testing.assert_allclose(wanted, 2 * bt.pool(codes, source).values, rtol=1e-5)  # all are diploid here


def test_shared_windows_pool_to_what_each_persons_own_would(tmp_path: Path) -> None:
    source, codes, _ = cohort(tmp_path)
    table = source.carriers.table()
    place = {name: i for i, name in enumerate(codes.rows.items["item"])}
    own = codes.take(np.array([place[name] for name in table["item"]]))
    own.rows.items["item"] = [f"own{i}" for i in range(len(table))]
    mine = table.assign(item=own.rows.items["item"].to_numpy())
    people = bt.pool(own, mine, WAYS, people=source.people)
    np.testing.assert_allclose(people.values, bt.pool(codes, source, WAYS).values, rtol=1e-6)


def test_scans_of_a_subject_count_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    shapes = [(2, 3, 2), (3, 3, 1), (2, 2, 2), (1, 4, 3)]
    items = pd.DataFrame({
        "item": ["a:0", "a:1", "b", "c"], "sample": ["a", "a", "b", "c"], "block": ["S1", "S1", "S1", "S2"],
        "split": ["train", "train", "train", "test"], "subject": ["S1", "S1", "S1", "S2"], "site": ["x", "x", "y", "z"],
    })  # fmt: skip
    affine = np.diag([2.0, 2, 3, 1])
    rows = Rows.from_grids(
        items, [Grid(Space(s, "mm"), shape, affine) for s, shape in zip("aabc", shapes, strict=True)]
    )
    dense = np.maximum(rng.normal(size=(len(rows), 7)), 0).astype(np.float32)
    people = bt.pool(Field(rows, scipy.sparse.csr_matrix(dense), kind="code"), how=["mean", "max"])
    scan = {"a": dense[:21], "b": dense[21:29], "c": dense[29:]}
    wanted = np.stack([(scan["a"].mean(0) + scan["b"].mean(0)) / 2, scan["c"].mean(0)])
    np.testing.assert_allclose(people.values[:, :7], wanted, rtol=1e-5)
    np.testing.assert_allclose(people.values[:, 7:], [dense[:29].max(0), dense[29:].max(0)])
    assert people.rows.items["item"].tolist() == ["S1", "S2"] and people.rows.items["split"].tolist() == [
        "train",
        "test",
    ]
    assert "site" not in people.rows.items.columns  # S1 was scanned at two


def test_what_cannot_be_pooled_is_said(tmp_path: Path) -> None:
    source, codes, _ = cohort(tmp_path)
    with pytest.raises(AlignmentError, match="speak of none of the"):
        bt.pool(codes, source.carriers.table().assign(item="nothing"))
    with pytest.raises(InputError, match="how is one or several of"):
        bt.pool(codes, source, "median")
    with pytest.raises(InputError, match="'sum' where how is not max"):
        bt.pool(codes, source, "max", haplotypes="sum")
    with pytest.raises(InputError, match="regions are on 'chr9', the rows on c1"):
        bt.pool(codes, source, regions=pd.DataFrame({"contig": ["chr9"], "start": [1], "end": [5]}))
    with pytest.raises(InputError, match="lacks the columns"):
        bt.pool(codes, pd.DataFrame({"sample": ["a"], "item": ["b"]}))
