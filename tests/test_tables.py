"""Declared columns, and tables that come back from disk as they went."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bioterp import tables
from bioterp.errors import InputError, StoreError


def example(name: str, rows: int = 3) -> pd.DataFrame:
    """Awkward values of the declared types."""
    values = {
        "float64": [0.1 + 0.2, np.nan, 1e-300],
        "int32": [-1, 7, 2**31 - 1],
        "bool": [True, False, True],
        "string": ["CDS@antisense", None, "NA"],
    }
    return pd.DataFrame({c.name: values[c.dtype][:rows] for c in reversed(tables.columns(name))})


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_begins_with_its_subject_and_declares_known_types(name):
    declared = tables.columns(name)
    assert [c.name for c in declared[:4]] == ["dictionary", "seed", "representation", "layer"]
    assert len({c.name for c in declared}) == len(declared)
    assert all(c.dtype in ("float64", "int32", "bool", "string") and c.meaning for c in declared)


@pytest.mark.parametrize("name", tables.TABLES)
@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_table_comes_back_as_it_went(tmp_path, name, suffix, rows):
    frame = example(name, rows)
    frame.attrs["n_tests"] = 5
    frame = tables.conform(name, frame)
    path = tables.write(frame, tmp_path / f"{name}.{suffix}")
    again = tables.read(path)
    pd.testing.assert_frame_equal(again, frame)
    assert again.attrs == {"table": name, "schema_version": tables.SCHEMA_VERSION, "n_tests": 5}


def test_conform_orders_casts_and_keeps_further_columns_last():
    frame = example("enrichment").assign(extra=[1, 2, 3]).astype({"seed": "float64"})
    table = tables.conform("enrichment", frame)
    assert list(table.columns) == [*(c.name for c in tables.columns("enrichment")), "extra"]
    assert table["seed"].dtype == np.int32 and table["log2_odds"].dtype == np.float64
    assert table["term"].tolist() == ["CDS@antisense", None, "NA"]


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="needs the columns term"):
        tables.conform("enrichment", example("enrichment").drop(columns="term"))
    with pytest.raises(InputError, match="'seed' of the table 'enrichment' must be int32"):
        tables.conform("enrichment", example("enrichment").assign(seed=np.nan))
    with pytest.raises(InputError, match="no 32-bit integer"):
        tables.conform("enrichment", example("enrichment").assign(feature=0.5))
    with pytest.raises(InputError, match="did you mean 'enrichment'"):
        tables.conform("enrichement", example("enrichment"))


def test_the_tsv_is_plain_and_the_parquet_says_what_it_is(tmp_path):
    frame = tables.conform("enrichment", example("enrichment"))
    lines = tables.write(frame, tmp_path / "a.tsv").read_text().splitlines()
    assert lines[0].split("\t") == [c.name for c in tables.columns("enrichment")]
    assert len(lines) == 4
    said = pq.read_schema(tables.write(frame, tmp_path / "a.parquet")).metadata
    assert said[b"schema_version"] == tables.SCHEMA_VERSION.encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "a.tsv", "a.tsv.json"]


def test_files_of_others_are_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "a.tsv", sep="\t")
    with pytest.raises(StoreError, match="not written by"):
        tables.read(tmp_path / "a.tsv")
    with pytest.raises(InputError, match="pass it through"):
        tables.write(pd.DataFrame(), tmp_path / "b.tsv")
    with pytest.raises(InputError, match=r"written as .parquet or .tsv"):
        tables.write(tables.conform("enrichment", example("enrichment")), tmp_path / "b.csv")


def test_the_subject_of_a_field():
    about = {"dictionary": {"name": "sae"}, "seed": 2, "layer": 4, "representation": "neurons", "model": "x"}
    assert tables.subject(about) == {"dictionary": "sae", "seed": 2, "representation": "neurons", "layer": "4"}
    assert tables.subject({}) == {"dictionary": "", "seed": -1, "representation": "", "layer": ""}


def test_stored_tables_hang_on_the_declared_columns(monkeypatch):
    before = tables.code()
    grown = (*tables.TABLES["blocks"], tables.Column("more", "int32", "", "of a later release"))
    monkeypatch.setitem(tables.TABLES, "blocks", grown)
    assert tables.code() != before
    monkeypatch.setitem(tables.TABLES, "blocks", grown[:-1])
    assert tables.code() == before
